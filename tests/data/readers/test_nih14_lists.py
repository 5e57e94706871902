"""The official lists of NIH ChestX-ray14, and those of others."""

from pathlib import Path

import pytest

from tests.data.readers.test_nih14 import ROWS, Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_the_official_lists_make_the_official_split_with_a_tenth_of_the_patients_for_validation(folder: Folder) -> None:
    source = folder.read(split="")
    assert source.split_name == "nih14/official"
    assert source.splits["test"].tolist() == [2]
    assert sorted([*source.splits["train"], *source.splits["validation"]]) == [0, 1, 3]
    assert source.splits["validation"].tolist() in ([0, 1], [3])


@pytest.mark.parametrize("lost", ["train_val_list.txt", "test_list.txt"])
def test_without_a_list_the_official_split_is_an_error_and_others_can_be_made(lost: str, folder: Folder) -> None:
    folder.remove(lost)
    message = folder.failure(split="nih14/official")
    assert f"{lost} is not in" in message
    assert "nih14/patient" in message
    assert folder.read(split="nih14/patient", validation_fraction=0.25).split_name == "nih14/patient"


def test_the_missing_list_alone_is_named(folder: Folder) -> None:
    folder.remove("test_list.txt")
    message = folder.failure(split="nih14/official")
    assert "test_list.txt is not in" in message
    assert "train_val_list.txt" not in message
    folder.remove("train_val_list.txt")
    assert "train_val_list.txt and test_list.txt are not in" in folder.failure(split="nih14/official")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe0"])
def test_a_bad_list_of_the_publisher_stops_the_official_split_alone_and_is_no_matter_of_split_lists(
    content: bytes, folder: Folder
) -> None:
    (folder.path / "test_list.txt").write_bytes(content)
    for split in ("", "nih14/official"):
        message = folder.failure(split=split)
        assert "test_list.txt: cannot be read as the publisher's list" in message
        assert "dataset.split_lists" not in message
    assert folder.read(split="nih14/patient").split_name == "nih14/patient"


def test_lists_of_other_pictures_are_not_said_to_be_missing(folder: Folder) -> None:
    for name in ("train_val_list.txt", "test_list.txt"):
        folder.lines(name, ["00000099_000.png"])
    assert "train_val_list.txt and test_list.txt name no picture of the table" in folder.failure(split="nih14/official")


def test_lists_of_mrm_make_their_split(folder: Folder, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    for name, row in (("train_list.txt", 3), ("val_list.txt", 2), ("test_list.txt", 0)):
        (lists / name).write_bytes(f"{ROWS[row][0]} 0 0 1 0 0 0 0 0 0 0 0 0 0 0".encode())
    splits = folder.read(split="nih14/mrm", split_lists=str(lists)).splits
    assert {part: rows.tolist() for part, rows in splits.items()} == {"train": [3], "validation": [2], "test": [0]}
