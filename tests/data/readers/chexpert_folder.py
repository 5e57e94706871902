"""A small CheXpert on disk, in the publisher's layout; pixel values number the pictures."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flvlp.data.readers.chexpert import read_chexpert
from flvlp.data.readers.config import CheXpertConfig
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.labels import CHEXPERT14

HEADER = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT14)
UNCERTAIN = {"Atelectasis": "-1.0", "Cardiomegaly": "-1.0", "Fracture": "-1.0", "Edema": "1.0", "Consolidation": "0.0"}
# Study -> its pictures, not always frontal first.
TRAIN = {
    "train/patient00001/study1": ("view1_frontal.jpg", "view2_lateral.jpg"),
    "train/patient00001/study2": ("view1_frontal.jpg",),
    "train/patient00002/study1": ("view3_lateral.jpg", "view1_frontal.jpg", "view2_frontal.jpg", "view4_lateral.jpg"),
    "train/patient00003/study1": ("view1_lateral.jpg",),
}
VALID = {"valid/patient64541/study1": ("view1_frontal.jpg",)}
TEST = {
    "test/patient64741/study1": ("view1_frontal.jpg", "view2_lateral.jpg"),
    "test/patient64742/study1": ("view1_frontal.jpg",),
}
LABELS: Mapping[str, Mapping[str, str]] = {
    "train/patient00001/study1": UNCERTAIN,
    "train/patient00001/study2": {"Edema": "1.0"},
    "valid/patient64541/study1": {"Pleural Effusion": "1.0"},
    "test/patient64741/study1": {"Atelectasis": "1"},
}


class CheXpertFolder:
    """The data set on disk.

    Attributes:
        root: of `dataset.root`.
        base: folder of the tables and of `train/`, `valid/` and `test/`.
        release: first part of the paths in the tables.
    """

    def __init__(
        self,
        root: Path,
        base: str = "CheXpert-v1.0-small",
        release: str = "CheXpert-v1.0-small",
        train: Mapping[str, Sequence[str]] = TRAIN,
        labels: Mapping[str, Mapping[str, str]] = LABELS,
    ) -> None:
        self.root, self.base, self.release, self.labels = root, root / base, release, labels
        self.pictures = 0
        self.write_table("train.csv", train)
        self.write_table("valid.csv", VALID)
        for studies in (train, VALID):
            self.write_pictures(studies)

    def write_pictures(self, studies: Mapping[str, Sequence[str]], base: str | None = None) -> None:
        for study, names in studies.items():
            folder = (self.base if base is None else self.root / base) / study
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                Image.fromarray(np.full((4, 4), self.pictures % 256, dtype=np.uint8)).save(folder / name)
                self.pictures += 1

    def labels_of(self, study: str) -> list[str]:
        return [self.labels.get(study, {}).get(name, "") for name in CHEXPERT14]

    def write_table(self, name: str, studies: Mapping[str, Sequence[str]]) -> None:
        rows = [
            (
                f"{self.release}/{study}/{view}",
                "Female",
                "68",
                "Frontal" if "frontal" in view else "Lateral",
                "AP" if "frontal" in view else "",
                *self.labels_of(study),
            )
            for study, views in studies.items()
            for view in views
        ]
        self.write_rows(name, [HEADER, *rows])

    def write_rows(self, name: str, rows: Sequence[Sequence[str]]) -> None:
        self.base.mkdir(parents=True, exist_ok=True)
        with (self.base / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    def write_groundtruth(self) -> None:
        """Writes the official test labels, a row a study."""
        rows = [(f"CheXpert-v1.0/{study}", *(value or "0" for value in self.labels_of(study))) for study in TEST]
        self.write_rows("groundtruth.csv", [("Study", *CHEXPERT14), *rows])

    def write_test_labels(self) -> None:
        """Writes the test labels of CheXlocalize, a row a picture."""
        rows = [
            (f"{study}/{view}", *(value or "0" for value in self.labels_of(study)))
            for study, views in TEST.items()
            for view in views
        ]
        self.write_rows("test_labels.csv", [("Path", *CHEXPERT14), *rows])

    def read(self, **knobs: Any) -> FileSource:
        return read_chexpert(CheXpertConfig(**{"name": "chexpert", "root": str(self.root), **knobs}))

    def failure(self, error: type[Exception], **knobs: Any) -> str:
        with pytest.raises(error) as caught:
            self.read(**knobs)
        return str(caught.value)
