"""Says of a data folder what is there, what is missing, which columns a table has, and what to do next."""

import csv
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from flvlp.data.readers.layout import Expected
from flvlp.data.readers.tree import PICTURE_SUFFIXES

_LONGEST_HEADER = 100_000  # bytes
OK, MISSING, WRONG, OPTIONAL = "ok", "missing", "wrong", "not there"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report: what was looked for, `ok | missing | wrong | not there`, and what was seen."""

    what: str
    state: str
    seen: str


def examine(root: Path, layout: tuple[Expected, ...], hides: bool) -> list[Check]:
    """Compares a folder with what a publisher ships.

    Args:
        root: the folder.
        layout: of the data set.
        hides: True keeps the names of pictures, and what a header holds beside the expected columns, out of the report.

    Returns:
        A check for each expected file or folder, in their order.
    """
    return [_check(root, expected, hides) for expected in layout]


def _check(root: Path, expected: Expected, hides: bool) -> Check:
    found = next((path for pattern in expected.paths if (path := _first(root, pattern, expected))), None)
    if found is None:
        looked_for = " or ".join(expected.paths[:4]) + (", ..." if len(expected.paths) > 4 else "")
        if expected.is_pictures:
            looked_for += f" with {', '.join(PICTURE_SUFFIXES)}"
        if expected.is_required:
            return Check(expected.what, MISSING, f"looked for {looked_for}")
        return Check(expected.what, OPTIONAL, f"looked for {looked_for}; lost without it: {expected.without}")
    name = str(found.relative_to(root) if found.is_relative_to(root) else found)
    if expected.columns:
        return _check_header(found, name, expected, hides)
    return Check(expected.what, OK, "there" if hides else name)


def _check_header(path: Path, name: str, expected: Expected, hides: bool) -> Check:
    try:
        columns = _header(path)
    except (OSError, UnicodeDecodeError, EOFError, zlib.error, csv.Error) as error:
        return Check(expected.what, WRONG, f"{name}: its header cannot be read ({error})")
    lacking = [column for column in expected.columns if column not in columns]
    if not lacking:
        return Check(expected.what, OK, f"{name}: {', '.join(expected.columns if hides else columns)}")
    it_has = f"{len(columns)} others" if hides else ", ".join(columns)
    seen = f"{name}: no column {', '.join(lacking)}; it has {it_has}"
    if expected.is_required:
        return Check(expected.what, WRONG, seen)
    return Check(expected.what, OPTIONAL, f"{seen}; lost without it: {expected.without}")


def _first(root: Path, pattern: str, expected: Expected) -> Path | None:
    """Returns the first match of a pattern that counts, or of the same with .gz."""
    for candidate in (pattern, f"{pattern}.gz") if expected.columns else (pattern,):
        if (root / candidate).exists():
            return root / candidate
        whole = Path(candidate)  # of a name that the configuration gives; glob takes no absolute one
        start = Path(whole.anchor) if whole.is_absolute() else root
        matches = start.glob(str(whole.relative_to(start) if whole.is_absolute() else whole))
        if (match := next((match for match in matches if _counts(match, root, expected)), None)) is not None:
            return match
    return None


def _counts(match: Path, root: Path, expected: Expected) -> bool:
    if expected.is_pictures and not match.name.lower().endswith(PICTURE_SUFFIXES):
        return False
    folders = match.relative_to(root).parts[:-1] if match.is_relative_to(root) else ()
    return not any(word in folder.lower() for folder in folders for word in expected.skips)


def _header(path: Path) -> list[str]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        line = file.readline(_LONGEST_HEADER).decode("utf-8-sig")
    return [name.strip() for name in next(csv.reader([line]), [])]
