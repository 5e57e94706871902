"""Makes a pixel cache: what is to be decoded, and the processes that do it. Imports no torch."""

import fcntl
import json
import logging
import math
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from flvlp.data.cache.parts import PartTask, finished, joined, make_part, remove_superseded
from flvlp.data.cache.reading import INDEX, SETTINGS, Entries, save_index
from flvlp.data.images import ImageReadError, image_size
from flvlp.data.processes import end_with_parent
from flvlp.data.scaling import scaled_size

log = logging.getLogger(__name__)

LARGEST_PART = 2048  # pictures; few parts, as each open one takes a file descriptor
_SMALLEST_PART = 64
_PARTS_A_WORKER = 4  # at least, so that workers end at about the same time
_SURVEY_CHUNK = 512

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before it is decoded: size in pixels (0, 0 where it cannot be read), and why not."""

    width: int
    height: int
    error: str = ""


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
    if max(height, width) > long_side:
        height, width = scaled_size((height, width), long_side)
    return height * width


def check_room(folder: Path, needed: int) -> None:
    """Raises `OSError` when the disk of `folder` cannot take `needed` bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed * 1.02:
        raise OSError(
            f"dataset.cache_root: {folder} has {free / 2**30:.2f} GiB free, the cache needs {needed / 2**30:.2f}; "
            "point dataset.cache_root to another disk, or lower long_side"
        )


def make_cache(
    folder: Path, settings: dict[str, Any], root: Path, headers: dict[str, Header], workers: int
) -> tuple[Entries, int, int]:
    """Brings the cache in `folder` up to date with the files.

    What is there and still true is kept: after a kill at any point the same call goes on. A picture whose file has
    another size or date, or could not be read, is tried again, in a new part.

    Args:
        folder: of the cache, see `flvlp.data.cache.reading.cache_folder`.
        settings: see `cache_settings`.
        root: of the files.
        headers: of each picture to keep, by its path below the root.
        workers: processes.

    Returns:
        The entries of all pictures of the cache, those asked for and those of earlier calls; how many were decoded now;
        by how many processes.

    Raises:
        OSError: no room on the disk, or the folder cannot be written to.
        RuntimeError: a worker process died, or another process makes the same cache.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder):
        (folder / SETTINGS).write_text(json.dumps(settings, indent=1))
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()
        done = finished(folder, root)
        remove_superseded(folder, done)
        todo = [name for name in headers if name not in done or done[name][1]["error"]]
        check_room(folder, bytes_needed([headers[name] for name in todo], settings["long_side"]))
        kept = len(headers) - len(todo)
        if kept:
            log.info("%d of %d pictures are there from an earlier start", kept, len(headers))
        size = min(max(math.ceil(len(todo) / (workers * _PARTS_A_WORKER)), _SMALLEST_PART), LARGEST_PART)
        run = secrets.token_hex(4)  # what a killed call still writes has other names
        tasks = [
            PartTask(
                folder, f"{start // size:05d}-{run}", root, tuple(todo[start : start + size]), settings["long_side"]
            )
            for start in range(0, len(todo), size)
        ]
        with tqdm(total=len(headers), initial=kept, desc="decoding", unit="picture", disable=None) as progress:
            for count in _run(make_part, tasks, workers):
                progress.update(count)
        done = finished(folder, root)
        lost = [name for name in headers if name not in done]
        if lost:
            raise RuntimeError(
                f"{folder}: {len(lost)} pictures changed while they were decoded, or their part is gone; run the same "
                "command again"
            )
        entries = joined(done)
        save_index(folder / INDEX, entries)
    return entries, len(todo), min(workers, len(tasks))


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keeps other processes from making the same cache; a killed process leaves no lock behind."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"{folder}: another process is making this cache; wait until it has finished") from None
        yield


def _run(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Yields results in order, from worker processes where there is more than one task."""
    if min(workers, len(tasks)) <= 1:
        yield from map(work, tasks)
        return
    count, context = min(workers, len(tasks)), get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=end_with_parent) as pool:
        try:
            yield from pool.map(work, tasks)
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process died (out of memory, or killed); what is finished is kept; run the same command "
                "again, with fewer workers where memory is short"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
