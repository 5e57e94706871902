"""Makes a pixel cache: in parallel, in parts, each of which is finished or not there. Imports no torch."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from flvlp.data.images import ImageReadError, image_size, read_image
from flvlp.data.pixel_cache import INDEX, SETTINGS, Entries, file_state, save_index
from flvlp.data.transforms import scaled_size, shrink

log = logging.getLogger(__name__)

PART = 256  # pictures of one part: what a kill can cost each worker
_SURVEY_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before it is decoded: size in pixels (0, 0 where it cannot be read), and why not."""

    width: int
    height: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class PartTask:
    """The work of one part: which pictures of `root` go to part `number` of `folder`."""

    folder: Path
    number: int
    root: Path
    names: tuple[str, ...]
    long_side: int


def survey(root: Path, names: Sequence[str], workers: int) -> list[Header]:
    """Reads the header of every picture, in parallel, with a progress bar."""
    tasks = [(root, tuple(names[start : start + _SURVEY_CHUNK])) for start in range(0, len(names), _SURVEY_CHUNK)]
    headers: list[Header] = []
    with tqdm(total=len(names), desc="reading headers", unit="picture", disable=None) as progress:
        for found in _run(_read_headers, tasks, workers):
            headers += found
            progress.update(len(found))
    return headers


def _read_headers(task: tuple[Path, tuple[str, ...]]) -> list[Header]:
    root, names = task
    headers = []
    for name in names:
        try:
            headers.append(Header(*image_size(root / name)))
        except ImageReadError as error:
            headers.append(Header(0, 0, error.cause))
    return headers


def bytes_needed(headers: Sequence[Header], long_side: int) -> int:
    """Returns the bytes that the pictures take in a cache."""
    return sum(_kept_pixels(header, long_side) for header in headers)


def _kept_pixels(header: Header, long_side: int) -> int:
    height, width = header.height, header.width
    if not header.error and max(height, width) > long_side:
        height, width = scaled_size((height, width), long_side)
    return height * width


def check_room(folder: Path, needed: int) -> None:
    """Raises `OSError` when the disk of `folder` cannot take `needed` bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed * 1.02:
        raise OSError(
            f"dataset.cache_root: {folder} has {free / 2**30:.2f} GiB free, the cache needs {needed / 2**30:.2f}; "
            "point dataset.cache_root to another disk, or lower long_side"
        )


def make_cache(
    folder: Path, settings: dict[str, Any], root: Path, headers: dict[str, Header], workers: int
) -> tuple[Entries, int]:
    """Brings the cache in `folder` up to date with the files.

    What is there and still true is kept: after a kill at any point the same call goes on. A picture whose file has
    another size or date is made again, in a new part.

    Args:
        folder: of the cache, see `flvlp.data.pixel_cache.cache_folder`.
        settings: see `cache_settings`.
        root: of the files.
        headers: of each picture to keep, by its path below the root.
        workers: processes.

    Returns:
        The entries of the asked pictures, in their order, as the index holds them; and how many were decoded now.

    Raises:
        OSError: no room on the disk.
        RuntimeError: a worker process died, or another process makes the same cache.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder):
        (folder / SETTINGS).write_text(json.dumps(settings, indent=1))
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()
        done = _finished(folder, root)
        todo = [name for name in headers if name not in done]
        check_room(folder, bytes_needed([headers[name] for name in todo], settings["long_side"]))
        if done:
            log.info("%d of %d pictures are there from an earlier start", len(headers) - len(todo), len(headers))
        if todo:
            (folder / INDEX).unlink(missing_ok=True)
            first = 1 + max((int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit()), default=-1)
            tasks = [
                PartTask(folder, first + number, root, tuple(todo[start : start + PART]), settings["long_side"])
                for number, start in enumerate(range(0, len(todo), PART))
            ]
            with tqdm(
                total=len(headers), initial=len(headers) - len(todo), desc="decoding", unit="picture", disable=None
            ) as progress:
                for count in _run(_make_part, tasks, workers):
                    progress.update(count)
            done = _finished(folder, root)
        entries = _joined([name for name in headers if name in done], done)
        save_index(folder / INDEX, entries)
    return entries, len(todo)


def _make_part(task: PartTask) -> int:
    """Decodes the pictures of one part; the part is there once its JSON file is."""
    pixels = task.folder / f"{task.number:05d}.bin"
    temporary = task.folder / f".{pixels.name}.tmp"
    pictures, offset, digest = [], 0, hashlib.sha256()
    with temporary.open("wb") as file:
        for name in task.names:
            picture: dict[str, Any] = {"name": name, "error": "", "height": 0, "width": 0, "offset": offset}
            path = task.root / name
            try:
                picture["bytes"], picture["date"] = file_state(path)
                image = shrink(read_image(path), task.long_side)
                picture["height"], picture["width"] = image.shape
                data = image.tobytes()
                digest.update(data)
                offset += file.write(data)
            except ImageReadError as error:
                picture["error"] = " ".join(error.cause.split())
            except OSError as error:  # not there any more
                picture |= {"error": error.strerror or type(error).__name__, "bytes": 0, "date": 0}
            pictures.append(picture)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(pixels)
    _write_json(pixels.with_suffix(".json"), {"sha256": digest.hexdigest(), "pictures": pictures})
    return len(task.names)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content))
    temporary.rename(path)


def read_parts(folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (number, content of its JSON file) of every finished part, in the order of their making."""
    for path in sorted(folder.glob("[0-9]*.json")):
        yield int(path.stem), json.loads(path.read_text())


def _finished(folder: Path, root: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    """Maps name -> (part, picture) of what is there and whose file is still as it was; the newest part counts."""
    made = {picture["name"]: (number, picture) for number, part in read_parts(folder) for picture in part["pictures"]}
    return {name: place for name, place in made.items() if _is_true(root / name, place[1])}


def _is_true(path: Path, picture: dict[str, Any]) -> bool:
    try:
        return file_state(path) == (picture["bytes"], picture["date"])
    except OSError:  # the file is gone; the pixels are those it had
        return True


def _joined(names: Sequence[str], done: dict[str, tuple[int, dict[str, Any]]]) -> Entries:
    keys = ("offset", "height", "width", "bytes", "date")
    rows = [[done[name][0], *(done[name][1][key] for key in keys)] for name in names]
    errors = [done[name][1]["error"] for name in names]
    return Entries(list(names), errors, np.array(rows, dtype=np.int64).reshape(-1, 1 + len(keys)))


def damaged_parts(folder: Path) -> list[int]:
    """Returns the parts whose pixels are not those that were written, by their sha256."""
    damaged = []
    for number, part in read_parts(folder):
        path = folder / f"{number:05d}.bin"
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != part["sha256"]:
                damaged.append(number)
    return damaged


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keeps other processes from making the same cache; a killed process leaves no lock behind."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"{folder}: another process is making this cache; wait until it has finished") from None
        yield


def _run(work: Any, tasks: Sequence[Any], workers: int) -> Iterator[Any]:
    """Yields results in order, from worker processes where there is more than one task."""
    if min(workers, len(tasks)) <= 1:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(work, tasks)
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process died (out of memory, or killed); what is finished is kept; run the same command "
                "again, with fewer workers where memory is short"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
