"""The reader of the Indiana collection, on small tables in the publisher's layout."""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flvlp.data.readers.config import IUXrayConfig
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.iu_xray import read_iu_xray

REPORTS_HEADER = ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression")
PROJECTIONS_HEADER = ("uid", "filename", "projection")
REPORTS = (
    ("1", "", "", "", "cough", "none", "Clear lungs.", "Normal."),
    ("2", "", "", "", "cough", "none", "", ""),
    ("3", "", "", "", "", "", "", "Effusion."),
    ("4", "", "", "", "", "", "Large\nheart.", ""),
    ("5", "", "", "", "", "", "Only a lateral.", ""),
    ("6", "", "", "", "", "", "Nodule.", "Nodule."),
)
PROJECTIONS = (
    ("1", "1_IM-0001-4001.dcm.png", "Frontal"),
    ("1", "1_IM-0001-3001.dcm.png", "Lateral"),
    ("2", "2_IM-0002-1001.dcm.png", "Frontal"),
    ("3", "3_IM-0003-1001.dcm.png", "Frontal"),
    ("3", "3_IM-0003-1002.dcm.png", "Frontal"),
    ("4", "4_IM-0004-1001.dcm.png", "Frontal"),
    ("5", "5_IM-0005-1001.dcm.png", "Lateral"),
    ("6", "6_IM-0006-1001.dcm.png", "Frontal"),
    ("6", "6_IM-0006-1002.dcm.png", "Lateral"),
)


class Folder:
    """The collection on disk, complete until a test takes something away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "images").mkdir()
        for value, (_, name, _) in enumerate(PROJECTIONS):
            Image.fromarray(np.full((4, 4), value, dtype=np.uint8)).save(self.image(name))
        self.write()

    def image(self, name: str) -> Path:
        return self.path / "images" / name

    def write(
        self, reports: Sequence[Sequence[str]] = REPORTS, projections: Sequence[Sequence[str]] = PROJECTIONS
    ) -> None:
        tables = {
            "indiana_reports.csv": [REPORTS_HEADER, *reports],
            "indiana_projections.csv": [PROJECTIONS_HEADER, *projections],
        }
        for name, rows in tables.items():
            with (self.path / name).open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows)

    def read(self, **knobs: Any) -> FileSource:
        return read_iu_xray(
            IUXrayConfig(**{"name": "iu_xray", "root": str(self.path), "split": "iu_xray/patient", **knobs})
        )

    def failure(self, error: type[Exception], **knobs: Any) -> str:
        with pytest.raises(error) as caught:
            self.read(**knobs)
        return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_each_uid_is_a_study_with_its_first_frontal_and_its_lateral(folder: Folder) -> None:
    source = folder.read()
    assert [study.study_id for study in source.studies] == ["1", "3", "4", "6"]
    assert [study.has_lateral for study in source.studies] == [True, False, False, True]
    assert [source.frontal(index)[0, 0] for index in range(4)] == [0, 3, 5, 7]
    assert source.lateral(0)[0, 0] == 1
    assert sorted([*source.splits["train"], *source.splits["validation"]]) == [0, 1, 2, 3]


def test_the_report_is_impression_then_findings_and_the_row_is_a_line_of_the_file(folder: Folder) -> None:
    studies = folder.read().studies
    assert [study.report for study in studies] == [
        "Normal. Clear lungs.",
        "Effusion.",
        "Large heart.",
        "Nodule. Nodule.",
    ]
    assert [study.row for study in studies] == [2, 4, 5, 8]


def test_incomplete_studies_are_dropped_with_a_tally(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.image("6_IM-0006-1001.dcm.png").unlink()
    folder.image("1_IM-0001-3001.dcm.png").unlink()
    with caplog.at_level(logging.INFO, logger="flvlp.data.readers.listing"):
        source = folder.read(missing_images="drop")
    assert "kept 3 of 6 studies" in caplog.text
    assert "1 without a frontal view, 1 without text, 1 whose frontal file is missing" in caplog.text
    assert "1 lateral files are missing" in caplog.text
    assert [study.study_id for study in source.studies] == ["1", "3", "4"]
    assert not source.studies[0].has_lateral


@pytest.mark.parametrize("copy", ["{}.png", "{}.jpg", "{}.jpeg", "CXR{}.png", "CXR{}.jpg", "CXR{}.jpeg"])
def test_a_converted_copy_is_found(folder: Folder, copy: str) -> None:
    folder.image("1_IM-0001-4001.dcm.png").rename(folder.image(copy.format("1_IM-0001-4001")))
    source = folder.read()
    assert Path(source.listing.frontal_paths[0]).name == copy.format("1_IM-0001-4001")
    assert source.frontal(0)[0, 0] == 0


def test_a_missing_image_is_an_error_that_names_line_file_and_the_way_out(folder: Folder) -> None:
    folder.image("1_IM-0001-3001.dcm.png").unlink()
    message = folder.failure(FileNotFoundError)
    assert "indiana_reports.csv: 1 missing image file: row 2 ('1_IM-0001-3001.dcm.png')" in message
    assert "dataset.missing_images=drop" in message


def test_ids_of_a_credentialed_set_are_hashed(folder: Folder) -> None:
    folder.image("1_IM-0001-3001.dcm.png").unlink()
    message = folder.failure(FileNotFoundError, credentialed=True)
    assert "row 2 (#" in message
    assert "IM-0001" not in message
    assert "IM-0001" in folder.failure(FileNotFoundError, credentialed=True, log_ids=True)


def test_no_study_left_is_an_error_with_the_tally(folder: Folder) -> None:
    for path in (folder.path / "images").iterdir():
        path.unlink()
    message = folder.failure(ValueError, missing_images="drop")
    assert "no study is left of 6" in message
    assert "4 whose frontal file is missing" in message


def test_a_missing_root_table_or_folder_is_named_with_its_key(folder: Folder) -> None:
    assert "dataset.root: no such folder" in folder.failure(FileNotFoundError, root=str(folder.path / "none"))
    assert "dataset.root: no such folder ('')" in folder.failure(FileNotFoundError, root="")
    for key in ("reports", "projections", "images"):
        message = folder.failure(FileNotFoundError, **{key: "none"})
        assert f"set dataset.{key}" in message
        assert str(folder.path / "none") in message
        assert "no such" in message


def test_a_missing_column_lists_the_columns(folder: Folder) -> None:
    message = folder.failure(ValueError, reports="indiana_projections.csv")
    assert "no column 'findings'; the columns are: uid, filename, projection; set dataset.reports" in message


@pytest.mark.parametrize(("uid", "words"), [("1", "row 3 ('1')"), ("", "row 3 ('')")])
def test_a_repeated_or_blank_uid_is_an_error_with_the_row(folder: Folder, uid: str, words: str) -> None:
    folder.write(reports=[REPORTS[0], (uid, *REPORTS[2][1:])])
    assert f"blank or repeated uid in 1 row: {words}" in folder.failure(ValueError)


def test_an_unknown_projection_lists_the_known_ones(folder: Folder) -> None:
    folder.write(projections=[*PROJECTIONS, ("6", "x.png", "Oblique")])
    message = folder.failure(ValueError)
    assert "unknown projection in 1 row: row 11 ('Oblique'); known: Frontal, Lateral" in message
