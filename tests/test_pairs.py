"""The CSV reader: what it reads, and what it says about bad tables before any training."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flvlp.data.config import PairsConfig
from flvlp.data.files import FileSource
from flvlp.data.images import ImageReadError
from flvlp.data.pairs import read_pairs

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


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def changed(row: int, column: str, value: str) -> list[tuple[str, ...]]:
    """The rows with one value replaced; `row` counts from 0."""
    rows = [list(values) for values in ROWS]
    rows[row][HEADER.index(column)] = value
    return [tuple(values) for values in rows]


def test_studies_views_and_reports_are_read(folder: Folder) -> None:
    source = folder.read()
    assert [study.has_lateral for study in source.studies] == [True, False, False]
    assert [study.patient_id for study in source.studies] == ["p1", "p2", "p3"]
    assert source.studies[0].report == "Normal. Clear lungs."
    assert source.frontal_paths[1] == str(folder.path / "images" / "c.png")
    assert source.lateral_paths[1:] == ["", ""]
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


def test_relative_paths_start_from_root_and_absolute_ones_are_taken_as_they_are(folder: Folder, tmp_path: Path) -> None:
    rows = [("a.png", str(tmp_path / "images" / "b.png"), "x", "p1", ""), ("../images/c.png", "", "x", "p2", "")]
    source = folder.read(rows[:1], root=str(tmp_path / "images"))
    assert source.frontal(0)[0, 0] == 0
    assert source.lateral(0)[0, 0] == 1
    assert folder.read([("images/../images/c.png", "", "x", "p2", "")]).frontal(0)[0, 0] == 2
    message = folder.failure(ValueError, rows, root=str(tmp_path / "images"))
    assert "1 row: row 3 ('../images/c.png')" in message
    assert "dataset.root" in message


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


def test_a_missing_csv_is_named_with_its_key(folder: Folder) -> None:
    assert "dataset.csv: is empty" in folder.failure(ValueError, csv="")
    message = folder.failure(FileNotFoundError, csv="nowhere.csv")
    assert message.startswith("nowhere.csv: no such CSV file")
    assert "set dataset.csv" in message


@pytest.mark.parametrize("key", ["frontal_column", "lateral_column", "report_column", "patient_column", "split_column"])
def test_a_missing_column_lists_the_columns_and_the_key_to_set(folder: Folder, key: str) -> None:
    message = folder.failure(ValueError, **{key: "absent"})
    assert f"no column 'absent' (dataset.{key})" in message
    assert "Path_frontal, Path_lateral, Report, patient, part" in message
    assert f"set dataset.{key}" in message


def test_two_keys_may_not_name_the_same_column(folder: Folder) -> None:
    message = folder.failure(ValueError, changed(0, "Report", SECRET), frontal_column="Report")
    assert "dataset.report_column: names the column 'Report' of dataset.frontal_column" in message


def test_missing_image_files_are_counted_and_the_first_ones_named(folder: Folder) -> None:
    rows = [(f"images/none{number}.png", "", "x", f"p{number}", "") for number in range(7)]
    message = folder.failure(FileNotFoundError, [*ROWS, *rows])
    assert f"7 missing image files: row 5 ('{folder.path / 'images' / 'none0.png'}'), row 6" in message
    assert "row 9 (" in message
    assert "row 10 (" not in message
    assert ", ...;" in message
    assert "dataset.root" in message
    message = folder.failure(FileNotFoundError, changed(0, "Path_lateral", "other/b.png"))
    assert "1 missing image file: row 2 (" in message
    assert "1 missing image file: row 3 (" in folder.failure(FileNotFoundError, changed(1, "Path_frontal", "images"))


@pytest.mark.parametrize("report", ["", "  ", "FINDINGS:  IMPRESSION: "])
def test_an_empty_report_is_named_by_row_and_key(folder: Folder, report: str) -> None:
    message = folder.failure(ValueError, changed(1, "Report", report))
    assert "blank 'Report' (dataset.report_column) in 1 row: row 3;" in message


def test_a_blank_frontal_and_a_blank_patient_are_named_by_row_and_key(folder: Folder) -> None:
    message = folder.failure(ValueError, changed(2, "Path_frontal", " "))
    assert "blank 'Path_frontal' (dataset.frontal_column) in 1 row: row 4;" in message
    message = folder.failure(ValueError, changed(0, "patient", ""))
    assert "blank 'patient' (dataset.patient_column) in 1 row: row 2;" in message


def test_a_table_without_a_study_is_an_error(folder: Folder) -> None:
    assert "no study" in folder.failure(ValueError, [])


def test_a_root_that_does_not_exist_is_an_error(folder: Folder) -> None:
    message = folder.failure(FileNotFoundError, root=str(folder.path / "nowhere"))
    assert "dataset.root: no such folder" in message


def test_an_unknown_split_lists_the_known_ones(folder: Folder) -> None:
    message = folder.failure(ValueError, changed(1, "part", "dev"), split_column="part")
    assert "column 'part' (dataset.split_column): unknown split in 1 row: row 3 ('dev')" in message
    assert "known: train, validation, validate, valid, val, test" in message
    message = folder.failure(ValueError, changed(1, "part", SECRET), split_column="part")
    assert f"<a text of {len(SECRET)} characters>" in message


def test_a_patient_in_two_splits_is_named_with_rows(folder: Folder) -> None:
    message = folder.failure(ValueError, changed(1, "patient", "p1"), split_column="part")
    assert "1 patient in two splits: 'p1' in train (row 2) and validation (row 3)" in message
    assert "dataset.split_column" in message


def test_a_split_column_without_train_is_an_error(folder: Folder) -> None:
    message = folder.failure(ValueError, [ROWS[1]], split_column="part")
    assert "no study is left for training" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no header"),
        (b"Path_frontal,Path_lateral,Report\na.png,,caf\xe9\n", "not UTF-8"),
        (b"Path_frontal,Path_lateral,Report\na.png,,x\na.png,,x, a secret\n", "line 3"),
        (b"Path_frontal,Path_lateral,Report\na.png,,x, a secret\n", "not a well-formed CSV"),
        (b'Path_frontal,Path_lateral,Report\na.png,,"a secret\n', "not a well-formed CSV"),
    ],
)
def test_a_file_that_is_no_csv_is_refused_with_the_reason(folder: Folder, content: bytes, words: str) -> None:
    folder.csv.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_pairs(PairsConfig(csv=str(folder.csv)))
    assert str(folder.csv) in str(caught.value)
    assert "secret" not in str(caught.value)


BAD_TABLES = (
    (FileNotFoundError, changed(1, "Path_frontal", "images/patient7.png"), "row 3 (#"),
    (ValueError, changed(1, "Path_frontal", "../patient7.png"), "row 3 (#"),
    (ValueError, changed(1, "part", "patient7"), "row 3 (#"),
    (ValueError, [(*row[:3], "patient7", row[4]) for row in ROWS], "validation (row 3)"),
)


@pytest.mark.parametrize(("error", "rows", "words"), BAD_TABLES)
def test_messages_of_a_credentialed_set_name_rows_and_hashes_in_place_of_ids(
    folder: Folder, error: type[Exception], rows: Sequence[Sequence[str]], words: str
) -> None:
    hidden = folder.failure(error, rows, split_column="part", credentialed=True)
    assert "patient7" not in hidden
    assert words in hidden
    assert "patient7" in folder.failure(error, rows, split_column="part")
    assert "patient7" in folder.failure(error, rows, split_column="part", credentialed=True, log_ids=True)


def test_an_unreadable_image_is_named_or_hidden_when_it_is_read(folder: Folder) -> None:
    (folder.path / "images" / "d.png").write_bytes(b"broken")
    with pytest.raises(ImageReadError, match=r"study 'row-4', row 4: .*d\.png") as caught:
        folder.read().frontal(2)
    assert caught.value.path.endswith("d.png")
    with pytest.raises(ImageReadError, match=r"row 4: an image cannot be read \(neither PNG") as caught:
        folder.read(credentialed=True).frontal(2)
    assert "d.png" not in str(caught.value) + caught.value.path
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_asking_for_an_absent_lateral_is_an_error(folder: Folder) -> None:
    with pytest.raises(ValueError, match="row 3: has no lateral view"):
        folder.read().lateral(1)
