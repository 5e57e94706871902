"""Reading radiographs from PNG and JPEG: 8-bit grey, one exception class for every failure."""

import pickle
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flvlp.data import images
from flvlp.data.images import ImageReadError, read_image

RAMP = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
RAMP_12_BIT = np.tile(np.arange(0, 4096, 16, dtype=np.uint16), (64, 1))


def write_png(path: Path, image: np.ndarray | Image.Image) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)
    return path


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: int = 1) -> None:
    assert actual.dtype == np.uint8
    assert actual.shape == expected.shape
    difference = np.abs(actual.astype(int) - expected.astype(int)).max()
    assert difference <= tolerance, f"differs by {difference} grey values"


def test_8_bit_grey_is_read_as_stored(tmp_path: Path) -> None:
    dim = RAMP // 4 + 20
    assert_close(read_image(write_png(tmp_path / "a.png", dim)), dim, tolerance=0)
    Image.fromarray(dim).save(tmp_path / "a.jpg", quality=95)
    assert_close(read_image(tmp_path / "a.jpg"), dim, tolerance=3)


def test_12_bit_values_in_a_16_bit_png_use_the_whole_grey_range(tmp_path: Path) -> None:
    pixels = read_image(write_png(tmp_path / "a.png", RAMP_12_BIT))
    assert_close(pixels, RAMP)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_full_16_bit_png_is_linear(tmp_path: Path) -> None:
    assert_close(read_image(write_png(tmp_path / "a.png", RAMP.astype(np.uint16) * 257)), RAMP, tolerance=0)


def test_one_burned_in_marker_does_not_turn_12_bit_data_black(tmp_path: Path) -> None:
    marked = np.tile(RAMP_12_BIT, (8, 8))
    marked[:10, :10] = 65535
    pixels = read_image(write_png(tmp_path / "a.png", marked))
    assert_close(pixels[10:], np.tile(RAMP, (8, 8))[10:], tolerance=2)
    assert pixels[0, 0] == 255


def test_rare_bright_pixels_on_a_constant_ground_are_not_lost(tmp_path: Path) -> None:
    pixels = np.full((200, 200), 700, dtype=np.uint16)
    pixels[3, 4] = 900
    assert np.argwhere(read_image(write_png(tmp_path / "a.png", pixels)) == 255).tolist() == [[3, 4]]


@pytest.mark.parametrize("value", [0, 1, 4095, 65535])
def test_a_constant_16_bit_picture_is_black(tmp_path: Path, value: int) -> None:
    path = write_png(tmp_path / "a.png", np.full((8, 9), value, dtype=np.uint16))
    assert np.array_equal(read_image(path), np.zeros((8, 9), dtype=np.uint8))


def test_colour_becomes_luminance(tmp_path: Path) -> None:
    red = np.zeros((4, 5, 3), dtype=np.uint8)
    red[..., 0] = 200
    assert_close(read_image(write_png(tmp_path / "a.png", red)), np.full((4, 5), 60, dtype=np.uint8))


@pytest.mark.filterwarnings("error")
def test_a_palette_is_looked_up_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP).convert("P")
    image.putpalette([255 - value for value in range(256) for _ in range(3)])
    assert_close(read_image(write_png(tmp_path / "a.png", image)), 255 - RAMP, tolerance=0)
    image.save(tmp_path / "b.png", transparency=bytes(range(256)))
    assert_close(read_image(tmp_path / "b.png"), 255 - RAMP, tolerance=0)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_ignored(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(RAMP).convert(mode)
    image.putalpha(0)
    assert_close(read_image(write_png(tmp_path / "a.png", image)), RAMP, tolerance=0)


def test_two_grey_values_of_a_1_bit_png_are_black_and_white(tmp_path: Path) -> None:
    pixels = read_image(write_png(tmp_path / "a.png", Image.fromarray(RAMP > 100)))
    assert_close(pixels, (RAMP > 100) * np.uint8(255), tolerance=0)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to display
    Image.fromarray(RAMP).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert_close(read_image(tmp_path / "a.jpg"), np.rot90(RAMP, -1), tolerance=3)


def png_with_header(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG whose header promises what its data do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def failure(path: Path) -> ImageReadError:
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert caught.value.path == str(path)
    assert str(path) not in caught.value.cause
    assert caught.value.cause in str(caught.value)
    return caught.value


def test_the_size_limit_is_a_named_constant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_png(tmp_path / "a.png", RAMP)
    monkeypatch.setattr(images, "MAX_PIXELS", RAMP.size)
    read_image(path)
    monkeypatch.setattr(images, "MAX_PIXELS", RAMP.size - 1)
    assert "256 x 64 pixels" in failure(path).cause


@pytest.mark.parametrize(
    ("name", "content"), [("a.png", b"hello"), ("a.dcm", b"hello" * 99), ("a.dcm", b""), ("a", b"GIF89a")]
)
def test_something_else_than_a_picture_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert re.search("neither PNG, JPEG nor DICOM|not a DICOM file", failure(tmp_path / name).cause)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert failure(tmp_path / "none.png").cause == "No such file or directory"
    assert failure(tmp_path).cause == "Is a directory"


def test_a_path_in_a_decoders_message_is_left_out_of_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(path: Path, head: bytes) -> np.ndarray:
        raise RuntimeError(f"cannot decode {path} today")

    monkeypatch.setattr(images, "_read_picture", decode)
    assert failure(write_png(tmp_path / "a.png", RAMP)).cause == "cannot decode the file today"


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_16_bit_png_with_colour_or_alpha_is_refused(tmp_path: Path, colour: int) -> None:
    (tmp_path / "a.png").write_bytes(png_with_header(4, 4, depth=16, colour=colour))
    assert "16-bit PNG with colour or alpha" in failure(tmp_path / "a.png").cause


def test_the_exception_survives_pickling_and_a_data_loader_worker(tmp_path: Path) -> None:
    error = failure(tmp_path / "none.png")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path, copy.cause) == (str(error), error.path, error.cause)
    assert str(ImageReadError("as torch re-raises it")) == "as torch re-raises it"


@pytest.mark.parametrize(("width", "height"), [(9_000, 9_000), (12_000, 12_000), (1_000_000, 1_000_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "a.png").write_bytes(png_with_header(width, height))
    assert "bomb" in failure(tmp_path / "a.png").cause


def test_several_frames_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert "2 frames" in failure(tmp_path / "a.png").cause


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a16.png"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = tmp_path / name
    Image.fromarray(noise.astype(np.uint16) * 200 if "16" in name else noise).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    failure(path)
