"""Reading radiographs from DICOM files, which the tests write themselves."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from flvlp.data.images import read_image
from tests.data.dicoms import write_dicom
from tests.data.test_images import RAMP, RAMP_12_BIT, assert_close, failure, write_png


def test_8_bit_dicom_without_a_window_is_read_as_stored(tmp_path: Path) -> None:
    dim = RAMP // 2
    assert_close(read_image(write_dicom(tmp_path / "a.dcm", dim)), dim, tolerance=0)
    same = write_dicom(tmp_path / "b.dcm", dim, RescaleSlope=1, RescaleIntercept=0)
    assert_close(read_image(same), dim, tolerance=0)


def test_8_bit_dicom_is_stretched_when_it_is_rescaled_or_has_fewer_bits(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, RescaleSlope=-1, RescaleIntercept=255)
    assert_close(read_image(path), 255 - RAMP)
    path = write_dicom(tmp_path / "b.dcm", RAMP // 4, BitsStored=6)
    assert_close(read_image(path), np.rint(RAMP // 4 * (255 / 63)))


def test_monochrome1_is_inverted_so_that_air_is_dark(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")
    assert_close(read_image(path), 255 - RAMP, tolerance=0)


def test_12_bit_dicom_without_a_window_uses_its_own_range(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP_12_BIT // 2, BitsStored=12)
    assert_close(read_image(path), RAMP)
    path = write_dicom(tmp_path / "b.dcm", RAMP_12_BIT // 2, BitsStored=12, PhotometricInterpretation="MONOCHROME1")
    assert_close(read_image(path), 255 - RAMP)


def test_signed_values_and_a_rescale_are_applied_before_the_window(tmp_path: Path) -> None:
    stored = RAMP.astype(np.int16) - 128
    path = write_dicom(
        tmp_path / "a.dcm", stored, RescaleSlope=2, RescaleIntercept=1000, WindowCenter=1000.5, WindowWidth=257
    )
    expected = np.clip(((stored * 2.0 + 1000) - 1000) / 256 * 255 + 127.5, 0, 255)
    assert_close(read_image(path), np.rint(expected))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_follows_its_function(tmp_path: Path, function: str) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", RAMP, WindowCenter=["100", "5"], WindowWidth=["21", "7"], VOILUTFunction=function
    )
    values = RAMP.astype(float)
    expected = {
        "LINEAR": np.clip(((values - 99.5) / 20 + 0.5) * 255, 0, 255),
        "LINEAR_EXACT": np.clip(((values - 100) / 21 + 0.5) * 255, 0, 255),
        "SIGMOID": 255 / (1 + np.exp(-4 * (values - 100) / 21)),
    }
    assert_close(read_image(path), np.rint(expected[function]))


def test_a_voi_lut_goes_before_the_window(tmp_path: Path) -> None:
    lut = Dataset()
    lut.LUTDescriptor = [256, 0, 16]
    lut.LUTData = [(255 - value) * 257 for value in range(256)]
    lut["LUTDescriptor"].VR = lut["LUTData"].VR = "US"
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTSequence=[lut], WindowCenter=3, WindowWidth=2)
    assert_close(read_image(path), 255 - RAMP)


@pytest.mark.parametrize(("center", "width"), [(9000, 10), (2000, 0), (-500, 3)])
def test_a_window_that_leaves_one_grey_value_is_ignored(tmp_path: Path, center: int, width: int) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP_12_BIT, BitsStored=12, WindowCenter=center, WindowWidth=width)
    assert_close(read_image(path), RAMP)


def test_padding_does_not_count_for_the_range(tmp_path: Path) -> None:
    stored = RAMP_12_BIT.astype(np.int16)
    stored[:8] = -30000
    pixels = read_image(write_dicom(tmp_path / "a.dcm", stored, PixelPaddingValue=-30000))
    assert_close(pixels[8:], RAMP[8:])
    assert pixels[:8].max() == 0


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_dicom_equals_the_uncompressed_one(tmp_path: Path, syntax: UID) -> None:
    plain = write_dicom(tmp_path / "a.dcm", RAMP_12_BIT, BitsStored=12)
    dataset = pydicom.dcmread(plain)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(tmp_path / "b.dcm")
    assert_close(read_image(tmp_path / "b.dcm"), read_image(plain), tolerance=0)


def test_jpeg_baseline_dicom_is_read(tmp_path: Path) -> None:
    jpeg = BytesIO()
    Image.fromarray(RAMP).save(jpeg, "JPEG", quality=95)
    data = encapsulate([jpeg.getvalue()])
    assert_close(read_image(write_dicom(tmp_path / "a.dcm", RAMP, JPEGBaseline8Bit, PixelData=data)), RAMP, tolerance=3)


def test_colour_dicom_becomes_luminance(tmp_path: Path) -> None:
    colour = np.stack([RAMP] * 3, axis=-1)
    path = write_dicom(
        tmp_path / "a.dcm", colour, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0
    )
    assert_close(read_image(path), RAMP, tolerance=0)


def test_a_dicom_data_set_without_file_header_is_read(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", RAMP))
    del dataset.file_meta
    dataset.preamble = None
    dataset.save_as(tmp_path / "b.dcm", implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert (tmp_path / "b.dcm").read_bytes()[128:132] != b"DICM"
    assert_close(read_image(tmp_path / "b.dcm"), RAMP, tolerance=0)


def test_dicom_that_cannot_be_shown_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="PALETTE COLOR")
    assert "PALETTE COLOR" in failure(path).cause
    path = write_dicom(tmp_path / "b.dcm", RAMP, DeflatedExplicitVRLittleEndian)
    assert "deflated" in failure(path).cause


def test_the_format_is_told_by_content(tmp_path: Path) -> None:
    png = write_png(tmp_path / "a.png", RAMP).rename(tmp_path / "1_IM-0001.dcm")
    dicom = write_dicom(tmp_path / "b.dcm", RAMP).rename(tmp_path / "no_suffix")
    assert_close(read_image(png), RAMP, tolerance=0)
    assert_close(read_image(str(dicom)), RAMP, tolerance=0)


@pytest.mark.parametrize("side", [9_000, 65_535])
def test_a_dicom_that_promises_too_many_pixels_is_refused(tmp_path: Path, side: int) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, Rows=side, Columns=side)
    assert "bomb" in failure(path).cause


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless])
def test_a_compressed_picture_larger_than_its_header_is_refused_before_decoding(tmp_path: Path, syntax: UID) -> None:
    data = BytesIO()
    Image.fromarray(RAMP).save(data, "JPEG" if syntax == JPEGBaseline8Bit else "JPEG2000", no_jp2=True)
    path = write_dicom(tmp_path / "a.dcm", RAMP[:32], syntax, PixelData=encapsulate([data.getvalue()]))
    assert "(256, 64) pixels in the compressed picture, (256, 32) in the header" in failure(path).cause


def test_a_header_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, SamplesPerPixel=2, PlanarConfiguration=0)
    failure(path)
    path = write_dicom(tmp_path / "b.dcm", np.stack([RAMP] * 3, axis=-1), SamplesPerPixel=3, PlanarConfiguration=0)
    assert "MONOCHROME2 with pixels of shape" in failure(path).cause


@pytest.mark.parametrize("share", [0.005, 0.02, 0.6, 0.95])
def test_a_truncated_dicom_is_refused(tmp_path: Path, share: float) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    failure(path)


def test_several_frames_are_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, NumberOfFrames=2, PixelData=RAMP.tobytes() * 2)
    assert "2 frames" in failure(path).cause
