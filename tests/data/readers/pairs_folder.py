"""A folder with a small CSV of studies, to be damaged by tests."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flvlp.data.readers.config import PairsConfig
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.pairs import read_pairs

HEADER = ("Path_frontal", "Path_lateral", "Report", "patient", "part")
SECRET = "FINDINGS: A unique secret sentence."
ROWS = (
    ("images/a.png", "images/b.png", "FINDINGS: Clear lungs. IMPRESSION: Normal.", "p1", "train"),
    ("images/c.png", "", "No effusion.", "p2", "val"),
    ("images/d.png", " ", "Effusion.", "p3", "train"),
)


class Folder:
    """A folder with four pictures, and the table to be written beside them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.csv = path / "table.csv"
        (path / "images").mkdir()
        for value, name in enumerate("abcd"):
            Image.fromarray(np.full((4, 5), value, dtype=np.uint8)).save(path / "images" / f"{name}.png")

    def read(self, rows: Sequence[Sequence[str]] = ROWS, header: Sequence[str] = HEADER, **knobs: Any) -> FileSource:
        with self.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
        return read_pairs(PairsConfig(**{"csv": str(self.csv), "patient_column": "patient", **knobs}))

    def failure(self, error: type[Exception], *args: Any, **knobs: Any) -> str:
        with pytest.raises(error) as caught:
            self.read(*args, **knobs)
        message = str(caught.value)
        assert "secret" not in message, "a message holds report text"
        return message


def changed(row: int, column: str, value: str) -> list[tuple[str, ...]]:
    """The rows with one value replaced; `row` counts from 0."""
    rows = [list(values) for values in ROWS]
    rows[row][HEADER.index(column)] = value
    return [tuple(values) for values in rows]
