"""The reader of Object-CXR: parts, shapes to boxes and masks, copies of another size, bad annotations."""

import gzip
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flvlp.data.images import ImageReadError
from flvlp.data.readers.files import FileSource
from tests.data.readers.roots import Root

# Pictures are 20 wide and 10 high.
TRAIN = {"00001.jpg": "0 5 1 10 6;1 10 0 20 10", "00002.jpg": "", "00003.jpg": "", "00004.jpg": "", "00005.jpg": ""}
DEV = {"08001.jpg": "2 2 2 8 2 8 5", "08002.jpg": ""}


class ObjectCXRRoot(Root):
    """A root in the publisher's layout."""

    name = "object_cxr"

    def pictures(self, folder: str, names: Iterable[str], shape: tuple[int, int] = (10, 20)) -> None:
        super().pictures(folder, list(names), shape)

    def table(self, name: str, rows: Mapping[str, str], header: str = "image_name,annotation") -> None:
        self.lines(f"{name}.csv", [header, *(f"{picture},{text}" for picture, text in rows.items())])


@pytest.fixture
def root(tmp_path: Path) -> ObjectCXRRoot:
    made = ObjectCXRRoot(tmp_path)
    for name, rows in (("train", TRAIN), ("dev", DEV)):
        made.table(name, rows)
        made.pictures(name, rows)
    return made


def boxes_of(source: FileSource, index: int) -> np.ndarray:
    assert source.boxes is not None
    assert source.boxes.names == ("Foreign Object",)
    return source.boxes.of(index)[0]


def test_pictures_labels_and_boxes_are_read(root: ObjectCXRRoot) -> None:
    source = root.read()
    assert [study.study_id for study in source.studies][::5] == ["train/00001.jpg", "dev/08001.jpg"]
    assert [study.row for study in source.studies] == [2, 3, 4, 5, 6, 2, 3]
    assert source.labels is not None
    assert source.labels.names == ("Foreign Object",)
    assert source.labels.values[:, 0].tolist() == [1, 0, 0, 0, 0, 1, 0]
    np.testing.assert_allclose(boxes_of(source, 0), [[0.25, 0.1, 0.25, 0.5], [0.5, 0, 0.5, 1]], rtol=1e-6)
    np.testing.assert_allclose(boxes_of(source, 5), [[0.1, 0.2, 0.3, 0.3]], rtol=1e-6)
    assert [len(boxes_of(source, index)) for index in range(7)] == [2, 0, 0, 0, 0, 1, 0]


def test_dev_is_the_test_part_and_a_fifth_of_train_is_validation(root: ObjectCXRRoot) -> None:
    source = root.read()
    assert source.split_name == "object_cxr/official"
    assert source.splits["test"].tolist() == [5, 6]
    assert {part: len(rows) for part, rows in source.splits.items()} == {"train": 4, "validation": 1, "test": 2}


def test_shapes_are_filled_in_the_mask(root: ObjectCXRRoot) -> None:
    source = root.read()
    assert source.masks is not None
    mask = source.masks.of(0)
    assert mask.shape == (10, 20)
    assert mask[1:7, 5:10].all(), "the rectangle"
    assert mask[5, 15]
    assert not mask[0, 19], "a corner of the ellipse's box"
    polygon = source.masks.of(5)
    assert polygon[3, 7]
    assert not polygon[4, 3], "under the triangle"
    assert not source.masks.of(1).any()


def test_corners_in_any_order_give_the_same_box(root: ObjectCXRRoot) -> None:
    root.table("dev", {"08001.jpg": "0 10 6 5 1;1 10.0 1 5 6", "08002.jpg": ""})
    source = root.read()
    np.testing.assert_allclose(boxes_of(source, 5), [[0.25, 0.1, 0.25, 0.5]] * 2, rtol=1e-6)
    assert source.masks is not None
    assert source.masks.of(5).any()


def test_a_polygon_that_leaves_the_picture_is_cut_at_its_edge(root: ObjectCXRRoot) -> None:
    root.table("dev", {"08001.jpg": "2 -9 -3 10 -3 10 5 -9 5", "08002.jpg": ""})
    source = root.read()
    np.testing.assert_allclose(boxes_of(source, 5), [[0, 0, 0.5, 0.5]], rtol=1e-6)
    assert source.masks is not None
    assert source.masks.of(5)[:5, :10].all()
    root.table("dev", {"08001.jpg": "2 -9 -3 -5 -3 -5 -1", "08002.jpg": ""})
    assert "1 of 3 boxes lie outside the picture" in root.failure(ValueError)


def test_an_object_without_area_makes_a_positive_without_a_box(
    root: ObjectCXRRoot, caplog: pytest.LogCaptureFixture
) -> None:
    root.table("dev", {"08001.jpg": "0 5 5 5 9;2 3 3", "08002.jpg": ""})
    source = root.read()
    assert source.labels is not None
    assert source.labels.values[5, 0] == 1
    assert len(boxes_of(source, 5)) == 0
    assert "2 of 4 objects have no area" in caplog.text
    assert source.masks is not None
    assert source.masks.of(5).shape == (10, 20)


def test_the_size_is_that_of_the_turned_picture(root: ObjectCXRRoot) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (10, 20)).save(root.path / "dev" / "08001.jpg", exif=exif)
    np.testing.assert_allclose(boxes_of(root.read(), 5), [[0.1, 0.2, 0.3, 0.3]], rtol=1e-6)


def test_a_resized_copy_needs_the_published_size_in_the_table(root: ObjectCXRRoot) -> None:
    for folder, rows in (("train", TRAIN), ("dev", DEV)):
        root.pictures(folder, rows, (8, 8))
    message = root.failure(ValueError)
    assert "2 of 3 boxes lie outside the picture" in message
    for name, rows in (("train", TRAIN), ("dev", DEV)):
        texts = {picture: f"{text},20,10" if text else ",," for picture, text in rows.items()}
        root.table(name, texts, "image_name,annotation,width,height")
    source = root.read()
    np.testing.assert_allclose(boxes_of(source, 0), [[0.25, 0.1, 0.25, 0.5], [0.5, 0, 0.5, 1]], rtol=1e-6)
    assert source.masks is not None
    assert source.masks.of(0).shape == (10, 20)
    root.table("dev", {"08001.jpg": "0 1 1 2 2,20,0"}, "image_name,annotation,width,height")
    assert "1 row: row 2; the first: size '20' x '0'" in root.failure(ValueError)


def test_a_box_outside_a_resized_copy_is_named_with_the_columns_that_are_missing(root: ObjectCXRRoot) -> None:
    root.pictures("train", TRAIN, (8, 8))
    message = root.failure(ValueError)
    assert "boxes lie outside the picture, in 1 row: row 2 ('train/00001.jpg: [5.0, 1.0, 5.0, 5.0] in (8, 8)" in message
    assert "published size in columns width and height" in message


def test_the_log_says_that_sizes_come_from_the_files(root: ObjectCXRRoot, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    root.read()
    assert "the objects of 2 pictures are taken to be drawn on the files as they are" in caplog.text
    caplog.clear()
    for name, rows in (("train", TRAIN), ("dev", DEV)):
        root.table(name, {key: f"{text},20,10" for key, text in rows.items()}, "image_name,annotation,width,height")
    root.read()
    assert "on the files as they are" not in caplog.text


@pytest.mark.parametrize("lines", [["image_path", "test/09001.jpg"], ["image_name,annotation", "09001.jpg,"]])
def test_a_table_of_test_pictures_without_labels_counts_as_absent(
    root: ObjectCXRRoot, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    whole = root.read()
    root.lines("test.csv", lines)
    source = root.read()
    assert [study.study_id for study in source.studies] == [study.study_id for study in whole.studies]
    assert {part: rows.tolist() for part, rows in source.splits.items()} == {
        part: rows.tolist() for part, rows in whole.splits.items()
    }
    assert "test.csv: no object in a column 'annotation', so this part is left out" in caplog.text


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("folder", ["images", ""])
def test_newer_headers_flat_folders_and_converted_copies_are_read(tmp_path: Path, folder: str, suffix: str) -> None:
    made = ObjectCXRRoot(tmp_path)
    for name, rows in (("train", TRAIN), ("dev", DEV)):
        made.table(name, {f"/data/{name}/{key}": text for key, text in rows.items()}, "image_path,annotation")
        made.pictures(folder, {key.replace("jpg", suffix): "" for key in rows})
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress((tmp_path / f"{name}.csv").read_bytes()))
        (tmp_path / f"{name}.csv").unlink()
    source = made.read()
    assert source.studies[0].study_id == "train/00001.jpg"
    assert source.frontal(6).shape == (10, 20)


@pytest.mark.parametrize(
    "text",
    [
        "3 1 1 2 2",
        "0 1 1 2",
        "1 1 1 2 2 3 3",
        "2 1 1 2",
        "0 1 1 2 x",
        "2",
        "0",
        "box",
        "0 1 1 2 nan",
        "0 1 1 2 9999999",
    ],
)
def test_an_annotation_that_is_no_shape_is_named_in_a_few_words(root: ObjectCXRRoot, text: str) -> None:
    root.table("dev", {"08001.jpg": f"0 1 1 2 2;{text}", "08002.jpg": ""})
    message = root.failure(ValueError)
    assert "dev.csv: cannot be read in 1 row: row 2" in message
    assert f"object {text!r}: no shape" in message
    root.table("dev", {"08001.jpg": "2" + " 1" * 100_001})
    assert len(root.failure(ValueError)) < 500


def test_an_unreadable_header_stops_or_is_left_out(root: ObjectCXRRoot, caplog: pytest.LogCaptureFixture) -> None:
    (root.path / "dev" / "08001.jpg").write_bytes(b"no picture")
    message = root.failure(ImageReadError)
    assert "1 row: row 2 ('dev/08001.jpg'); the first: neither PNG, JPEG nor DICOM" in message
    assert "08001" not in root.failure(ImageReadError, credentialed=True)
    caplog.set_level(logging.WARNING)
    source = root.read(on_error="skip")
    assert "their objects are left out" in caplog.text
    assert len(boxes_of(source, 5)) == 0
    assert source.masks is not None
    assert not source.masks.of(5).any()


def test_a_wrong_header_or_separator_is_named(root: ObjectCXRRoot) -> None:
    root.table("dev", DEV, "picture,annotation")
    assert "no column 'image_name' or 'image_path'" in root.failure(ValueError)
    root.table("dev", DEV, "image_name,shapes")
    assert "no column 'annotation'" in root.failure(ValueError)
    (root.path / "dev.csv").write_text("image_name;annotation\n08001.jpg;\n")
    assert "separated by semicolons" in root.failure(ValueError)


def test_what_is_missing_or_blank_is_named(root: ObjectCXRRoot) -> None:
    (root.path / "train" / "00001.jpg").unlink()
    assert "1 missing image file: row 2 ('train/00001.jpg')" in root.failure(FileNotFoundError)
    source = root.read(missing_images="drop")
    assert [len(boxes_of(source, index)) for index in range(6)] == [0, 0, 0, 0, 1, 0]
    root.table("dev", {"": "0 1 1 2 2", "../../08001.jpg": ""})
    assert "blank or repeated id in 1 row: row 2" in root.failure(ValueError, missing_images="drop")
    root.table("dev", {"../../08001.jpg": "", "08002.jpg": ""})
    assert root.read(missing_images="drop").listing.frontal_paths[-2] == "dev/08001.jpg", "a table left the root"
    (root.path / "dev.csv").unlink()
    assert "dev.csv" in root.failure(FileNotFoundError)
