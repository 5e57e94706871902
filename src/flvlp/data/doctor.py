"""Says of a data folder what is there, what is missing, which columns a table has, and what to do next."""

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

from flvlp.data.readers.layout import Expected

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
    found = next((path for pattern in expected.paths if (path := _first(root, pattern))), None)
    if found is None:
        looked_for = " or ".join(expected.paths[:4]) + (", ..." if len(expected.paths) > 4 else "")
        if expected.is_required:
            return Check(expected.what, MISSING, f"looked for {looked_for}")
        return Check(expected.what, OPTIONAL, f"looked for {looked_for}; lost without it: {expected.without}")
    name = str(found.relative_to(root))
    if not expected.columns:
        return Check(expected.what, OK, "there" if hides else name)
    try:
        columns = _header(found)
    except (OSError, UnicodeDecodeError, EOFError, csv.Error) as error:
        return Check(expected.what, WRONG, f"{name}: its header cannot be read ({error})")
    lacking = [column for column in expected.columns if column not in columns]
    if lacking:
        it_has = f"{len(columns)} others" if hides else ", ".join(columns)
        return Check(expected.what, WRONG, f"{name}: no column {', '.join(lacking)}; it has {it_has}")
    return Check(expected.what, OK, f"{name}: {', '.join(expected.columns if hides else columns)}")


def _first(root: Path, pattern: str) -> Path | None:
    """Returns the first match of a pattern, or of the same with .gz."""
    for candidate in (pattern, f"{pattern}.gz"):
        if not any(character in candidate for character in "*?["):
            if (root / candidate).exists():
                return root / candidate
        elif (match := next(root.glob(candidate), None)) is not None:
            return match
    return None


def _header(path: Path) -> list[str]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        line = file.readline(_LONGEST_HEADER).decode("utf-8-sig")
    return [name.strip() for name in next(csv.reader([line]), [])]
