"""The size of a picture from its header: what `read_image` gives, without decoding."""

from pathlib import Path

import pydicom
import pytest
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from flvlp.data import images
from flvlp.data.images import ImageReadError, image_size, read_image
from tests.data.dicoms import PIXELS, write_dicom


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.dcm", "a.png.of_another_name"])
def test_the_size_is_width_and_height_of_what_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".dcm"):
        write_dicom(path)
    else:
        Image.fromarray(PIXELS).save(path, format="JPEG" if name.endswith("jpg") else "PNG")
    assert image_size(path) == (9, 6)
    assert read_image(path).shape == (6, 9)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_exif_orientation_counts(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(path, exif=exif)
    assert image_size(path) == read_image(path).shape[::-1]


def test_nothing_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    write_dicom(tmp_path / "a.dcm")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(Image.Image, "load", refuse)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    monkeypatch.setattr(images, "pixel_array", refuse)
    assert image_size(tmp_path / "a.png") == (9, 6)
    assert image_size(tmp_path / "a.dcm") == (9, 6)


def test_a_picture_with_damaged_pixels_has_a_size(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((90, 60), 50).save(path)
    path.write_bytes(path.read_bytes()[:200])
    assert image_size(path) == (90, 60)
    with pytest.raises(ImageReadError):
        read_image(path)


def test_a_dicom_without_its_header_has_a_size(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm"))
    del dataset.file_meta
    dataset.save_as(tmp_path / "b.dcm", implicit_vr=True, little_endian=True)
    assert image_size(tmp_path / "b.dcm") == (9, 6)


def test_every_failure_is_one_class_with_the_path_and_a_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "text.dcm").write_text("no picture")
    write_dicom(tmp_path / "deflated.dcm", PIXELS, DeflatedExplicitVRLittleEndian)
    write_dicom(tmp_path / "frames.dcm", NumberOfFrames=2)
    Image.fromarray(PIXELS).save(tmp_path / "large.png")
    write_dicom(tmp_path / "large.dcm")
    causes = {
        "nowhere.png": "No such file",
        "text.png": "neither PNG, JPEG nor DICOM",
        "text.dcm": "",
        "deflated.dcm": "deflated",
        "frames.dcm": "2 frames",
    }
    for name, cause in causes.items():
        with pytest.raises(ImageReadError, match=name) as caught:
            image_size(tmp_path / name)
        assert cause in caught.value.cause
    monkeypatch.setattr(images, "MAX_PIXELS", 53)
    for name in ("large.png", "large.dcm"):
        with pytest.raises(ImageReadError, match="9 x 6 pixels; at most 53"):
            image_size(tmp_path / name)
