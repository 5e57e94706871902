"""What the doctor expects of a download: pictures are pictures, and names are those of the configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flvlp.data.doctor import MISSING, OK, WRONG, examine
from flvlp.data.phantom.standin import WRITERS
from flvlp.data.readers.build import READERS
from flvlp.data.readers.config import DATASET_CONFIGS


def states(name: str, root: Path, **knobs: Any) -> dict[str, str]:
    """Returns what the doctor says of each part of a download."""
    config = DATASET_CONFIGS[name](**{"name": name, "root": str(root), **knobs})
    return {check.what: check.state for check in examine(root, READERS[name][1](config), hides=False)}


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(path)


@pytest.mark.parametrize("name", WRITERS)
def test_a_stand_in_lacks_nothing_that_is_needed(name: str, folder_of: Callable[[str], Path]) -> None:
    found = states(name, folder_of(name))
    assert not {what for what, state in found.items() if state in (MISSING, WRONG)}, found


@pytest.mark.parametrize("name", WRITERS)
def test_without_pictures_the_doctor_says_so(name: str, folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Tables, lists and texts alone: every file of the stand-in but its pictures, and a text among the pictures."""
    folder = folder_of(name)
    for path in folder.rglob("*"):
        copy = tmp_path / path.relative_to(folder)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
            (copy / "read.me").write_text("no picture")
        elif not path.name.lower().endswith((".png", ".jpg", ".jpeg", ".dcm")):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    found = states(name, tmp_path)
    pictures = {what: state for what, state in found.items() if "pictures" in what and "table" not in what}
    assert pictures, found
    assert OK not in pictures.values(), found
    assert MISSING in pictures.values(), found


@pytest.mark.parametrize("suffix", ["png", "jpeg"])
def test_siims_table_is_the_configured_one_and_its_pictures_lie_anywhere(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "mine.csv").write_text("ImageId, EncodedPixels\na,-1\n")
    write_picture(tmp_path / "data" / "pics" / f"a.{suffix}")
    assert set(states("siim", tmp_path, csv="mine.csv").values()) == {OK}
    assert states("siim", tmp_path)["table of masks"] == MISSING


def test_siims_masks_are_no_pictures(tmp_path: Path) -> None:
    write_picture(tmp_path / "png_masks" / "deep" / "a.png")
    assert states("siim", tmp_path)["pictures"] == MISSING


@pytest.mark.parametrize("where", ["mine/a [1]", "{root}/elsewhere"])
def test_the_indiana_names_are_those_of_the_configuration(tmp_path: Path, where: str) -> None:
    folder = where.format(root=tmp_path)
    (tmp_path / "r.csv").write_text("uid,findings,impression\n")
    (tmp_path / "p.csv").write_text("uid,filename,projection\n")
    write_picture(tmp_path / folder / "a.png")
    knobs = {"text": "csv", "reports": "r.csv", "projections": "p.csv", "images": folder}
    assert set(states("iu_xray", tmp_path, **knobs).values()) == {OK}
    assert MISSING in states("iu_xray", tmp_path).values()
    (tmp_path / "p.csv").unlink()
    assert states("iu_xray", tmp_path, **knobs)["which picture is which view"] == MISSING


def test_r2gens_pictures_lie_in_a_folder_a_study(tmp_path: Path) -> None:
    (tmp_path / "annotation.json").write_text("{}")
    write_picture(tmp_path / "images" / "CXR1_IM-0001" / "0.png")
    assert MISSING not in states("iu_xray", tmp_path, text="r2gen").values()


def test_covidx_lists_are_the_configured_ones_and_its_pictures_may_lie_in_the_root(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"my_{part}.txt").write_text(f"1 {part}.png normal\n")
        write_picture(tmp_path / f"{part}.png")
    found = states("covidx", tmp_path, train_list="my_train.txt", test_list="my_test.txt")
    assert not {MISSING, WRONG} & set(found.values()), found
    assert states("covidx", tmp_path)["list of train"] == MISSING


@pytest.mark.parametrize("place", ["texts/files", "texts"])
def test_mimic_reports_are_where_the_configuration_says(tmp_path: Path, place: str) -> None:
    path = tmp_path / place / "p10" / "p10000001" / "s50000001.txt"
    path.parent.mkdir(parents=True)
    path.write_text("IMPRESSION: Normal.")
    assert states("mimic_cxr", tmp_path, reports="texts")["reports"] == OK
    assert states("mimic_cxr", tmp_path)["reports"] == MISSING
    assert states("mimic_cxr", tmp_path, needs_report=False)["reports"] != MISSING
