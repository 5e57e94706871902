"""The reader of RSNA: rows to pictures, boxes, patients, and what it says of tables that are not right."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from flvlp.data.readers.rsna import CLASSES, MAPPING, TABLE
from tests.data.dicoms import write_dicom
from tests.data.readers.roots import Root

HEADER = "patientId,x,y,width,height,Target"
ROWS = (
    "p-none,,,,,0",
    "p-two,264.0,152.0,213.0,379.0,1",
    "p-two,562.0,152.0,256.0,453.0,1",
    "p-one,512.0,256.0,256.0,512.0,1",
)
NAMES = ("p-none", "p-two", "p-one")


class RsnaRoot(Root):
    """A root in the publisher's layout; pictures are copies of 8 x 8 pixels, but one DICOM."""

    name = "rsna"
    knobs: ClassVar = {"split": "rsna/patient"}

    def table(self, rows: Sequence[str] = ROWS, header: str = HEADER, name: str = TABLE) -> None:
        self.lines(name, [header, *rows])

    def copies(self, folder: str = "stage_2_train_images", names: Sequence[str] = NAMES) -> None:
        self.pictures(folder, [f"{name}.png" for name in names])


@pytest.fixture
def root(tmp_path: Path) -> RsnaRoot:
    made = RsnaRoot(tmp_path)
    made.table()
    made.copies()
    return made


def test_several_rows_of_a_picture_are_one_sample_with_several_boxes(root: RsnaRoot) -> None:
    source = root.read()
    assert [study.study_id for study in source.studies] == list(NAMES)
    assert [study.row for study in source.studies] == [2, 3, 5]
    assert source.labels is not None
    assert source.labels.names == ("Pneumonia",)
    assert source.labels.values.tolist() == [[0], [1], [1]]
    assert source.boxes is not None
    assert source.boxes.names == ("Lung Opacity",)
    assert [len(source.boxes.of(index)[0]) for index in range(3)] == [0, 2, 1]
    assert source.boxes.of(2)[0].tolist() == [[0.5, 0.25, 0.25, 0.5]]
    assert source.masks is None


def test_boxes_are_shares_of_1024_pixels_whatever_the_size_of_the_copy(root: RsnaRoot) -> None:
    source = root.read()
    assert source.frontal(2).shape == (8, 8)
    assert source.boxes is not None
    np.testing.assert_allclose(source.boxes.of(1)[0][0], np.array([264, 152, 213, 379]) / 1024, rtol=1e-6)


@pytest.mark.parametrize("folder", ["stage_2_train_images", "train_images", "images", ""])
def test_pictures_are_found_in_the_folders_of_copies(tmp_path: Path, folder: str) -> None:
    made = RsnaRoot(tmp_path)
    made.table()
    made.copies(folder)
    assert [int(made.read().frontal(index)[0, 0]) for index in range(3)] == [0, 1, 2]


def test_the_published_dicom_is_read_and_wins_over_a_copy_beside_it(root: RsnaRoot) -> None:
    write_dicom(root.path / "stage_2_train_images" / "p-one.dcm")
    assert root.read().frontal(2).shape == (6, 9)


def test_a_compressed_table_and_more_columns_are_read(root: RsnaRoot) -> None:
    root.table([f"{row},x" for row in ROWS], HEADER + ",fold")
    (root.path / f"{TABLE}.gz").write_bytes(gzip.compress((root.path / TABLE).read_bytes()))
    (root.path / TABLE).unlink()
    assert len(root.read().studies) == 3


def test_patients_are_those_of_nih_where_the_mapping_is_there(root: RsnaRoot) -> None:
    assert [study.patient_id for study in root.read().studies] == list(NAMES)
    entries = [
        {"subset_img_id": "p-none", "img_id": "00000003_001.png", "orig_labels": []},
        {"subset_img_id": "p-one", "img_id": "00000003_007.png", "orig_labels": []},
    ]
    (root.path / MAPPING).write_text(json.dumps(entries))
    source = root.read(split="rsna/patient", validation_fraction=0.5)
    assert [study.patient_id for study in source.studies] == ["nih-00000003", "p-two", "nih-00000003"]
    parts = {study: part for part, rows in source.splits.items() for study in rows.tolist()}
    assert parts[0] == parts[2] != parts[1]


@pytest.mark.parametrize(
    "text", ["[", '["a"]', '{"a": 1}', '[{"subset_img_id": "a"}]', "[1]", '[{"subset_img_id": 1}]', "[" * 100_000]
)
def test_a_damaged_mapping_is_refused(root: RsnaRoot, text: str) -> None:
    (root.path / MAPPING).write_text(text)
    assert "subset_img_id and img_id" in root.failure(ValueError)


def test_the_default_split_is_by_patient_with_the_mapping_and_by_picture_without(root: RsnaRoot) -> None:
    source = root.read(split="")
    assert source.split_name == "rsna/picture-70-15-15"
    assert sorted(row for rows in source.splits.values() for row in rows.tolist()) == [0, 1, 2]
    assert f"needs {MAPPING}" in root.failure(ValueError, split="rsna/patient-70-15-15")
    entries = [{"subset_img_id": name, "img_id": f"0000000{number}_000.png"} for number, name in enumerate(NAMES)]
    (root.path / MAPPING).write_text(json.dumps(entries))
    assert root.read(split="").split_name == "rsna/patient-70-15-15"


def test_classes_are_compared_with_targets(root: RsnaRoot) -> None:
    rows = ["p-none,Normal", "p-two,Lung Opacity", "p-two,Lung Opacity", "p-one,Lung Opacity", "other,Normal"]
    root.table(rows, "patientId,class", CLASSES)
    assert len(root.read().studies) == 3
    root.table(["p-none,Normal", "p-two,Normal"], "patientId,class", CLASSES)
    assert "1 row: row 3 ('p-two')" in root.failure(ValueError)
    root.table(["p-none,Healthy"], "patientId,class", CLASSES)
    assert "row 2 ('Healthy')" in root.failure(ValueError)


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ("p-none,1.0,1.0,2.0,2.0,1", "another target than an earlier row of the picture in 1 row: row 6 ('p-none')"),
        ("p-new,,,,,1", "a target of 1 without a box, or of 0 with one in 1 row: row 6 ('p-new')"),
        ("p-new,1.0,1.0,2.0,2.0,0", "a target of 1 without a box, or of 0 with one in 1 row: row 6 ('p-new')"),
        ("p-new,,,,,2", "unknown value in 1 row: row 6 ('2')"),
        ("p-two,1.0,1.0,,2.0,1", "no box in 1 row: row 6"),
        ("p-two,1.0,1.0,2000.0,2.0,1", "lie outside the picture"),
        ("../../p-new,,,,,0", "image path outside the root in 1 row: row 6"),
        (",,,,,0", "blank or repeated id in 1 row: row 6"),
    ],
)
def test_a_row_that_is_not_right_is_named(root: RsnaRoot, row: str, part: str) -> None:
    root.table([*ROWS, row])
    assert part in root.failure(ValueError)


def test_a_wrong_header_or_separator_is_named(root: RsnaRoot) -> None:
    root.table(header=HEADER.replace("Target", "target"))
    assert "no column 'Target'; the columns are: patientId, x, y, width, height, target" in root.failure(ValueError)
    root.table([row.replace(",", ";") for row in ROWS], HEADER.replace(",", ";"))
    assert "the header is separated by semicolons" in root.failure(ValueError)


def test_what_is_missing_is_named(root: RsnaRoot) -> None:
    assert "nowhere" in root.failure(FileNotFoundError, root=str(root.path / "nowhere"))
    (root.path / "stage_2_train_images" / "p-two.png").unlink()
    message = root.failure(FileNotFoundError)
    assert "1 missing image file: row 3 ('stage_2_train_images/p-two.dcm')" in message
    source = root.read(missing_images="drop")
    assert [study.study_id for study in source.studies] == ["p-none", "p-one"]
    assert source.labels is not None
    assert source.labels.values.tolist() == [[0], [1]]
    assert source.boxes is not None
    assert source.boxes.study.tolist() == [1]
    (root.path / TABLE).unlink()
    assert TABLE in root.failure(FileNotFoundError)


def test_no_picture_at_all_is_said_with_the_folder(tmp_path: Path) -> None:
    made = RsnaRoot(tmp_path)
    made.table()
    assert "3 missing image files" in made.failure(FileNotFoundError)
    assert "no study is left of 3" in made.failure(ValueError, missing_images="drop")


def test_ids_stay_out_of_messages_where_they_are_hidden(root: RsnaRoot) -> None:
    root.table([*ROWS, "p-secret,,,,,1"])
    message = root.failure(ValueError, credentialed=True)
    assert "secret" not in message
    assert "1 row: row 6 (#" in message
