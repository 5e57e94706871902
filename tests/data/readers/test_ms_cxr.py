"""The reader of MS-CXR: rows to phrases with boxes, and what it says of tables that are not right."""

import gzip
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from flvlp.data.images import ImageReadError
from flvlp.data.readers.ms_cxr import NAMES, TABLES
from tests.data.readers.roots import Root

HEADER = "dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height,split"
EFFUSIONS = "aa,Pleural Effusion,Small bilateral effusions,files/p10/p10000011/s50000011/aa.jpg"
# Two boxes of one phrase, two phrases of one picture, pictures of different size; not in the order of the pictures.
ROWS = (
    f"{EFFUSIONS},100,1000,400,500,2000,2500,train",
    "bb,Pneumothorax,Left apical pneumothorax,files/p11/p11000022/s50000022/bb.jpg,600,0,300,300,1000,1200,val",
    f"{EFFUSIONS},1500,1000,400,500,2000,2500,train",
    'aa,Cardiomegaly,"Heart, enlarged",files/p10/p10000011/s50000011/aa.jpg,500,750,1000,1000,2000,2500,train',
    "cc,Edema,Mild edema,files/p12/p12000033/s50000033/cc.jpg,0,0,100,100,100,100,test",
)
PATHS = tuple(
    f"files/p1{number}/p1{number}0000{digit}{digit}/s500000{digit}{digit}/{name}.jpg"
    for number, digit, name in ((0, 1, "aa"), (1, 2, "bb"), (2, 3, "cc"))
)


class MSCXRRoot(Root):
    """A root in the publisher's layout; the pictures are copies of 8 x 8 pixels."""

    name = "ms_cxr"
    knobs: ClassVar = {"credentialed": False}

    def table(self, rows: Sequence[str] = ROWS, header: str = HEADER, name: str = TABLES[0]) -> None:
        self.lines(name, [header, *rows])

    def copies(self, folder: str = "") -> None:
        for path in PATHS:
            place = Path(folder) / path
            self.pictures(str(place.parent), [place.name])


@pytest.fixture
def root(tmp_path: Path) -> MSCXRRoot:
    made = MSCXRRoot(tmp_path)
    made.table()
    made.copies()
    return made


def test_a_picture_is_a_sample_of_mimics_patient_and_its_rows_are_boxes_of_phrases(root: MSCXRRoot) -> None:
    source = root.read()
    assert [(study.study_id, study.patient_id, study.row) for study in source.studies] == [
        ("aa", "p10000011", 2),
        ("bb", "p11000022", 3),
        ("cc", "p12000033", 6),
    ]
    assert not any(study.report or study.has_lateral for study in source.studies)
    boxes = source.boxes
    assert boxes is not None
    assert boxes.study.tolist() == [0, 0, 0, 1, 2]
    assert [NAMES[label] for label in boxes.classes] == [
        *("Pleural Effusion", "Pleural Effusion", "Cardiomegaly", "Pneumothorax", "Edema"),
    ]
    assert boxes.phrases == (
        *("Small bilateral effusions", "Small bilateral effusions", "Heart, enlarged"),
        *("Left apical pneumothorax", "Mild edema"),
    )
    expected = [
        [0.05, 0.4, 0.2, 0.2],
        [0.75, 0.4, 0.2, 0.2],
        [0.25, 0.3, 0.5, 0.4],
        [0.6, 0.0, 0.3, 0.25],
        [0.0, 0.0, 1.0, 1.0],
    ]
    np.testing.assert_allclose(boxes.values, expected, rtol=1e-6)


def test_the_official_parts_are_those_of_the_table(root: MSCXRRoot) -> None:
    source = root.read()
    assert source.split_name == "ms_cxr/official"
    assert {part: rows.tolist() for part, rows in source.splits.items()} == {
        "train": [0],
        "validation": [1],
        "test": [2],
    }


def test_release_1_0_has_no_split_and_says_what_else_there_is(root: MSCXRRoot) -> None:
    (root.path / TABLES[0]).unlink()
    root.table([row.rsplit(",", 1)[0] for row in ROWS], HEADER.removesuffix(",split"), TABLES[1])
    message = root.failure(ValueError)
    assert "no column 'split' (release 1.1.0 has)" in message
    assert "ms_cxr/patient" in message
    assert len(root.read(split="ms_cxr/patient").studies) == 3


@pytest.mark.parametrize("is_absolute", [False, True])
def test_the_pictures_may_lie_in_the_folder_of_mimic(tmp_path: Path, is_absolute: bool) -> None:
    made = MSCXRRoot(tmp_path / "ms")
    made.path.mkdir()
    made.table()
    made.copies("../jpg" if is_absolute else "jpg")
    source = made.read(images=str(tmp_path / "jpg") if is_absolute else "jpg")
    assert source.frontal(1).shape == (8, 8)
    assert "missing image file" in made.failure(FileNotFoundError)


def test_a_table_may_be_compressed(root: MSCXRRoot) -> None:
    path = root.path / TABLES[0]
    (root.path / f"{TABLES[0]}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert len(root.read().studies) == 3


def test_boxes_of_pictures_that_are_not_there_are_left_out_with_their_phrases(root: MSCXRRoot) -> None:
    (root.path / PATHS[1]).unlink()
    boxes = root.read(missing_images="drop").boxes
    assert boxes is not None
    assert boxes.study.tolist() == [0, 0, 0, 1]
    assert boxes.phrases[-1] == "Mild edema"


def test_an_unreadable_picture_is_named_by_its_row(root: MSCXRRoot) -> None:
    (root.path / PATHS[0]).write_bytes(b"no picture")
    with pytest.raises(ImageReadError, match=r"'aa', row 2"):
        root.read().frontal(0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bb,Pneumothorax", "bb,Pneumothoraxx", r"column 'category_name'.*row 3 \('Pneumothoraxx'\).*Atelectasis"),
        ("Mild edema", "", r"column 'label_text'.*row 6"),
        ("files/p12/", "../files/p12/", r"column 'path'.*row 6 \('\.\./files"),
        ("files/p12/p12000033/s50000033/cc", "files/p12/p12000033/s50000033/../../../../cc", r"column 'path'.*row 6"),
        ("files/p12/", "/files/p12/", r"column 'path'.*row 6"),
        ("100,100,test", "100,100,testing", r"column 'split'.*row 6 \('testing'\).*train, val"),
        (",600,0,300", ",left,0,300", r"no box in 1 row: row 3 \('bb: left 0 300"),
        (",600,0,300", ",600,0,0", r"no box in 1 row: row 3"),
        (",600,0,300", ",900,0,300", r"lie outside the picture.*row 3"),
        ("1000,1200,val", "0,1200,val", r"no box in 1 row: row 3"),
        (
            "1500,1000,400,500,2000,2500,train",
            "1500,1000,400,500,2000,2500,test",
            r"another path or split.*row 4 \('aa'\)",
        ),
    ],
)
def test_a_row_that_is_not_right_is_named(root: MSCXRRoot, old: str, new: str, message: str) -> None:
    text = "\n".join(ROWS)
    assert old in text
    root.table(text.replace(old, new).split("\n"))
    assert re.search(message, root.failure(ValueError)), root.failure(ValueError)
