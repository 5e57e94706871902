"""The parts of a pixel cache: each is finished or not there, whoever is killed."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flvlp.data.cache.reading import Entries, file_state
from flvlp.data.images import ImageReadError, read_image
from flvlp.data.scaling import shrunk

log = logging.getLogger(__name__)

Place = tuple[str, dict[str, Any]]  # name of a part, and what its JSON file says of a picture


@dataclass(frozen=True, slots=True)
class PartTask:
    """The work of one part: which pictures of `root` go to part `name` of `folder`."""

    folder: Path
    name: str
    root: Path
    pictures: tuple[str, ...]
    long_side: int


def make_part(task: PartTask) -> int:
    """Decodes the pictures of one part; the part is there once its JSON file is."""
    pixels = task.folder / f"{task.name}.bin"
    pictures, offset, digest = [], 0, hashlib.sha256()
    with _in_one_move(pixels) as file:
        for name in task.pictures:
            size, date = file_state(task.root / name) or (0, 0)
            picture = {
                "name": name,
                "error": "",
                "offset": offset,
                "height": 0,
                "width": 0,
                "bytes": size,
                "date": date,
            }
            try:
                image = shrunk(read_image(task.root / name), task.long_side)
            except ImageReadError as error:
                picture["error"] = " ".join(error.cause.split()) or "unknown"
            else:  # a failed write is no unreadable picture, and ends the part
                picture["height"], picture["width"] = image.shape
                data = image.tobytes()
                digest.update(data)
                offset += file.write(data)
            pictures.append(picture)
    content = {"sha256": digest.hexdigest(), "bytes": offset, "pictures": pictures}
    with _in_one_move(pixels.with_suffix(".json")) as file:
        file.write(json.dumps(content).encode())
    return len(task.pictures)


@contextmanager
def _in_one_move(path: Path) -> Iterator[Any]:
    """Opens a temporary file that takes the name `path` when all of it is on the disk."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def read_parts(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, content of its JSON file) of every finished part, oldest first; cut or lone files are none."""
    parts = sorted(folder.glob("[0-9]*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    for path in parts:
        try:
            content = json.loads(path.read_text())
            is_whole = path.with_suffix(".bin").stat().st_size == content["bytes"] and bool(content["pictures"])
        except (OSError, ValueError, KeyError, TypeError):
            is_whole = False
        if is_whole:
            yield path.stem, content
        else:
            log.warning("%s: the part is damaged; its pictures are decoded again", path)


def finished(folder: Path, root: Path) -> dict[str, Place]:
    """Maps name -> where it is, for what is there and whose file is still as it was.

    Of several entries of a picture the newest counts that is true, whatever the dates of the parts say; one that could
    be read comes before one that could not.
    """
    done: dict[str, Place] = {}
    states: dict[str, tuple[int, int] | None] = {}
    for part, content in read_parts(folder):
        for picture in content["pictures"]:
            name = picture["name"]
            if name not in states:
                states[name] = file_state(root / name)
            is_true = states[name] in (None, (picture["bytes"], picture["date"]))
            if is_true and not (picture["error"] and name in done):
                done[name] = (part, picture)
    return done


def remove_superseded(folder: Path, done: dict[str, Place]) -> None:
    """Deletes the parts that no entry needs any more."""
    needed = {part for part, _ in done.values()}
    for path in folder.glob("[0-9]*.json"):
        if path.stem not in needed:
            path.unlink()
            path.with_suffix(".bin").unlink(missing_ok=True)


def joined(done: dict[str, Place]) -> Entries:
    keys = ("offset", "height", "width", "bytes", "date")
    parts = sorted({part for part, _ in done.values()})
    number = {part: position for position, part in enumerate(parts)}
    rows = [[number[part], *(picture[key] for key in keys)] for part, picture in done.values()]
    errors = [picture["error"] for _, picture in done.values()]
    return Entries(parts, list(done), errors, np.array(rows, dtype=np.int64).reshape(-1, 1 + len(keys)))


def damaged_parts(folder: Path) -> list[str]:
    """Returns the parts whose pixels are not those that were written, by their sha256."""
    damaged = []
    for name, part in read_parts(folder):
        with (folder / f"{name}.bin").open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != part["sha256"]:
                damaged.append(name)
    return damaged
