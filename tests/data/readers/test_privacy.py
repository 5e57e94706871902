"""Of a credentialed set no id, path or text is in a message, a traceback or a log line, whichever reader meets what."""

import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flvlp.data.readers import tree as trees
from tests.data.readers.leaky_trees import (
    CHEXPERT_HEADER,
    CHEXPERT_PATHS,
    PICTURES,
    SECRET,
    TABLES,
    damage,
    read_all,
    write_tree,
)


@dataclass(frozen=True)
class Damage:
    """What is wrong with a tree.

    Attributes:
        tree: key of `TABLES`.
        what: in a few words.
        changes: file -> its new content, None for a file that is not there.
        shows: what the message must say of an open set, beside the secret.
        knobs: of the data set.
    """

    tree: str
    what: str
    changes: Mapping[str, str | bytes | None]
    shows: str = "row 2"
    knobs: dict[str, Any] = field(default_factory=dict)


def changed(tree: str, name: str, old: str, new: str) -> dict[str, str]:
    """Replaces a piece of a table."""
    content = TABLES[tree][name]
    assert old in content, f"{name} of {tree} holds no {old!r}"
    return {name: content.replace(old, new, 1)}


def first_table(tree: str) -> str:
    return next(iter(TABLES[tree]))


NIH, BOXES, RSNA, CLASSES = (*TABLES["nih14"], *TABLES["rsna"])
RLE, MIRROR, OBJECTS, COVIDX, PHRASES = (
    first_table(tree) for tree in ("siim", "siim mirror", "object_cxr", "covidx", "ms_cxr")
)
OF_TABLES = [
    Damage(tree, f"{name} without a header", {name: content.split("\n", 1)[1]}, "the columns are")
    for tree, files in TABLES.items()
    for name, content in files.items()
    if name.endswith(".csv")
]
OF_PICTURES = [
    Damage(tree, what, {names[0]: content}, "row 1" if tree == "covidx" else "row 2")
    for tree, names in PICTURES.items()
    for what, content in (("an unreadable picture", b"no picture"), ("a missing picture", None))
]
OF_VALUES = [
    Damage("pairs", "an unknown label", changed("pairs", "table.csv", ",1,leaks", ",leak,leaks")),
    Damage("pairs", "an unknown split", changed("pairs", "table.csv", "train,1", "leak,1")),
    Damage("pairs", "a path outside", changed("pairs", "table.csv", "leaks/leak1.png", "../leak1.png")),
    Damage("pairs", "a patient in two parts", changed("pairs", "table.csv", "leakp2,train", "leakp1,val"), "row 3"),
    Damage("pairs", "an unreadable mask", {"leaks/leakmask.png": b"no picture"}),
    Damage("pairs", "a missing mask", {"leaks/leakmask.png": None}),
    Damage("nih14", "an unknown label", changed("nih14", NIH, "Mass", "leak|Mass")),
    Damage("nih14", "a box of an unknown class", changed("nih14", BOXES, "Mass", "leak")),
    Damage("nih14", "a box outside the picture", changed("nih14", BOXES, "Mass,1", "Mass,2000")),
    Damage("nih14", "a repeated id", changed("nih14", NIH, "leak2.png", "leak1.png"), "row 3"),
    Damage("nih14", "a path outside", changed("nih14", NIH, "leak1.png", "../../leak1.png")),
    Damage("rsna", "an unknown label", changed("rsna", RSNA, "9,1\n", "9,leak\n")),
    Damage("rsna", "a box that is none", changed("rsna", RSNA, "9,9", "9,leak")),
    Damage("rsna", "a box outside the picture", changed("rsna", RSNA, "leak1,1", "leak1,2000")),
    Damage("rsna", "an unknown class", changed("rsna", CLASSES, "Lung Opacity", "leak")),
    Damage("rsna", "two targets of a picture", changed("rsna", RSNA, "leak2,", "leak1,"), "row 3"),
    Damage("rsna", "a path outside", changed("rsna", RSNA, "leak2", "../../leak2"), "row 3"),
    Damage("siim", "run lengths that are none", changed("siim", RLE, "0 2", "leak 2")),
    Damage("siim", "a mask and none", changed("siim", RLE, "leak2", "leak1"), "row 3"),
    Damage("siim", "a path outside", changed("siim", RLE, "leak2", "../../leak2"), "row 3"),
    Damage("siim mirror", "an unknown label", changed("siim mirror", MIRROR, "leak1,1", "leak1,leak")),
    Damage("siim mirror", "an unreadable mask", {"png_masks/1_leak1.png": b"no picture"}),
    Damage("siim mirror", "a missing mask", {"png_masks/1_leak1.png": None}),
    Damage("object_cxr", "an object that is none", changed("object_cxr", OBJECTS, "0 1 1 4 4", "0 leak")),
    Damage("object_cxr", "a box outside the picture", changed("object_cxr", OBJECTS, "4 4", "4 99")),
    Damage("object_cxr", "a repeated id", changed("object_cxr", OBJECTS, "leak2", "leak1"), "row 3"),
    Damage(
        "object_cxr",
        "a size that is none",
        {"train.csv": "image_name,annotation,width,height\nleak1.jpg,0 1 1 4 4,leak,8\n"},
    ),
    Damage("covidx", "an unknown label", changed("covidx", COVIDX, "normal", "leak"), "row 1"),
    Damage("covidx", "two labels", {COVIDX: TABLES["covidx"][COVIDX] + "leakp leak1.png COVID-19\n"}, "row 3"),
    Damage("covidx", "two parts", {COVIDX: TABLES["covidx"][COVIDX] + "leakp leak3.png normal\n"}, "row 1"),
    Damage("covidx", "a path outside", changed("covidx", COVIDX, "leak1.png", "../../leak1.png"), "row 1"),
    Damage(
        "chexpert",
        "an unknown label",
        changed("chexpert", "train.csv", "Frontal,,", "Frontal,leak,"),
        knobs={"classes": "all"},
    ),
    Damage("chexpert", "an unknown view", changed("chexpert", "train.csv", "Frontal,,", "leak,,")),
    Damage("chexpert", "a path outside", changed("chexpert", "train.csv", "C/train", "../train")),
    Damage(
        "chexpert",
        "two labels of a study",
        {"train.csv": CHEXPERT_HEADER + "".join(f"{CHEXPERT_PATHS[0]},Frontal,{one}{',' * 13}\n" for one in "10")},
        "row 3",
    ),
    Damage(
        "chexpert",
        "a repeated id",
        {"train.csv": CHEXPERT_HEADER + f"{CHEXPERT_PATHS[0]},Frontal,{',' * 13}\n" * 2},
        "row 3",
        {"unit": "frontal"},
    ),
    Damage("iu_xray", "a repeated id", changed("iu_xray", "indiana_reports.csv", "leak2", "leak1"), "row 3"),
    Damage("ms_cxr", "an unknown category", changed("ms_cxr", PHRASES, "Edema", "leak")),
    Damage("ms_cxr", "an unknown split", changed("ms_cxr", PHRASES, "8,8,train", "8,8,leak")),
    Damage("ms_cxr", "a path outside", changed("ms_cxr", PHRASES, "files/p10/p10000001", "../p10/p10000001")),
    Damage("ms_cxr", "a box that is none", changed("ms_cxr", PHRASES, ",1,1,4,4", ",leak,1,4,4")),
    Damage("ms_cxr", "a box outside the picture", changed("ms_cxr", PHRASES, ",1,1,4,4", ",1,1,4,40")),
    Damage("ms_cxr", "two paths of a picture", changed("ms_cxr", PHRASES, "leak2,Edema", "leak1,Edema"), "row 3"),
    Damage("iu_xray", "an unknown view", changed("iu_xray", "indiana_projections.csv", "Frontal", "leak")),
]
DAMAGES = [*OF_TABLES, *OF_PICTURES, *OF_VALUES]


def shown_by(root: Path, tree: str, caplog: pytest.LogCaptureFixture, **knobs: Any) -> str:
    """Returns all that a run would show of a failure: log, message and traceback."""
    with caplog.at_level(logging.DEBUG), pytest.raises((ValueError, OSError)) as caught:
        read_all(root, tree, **knobs)
    lines = traceback.format_exception(caught.value)
    # The lines of code that a traceback quotes are ours, and the paths of the root are the user's own words.
    words = caplog.text + "".join(line for line in lines if not line.startswith("  File"))
    return words.replace(str(root), "")


@pytest.mark.parametrize("case", DAMAGES, ids=lambda case: f"{case.tree}: {case.what}")
def test_details_are_hidden_in_a_credentialed_set_and_shown_in_an_open_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, case: Damage
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_tree(root, case.tree)
    damage(root, case.changes)
    hidden = shown_by(root, case.tree, caplog, **case.knobs, credentialed=True)
    assert SECRET not in hidden, hidden
    caplog.clear()
    for knobs in ({}, {"credentialed": True, "log_ids": True}):
        words = shown_by(root, case.tree, caplog, **case.knobs, **knobs)
        assert SECRET in words, words
        assert case.shows in words, words


@pytest.mark.parametrize("tree", TABLES)
def test_a_good_tree_is_read_without_an_id_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tree: str
) -> None:
    write_tree(tmp_path, tree)
    with caplog.at_level(logging.DEBUG):
        read_all(tmp_path, tree, credentialed=True)
    words = caplog.text.replace(str(tmp_path), "")
    assert words, "nothing was logged at all"
    assert SECRET not in words, words


@pytest.mark.parametrize("tree", ["pairs", "chexpert"])
def test_a_folder_that_may_not_be_listed_is_not_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tree: str
) -> None:
    def refuse(path: Path) -> set[str]:
        raise PermissionError(13, "Permission denied", str(path))

    root = tmp_path / "root"
    root.mkdir()
    write_tree(root, tree)
    monkeypatch.setattr(trees, "file_names", refuse)
    words = shown_by(root, tree, caplog, credentialed=True)
    assert "may not be listed" in words
    assert SECRET not in words, words
    assert SECRET in shown_by(root, tree, caplog)
