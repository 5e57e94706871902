"""The tables and folders of CheXpert: which pictures there are, and where they lie."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flvlp.data.readers.labels import CHEXPERT14, known_values
from flvlp.data.readers.tables import Table, find_table, listed
from flvlp.data.readers.tree import Tree, stem_of

# First folder of a path below the data set -> part.
PARTS = {"train": "train", "valid": "validation", "test": "test"}
VIEW_COLUMN = "Frontal/Lateral"
_VIEWS = {"Frontal": 1.0, "Lateral": 0.0}
# What may come first (CheXpert-v1.0/, CheXpert-v1.0-small/) names the release; the folder here may have another name.
_STUDY = r"(?:(?!\.\.?/)[^/]+/)?(?P<study>(?:train|valid|test)/patient\w+/study\w+)"
_PICTURE_PATH = re.compile(rf"{_STUDY}/(?P<name>[\w-]+\.\w+)")
_STUDY_PATH = re.compile(rf"{_STUDY}/?")


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Attributes:
        study: as `train/patient00001/study1`.
        name: of its file.
        is_frontal: False for a lateral.
        row: line of its table.
        label_row: position in the labels of all tables, one behind the other.
    """

    study: str
    name: str
    is_frontal: bool
    row: int
    label_row: int

    @property
    def key(self) -> str:
        """How id lists name it: `train/patient00001/study1/view1_frontal`."""
        return f"{self.study}/{stem_of(self.name)}"


class Folders:
    """Where the folder of each patient lies below the root.

    `train/`, `valid/` and `test/` are looked for in the root and in its folders `CheXpert*` (a release, or `CheXpert`
    for the test set). The batches of the full release (`CheXpert-v1.0 batch 2 (train 1)` and further) hold training
    patients without a `train/`. Of several folders the first by name counts: with two releases in one folder, set the
    root to one of them.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.tree = root, Tree(root)
        self.bases = ["", *sorted(f"{name}/" for name in _folder_names(root) if name.startswith("CheXpert"))]
        self._home: dict[str, dict[str, str]] = {first: {} for first in PARTS}
        for base in self.bases:
            for first, home in self._home.items():
                home.update({name: f"{base}{first}" for name in _folder_names(root / base / first) if name not in home})
        for base in self.bases[1:]:
            for name in _folder_names(root / base):
                self._home["train"].setdefault(name, base.rstrip("/"))

    def table(self, *names: str) -> Path | None:
        """Returns the first table with one of these names, plain or with `.gz`; None if there is none."""
        return next((path for base in self.bases if (path := find_table(self.root / base, names))), None)

    def study(self, study: str) -> str:
        """Returns the folder, below the root, of `train/patient00001/study1`: where it is, or else should be."""
        first, patient, number = study.split("/")
        return f"{self._home[first].get(patient, first)}/{patient}/{number}"

    def pictures(self, study: str) -> list[str]:
        """Returns the pictures in the folder of a study by name; without such a folder the one it must have."""
        names = (name for name in self.tree.names(self.study(study)) if _is_lateral(name) is not None)
        return sorted(names) or ["view1_frontal.jpg"]


def _folder_names(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    with os.scandir(path) as entries:
        return [entry.name for entry in entries if entry.is_dir()]


def read_pictures(
    tables: Sequence[Table], folders: Folders, hides: bool, *, is_one_a_study: bool = True
) -> list[Picture]:
    """Returns the pictures of all tables, in their order.

    A table has a column `Path`, and `Frontal/Lateral` unless file names say it; or a column `Study`, whose pictures
    are those in the folder. With `is_one_a_study` all pictures of a study must have the same labels, since those of
    its first are taken.

    Raises:
        ValueError: neither column, a path that is none of the data set (one that leaves the root, say), an unknown
            view, or pictures of one study with different labels.
    """
    pictures: list[Picture] = []
    labels = 0
    for table in tables:
        if "Path" in table.columns:
            found, bad = _listed_pictures(table, labels, hides)
        elif "Study" in table.columns:
            found, bad = _study_pictures(table, labels, folders)
        else:
            raise ValueError(f"{table.path}: no column 'Path' or 'Study'; set dataset.root to the published files")
        if bad:
            raise ValueError(
                f"{table.path}: no path of CheXpert in {listed(bad, hides)}; it is like "
                "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg (train, valid or test); correct the "
                "table"
            )
        if is_one_a_study:
            _check_labels(table, found, labels, hides)
        pictures += found
        labels += len(table.lines)
    return pictures


def _listed_pictures(table: Table, labels: int, hides: bool) -> tuple[list[Picture], list[tuple[int, str]]]:
    """Reads the column `Path`; also returns the lines and paths that are none."""
    found: list[Picture] = []
    bad: list[tuple[int, str]] = []
    views = known_values(table, VIEW_COLUMN, _VIEWS, hides).tolist() if VIEW_COLUMN in table.columns else None
    for number, (line, path) in enumerate(zip(table.lines.tolist(), table.columns["Path"], strict=True)):
        match = _PICTURE_PATH.fullmatch(path)
        is_lateral = _is_lateral(path) if views is None else not views[number]
        if match is None or is_lateral is None:
            bad.append((line, path))
        else:
            found.append(Picture(match["study"], match["name"], not is_lateral, line, labels + number))
    return found, bad


def _study_pictures(table: Table, labels: int, folders: Folders) -> tuple[list[Picture], list[tuple[int, str]]]:
    found: list[Picture] = []
    bad: list[tuple[int, str]] = []
    for number, (line, path) in enumerate(zip(table.lines.tolist(), table.columns["Study"], strict=True)):
        match = _STUDY_PATH.fullmatch(path)
        if match is None:
            bad.append((line, path))
            continue
        for name in folders.pictures(match["study"]):
            found.append(Picture(match["study"], name, not _is_lateral(name), line, labels + number))
    return found, bad


def _is_lateral(name: str) -> bool | None:
    """Says what a file name like `view2_lateral.jpg` shows, None if it does not say."""
    return True if "lateral" in name else False if "frontal" in name else None


def _check_labels(table: Table, pictures: Sequence[Picture], labels: int, hides: bool) -> None:
    """Compares the labels of each picture with those of its study's first; the labeller read one report a study."""
    first: dict[str, int] = {}
    rows = np.array([picture.label_row for picture in pictures], dtype=np.int64) - labels
    firsts = np.array(
        [first.setdefault(picture.study, row) for picture, row in zip(pictures, rows.tolist(), strict=True)]
    )
    if not len(rows):
        return
    differs = np.zeros(len(rows), dtype=bool)
    for name in CHEXPERT14:
        texts = np.array([text.removesuffix(".0") for text in table.columns[name]])  # 1.0 is 1
        differs |= texts[rows] != texts[firsts]
    if differs.any():
        offenders = [(pictures[number].row, pictures[number].study) for number in np.flatnonzero(differs).tolist()]
        raise ValueError(
            f"{table.path}: other labels than an earlier picture of the study in {listed(offenders, hides)}; all "
            "pictures of a study have the same; copy the published table again"
        )
