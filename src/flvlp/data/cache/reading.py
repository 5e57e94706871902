"""Pictures decoded once: scaled to the size that training wants, read through memory maps.

    <cache_root>/<data set>-<side>px-<key>/
      settings.json         what the key is made of
      00000-3f9a.bin        a part: pixels, uint8, one picture after another
      00000-3f9a.json       its pictures: name, height, width, what the file was like, what was wrong with it
      index.npz             all pictures of all parts; a folder without it is not finished

The key covers the data set, its root, the size and what decodes and scales: a changed setting is another folder, never
a stale read.
"""

import hashlib
import json
import logging
import mmap
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from flvlp.data.images import ImageReadError
from flvlp.data.readers.base_config import FilesConfig
from flvlp.data.readers.files import FileSource

log = logging.getLogger(__name__)

_FORMAT = 2
CODE = ("images.py", "grey.py", "scaling.py")  # what decides about a pixel, with these libraries:
_LIBRARIES = ("pillow", "pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")
INDEX = "index.npz"
SETTINGS = "settings.json"
_MAPS = 256  # parts open at a time; a map holds a file descriptor, and 1,024 are usual


class CacheError(ValueError):
    """A cache that is damaged or no longer true."""


def cache_settings(name: str, root: Path, long_side: int) -> dict[str, Any]:
    """Returns what a cache is made by.

    Args:
        name: of the data set.
        root: of its files.
        long_side: pixels.
    """
    code = hashlib.sha256()
    for file in CODE:
        code.update((Path(__file__).parents[1] / file).read_bytes())
    return {
        "dataset": name,
        "root": str(root.resolve()),
        "long_side": long_side,
        "code": code.hexdigest(),
        "libraries": {library: metadata.version(library) for library in _LIBRARIES},
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
        parts: name of each part, without suffix.
        names: path below the root.
        errors: what is wrong with the file, "" for a readable one.
        numbers: (n, 6) int64: position in `parts`, offset in bytes, height, width, bytes of the file, its date in ns.
    """

    parts: list[str]
    names: list[str]
    errors: list[str]
    numbers: np.ndarray


class PixelCache:
    """A finished cache, open for reading; every process and worker maps the same pages."""

    def __init__(self, folder: Path) -> None:
        """Reads the index and looks whether all parts are there.

        Raises:
            FileNotFoundError: there is no finished cache.
            CacheError: it is damaged.
        """
        if not (folder / INDEX).is_file():
            state = "is not finished" if folder.is_dir() else "was not made"
            raise FileNotFoundError(f"the cache {folder} {state}; run `make prepare`")
        self.folder = folder
        self.entries = load_index(folder / INDEX)
        ends = self.entries.numbers[:, 1] + self.entries.numbers[:, 2] * self.entries.numbers[:, 3]
        for number, part in enumerate(self.entries.parts):
            path = folder / f"{part}.bin"
            needed = int(ends[self.entries.numbers[:, 0] == number].max(initial=0))
            if not path.is_file() or path.stat().st_size < needed:
                raise CacheError(f"{path}: is missing or cut; run `make prepare` again, or set dataset.cache=off")
        self._row_of = {name: row for row, name in enumerate(self.entries.names)}
        self._maps: OrderedDict[int, mmap.mmap] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._row_of

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": OrderedDict()}  # a worker opens its own

    def read(self, name: str) -> np.ndarray:
        """Returns the picture `name`, (h, w) uint8, long side at most that of the cache.

        Raises:
            ImageReadError: the file could not be read when the cache was made, or is not in it.
        """
        row = self._row_of.get(name)
        if row is None:
            raise ImageReadError(f"{name}: is not in the pixel cache; run `make prepare` again", name, "not cached")
        if self.entries.errors[row]:
            cause = self.entries.errors[row]
            raise ImageReadError(f"{name}: cannot be read as an image ({cause})", name, cause)
        part, offset, height, width = self.entries.numbers[row, :4].tolist()
        pixels = np.frombuffer(self._map(part), dtype=np.uint8, count=height * width, offset=offset)
        return pixels.reshape(height, width)

    def _map(self, part: int) -> mmap.mmap:
        if part in self._maps:
            self._maps.move_to_end(part)
        else:
            if len(self._maps) >= _MAPS:
                self._maps.popitem(last=False)  # unmapped once no picture refers to it
            with (self.folder / f"{self.entries.parts[part]}.bin").open("rb") as file:
                self._maps[part] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[part]

    def changed_files(self, root: Path) -> list[str]:
        """Returns the pictures whose files are not what the cache was made from; files that are gone do not count."""
        states = map(tuple, self.entries.numbers[:, 4:6].tolist())
        return [
            name
            for name, state in zip(self.entries.names, states, strict=True)
            if file_state(root / name) not in (None, state)
        ]


def file_state(path: Path) -> tuple[int, int] | None:
    """Returns bytes and date (ns) of a file, None where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def save_index(path: Path, entries: Entries) -> None:
    """Writes an index in one move."""
    temporary = path.with_name(f".{path.name}.tmp")
    lists = {key: json.dumps(getattr(entries, key)).encode() for key in ("parts", "names", "errors")}
    with temporary.open("wb") as file:
        texts = {key: np.frombuffer(text, dtype=np.uint8) for key, text in lists.items()}
        np.savez(file, numbers=entries.numbers, **texts)  # type: ignore[arg-type]
    temporary.rename(path)


def load_index(path: Path) -> Entries:
    """Reads what `save_index` wrote.

    Raises:
        CacheError: it is damaged.
    """
    try:
        with np.load(path) as stored:
            lists = {key: json.loads(stored[key].tobytes()) for key in ("parts", "names", "errors")}
            return Entries(**lists, numbers=stored["numbers"])
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CacheError(f"{path}: is damaged ({error}); run `make prepare` again, or set dataset.cache=off") from error


def use_cache(source: FileSource, config: FilesConfig, long_side: int, *, compares_files: bool = True) -> None:
    """Makes a source read its pixels from the cache of this size, as `config.cache` says.

    Args:
        source: of files; its `read` is replaced.
        config: of the data set.
        long_side: pixels, that of the training pictures.
        compares_files: whether to look if a file has changed; one rank is enough.

    Raises:
        FileNotFoundError: `cache=require`, and there is no finished cache of this size with every picture.
        CacheError: the cache is damaged, or a file was changed since it was made.
    """
    if config.cache == "off":
        return
    folder = cache_folder(config.cache_root, cache_settings(config.name, source.root, long_side))
    try:
        cache = PixelCache(folder)
        lost = sum(name not in cache for name in source.views())
        if lost:
            raise FileNotFoundError(f"{lost} pictures are not in the cache {folder}; run `make prepare`")  # noqa: TRY301
    except FileNotFoundError as error:
        if config.cache == "require":
            raise FileNotFoundError(
                f"dataset.cache: {error} with DATASET={config.name} and long_side={long_side}"
            ) from error
        log.info("pixels are decoded from the files (%s)", error)
        return
    changed = cache.changed_files(source.root) if compares_files else []
    if changed:
        raise CacheError(
            f"{folder}: {len(changed)} of {len(cache.entries.names)} files were changed since the cache was made; run "
            "`make prepare` again, or set dataset.cache=off"
        )
    source.read = cache.read
    log.info("pixels come from the cache %s (%d pictures)", folder, len(cache.entries.names))
