"""Opens a table or list, packed or plain, and gives no more of it than such a file may hold."""

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

# Bytes of one file, unpacked. Of the published tables the largest, MIMIC's of pictures, has 60 MB.
LARGEST = 2 << 30
# Unpacked to packed. Published tables have 3 to 12, a table with the same long report in every row 140; gzip can pack a
# file that is made to fill the memory 1,030 to 1.
HIGHEST_RATIO = 200
ALWAYS_ALLOWED = 16 << 20  # bytes, whatever the ratio
_PACKED = (".gz", ".tgz")


def largest_content(size: int) -> int:
    """Returns how many bytes a packed file of `size` bytes may unpack to."""
    return min(LARGEST, max(ALWAYS_ALLOWED, HIGHEST_RATIO * size))


class TooLargeError(ValueError):
    """A file that holds more than it may."""


def too_large(path: Path, limit: int) -> TooLargeError:
    """Returns the error for a file that holds more than `limit` bytes."""
    return TooLargeError(
        f"{path}: holds more than {limit:,} bytes, and is {path.stat().st_size:,} bytes large; a table, list or archive"
        f" of reports has at most {LARGEST:,}, and {HIGHEST_RATIO} times what it is packed to; take the published file"
    )


class _Bounded(io.RawIOBase):
    """The bytes of a stream; an error in place of the first one beyond the limit."""

    def __init__(self, stream: gzip.GzipFile | BinaryIO, path: Path, limit: int) -> None:
        self._stream, self._path, self._limit, self._left = stream, path, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        content = self._stream.read(min(len(buffer), self._left + 1))
        if len(content) > self._left:
            raise too_large(self._path, self._limit)
        self._left -= len(content)
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def open_bounded(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to be read from its start to its end, unpacked where its name ends in `.gz` or `.tgz`.

    Reading raises TooLargeError, which names the file and the limit, as soon as there is more than `largest_content`
    allows (`LARGEST` of a plain file), and what `gzip` raises where the file is damaged.
    """
    is_packed = path.name.lower().endswith(_PACKED)
    limit = largest_content(path.stat().st_size) if is_packed else LARGEST
    with path.open("rb") as file:
        stream = gzip.GzipFile(fileobj=file) if is_packed else file
        yield io.BufferedReader(_Bounded(stream, path, limit), 1 << 16)


def read_bounded(path: Path) -> bytes:
    """Returns what a file holds, as `open_bounded` gives it, and raises what reading it does."""
    with open_bounded(path) as file:
        return file.read()


def read_json(path: Path) -> Any:
    """Returns what a JSON file of somebody else holds; every text in it can be written as UTF-8.

    Raises:
        ValueError: no UTF-8, no JSON, brackets nested more deeply than Python follows, half of a surrogate pair (which
            cannot be hashed or be a file name), or what `open_bounded` raises. Most of these messages do not name the
            file.
    """
    try:
        content = json.loads(read_bounded(path).decode("utf-8-sig"))
        json.dumps(content, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error
    return content
