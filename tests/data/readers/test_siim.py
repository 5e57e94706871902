"""The reader of SIIM-ACR: both stages, run lengths of several rows, trees and flat folders, the PNG mirror."""

import gzip
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from flvlp.data.readers.files import FileSource
from tests.data.dicoms import write_dicom
from tests.data.readers.roots import Root

STAGE_1 = "ImageId, EncodedPixels"
ROWS = ("1.2.30, -1", "1.2.31,0 2", "1.2.32,-1", "1.2.31,1024 1", "1.2.31,0 2")
NAMES = ("1.2.30", "1.2.31", "1.2.32")


class SiimRoot(Root):
    """A root in a publisher's layout, filled by the test."""

    name = "siim"
    knobs: ClassVar = {"split": "siim/patient"}

    def table(self, rows: Sequence[str] = ROWS, header: str = STAGE_1, name: str = "train-rle.csv") -> None:
        self.lines(name, [header, *rows])

    def copies(self, folder: str = "train", names: Sequence[str] = NAMES) -> None:
        self.pictures(folder, [f"{name}.png" for name in names])


@pytest.fixture
def root(tmp_path: Path) -> SiimRoot:
    made = SiimRoot(tmp_path)
    made.table()
    made.copies()
    return made


def labels_of(source: FileSource) -> list[float]:
    assert source.labels is not None
    assert source.labels.names == ("Pneumothorax",)
    return source.labels.values[:, 0].tolist()


def test_several_rows_of_a_picture_are_one_sample_with_one_mask(root: SiimRoot) -> None:
    source = root.read()
    assert [(study.study_id, study.patient_id, study.row) for study in source.studies] == [
        ("1.2.30", "1.2.30", 2),
        ("1.2.31", "1.2.31", 3),
        ("1.2.32", "1.2.32", 4),
    ]
    assert labels_of(source) == [0, 1, 0]
    assert source.masks is not None
    mask = source.masks.of(1)
    assert mask.shape == (1024, 1024)
    assert np.argwhere(mask).tolist() == [[0, 0], [0, 1], [1, 0]]
    assert not source.masks.of(0).any()
    assert not source.masks.of(2).any()
    assert source.boxes is None


def test_the_split_is_by_picture_and_no_row_of_a_mask_tears_one(root: SiimRoot) -> None:
    source = root.read(split="")
    assert source.split_name == "siim/patient-70-15-15"
    assert sorted(row for rows in source.splits.values() for row in rows.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("header", [STAGE_1, "ImageId,EncodedPixels", "ImageId , EncodedPixels ,fold"])
@pytest.mark.parametrize("nothing", ["-1", " -1", "", " "])
def test_leading_spaces_and_blanks_mean_what_the_publisher_means(root: SiimRoot, header: str, nothing: str) -> None:
    more = ",0" if "fold" in header else ""
    root.table([f"1.2.30,{nothing}{more}", f"1.2.31, 0 2{more}"], header)
    source = root.read()
    assert labels_of(source) == [0, 1]
    assert source.masks is not None
    assert source.masks.of(1).sum() == 2


def test_stage_2_wins_and_the_log_says_which_was_read(root: SiimRoot, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert len(root.read().studies) == 3
    assert "train-rle.csv: the masks are read from this table (stage 1)" in caplog.text
    root.table(["1.2.30,-1", "1.2.32,5 5"], "ImageId,EncodedPixels", "stage_2_train.csv")
    assert labels_of(root.read()) == [0, 1]
    assert "stage_2_train.csv: the masks are read from this table (stage 2)" in caplog.text
    assert len(root.read(csv="train-rle.csv").studies) == 3
    table = root.path / "stage_2_train.csv"
    (root.path / "stage_2_train.csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    table.unlink()
    assert len(root.read().studies) == 2


def test_the_published_tree_of_dicom_files_is_searched_by_name(tmp_path: Path) -> None:
    made = SiimRoot(tmp_path)
    made.table()
    for number, name in enumerate(NAMES):
        part = "dicom-images-test" if number == 2 else "dicom-images-train"
        folder = tmp_path / part / f"1.1.{number}" / f"1.3.{number}"
        folder.mkdir(parents=True)
        write_dicom(folder / f"{name}.dcm")
    source = made.read()
    assert source.listing.frontal_paths[2] == "dicom-images-test/1.1.2/1.3.2/1.2.32.dcm"
    assert [source.frontal(index).shape for index in range(3)] == [(6, 9)] * 3


@pytest.mark.parametrize("folder", ["dicom-images-train", "stage_2_images", "train", "png_images", "a/b", ""])
def test_flat_folders_are_searched_but_not_those_of_masks(tmp_path: Path, folder: str) -> None:
    made = SiimRoot(tmp_path)
    made.table()
    made.copies("Masks", [*NAMES[::-1]])
    made.copies("annotations/train", [*NAMES[::-1]])
    made.copies(folder)
    assert [int(made.read().frontal(index)[0, 0]) for index in range(3)] == [0, 1, 2]


def test_a_linked_folder_is_searched_and_a_circle_of_links_ends(tmp_path: Path) -> None:
    made = SiimRoot(tmp_path / "root")
    made.path.mkdir()
    made.table()
    SiimRoot(tmp_path).copies("elsewhere/deep")
    (made.path / "train").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(made.path)
    source = made.read()
    assert source.listing.frontal_paths[0] == "train/deep/1.2.30.png"
    assert source.frontal(2)[0, 0] == 2


def test_the_png_mirror_is_read_with_its_own_names_and_masks(tmp_path: Path) -> None:
    made = SiimRoot(tmp_path)
    new_names = ("0_test_0_", "1_train_1_", "2_train_0_")
    made.copies("png_images", new_names)
    rows = [f"{new}.png,{name},{new.split('_')[2]}" for new, name in zip(new_names, NAMES, strict=True)]
    made.table(rows[1:], "new_filename,ImageId,has_pneumo", "stage_1_train_images.csv")
    made.table(rows[:1], "new_filename,ImageId,has_pneumo", "stage_1_test_images.csv")
    assert "1 missing mask file: row 2 ('1_train_1_.png')" in made.failure(FileNotFoundError)
    (tmp_path / "png_masks").mkdir()
    for name in new_names:
        mask = Image.new("L", (8, 8), 255 if "_1_" in name else 0)
        mask.save(tmp_path / "png_masks" / f"{name}.png")
    source = made.read()
    assert [study.study_id for study in source.studies] == ["1.2.31", "1.2.32", "1.2.30"]
    assert [int(source.frontal(index)[0, 0]) for index in range(3)] == [1, 2, 0]
    assert labels_of(source) == [1, 0, 0]
    assert source.masks is not None
    assert source.masks.of(0).all()
    assert not source.masks.of(1).any()
    made.table()
    source = made.read()
    assert [int(source.frontal(index)[0, 0]) for index in range(3)] == [0, 1, 2], "the mirror's names are not followed"
    assert source.masks is not None
    assert source.masks.of(1).sum() == 3, "run lengths win over the mirror's pictures"


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ("1.2.30,5 5", "no mask (-1) by 1 row: row 2 ('1.2.30'), but a mask by another row of the same picture"),
        ("1.2.31, -1", "no mask (-1) by 1 row: row 7 ('1.2.31')"),
        ("1.2.33,5 5 5", "row 7 ('1.2.33'); the first: run lengths: 3 numbers"),
        ("1.2.33,5 -5", "row 7 ('1.2.33'); the first: run lengths: number 2 of 2 is '-5'"),
        ("1.2.33,1048575 2", "ends beyond the picture of 1024 x 1024"),
        ("../../1.2.33,-1", "image path outside the root in 1 row: row 7"),
        (",-1", "blank or repeated id in 1 row: row 7"),
    ],
)
def test_a_row_that_is_not_right_is_named(root: SiimRoot, row: str, part: str) -> None:
    root.table([*ROWS, row])
    message = root.failure(ValueError)
    assert part in message
    if "but a mask" in part:
        assert "the first: row 7" in message, "the other row is not named"


def test_a_wrong_header_or_separator_is_named(root: SiimRoot) -> None:
    root.table(header="ImageId, Pixels")
    assert "no column 'EncodedPixels'; the columns are: ImageId, Pixels" in root.failure(ValueError)
    root.table([row.replace(",", ";") for row in ROWS], "ImageId; EncodedPixels")
    assert "the header is separated by semicolons" in root.failure(ValueError)


def test_what_is_missing_is_named(root: SiimRoot) -> None:
    (root.path / "train" / "1.2.31.png").unlink()
    message = root.failure(FileNotFoundError)
    assert "1 missing image file: row 3 ('dicom-images-train/1.2.31.dcm')" in message
    source = root.read(missing_images="drop")
    assert labels_of(source) == [0, 0]
    assert source.masks is not None
    assert not source.masks.of(1).any()
    assert "other.csv" in root.failure(FileNotFoundError, csv="other.csv")
    (root.path / "train-rle.csv").unlink()
    assert "neither stage_2_train.csv nor train-rle.csv" in root.failure(FileNotFoundError)
