"""The reader of CheXpert: its layouts, splits, labels, and what it says about bad files."""

import gzip
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from flvlp.data.readers.labels import CHEXPERT5, CHEXPERT14
from tests.data.readers.chexpert_folder import HEADER, TEST, TRAIN, CheXpertFolder

BATCHES = (
    "CheXpert-v1.0 batch 1 (validate & csv)",
    "CheXpert-v1.0 batch 2 (train 1)",
    "CheXpert-v1.0 batch 3 (train 2)",
)


@pytest.fixture
def folder(tmp_path: Path) -> CheXpertFolder:
    return CheXpertFolder(tmp_path)


@pytest.mark.parametrize("release", ["CheXpert-v1.0-small", "CheXpert-v1.0"])
def test_the_root_holds_the_release_or_is_it(tmp_path: Path, release: str) -> None:
    folder = CheXpertFolder(tmp_path, release, release)
    for root in (folder.root, folder.base):
        source = folder.read(root=str(root))
        assert [study.study_id for study in source.studies] == [
            "train/patient00001/study1",
            "train/patient00001/study2",
            "train/patient00002/study1",
            "valid/patient64541/study1",
        ]
        assert [source.frontal(index)[0, 0] for index in range(4)] == [0, 2, 4, 8]


def test_a_release_unpacked_without_its_folder_is_read(tmp_path: Path) -> None:
    assert len(CheXpertFolder(tmp_path, base="").read().studies) == 4


def test_the_batches_of_the_full_release_are_read(tmp_path: Path) -> None:
    folder = CheXpertFolder(tmp_path, BATCHES[0], "CheXpert-v1.0")
    for patient, batch in (("patient00001", BATCHES[1]), ("patient00002", BATCHES[2]), ("patient00003", BATCHES[2])):
        (tmp_path / batch).mkdir(exist_ok=True)
        shutil.move(folder.base / "train" / patient, tmp_path / batch / patient)
    source = folder.read()
    assert source.listing.frontal_paths[2] == f"{BATCHES[2]}/patient00002/study1/view1_frontal.jpg"
    assert [source.frontal(index)[0, 0] for index in range(4)] == [0, 2, 4, 8]


def test_packed_tables_are_read(folder: CheXpertFolder) -> None:
    for name in ("train.csv", "valid.csv"):
        (folder.base / f"{name}.gz").write_bytes(gzip.compress((folder.base / name).read_bytes()))
        (folder.base / name).unlink()
    assert len(folder.read().studies) == 4


def test_without_test_labels_there_is_no_test_part_and_the_log_says_so(
    folder: CheXpertFolder, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="flvlp"):
        source = folder.read()
    assert source.split_name == "chexpert/official"
    assert {part: rows.tolist() for part, rows in source.splits.items()} == {"train": [0, 1, 2], "validation": [3]}
    assert "no test labels (groundtruth.csv or test_labels.csv); the official test set is left out" in caplog.text
    assert "chexpert/official has no" not in caplog.text, "another split may be asked for"


@pytest.mark.parametrize("pictures", ["CheXpert-v1.0-small", "CheXpert", ""])
def test_the_official_test_labels_list_studies_whose_pictures_are_those_in_the_folder(
    folder: CheXpertFolder, pictures: str
) -> None:
    folder.write_groundtruth()
    folder.write_pictures(TEST, pictures)
    source = folder.read()
    assert source.splits["test"].tolist() == [4, 5]
    assert [study.has_lateral for study in source.studies[4:]] == [True, False]
    assert [source.frontal(4)[0, 0], source.lateral(4)[0, 0], source.frontal(5)[0, 0]] == [9, 10, 11]
    assert source.labels is not None
    np.testing.assert_array_equal(source.labels.values[4:, 0], [1, 0])


def test_the_test_labels_of_pictures_say_the_view_in_the_file_name(folder: CheXpertFolder) -> None:
    folder.write_test_labels()
    folder.write_pictures(TEST, "CheXpert")
    source = folder.read()
    assert source.splits["test"].tolist() == [4, 5]
    assert [study.has_lateral for study in source.studies[4:]] == [True, False]


def test_test_labels_without_their_pictures_are_an_error(folder: CheXpertFolder) -> None:
    folder.write_groundtruth()
    message = folder.failure(FileNotFoundError)
    assert "2 missing image files: row 2 ('test/patient64741/study1/view1_frontal.jpg')" in message
    assert "test" not in folder.read(missing_images="drop").splits


def test_uncertain_labels_and_blanks_follow_the_policies(folder: CheXpertFolder) -> None:
    nan = np.nan
    expected = {
        ("chexpert5", "zero"): [1, 0, 0, 1, 0],
        ("u_ones", "zero"): [1, 1, 0, 1, 0],
        ("u_zeros", "zero"): [0, 0, 0, 1, 0],
        ("ignore", "ignore"): [nan, nan, 0, 1, nan],
    }
    for (uncertain, unmentioned), values in expected.items():
        labels = folder.read(uncertain=uncertain, unmentioned=unmentioned).labels
        assert labels is not None
        assert labels.names == CHEXPERT5
        np.testing.assert_array_equal(labels.values[0], values)


def test_all_classes_are_read_and_nine_have_no_agreed_reading_of_uncertain(folder: CheXpertFolder) -> None:
    labels = folder.read(classes="all").labels
    assert labels is not None
    assert labels.names == CHEXPERT14
    assert np.isnan(labels.values[0, CHEXPERT14.index("Fracture")])


def test_pictures_of_one_study_with_different_labels_are_an_error(folder: CheXpertFolder) -> None:
    lines = (folder.base / "train.csv").read_text().splitlines()
    lines[2] = lines[2].replace(",-1.0,", ",0.0,", 1)
    (folder.base / "train.csv").write_text("\n".join(lines))
    message = folder.failure(ValueError)
    assert "other labels than an earlier picture of the study in 1 row: row 3 ('train/patient00001/study1')" in message


@pytest.mark.parametrize(
    "path",
    [
        "CheXpert-v1.0-small/train/../../../x.jpg",
        "../train/patient00001/study1/view1_frontal.jpg",
        "/train/patient00001/study1/view1_frontal.jpg",
        "CheXpert-v1.0-small/dev/patient00001/study1/view1_frontal.jpg",
        "",
    ],
)
def test_a_path_that_is_none_of_the_data_set_is_an_error_with_its_row(folder: CheXpertFolder, path: str) -> None:
    folder.write_rows("train.csv", [HEADER, (path, "", "", "Frontal", "AP", *[""] * 14)])
    assert f"train.csv: no path of CheXpert in 1 row: row 2 ({path!r})" in folder.failure(ValueError)


def test_an_unknown_view_or_label_is_an_error_with_its_row(folder: CheXpertFolder) -> None:
    path = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    folder.write_rows("train.csv", [HEADER, (path, "", "", "Oblique", "AP", *[""] * 14)])
    assert "column 'Frontal/Lateral' has an unknown value in 1 row: row 2 ('Oblique')" in folder.failure(ValueError)
    folder.write_rows("train.csv", [HEADER, (path, "", "", "Frontal", "AP", *["2"] * 14)])
    assert "unknown value in 1 row: row 2 ('2')" in folder.failure(ValueError)


def test_a_missing_table_a_wrong_header_and_a_wrong_separator_are_named(folder: CheXpertFolder) -> None:
    (folder.base / "valid.csv").write_text(";".join(HEADER))
    assert "separated by semicolons" in folder.failure(ValueError)
    folder.write_rows("valid.csv", [("path", *HEADER[1:])])
    assert "valid.csv: no column 'Path'" in folder.failure(ValueError)
    (folder.base / "valid.csv").unlink()
    assert "valid.csv: no such CSV file" in folder.failure(FileNotFoundError)
    folder.write_table("valid.csv", {})
    folder.write_rows("groundtruth.csv", [("study", *CHEXPERT14)])
    assert "groundtruth.csv: no column 'Path' or 'Study'" in folder.failure(ValueError)
    assert "dataset.root: no such folder" in folder.failure(FileNotFoundError, root=str(folder.root / "none"))


def test_a_missing_picture_is_an_error_unless_it_may_be_dropped(folder: CheXpertFolder) -> None:
    (folder.base / "train/patient00001/study2/view1_frontal.jpg").unlink()
    assert "1 missing image file: row 4" in folder.failure(FileNotFoundError)
    assert len(folder.read(missing_images="drop").studies) == 3


def test_lists_that_name_pictures_with_three_folders_make_a_split(folder: CheXpertFolder, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    study = next(iter(TRAIN))
    for name, path in (
        ("train_list", study),
        ("val_list", "train/patient00002/study1"),
        ("test_list", "valid/patient64541/study1"),
    ):
        (lists / f"{name}.txt").write_text(f"CheXpert-v1.0-small/{path}/view1_frontal.jpg 0 0 0 0 0\n")
    source = folder.read(split="chexpert/mrm", split_lists=str(lists))
    assert {part: rows.tolist() for part, rows in source.splits.items()} == {
        "train": [0],
        "validation": [2],
        "test": [3],
    }
