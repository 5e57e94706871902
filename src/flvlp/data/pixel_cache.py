"""Pictures decoded once: scaled to the size that training wants, read through memory maps.

    <cache_root>/<data set>-<side>px-<key>/
      settings.json   what the key is made of
      00000.bin       pixels, uint8, one picture after another
      00000.json      its pictures: name, height, width, what the file was like, what was wrong with it
      index.npz       all pictures of all parts; a folder without it is not finished

The key covers the data set, its root, the size and the code that decodes and scales: a changed setting is another
folder, never a stale read.
"""

import hashlib
import json
import logging
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flvlp.data.images import ImageReadError
from flvlp.data.readers.config import FilesConfig
from flvlp.data.readers.files import FileSource

log = logging.getLogger(__name__)

_FORMAT = 1
_CODE = ("images.py", "transforms.py")  # what decides about a pixel
INDEX = "index.npz"
SETTINGS = "settings.json"
_LOOKED_AT = 64  # files whose size and date are compared when a cache is opened


def cache_settings(name: str, root: Path, long_side: int) -> dict[str, Any]:
    """Returns what a cache is made by.

    Args:
        name: of the data set.
        root: of its files.
        long_side: pixels.
    """
    code = hashlib.sha256()
    for file in _CODE:
        code.update((Path(__file__).parent / file).read_bytes())
    return {
        "dataset": name,
        "root": str(root.resolve()),
        "long_side": long_side,
        "code": code.hexdigest(),
        "format": _FORMAT,
    }


def cache_folder(cache_root: str | Path, settings: dict[str, Any]) -> Path:
    """Returns the folder of the cache with these settings."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    return Path(cache_root) / f"{settings['dataset']}-{settings['long_side']}px-{key}"


@dataclass(frozen=True, slots=True)
class Entries:
    """What a cache knows of its pictures, one entry a picture.

    Attributes:
        names: path below the root.
        errors: what is wrong with the file, "" for a readable one.
        numbers: (n, 6) int64: part, offset in bytes, height, width, bytes of the file, its date in ns.
    """

    names: list[str]
    errors: list[str]
    numbers: np.ndarray


class PixelCache:
    """A finished cache, open for reading; every process and worker maps the same pages."""

    def __init__(self, folder: Path) -> None:
        """Reads the index.

        Raises:
            FileNotFoundError: the cache is not finished.
        """
        if not (folder / INDEX).is_file():
            raise FileNotFoundError(f"{folder}: no {INDEX}; the cache is not finished; run `make prepare` again")
        self.folder = folder
        self.entries = load_index(folder / INDEX)
        self._row_of = {name: row for row, name in enumerate(self.entries.names)}
        self._maps: dict[int, mmap.mmap] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._row_of

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}  # a worker opens its own

    def read(self, name: str) -> np.ndarray:
        """Returns the picture `name`, (h, w) uint8, long side at most that of the cache.

        Raises:
            ImageReadError: the file could not be read when the cache was made, or is not in it.
        """
        row = self._row_of.get(name)
        if row is None:
            raise ImageReadError(
                f"{name}: is not in the pixel cache; run `make prepare` again", name, "not in the cache"
            )
        if self.entries.errors[row]:
            cause = self.entries.errors[row]
            raise ImageReadError(f"{name}: cannot be read as an image ({cause})", name, cause)
        part, offset, height, width = self.entries.numbers[row, :4].tolist()
        pixels = np.frombuffer(self._map(part), dtype=np.uint8, count=height * width, offset=offset)
        return pixels.reshape(height, width)

    def _map(self, part: int) -> mmap.mmap:
        if part not in self._maps:
            with (self.folder / f"{part:05d}.bin").open("rb") as file:
                self._maps[part] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[part]

    def changed_files(self, root: Path) -> list[str]:
        """Returns which of a few files are no longer what the cache was made from; missing ones do not count."""
        count = len(self.entries.names)
        rows = np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(np.int64)
        changed = []
        for row in rows:
            path = root / self.entries.names[row]
            if path.is_file() and file_state(path) != tuple(self.entries.numbers[row, 4:6].tolist()):
                changed.append(self.entries.names[row])
        return changed


def file_state(path: Path) -> tuple[int, int]:
    """Returns bytes and date (ns) of a file."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def save_index(path: Path, entries: Entries) -> None:
    """Writes an index in one move."""
    temporary = path.with_name(f".{path.name}")
    texts = {
        key: np.frombuffer("\n".join(value).encode(), dtype=np.uint8)
        for key, value in (("names", entries.names), ("errors", entries.errors))
    }
    with temporary.open("wb") as file:
        np.savez(file, numbers=entries.numbers, **texts)  # type: ignore[arg-type]
    temporary.rename(path)


def load_index(path: Path) -> Entries:
    """Reads what `save_index` wrote."""
    with np.load(path) as stored:
        numbers = stored["numbers"]
        names, errors = (stored[key].tobytes().decode().split("\n") for key in ("names", "errors"))
    return Entries(names[: len(numbers)], errors[: len(numbers)], numbers)


def use_cache(source: FileSource, config: FilesConfig, long_side: int) -> None:
    """Makes a source read its pixels from the cache of this size, as `config.cache` says.

    Args:
        source: of files; its `read` is replaced.
        config: of the data set.
        long_side: pixels, that of the training pictures.

    Raises:
        FileNotFoundError: `cache=require`, and there is no finished cache of this size with every picture.
        ValueError: a file was changed since the cache was made.
    """
    if config.cache == "off":
        return
    folder = cache_folder(config.cache_root, cache_settings(config.name, source.root, long_side))
    try:
        cache = _open_for(source, folder)
    except FileNotFoundError as error:
        if config.cache == "require":
            raise FileNotFoundError(f"dataset.cache: {error} (dataset={config.name}, {long_side} px)") from error
        log.info("pixels are decoded from the files (%s)", error)
        return
    changed = cache.changed_files(source.root)
    if changed:
        raise ValueError(
            f"{folder}: {len(changed)} of {_LOOKED_AT} files looked at were changed since the cache was made; run "
            "`make prepare` again, or set dataset.cache=off"
        )
    source.read = cache.read
    log.info("pixels come from the cache %s (%d pictures)", folder, len(cache.entries.names))


def _open_for(source: FileSource, folder: Path) -> PixelCache:
    cache = PixelCache(folder)
    views = (*source.listing.frontal_paths, *source.listing.lateral_paths)
    lost = sum(bool(path) and path not in cache for path in views)
    if lost:
        raise FileNotFoundError(f"{folder}: {lost} pictures are not in the cache; run `make prepare` again")
    return cache
