"""Which of a study's pictures are used where some are missing or listed twice."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flvlp.data.readers.base_config import FilesConfig
from flvlp.data.readers.listing import Listing, Record, list_studies
from flvlp.data.readers.tree import Tree
from tests.data.readers.chexpert_folder import CheXpertFolder
from tests.data.readers.mimic_folder import MimicFolder


def listing_of(root: Path, record: Record, present: str, missing_images: str = "drop") -> Listing:
    """Lists one study, of whose pictures those named in `present` are there."""
    for name in present.split():
        Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(root / f"{name}.png")
    config = FilesConfig(name="pairs", missing_images=missing_images)
    return list_studies(config, root / "table", [record], Tree(root))


STUDY = Record("s", "p", ("f1.png", "f2.png"), ("l1.png", "l2.png"), ("x.png",), row=2)


@pytest.mark.parametrize("absent", ["f1", "f2", "l1", "l2", "x"])
def test_any_missing_view_is_an_error(tmp_path: Path, absent: str) -> None:
    present = " ".join(name for name in ("f1", "f2", "l1", "l2", "x") if name != absent)
    with pytest.raises(FileNotFoundError, match=f"1 missing image file: row 2 \\('{absent}.png'\\)"):
        listing_of(tmp_path, STUDY, present, "raise")


@pytest.mark.parametrize(
    ("present", "chosen", "others", "counts"),
    [
        ("f1 f2 l1 l2 x", "f1 l1", "f2 l2 x", (0, 0, 0)),
        ("f2 l1 l2 x", "f2 l1", "l2 x", (0, 1, 0)),
        ("f1 f2 l2 x", "f1 l2", "f2 x", (0, 1, 0)),
        ("f2 l2", "f2 l2", "", (0, 2, 1)),
        ("f1 f2 x", "f1", "f2 x", (1, 0, 1)),
        ("f1 l1", "f1 l1", "", (0, 0, 3)),
    ],
)
def test_with_drop_the_next_view_stands_in_and_every_missing_file_is_counted_once(
    tmp_path: Path, present: str, chosen: str, others: str, counts: tuple[int, int, int]
) -> None:
    listing = listing_of(tmp_path, STUDY, present)
    paths = (listing.frontal_paths[0], listing.lateral_paths[0])
    assert [Path(path).stem for path in paths if path] == chosen.split()
    assert listing.studies[0].has_lateral == ("l" in chosen)
    assert [Path(path).stem for path in listing.other_paths[0]] == others.split()
    names = ("lateral files are missing", "missing files have another view of their study in their place")
    assert tuple(listing.incomplete[name] for name in (*names, "further files are missing")) == counts


def test_a_view_that_is_listed_twice_is_there_once(tmp_path: Path) -> None:
    twice = Record("s", "p", ("f1.png", "f1.png"), ("l1.png", "l1.png"), ("x.png", "x.png", "x.jpg"), row=2)
    assert listing_of(tmp_path, twice, "f1 l1 x").other_paths == [("x.png",)]


def test_of_a_mimic_study_without_its_pa_the_ap_is_read(tmp_path: Path) -> None:
    folder = MimicFolder(tmp_path)
    folder.write_reports()
    folder.picture("10000001", "50000101", "d-pa").unlink()
    folder.picture("10000001", "50000101", "d-lat").unlink()
    source = folder.read(missing_images="drop")
    assert source.studies[0].study_id == "s50000101"
    assert [Path(paths[0]).stem for paths in (source.listing.frontal_paths, source.listing.lateral_paths)] == [
        "d-ap",
        "d-ll",
    ]


def test_of_a_chexpert_study_without_its_first_frontal_the_second_is_read(tmp_path: Path) -> None:
    folder = CheXpertFolder(tmp_path)
    (folder.base / "train/patient00002/study1/view1_frontal.jpg").unlink()
    source = folder.read(missing_images="drop")
    assert source.studies[2].study_id == "train/patient00002/study1"
    assert Path(source.listing.frontal_paths[2]).name == "view2_frontal.jpg"


def test_a_row_that_a_table_repeats_lists_no_picture_again(tmp_path: Path) -> None:
    folder = CheXpertFolder(tmp_path)
    lines = (folder.base / "train.csv").read_text().splitlines()
    (folder.base / "train.csv").write_text("\n".join([*lines[:2], lines[1], *lines[2:]]))
    source = folder.read()
    assert source.studies[0].has_lateral
    assert source.listing.other_paths[0] == ()
