"""Tables with line numbers, and what messages may show of them."""

import csv
import io
import secrets
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import compress, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.errors import ParserError, ParserWarning

from flvlp.data.readers.base_config import DatasetConfig
from flvlp.data.readers.bounded import LARGEST, open_bounded

MOST_COLUMNS = 10_000  # pandas takes a minute and gigabytes for millions of them, which pack to a few kilobytes
# A blank line, which packs to nothing, is a row of all columns. The published tables have 5 million.
MOST_CELLS = 20_000_000
_OFFENDERS_SHOWN = 5
_LONGEST_SHOWN = 200
# Drawn anew in every run: an id has too few possible values to hide behind a hash whose salt is known.
_SALT = secrets.token_bytes(16)


@dataclass(frozen=True)
class Table:
    """A CSV file as text.

    Attributes:
        path: the file.
        columns: config key -> values of its column, stripped, one a record.
        lines: line of the file on which each record starts, (n,) int64; the header is line 1.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: np.ndarray


def hides_ids(config: DatasetConfig) -> bool:
    """Says whether messages must not name ids and paths of this data set."""
    return config.credentialed and not config.log_ids


def shown(value: str, hides: bool, longest: int = _LONGEST_SHOWN) -> str:
    """Returns `value` as a message may show it: quoted, or as a salted hash that is comparable within one run only.

    A long value is counted and not shown: a column named by mistake may hold report text.
    """
    if hides:
        return "#" + blake2b(value.encode(), key=_SALT, digest_size=5).hexdigest()
    if len(value) > longest or "\n" in value:
        return f"<a text of {len(value)} characters>"
    return repr(value)


def listed(
    offenders: Sequence[tuple[int, str | None]], hides: bool, noun: str = "row", longest: int = _LONGEST_SHOWN
) -> str:
    """Counts offending rows and shows the first few: `3 rows: row 2 ('a'), row 5 ('b'), row 9 ('c')`.

    A value of None is not shown; `noun` is what is counted; `hides` and `longest` as in `shown`.
    """
    first = [
        f"row {row}" if value is None else f"row {row} ({shown(value, hides, longest)})"
        for row, value in offenders[:_OFFENDERS_SHOWN]
    ]
    dots = ", ..." if len(offenders) > _OFFENDERS_SHOWN else ""
    return f"{len(offenders)} {noun}{'s' * (len(offenders) > 1)}: {', '.join(first)}{dots}"


def find_table(root: Path, names: Sequence[str]) -> Path | None:
    """Returns the first file of `root` among `names`, plain or with `.gz`; None if there is none."""
    return next((path for name in names for path in (root / name, root / f"{name}.gz") if path.is_file()), None)


def read_table(
    path: Path, key: str, columns: Mapping[str, str], optional: Sequence[str] = (), hides: bool = False
) -> Table:
    """Reads the named columns of a UTF-8 CSV file (or .csv.gz), every value as text ("NA" is a value, blank is "").

    Rows without any value are left out and still counted as lines, so that a message names the line an editor shows,
    also behind reports of several lines.

    Args:
        path: the file.
        key: config key that named the file.
        columns: config key -> column name; the keys return in `Table.columns`. A column that no key sets is its own
            key. Spaces around the names of the header do not count.
        optional: columns that are read where they are there.
        hides: True keeps the header out of messages: a file without one has ids or a report in its place.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is no UTF-8 CSV file with one header line, holds more than `open_bounded` gives, has more than
            `MOST_COLUMNS` or `MOST_CELLS`, a row has more fields than the header, or a column is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such CSV file; {key} must name an existing one; set {key}")
    with _as_value_errors(path, hides):
        names = _header(path)
    _check_columns(path, key, columns, names, hides)
    most = MOST_CELLS // len(names)
    layout: Any = {"keep_default_na": False, "encoding": "utf-8-sig", "index_col": False, "skip_blank_lines": False}
    with _as_value_errors(path, hides), open_bounded(path) as file:
        frame = pd.read_csv(file, dtype=str, nrows=most + 1, **layout).fillna("")
    if len(frame) > most:
        raise ValueError(
            f"{path}: more than {most:,} rows of {len(names)} columns; a table has at most {MOST_CELLS:,} cells; take "
            "the published file, or leave out columns that are not read"
        )
    columns = {**columns, **{name: name for name in optional if name in names}}
    # Plain lists: the text functions of pandas take seconds for 400,000 rows.
    values = [frame.iloc[:, position].tolist() for position in range(len(names))]
    extra_lines = np.zeros(len(frame), dtype=np.int64)
    kept = np.zeros(len(frame), dtype=bool)
    for column in values:
        extra_lines += np.fromiter((value.count("\n") for value in column), np.int64, len(column))
        kept |= np.fromiter((value != "" for value in column), bool, len(column))
    header_lines = 1 + sum(name.count("\n") for name in names)
    lines = header_lines + 1 + np.arange(len(frame)) + np.cumsum(extra_lines) - extra_lines
    texts = {
        column_key: [value.strip() for value in compress(values[names.index(name)], kept)]
        for column_key, name in columns.items()
    }
    return Table(path, texts, lines[kept])


@contextmanager
def _as_value_errors(path: Path, hides: bool) -> Iterator[None]:
    """Says what is wrong with a file that is no table; what a decoder says may hold the bytes that it met."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)
            yield
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}, byte {error.start}); save the file as UTF-8") from (
            None if hides else error
        )
    except (OSError, EOFError, zlib.error) as error:
        reason = type(error).__name__ if hides else error
        raise ValueError(f"{path}: cannot be read ({reason}); a .gz must be a whole gzip file; copy it again") from (
            None if hides else error
        )
    except (ParserError, ParserWarning, csv.Error) as error:
        raise ValueError(
            f"{path}: not a well-formed CSV file ({str(error).strip()}); every row has the fields of the header; "
            "quote values that hold commas or line breaks"
        ) from error


def _check_columns(path: Path, key: str, columns: Mapping[str, str], names: Sequence[str], hides: bool) -> None:
    known = f"{len(names)}, not shown here (dataset.log_ids=true shows them)" if hides else ", ".join(names)
    for column_key, name in columns.items():
        if name not in names:
            is_fixed = column_key == name
            raise ValueError(
                f"{path}: no column {name!r}{'' if is_fixed else f' ({column_key})'}; the columns are: {known}; "
                + (f"set {key} to the published file" if is_fixed else f"set {column_key} to one of them")
                + _separator_hint(names, list(columns.values()))
            )
        if names.count(name) > 1:
            raise ValueError(f"{path}: column {name!r} is there twice; a name stands for one column; rename the other")


def _header(path: Path) -> list[str]:
    """Returns the names of the columns, stripped.

    Not by pandas: it renames the second of two equal names, and makes the columns of the first two rows, however many
    they have.
    """
    longest = csv.field_size_limit(LARGEST)
    try:
        with open_bounded(path) as file:
            records = list(islice(csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline="")), 2))
    finally:
        csv.field_size_limit(longest)
    if not records or not records[0]:
        raise ValueError(f"{path}: no header; line 1 must name the columns; add it")
    widest = max(map(len, records))
    if widest > MOST_COLUMNS:
        raise ValueError(f"{path}: {widest} columns; a table has at most {MOST_COLUMNS}; take the published file")
    return [name.strip() for name in records[0]]


def _separator_hint(names: Sequence[str], wanted: Sequence[str]) -> str:
    """Says so when the whole header, or a part of it with a wanted name, is one column that holds another separator."""
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        # Names of the publishers hold commas too: OriginalImage[Width,Height].
        pieces = {piece.strip(' "') for name in names if separator in name for piece in name.split(separator)}
        if pieces and (len(names) == 1 or not pieces.isdisjoint(wanted)):
            return f" (the header is separated by {word}; commas are read)"
    return ""
