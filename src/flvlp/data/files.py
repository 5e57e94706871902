"""What the readers of files share: tables with line numbers, the check that images exist, and the study source."""

import os
import secrets
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.errors import EmptyDataError, ParserError, ParserWarning

from flvlp.data.config import DatasetConfig
from flvlp.data.images import ImageReadError, read_image
from flvlp.types import Study

_OFFENDERS_SHOWN = 5
_LONGEST_SHOWN = 200
# Drawn anew in every run: an id has too few possible values to hide behind a hash whose salt is known.
_SALT = secrets.token_bytes(16)


class FileSource:
    """Studies whose images are files; a `flvlp.types.StudySource`.

    Attributes:
        studies: all studies, in the order of the table.
        splits: part name -> sorted positions in `studies`, (n,) int64.
        frontal_paths: file of each frontal view.
        lateral_paths: file of each lateral view, "" for a study without one.
        hides_ids: True keeps ids and paths out of messages.
    """

    def __init__(
        self,
        studies: list[Study],
        splits: dict[str, np.ndarray],
        frontal_paths: list[str],
        lateral_paths: list[str],
        hides_ids: bool = False,
    ) -> None:
        self.studies: Sequence[Study] = studies
        self.splits = splits
        self.frontal_paths = frontal_paths
        self.lateral_paths = lateral_paths
        self.hides_ids = hides_ids

    def frontal(self, index: int) -> np.ndarray:
        """Returns the frontal view of study `index`, (H, W) uint8, 0-255, air dark.

        Raises:
            ImageReadError: if the file cannot be read; names the study, the row and the path, or the row and a salted
                hash where ids are hidden.
        """
        return self._read(index, self.frontal_paths[index])

    def lateral(self, index: int) -> np.ndarray:
        """Returns the lateral view of study `index`, (H, W) uint8, 0-255.

        Raises:
            ValueError: if the study has no lateral view.
            ImageReadError: as `frontal`.
        """
        if not self.studies[index].has_lateral:
            raise ValueError(f"{self._where(index)}: has no lateral view; ask only where `has_lateral` is true")
        return self._read(index, self.lateral_paths[index])

    def _where(self, index: int) -> str:
        study = self.studies[index]
        return f"study {shown(study.study_id, self.hides_ids)}, row {study.row}"

    def _read(self, index: int, path: str) -> np.ndarray:
        try:
            return read_image(path)
        except ImageReadError as error:
            if not self.hides_ids:
                raise ImageReadError(f"{self._where(index)}: {error}", error.path, error.cause) from error
            # `from None`: the original message holds the path.
            message = f"{self._where(index)}: an image cannot be read ({error.cause})"
            raise ImageReadError(message, "", error.cause) from None


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


def read_table(path: Path, key: str, columns: Mapping[str, str]) -> Table:
    """Reads the named columns of a UTF-8 CSV file, every value as text ("NA" is a value, blank is "").

    Rows without any value are left out and still counted as lines, so that a message names the line an editor shows,
    also behind reports of several lines.

    Args:
        path: the file.
        key: config key that named the file.
        columns: config key -> column name; the keys return in `Table.columns`. A column that no key sets is its own
            key.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is no UTF-8 CSV file with one header line, a row has more fields than the header, or a column
            is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such CSV file; {key} must name an existing one; set {key}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)
            frame = pd.read_csv(
                path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False, skip_blank_lines=False
            ).fillna("")
    except EmptyDataError as error:
        raise ValueError(f"{path}: no header; line 1 must name the columns; add it") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}, byte {error.start}); save the file as UTF-8") from error
    except (ParserError, ParserWarning) as error:
        raise ValueError(
            f"{path}: not a well-formed CSV file ({str(error).strip()}); every row has the fields of the header; "
            "quote values that hold commas or line breaks"
        ) from error
    known = ", ".join(str(name) for name in frame.columns)
    for column_key, name in columns.items():
        if name not in frame.columns:
            is_fixed = column_key == name
            raise ValueError(
                f"{path}: no column {name!r}{'' if is_fixed else f' ({column_key})'}; the columns are: {known}; "
                + (f"set {key} to the published file" if is_fixed else f"set {column_key} to one of them")
            )
    extra_lines = np.zeros(len(frame), dtype=np.int64)
    for name in frame.columns:
        extra_lines += frame[name].str.count("\n").to_numpy(dtype=np.int64)
    header_lines = 1 + sum(str(name).count("\n") for name in frame.columns)
    lines = header_lines + 1 + np.arange(len(frame)) + np.cumsum(extra_lines) - extra_lines
    kept = (frame != "").any(axis=1).to_numpy(dtype=bool)
    texts = {column_key: frame[name][kept].str.strip().tolist() for column_key, name in columns.items()}
    return Table(path, texts, lines[kept])


def missing_files(paths: Sequence[str]) -> list[bool]:
    """Says of each path whether no file is there.

    Lists every folder once in place of asking for each file: 400,000 files of a few folders take about a second.
    """
    names: dict[str, set[str]] = {}
    is_missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in names:
            names[folder] = file_names(folder)
        is_missing.append(name not in names[folder])
    return is_missing


def file_names(folder: str | Path) -> set[str]:
    """Returns the names of the files in a folder; none if there is no such folder.

    Raises:
        PermissionError: if the folder may not be listed.
    """
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except PermissionError:
        raise
    except (OSError, ValueError):  # no such folder, not a folder, a name that no file system allows
        return set()
