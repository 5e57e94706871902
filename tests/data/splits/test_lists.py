"""Id lists in the forms that the field has published, and what is said about lists that do not fit."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flvlp.data.splits.lists import PART_FILES, key_of, read_list, read_lists

SIIM_ID = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819"
UUID = "0004cfab-14fd-4e49-80ba-63a80b6bddd6"


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# What a list holds -> the keys of its pictures, without folders.
FORMS: dict[str, tuple[str | bytes, list[str]]] = {
    "MRM, NIH": (
        b"00000001_000.png 0 1 0 0 0 0 0 0 0 0 0 0 0 0\r\n00000001_001.png 0 1 0 0 0 0 0 0 0 0 1 0 0 0",
        ["00000001_000", "00000001_001"],
    ),
    "MRM, RSNA": (f"stage_2_train_images/{UUID}.dcm 0 \nstage_2_train_images/b.dcm 1 \n", [UUID, "b"]),
    "MRM, SIIM": (
        f"{SIIM_ID}\n1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850820\n",
        [SIIM_ID, SIIM_ID[:-2] + "20"],
    ),
    "MRM, COVID": (
        "radiol.2020200490.fig3.jpeg 1\n1-s2.0-S2387-gr2_lrg-a.jpg 0\n",
        ["radiol.2020200490.fig3", "1-s2.0-S2387-gr2_lrg-a"],
    ),
    "ECAMP, NIH": ("images_007/00013955_000.png 0 0 1 0\n", ["00013955_000"]),
    "ECAMP, RSNA": (f"train_images/{UUID}.png 0 \n", [UUID]),
    "ECAMP, COVIDx": ("train/A944627-1-1.jpg 2\ntest/0a-b1.png 1\n", ["A944627-1-1", "0a-b1"]),
    "ECAMP, boxes": (
        f'image_path,bbox\ntrain_images/{UUID}.png,"[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]"\n',
        [UUID],
    ),
    "ECAMP, masks": (
        f"ImageId,EncodedPixels\n{SIIM_ID},-1\n{SIIM_ID[:-1]}7,387620 23 996\n",
        [SIIM_ID, SIIM_ID[:-1] + "7"],
    ),
    "BenchX, RSNA": (f"{UUID}\n", [UUID]),
    "BenchX, COVIDx": ("train/7e3a-1.png\ntrain/COVID-00003b.jpg\n", ["7e3a-1", "COVID-00003b"]),
    "BenchX, Object-CXR": ("01674\n00002\n", ["01674", "00002"]),
    "BenchX, SIIM": ("1898_train_0_\n2_train_1_\n", ["1898_train_0_", "2_train_1_"]),
    "names with spaces": ("train/COVID 70 (2).png 1\nLung Opacity-7.PNG\t0\n", ["COVID 70 (2)", "Lung Opacity-7"]),
    "a table": ('Path,Sex,Age\n"train/a 1.jpg","Male",60\n"b2.jpg","Female",61\n', ["a 1", "b2"]),
    "tabs": ("Image Index\tFinding\na_1.png\t0\n7\t1\n", ["a_1", "7"]),
    "a byte order mark and blank lines": (b"\xef\xbb\xbf\r\n01.png\r\n\r\n  \r\n02.png\r\n", ["01", "02"]),
    "lines of separators alone": ('1.png\n,\n\t ,\n""\n"\n2\n', ["1", "2"]),
    "names that have no digit": ("alpha.png\nbeta.png\n", ["alpha", "beta"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_list_of_the_field_is_read_line_by_line_without_its_labels(form: str, tmp_path: Path) -> None:
    content, keys = FORMS[form]
    assert read_list(written(tmp_path / "list.txt", content)) == keys


@pytest.mark.parametrize(
    "line",
    [
        "CheXpert-v1.0-small/train/patient40259/study3/view1_frontal.jpg 0 0 0 1 0",
        "CheXpert-v1.0/train/patient40259/study3/view1_frontal.jpg,Male,60",
        "train/patient40259/study3/view1_frontal.jpg 0 0 0 1 0 ",
        "/train/patient40259/study3/view1_frontal.png",
        "CheXpert\\train\\patient40259\\study3\\view1_frontal.jpg 1",
    ],
)
def test_folders_tell_pictures_of_the_same_name_apart(line: str, tmp_path: Path) -> None:
    keys = read_list(written(tmp_path / "list.txt", f"{line}\n"), folders=3)
    assert keys == ["train/patient40259/study3/view1_frontal"]


def test_the_key_of_a_picture_has_as_many_folders_as_asked_or_as_there_are() -> None:
    name = "a/b/c.dcm.png"
    assert [key_of(name, folders) for folders in range(4)] == ["c", "b/c", "a/b/c", "a/b/c"]
    assert key_of("/c.JPG", 2) == "c"


@pytest.mark.parametrize("suffix", ["", ".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".dcm.png", ".PNG", ".DCM"])
def test_a_key_loses_the_suffix_of_a_picture_and_nothing_else_behind_a_dot(suffix: str) -> None:
    assert key_of(SIIM_ID + suffix) == SIIM_ID
    assert key_of(f"radiol.2020200490.fig3{suffix}") == "radiol.2020200490.fig3"


names = st.from_regex(r"[a-z0-9_.-]{0,12}[0-9]", fullmatch=True)


@given(names, st.sampled_from([".png", ".jpg", ".jpeg", ".dcm"]), st.sampled_from(["", "train/", "a b/c/"]))
def test_list_and_data_set_give_a_picture_the_same_key(name: str, suffix: str, folder: str) -> None:
    assert key_of(folder + name + suffix) == key_of(name) == key_of(key_of(name))


def test_a_missing_list_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt: no such list.*set dataset\.split_lists"):
        read_list(tmp_path / "none.txt")
    with pytest.raises(FileNotFoundError, match="no such list"):
        read_list(tmp_path)


@pytest.mark.parametrize("content", ["", "\n \r\n", "Image Index,Finding Labels\n"])
def test_a_list_without_a_picture_is_an_error(content: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"list\.txt: names no picture; a list has one picture a line"):
        read_list(written(tmp_path / "list.txt", content))


@pytest.mark.parametrize("content", [b"0\xe9.png\n", "01.png\n".encode("utf-16")])
def test_a_list_that_is_not_utf_8_is_an_error_with_the_place(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"list\.txt: not UTF-8 \(.*byte \d+\); save the list as UTF-8"):
        read_list(written(tmp_path / "list.txt", content))


def folder_of(path: Path, train: str, validation: str, test: str) -> Path:
    for part, lines in (("train", train), ("validation", validation), ("test", test)):
        written(path / PART_FILES[part][0], lines)
    return path


def test_each_picture_gets_the_part_of_its_list_and_one_that_no_list_names_gets_none(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "1.png 0\n2.png 0\n", "3.png 0\n", "4.png 1\n99.png 0\n")
    assert read_lists(folder, ["4", "1", "5", "3", "2"]) == ["test", "train", "", "validation", "train"]


def test_keys_of_folders_are_looked_up_with_their_folders(tmp_path: Path) -> None:
    lines = [f"train/patient{number}/study1/view1_frontal.jpg 0\n" for number in range(3)]
    keys = [f"train/patient{number}/study1/view1_frontal" for number in (2, 0, 1)]
    assert read_lists(folder_of(tmp_path, *lines), keys, folders=3) == ["test", "train", "validation"]


@pytest.mark.parametrize("names", [("train.txt", "val.txt", "test.txt"), ("train.csv", "valid.csv", "test.csv")])
def test_other_usual_names_of_the_lists_are_found(names: tuple[str, str, str], tmp_path: Path) -> None:
    for number, name in enumerate(names):
        written(tmp_path / name, f"{number}\n")
    assert read_lists(tmp_path, ["0", "1", "2"]) == ["train", "validation", "test"]


def test_a_picture_in_two_lists_stays_in_the_later_part_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(tmp_path, "1\n2\n3\n4\n", "2\n4\n5\n", "3\n4\n6\n")
    with caplog.at_level(logging.WARNING):
        parts = read_lists(folder, [str(number) for number in range(1, 7)])
    assert parts == ["train", "validation", "test", "test", "validation", "test"]
    assert "3 pictures are in two lists" in caplog.text
    assert str(folder) in caplog.text


def test_lists_without_a_common_picture_give_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_lists(folder_of(tmp_path, "1\n1\n", "2\n", "3\n"), ["1", "2", "3"])
    assert "two lists" not in caplog.text


def test_of_validation_and_test_lists_that_are_the_same_only_test_is_left(tmp_path: Path) -> None:
    assert read_lists(folder_of(tmp_path, "1\n", "2\n3\n", "2\n3\n"), ["1", "2", "3"]) == ["train", "test", "test"]


@pytest.mark.parametrize("part", PART_FILES)
def test_a_missing_part_is_named_with_the_names_that_its_list_may_have(part: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "1\n", "2\n", "3\n")
    (folder / PART_FILES[part][0]).unlink()
    with pytest.raises(FileNotFoundError, match=rf"no list for {part} .*set dataset\.split_lists") as caught:
        read_lists(folder, ["1"])
    assert all(name in str(caught.value) for name in PART_FILES[part])


def test_a_folder_that_is_not_there_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no list for train"):
        read_lists(tmp_path / "nowhere", ["1"])


def test_lists_of_another_data_set_are_an_error_that_shows_one_name_of_each(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "00000001_000.png\n", "00000002_000.png\n", "00000003_000.png\n")
    with pytest.raises(ValueError, match="none of the 3 listed pictures is in the data set") as caught:
        read_lists(folder, [SIIM_ID])
    assert "'00000001_000'" in str(caught.value)
    assert repr(SIIM_ID) in str(caught.value)
