"""The reader of NIH ChestX-ray14, on small trees in the publisher's layout."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flvlp.data.readers.config import NIH14Config
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.nih14 import NAMES, read_nih14
from flvlp.data.studies import Boxes

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
# Picture, labels, patient, part ("" is in no list).
ROWS = (
    ("00000001_000.png", "Cardiomegaly|Emphysema", "1", "train"),
    ("00000001_001.png", "No Finding", "1", "train"),
    ("00000002_000.png", "Infiltration", "2", "test"),
    ("00000003_000.png", "Pleural_Thickening|Hernia|Mass", "3", "train"),
    ("00000004_000.png", "No Finding", "4", ""),
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
BOXES = (
    "00000003_000.png,Mass,225.084745762712,547.019216763771,86.7796610169491,79.1864406779661",
    "00000002_000.png,Infiltrate,512,256,256,128",
    "00000003_000.png,Nodule,0,0,1024,1024",
    "00000099_000.png,Mass,1,1,1,1",
)


class Folder:
    """The data set on disk, complete until a test takes something away; every picture has its row as grey value."""

    def __init__(self, path: Path, folder: str = "images_{}/images") -> None:
        self.path = path
        for row, (name, *_) in enumerate(ROWS):
            self.picture(f"{folder.format(f'{row * 2 + 1:03d}')}/{name}", row)
        self.table()
        self.lists()
        self.lines("BBox_List_2017.csv", [BOX_HEADER, *BOXES])

    def picture(self, name: str, value: int, size: int = 4) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((size, size), value, dtype=np.uint8)).save(self.path / name)

    def lines(self, name: str, lines: Sequence[str]) -> None:
        (self.path / name).write_text("\n".join(lines) + "\n")

    def table(self, name: str = "Data_Entry_2017_v2020.csv", end: str = "", labels: Sequence[str] = ()) -> None:
        rows = [
            f"{picture},{text or written},0,{patient},57,M,PA,2682,2749,0.143,0.143{end}"
            for (picture, written, patient, _), text in zip(ROWS, labels or [""] * len(ROWS), strict=True)
        ]
        self.lines(name, [HEADER + end, *rows])

    def lists(self) -> None:
        for name, part in (("train_val_list.txt", "train"), ("test_list.txt", "test")):
            text = "\r\n".join(picture for picture, *_, where in ROWS if where == part)  # no newline at the end
            (self.path / name).write_bytes(text.encode())

    def remove(self, pattern: str) -> None:
        found = list(self.path.rglob(pattern))
        assert found, f"nothing is like {pattern}"
        for path in found:
            path.unlink()

    def read(self, **knobs: Any) -> FileSource:
        return read_nih14(NIH14Config(**{"name": "nih14", "root": str(self.path), "split": "nih14/patient", **knobs}))

    def failure(self, error: type[Exception] = ValueError, **knobs: Any) -> str:
        with pytest.raises(error) as caught:
            self.read(**knobs)
        return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def classes_of(source: FileSource, index: int) -> set[str]:
    assert source.labels is not None
    return {name for name, value in zip(source.labels.names, source.labels.values[index], strict=True) if value == 1}


def boxes_of(source: FileSource) -> Boxes:
    assert source.boxes is not None
    return source.boxes


def test_each_picture_is_a_study_with_its_patient_row_and_labels(folder: Folder) -> None:
    source = folder.read()
    assert [study.study_id for study in source.studies] == [name for name, *_ in ROWS]
    assert [study.patient_id for study in source.studies] == ["1", "1", "2", "3", "4"]
    assert [study.row for study in source.studies] == [2, 3, 4, 5, 6]
    assert [classes_of(source, index) for index in range(5)] == [
        {"Cardiomegaly", "Emphysema"},
        set(),
        {"Infiltration"},
        {"Pleural_Thickening", "Hernia", "Mass"},
        set(),
    ]
    assert source.labels is not None
    assert set(np.unique(source.labels.values)) == {0.0, 1.0}


def test_the_classes_are_the_14_of_the_field_in_its_order() -> None:
    assert ",".join(NAMES) == (
        "Atelectasis,Cardiomegaly,Effusion,Infiltration,Mass,Nodule,Pneumonia,Pneumothorax,Consolidation,Edema,"
        "Emphysema,Fibrosis,Pleural_Thickening,Hernia"
    )


@pytest.mark.parametrize("place", ["images_{}/images", "images", "."])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_pictures_are_found_in_twelve_folders_and_in_one_also_as_copies(
    place: str, suffix: str, tmp_path: Path
) -> None:
    folder = Folder(tmp_path, place)
    for path in list(tmp_path.rglob("*.png")):
        Image.open(path).save(path.with_suffix(suffix))
        if suffix != ".png":
            path.unlink()
    source = folder.read()
    assert [source.frontal(index)[0, 0] for index in range(5)] == [0, 1, 2, 3, 4]
    assert {Path(path).suffix for path in source.listing.frontal_paths} == {suffix}


@pytest.mark.parametrize("place", [*(f"images_{number:03d}/images/" for number in range(1, 13)), "images/", ""])
def test_pictures_may_be_spread_over_the_published_folders_and_others(place: str, folder: Folder) -> None:
    folder.remove("00000002_000.png")
    folder.picture(f"{place}00000002_000.jpg", 9)
    assert folder.read().frontal(2)[0, 0] == 9


@pytest.mark.parametrize("size", [4, 512, 1024])
def test_boxes_are_shares_of_the_published_size_whatever_size_a_copy_has(size: int, folder: Folder) -> None:
    folder.picture("images_007/images/00000003_000.png", 3, size)
    boxes = boxes_of(folder.read())
    values, classes = boxes.of(3)
    expected = [np.array([225.084745762712, 547.019216763771, 86.7796610169491, 79.1864406779661]) / 1024, [0, 0, 1, 1]]
    np.testing.assert_allclose(values, np.array(expected), rtol=1e-6)
    assert [boxes.names[number] for number in classes] == ["Mass", "Nodule"]


def test_infiltrate_of_the_boxes_is_infiltration_of_the_labels(folder: Folder) -> None:
    boxes = boxes_of(folder.read())
    values, classes = boxes.of(2)
    np.testing.assert_allclose(values, np.array([[0.5, 0.25, 0.25, 0.125]]))
    assert [boxes.names[number] for number in classes] == ["Infiltration"]
    assert boxes.names == NAMES


@pytest.mark.parametrize("end", ["", ",,,"])
def test_rows_of_six_and_of_nine_fields_are_read_under_the_header_of_nine(end: str, folder: Folder) -> None:
    folder.lines("BBox_List_2017.csv", [BOX_HEADER, *(row + end for row in BOXES)])
    assert boxes_of(folder.read()).study.tolist() == [2, 3, 3]


def test_a_box_of_an_unknown_class_is_an_error_with_its_row_and_its_name(folder: Folder) -> None:
    folder.lines("BBox_List_2017.csv", [BOX_HEADER, BOXES[0], "00000003_000.png,Masses,1,1,1,1"])
    message = folder.failure()
    assert "BBox_List_2017.csv: no box in 1 row: row 3" in message
    assert "Masses" in message


def test_without_the_list_there_are_no_boxes(folder: Folder) -> None:
    folder.remove("BBox_List_2017.csv")
    assert folder.read().boxes is None


def test_dropped_pictures_leave_labels_boxes_and_parts_aligned(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.remove("00000001_000.png")
    folder.remove("00000002_000.png")
    with caplog.at_level(logging.INFO):
        source = folder.read(missing_images="drop", split="nih14/official")
    assert "kept 3 of 5 studies" in caplog.text
    assert [study.study_id for study in source.studies] == ["00000001_001.png", "00000003_000.png", "00000004_000.png"]
    assert [source.frontal(index)[0, 0] for index in range(3)] == [1, 3, 4]
    assert [classes_of(source, index) for index in range(3)] == [set(), {"Pleural_Thickening", "Hernia", "Mass"}, set()]
    assert boxes_of(source).study.tolist() == [1, 1]
    assert sorted(row for rows in source.splits.values() for row in rows) == [0, 1]


def test_a_missing_picture_is_an_error_unless_told_otherwise(folder: Folder) -> None:
    folder.remove("00000003_000.png")
    message = folder.failure(FileNotFoundError)
    assert "1 missing image file: row 5 ('images/00000003_000.png')" in message
    assert "dataset.missing_images=drop" in message


def test_the_table_of_2017_ends_its_lines_with_a_comma(folder: Folder) -> None:
    folder.table("Data_Entry_2017.csv", end=",", labels=["Edema"] * 5)
    assert classes_of(folder.read(), 0) == {"Cardiomegaly", "Emphysema"}  # the table of 2020 comes first
    folder.remove("Data_Entry_2017_v2020.csv")
    source = folder.read()
    assert [classes_of(source, index) for index in range(5)] == [{"Edema"}] * 5
    assert [study.patient_id for study in source.studies] == ["1", "1", "2", "3", "4"]


@pytest.mark.parametrize("label", ["Infiltrate", "Pleural Thickening", "edema", "Edema|", "Edema||Mass"])
def test_an_unknown_label_is_an_error_with_its_row_and_the_known_ones(label: str, folder: Folder) -> None:
    folder.table(labels=["No Finding", "Edema|Mass", label, "No Finding", "Hernia"])
    message = folder.failure()
    assert "Data_Entry_2017_v2020.csv: unknown label in 1 row: row 4 (" in message
    assert f"known: {', '.join(NAMES)}, No Finding" in message


def test_what_is_missing_is_named(folder: Folder, tmp_path: Path) -> None:
    folder.remove("Data_Entry_2017_v2020.csv")
    assert "Data_Entry_2017_v2020.csv: no such CSV file" in folder.failure(FileNotFoundError)
    folder.lines("Data_Entry_2017_v2020.csv", ["Image Index,Finding Labels", "a.png,No Finding"])
    assert "no column 'Patient ID'" in folder.failure()
    assert "dataset.root: no such folder" in folder.failure(FileNotFoundError, root=str(tmp_path / "none"))
