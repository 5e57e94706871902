"""Finding pictures below a root, also as converted copies."""

import os
from pathlib import Path

import pytest

from flvlp.data.readers import tree as tree_module
from flvlp.data.readers.tree import Tree, file_names, leaves_root, stem_of


def files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    "copy", ["a.png", "a.jpg", "a.jpeg", "a.dcm.png", "a.dcm", "a.dicom", "a.PNG", "a.JPG", "a.DCM", "a"]
)
@pytest.mark.parametrize("published", ["a.png", "a.dcm", "a.jpg", "a.dcm.png"])
def test_a_converted_copy_is_found_for_the_published_name(published: str, copy: str, tmp_path: Path) -> None:
    found = Tree(files(tmp_path, f"images/{copy}")).find(f"images/{published}")
    assert found == ("" if copy == "a" else f"images/{copy}")


def test_the_published_name_wins_over_copies_and_png_over_jpeg(tmp_path: Path) -> None:
    tree = Tree(files(tmp_path, "a.dcm", "a.png", "a.jpg", "b.png", "b.jpg"))
    assert tree.find("a.dcm") == "a.dcm"
    assert tree.find("a.jpeg") == "a.png"
    assert tree.find("b.dcm") == "b.png"


def test_a_name_keeps_what_is_no_suffix_of_a_picture(tmp_path: Path) -> None:
    tree = Tree(files(tmp_path, "1.2.840.png", "1.2.841"))
    assert tree.find("1.2.840.dcm") == "1.2.840.png"
    assert tree.find("1.2.840") == "1.2.840.png"
    assert tree.find("1.2.841") == "1.2.841"
    assert tree.find("1.2") == ""


def test_a_folder_is_no_picture_and_another_folder_is_not_searched(tmp_path: Path) -> None:
    tree = Tree(files(tmp_path, "a.png/inside.txt", "b/c.png"))
    assert tree.find("a.png") == ""
    assert tree.find("c.png") == ""
    assert tree.find("none/c.png") == ""
    assert tree.find("b/c.png/d.png") == ""
    assert tree.names("none") == set()


def test_links_to_files_count_and_broken_ones_do_not(tmp_path: Path) -> None:
    files(tmp_path, "real/a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "real" / "a.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "nowhere.png")
    assert Tree(tmp_path).names("") == {"b.png"}


def test_every_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []

    def counted(folder: Path) -> set[str]:
        listed.append(str(folder))
        return file_names(folder)

    monkeypatch.setattr(tree_module, "file_names", counted)
    tree = Tree(files(tmp_path, *(f"images/{number}.png" for number in range(20))))
    assert all(tree.find(f"images/{number}.dcm") for number in range(20))
    assert [tree.find("none/a.png") for _ in range(3)] == [""] * 3
    assert listed == [str(tmp_path / "images"), str(tmp_path / "none")]


def test_an_absolute_path_is_found_as_it_is(tmp_path: Path) -> None:
    path = str(files(tmp_path, "elsewhere/a.png") / "elsewhere" / "a.png")
    assert Tree(tmp_path / "root", is_open=True).find(path) == path


def test_names_that_no_file_system_allows_are_not_there(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert tree.find("a\0b/c.png") == ""
    assert tree.find("x" * 5000 + "/c.png") == ""


def test_a_folder_that_may_not_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(folder: object) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(PermissionError):
        Tree(tmp_path).find("images/a.png")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("54_IM-2145-1001.dcm.png", "54_IM-2145-1001"),
        ("a.b.JPEG", "a.b"),
        ("a.DICOM", "a"),
        ("1.2.276.850819", "1.2.276.850819"),
        ("a.txt", "a.txt"),
        ("", ""),
    ],
)
def test_a_stem_loses_the_suffixes_of_pictures_alone(name: str, stem: str) -> None:
    assert stem_of(name) == stem


@pytest.mark.parametrize("path", ["/a", "../a", "a/../../b", "..", "a/../..", "\\\\server\\a"])
def test_a_path_that_climbs_out_or_starts_elsewhere_leaves_the_root(path: str) -> None:
    assert leaves_root(path)


@pytest.mark.parametrize("path", ["", "a", "a/../b", "..a/b", "a/..b", "a..b.png", "./a", "a/./../b"])
def test_a_path_with_two_dots_that_stays_below_is_no_trouble(path: str) -> None:
    assert not leaves_root(path)
