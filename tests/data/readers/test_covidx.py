"""The reader of COVIDx: lists of every release, names with spaces, label sets, parts, lists that are not right."""

import gzip
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from flvlp.data.readers.files import FileSource
from tests.data.readers.roots import Root

TRAIN = (
    "3 SARS-10.1148rg.242035193-g04mr34g0-Fig8a-day0.jpeg pneumonia cohen",
    "4 nejmc2001573_f1a.jpeg COVID-19 cohen",
    "uuid-1 uuid-1.png normal rsna",
    "uuid-2 uuid-2.png normal rsna",
    "uuid-3 uuid-3.png normal rsna",
)
TEST = ("uuid-7 uuid-7.png normal", "COVID 70 COVID(70).png COVID-19 sirm", "9 b.JPG COVID-19 cohen")


class CovidxRoot(Root):
    """A root in the layout of Kaggle's copies; each picture has its own grey."""

    name = "covidx"
    step = 10


def names_of(lines: Sequence[str]) -> list[str]:
    return [next(word for word in line.split() if "." in word) for line in lines]


@pytest.fixture
def root(tmp_path: Path) -> CovidxRoot:
    made = CovidxRoot(tmp_path)
    made.lines("train_COVIDx9A.txt", TRAIN)
    made.lines("test_COVIDx9A.txt", TEST)
    made.pictures("train", names_of(TRAIN))
    made.pictures("test", names_of(TEST))
    return made


def labels_of(source: FileSource) -> list[list[float]]:
    assert source.labels is not None
    return source.labels.values.tolist()


def test_lines_with_and_without_a_source_are_read(root: CovidxRoot) -> None:
    source = root.read()
    assert [(study.study_id, study.patient_id) for study in source.studies][4:] == [
        ("train/uuid-3.png", "uuid-3"),
        ("test/uuid-7.png", "uuid-7"),
        ("test/COVID(70).png", "COVID 70"),
        ("test/b.JPG", "9"),
    ]
    assert [study.row for study in source.studies] == [1, 2, 3, 4, 5, 1, 2, 3]
    assert source.labels is not None
    assert source.labels.names == ("normal", "pneumonia", "COVID-19")
    assert labels_of(source) == [[0, 1, 0], [0, 0, 1], *[[1, 0, 0]] * 4, [0, 0, 1], [0, 0, 1]]
    assert [int(source.frontal(index)[0, 0]) for index in (2, 5, 6)] == [20, 0, 10]


def test_a_fifth_of_the_patients_of_train_is_validation(root: CovidxRoot) -> None:
    source = root.read()
    assert source.split_name == "covidx/official"
    assert {part: len(rows) for part, rows in source.splits.items()} == {"train": 4, "validation": 1, "test": 3}
    assert source.splits["test"].tolist() == [5, 6, 7]


def test_a_patient_of_train_and_test_stays_in_test(root: CovidxRoot, caplog: pytest.LogCaptureFixture) -> None:
    root.lines("test_COVIDx9A.txt", [*TEST[:2], "4 b.JPG COVID-19 cohen"])
    source = root.read()
    assert 1 not in [*source.splits["train"], *source.splits["validation"]]
    assert "1 patients are in more than one part" in caplog.text


def test_spaces_in_a_patient_and_in_a_file_name_are_told_apart_by_the_file(root: CovidxRoot) -> None:
    root.pictures("train", ["a scan of 1.png"])
    root.lines(
        "train_COVIDx9A.txt", [*TRAIN, "COVID 71 a scan of 1.png  COVID-19\tcohen", "P 5 uuid-4.png normal rsna"]
    )
    root.pictures("test", ["uuid-4.png"])
    source = root.read()
    assert (source.studies[5].study_id, source.studies[5].patient_id) == ("train/a scan of 1.png", "COVID 71")
    assert (source.studies[6].study_id, source.studies[6].patient_id) == ("train/uuid-4.png", "P 5")
    assert source.listing.frontal_paths[6] == "test/uuid-4.png", "a list of one release beside another's folders"


def test_kaggle_lists_have_two_labels_and_their_own_validation_part(tmp_path: Path) -> None:
    made = CovidxRoot(tmp_path)
    for part, lines in {
        "train": ["1 a.png positive ricord", "2 b.png negative rsna"],
        "val": ["3 a.png positive ricord"],
        "test": ["4 a.png negative rsna"],
    }.items():
        made.lines(f"{part}.txt", lines)
        made.pictures(part, names_of(lines))
    source = made.read()
    assert source.labels is not None
    assert source.labels.names == ("COVID-19",)
    assert labels_of(source) == [[1], [0], [1], [0]]
    ids = [study.study_id for study in source.studies]
    assert ids == ["train/a.png", "train/b.png", "val/a.png", "test/a.png"], "the same name in three parts"
    assert {part: rows.tolist() for part, rows in source.splits.items()} == {
        "train": [0, 1],
        "validation": [2],
        "test": [3],
    }


def test_the_newest_release_with_both_lists_is_read_and_logged(
    root: CovidxRoot, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    binary = [line.replace("pneumonia", "negative").replace("normal", "negative") for line in (*TRAIN, *TEST)]
    binary = [line.replace("COVID-19", "positive") for line in binary]
    for name in ("COVIDx8A", "COVIDx9B"):
        root.lines(f"train_{name}.txt", binary[:5])
        root.lines(f"test_{name}.txt", binary[5:])
    root.lines("train_COVIDx_CXR-3A.txt", TRAIN)
    assert len(labels_of(root.read())[0]) == 3
    assert "lists train_COVIDx9A.txt, test_COVIDx9A.txt" in caplog.text
    chosen = {"train_list": "train_COVIDx9B.txt", "test_list": "test_COVIDx9B.txt"}
    assert labels_of(root.read(**chosen)) == [[0], [1], [0], [0], [0], [0], [1], [1]]
    assert "set both or neither" in root.failure(ValueError, train_list="train_COVIDx9B.txt")
    assert "words of both label sets" in root.failure(ValueError, **{**chosen, "test_list": "test_COVIDx9A.txt"})
    assert "other.txt" in root.failure(FileNotFoundError, **{**chosen, "test_list": "other.txt"})


@pytest.mark.parametrize("prefix", ["", "data/"])
def test_folders_under_data_compressed_lists_and_converted_copies_are_read(tmp_path: Path, prefix: str) -> None:
    made = CovidxRoot(tmp_path)
    for part, lines in (("train", TRAIN), ("test", TEST)):
        (tmp_path / f"{part}_COVIDx7A.txt.gz").write_bytes(gzip.compress("\r\n".join(lines).encode()))
        made.pictures(f"{prefix}{part}", [Path(name).stem + ".png" for name in names_of(lines)])
    assert made.read().frontal(1)[0, 0] == 10


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("5 c.png covid cohen", "1 row: row 6 ('5 c.png covid cohen')"),
        ("5,c.png,normal,rsna", "1 row: row 6 ('5,c.png,normal,rsna')"),
        ("c.png normal", "1 row: row 6 ('c.png normal')"),
        ("normal", "1 row: row 6 ('normal')"),
        ("5 c.png normal a b", "1 row: row 6 ('5 c.png normal a b')"),
        ("uuid-1 uuid-1.png COVID-19 rsna", "another label than an earlier row has in 1 row: row 6"),
        ("5 ../../c.png normal rsna", "image path outside the root in 1 row: row 6"),
        ("5 uuid-1.jpg normal rsna", "the file of another picture stands for 1 row: row 6 ('train/uuid-1.jpg')"),
        ("x" * 90, "row 6 (<a text of 90 characters>)"),
    ],
)
def test_a_line_that_is_not_right_is_named(root: CovidxRoot, line: str, part: str) -> None:
    root.lines("train_COVIDx9A.txt", [*TRAIN, line])
    assert part in root.failure(ValueError)


def test_a_picture_in_two_lists_is_named_as_such(root: CovidxRoot) -> None:
    root.lines("test_COVIDx9A.txt", [*TEST, "uuid-1 uuid-1.png normal"])
    message = root.failure(ValueError)
    assert "also listed in another part: 1 row: row 4 ('test/uuid-1.png')" in message
    assert "suffix" not in message


def test_labels_are_compared_by_file_also_between_two_lists(root: CovidxRoot) -> None:
    root.lines("test_COVIDx9A.txt", [*TEST, "uuid-1 uuid-1.png pneumonia"])
    assert "another label than an earlier row has in 1 row: row 4 ('test/uuid-1.png')" in root.failure(ValueError)


def test_blank_lines_count_and_a_repeated_picture_is_left_out(
    root: CovidxRoot, caplog: pytest.LogCaptureFixture
) -> None:
    root.lines("train_COVIDx9A.txt", ["", *TRAIN, TRAIN[0], "  ", "uuid-9 uuid-1.png normal rsna"])
    source = root.read()
    assert [study.row for study in source.studies][:6] == [2, 3, 4, 5, 6, 1]
    assert source.studies[2].patient_id == "uuid-1"
    assert "2 rows repeat a picture and are left out, 1 of them under another patient" in caplog.text


def test_a_list_that_is_no_text_is_named(root: CovidxRoot) -> None:
    (root.path / "train_COVIDx9A.txt").write_bytes(b"1 \xff.png normal\n")
    assert "not UTF-8" in root.failure(ValueError)
    (root.path / "train_COVIDx9A.txt").rename(root.path / "train_COVIDx9A.txt.gz")
    assert "whole gzip file" in root.failure(ValueError)


def test_what_is_missing_is_named(root: CovidxRoot) -> None:
    (root.path / "test" / "COVID(70).png").unlink()
    assert "1 missing image file: row 2 ('test/COVID(70).png')" in root.failure(FileNotFoundError)
    assert len(root.read(missing_images="drop").studies) == 7
    (root.path / "test_COVIDx9A.txt").unlink()
    assert "no train and test list of one release" in root.failure(FileNotFoundError)
