"""The CSV reader: what it reads."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flvlp.data.readers.config import PairsConfig
from flvlp.data.readers.pairs import read_pairs
from tests.data.readers.pairs_folder import HEADER, ROWS, Folder, changed


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_studies_views_and_reports_are_read(folder: Folder) -> None:
    source = folder.read()
    assert [study.has_lateral for study in source.studies] == [True, False, False]
    assert [study.patient_id for study in source.studies] == ["p1", "p2", "p3"]
    assert source.studies[0].report == "Normal. Clear lungs."
    assert source.listing.frontal_paths[1] == str(folder.path / "images" / "c.png")
    assert source.listing.lateral_paths[1:] == ["", ""]
    assert source.frontal(2).tolist() == [[3] * 5] * 4
    assert source.lateral(0).tolist() == [[1] * 5] * 4
    assert sorted([*source.splits["train"], *source.splits["validation"]]) == [0, 1, 2]


def test_rows_are_lines_of_the_file_behind_reports_of_several_lines_and_blank_rows(folder: Folder) -> None:
    rows = [("images/a.png", "", "one\ntwo\nthree", "p1", ""), ("",) * 5, ("images/c.png", "", "x", "p2", "")]
    source = folder.read(rows)
    assert [study.row for study in source.studies] == [2, 6]
    assert [study.study_id for study in source.studies] == ["row-2", "row-6"]
    assert folder.csv.read_text().splitlines()[5].startswith("images/c.png")
    folder.csv.write_bytes(folder.csv.read_bytes().replace(b",,,,", b"").replace(b"\r\n", b"\n"))
    source = read_pairs(PairsConfig(csv=str(folder.csv), patient_column="patient"))
    assert [study.row for study in source.studies] == [2, 6]


def test_relative_paths_start_from_root_and_absolute_ones_below_it_are_taken(folder: Folder, tmp_path: Path) -> None:
    rows = [("a.png", str(tmp_path / "images" / "b.png"), "x", "p1", ""), ("../images/c.png", "", "x", "p2", "")]
    source = folder.read(rows[:1], root=str(tmp_path / "images"))
    assert source.frontal(0)[0, 0] == 0
    assert source.lateral(0)[0, 0] == 1
    assert folder.read([("images/../images/c.png", "", "x", "p2", "")]).frontal(0)[0, 0] == 2
    message = folder.failure(ValueError, rows, root=str(tmp_path / "images"))
    assert "1 row: row 3 ('../images/c.png')" in message
    assert "dataset.root" in message


@pytest.mark.parametrize("column", ["Path_frontal", "Path_lateral"])
@pytest.mark.parametrize(
    "path", ["{root}/images/a.png", "{root}/images/../images/a.png", "{root}/../{name}/images/a.png"]
)
def test_an_absolute_path_below_the_root_needs_no_key(folder: Folder, column: str, path: str) -> None:
    rows = changed(0, column, path.format(root=folder.path, name=folder.path.name))
    source = folder.read(rows)
    assert (source.frontal if column == "Path_frontal" else source.lateral)(0).tolist() == [[0] * 5] * 4


@pytest.mark.parametrize("column", ["Path_frontal", "Path_lateral"])
@pytest.mark.parametrize(
    "path", ["{0}/images/b.png", "{0}/inside/../images/b.png", "{0}/inside-2/b.png", "/{0}/inside/b.png"]
)
def test_an_absolute_path_leaves_the_root_with_the_key_alone(folder: Folder, column: str, path: str) -> None:
    for name in ("inside", "inside-2"):
        shutil.copytree(folder.path / "images", folder.path / name / "images")
        shutil.copytree(folder.path / "images", folder.path / name, dirs_exist_ok=True)
    rows, root = changed(0, column, path.format(folder.path)), str(folder.path / "inside")
    message = folder.failure(ValueError, rows, root=root)
    assert f"absolute image path outside the root in 1 row: row 2 ('{path.format(folder.path)}')" in message
    assert f"the root is {root}; set dataset.root to the common folder, or dataset.outside_root=true" in message
    source = folder.read(rows, root=root, outside_root=True)
    assert (source.frontal if column == "Path_frontal" else source.lateral)(0).tolist() == [[1] * 5] * 4


def test_the_key_lets_no_relative_path_out(folder: Folder, tmp_path: Path) -> None:
    rows = changed(0, "Path_frontal", "../images/a.png")
    message = folder.failure(ValueError, rows, root=str(tmp_path / "images"), outside_root=True)
    assert "1 row: row 2 ('../images/a.png')" in message
    assert "write absolute paths and set dataset.outside_root=true" in message


def test_a_root_behind_a_link_is_known_by_both_names_and_links_below_it_are_followed(
    folder: Folder, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "far").symlink_to(tmp_path / "images")
    (tmp_path / "link").symlink_to(tmp_path / "root")
    for name in ("root", "link"):
        rows = [("far/a.png", str(tmp_path / name / "far" / "b.png"), "x", "p1", "")]
        source = folder.read(rows, root=str(tmp_path / "link"))
        assert source.frontal(0)[0, 0] == 0
        assert source.lateral(0)[0, 0] == 1


def test_a_byte_order_mark_and_the_value_na_are_no_trouble(folder: Folder) -> None:
    folder.read()
    folder.csv.write_bytes(b"\xef\xbb\xbf" + folder.csv.read_bytes().replace(b"p2", b"NA"))
    source = read_pairs(PairsConfig(csv=str(folder.csv), patient_column="patient"))
    assert source.studies[1].patient_id == "NA"


def test_without_a_patient_column_every_row_is_a_patient(folder: Folder) -> None:
    assert len({study.patient_id for study in folder.read(patient_column="").studies}) == 3


def test_a_split_column_is_followed_and_test_is_kept_apart(folder: Folder) -> None:
    splits = folder.read(split_column="part").splits
    assert {part: rows.tolist() for part, rows in splits.items()} == {"train": [0, 2], "validation": [1]}
    splits = folder.read(changed(2, "part", "Test"), split_column="part").splits
    assert {part: rows.tolist() for part, rows in splits.items()} == {"train": [0], "validation": [1], "test": [2]}


@pytest.mark.parametrize("name", ["validation", "validate", "valid", "val", "Validate"])
def test_every_name_of_the_validation_part_is_known(folder: Folder, name: str) -> None:
    assert folder.read(changed(1, "part", name), split_column="part").splits["validation"].tolist() == [1]


def test_without_a_report_or_a_lateral_column_nobody_has_one(folder: Folder) -> None:
    source = folder.read(report_column="", lateral_column="")
    assert [(study.report, study.has_lateral) for study in source.studies] == [("", False)] * 3


@pytest.mark.parametrize("report", ["", "  ", "FINDINGS:  IMPRESSION: "])
def test_a_study_without_text_is_dropped_with_a_tally(
    folder: Folder, report: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        source = folder.read(changed(1, "Report", report), split_column="part")
    assert "kept 2 of 3 studies; dropped: 0 without a frontal view, 1 without text" in caplog.text
    assert [study.row for study in source.studies] == [2, 4]
    assert source.splits["train"].tolist() == [0, 1]


def test_the_report_policy_decides_what_is_text(folder: Folder) -> None:
    rows = changed(2, "Report", "FINDINGS: Effusion.")
    assert [study.report for study in folder.read(rows, report_policy="impression").studies] == [
        "Normal.",
        "No effusion.",
    ]


def test_labels_and_masks_are_read_where_columns_are_named(folder: Folder) -> None:
    header = (*HEADER, "effusion", "mask")
    rows = [
        (*row, label, mask) for row, label, mask in zip(ROWS, ("1", "", "0"), ("images/d.png", "", " "), strict=True)
    ]
    Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8)).save(folder.path / "images" / "d.png")
    source = folder.read(rows, header, label_columns=["effusion"], mask_column="mask")
    assert source.labels is not None
    assert source.masks is not None
    assert source.labels.names == ("effusion",)
    assert np.array_equal(source.labels.values, np.array([[1], [np.nan], [0]], np.float32), equal_nan=True)
    assert source.masks.of(0).tolist() == [[False, False, True, True]]
    assert not source.masks.of(1).any()
    rows[1] = (*ROWS[1], "maybe", "images/none.png")
    assert "'effusion' has an unknown value in 1 row: row 3 ('maybe')" in folder.failure(
        ValueError, rows, header, label_columns=["effusion"]
    )
    assert "1 missing mask file: row 3" in folder.failure(FileNotFoundError, rows, header, mask_column="mask")
    rows[1] = (*ROWS[1], "", str(folder.path / "table.csv"))
    message = folder.failure(ValueError, rows, header, mask_column="mask", root=str(folder.path / "images"))
    assert "outside the root in 1 row: row 3" in message


def test_a_missing_mask_of_a_dropped_row_is_no_trouble(folder: Folder) -> None:
    header = (*HEADER, "mask")
    rows = [(*row, mask) for row, mask in zip(ROWS, ("images/d.png", "images/none.png", ""), strict=True)]
    (folder.path / "images" / "c.png").unlink()
    source = folder.read(rows, header, mask_column="mask", missing_images="drop")
    assert [study.row for study in source.studies] == [2, 4]
    assert source.masks is not None
    assert not source.masks.of(1).any()
