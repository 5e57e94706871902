"""What the CSV reader says about bad tables, before any training."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from flvlp.data.images import ImageReadError
from flvlp.data.readers.config import PairsConfig
from flvlp.data.readers.pairs import read_pairs
from tests.data.readers.pairs_folder import ROWS, SECRET, Folder, changed


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


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
    assert len(folder.read([*ROWS, *rows], missing_images="drop").studies) == 3
    message = folder.failure(FileNotFoundError, changed(0, "Path_lateral", "other/b.png"))
    assert "1 missing image file: row 2 (" in message
    assert "1 missing image file: row 3 (" in folder.failure(FileNotFoundError, changed(1, "Path_frontal", "images"))


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
    (ValueError, changed(1, "Path_frontal", "/patient7.png"), "row 3 (#"),
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
