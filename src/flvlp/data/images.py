"""Reads a radiograph of any usual format into 8-bit grey: PNG, JPEG, DICOM."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pydicom
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from flvlp.data.grey import displayed, stretched

T = TypeVar("T")
# The largest radiographs have 15 million pixels (4,300 x 3,500); far more is a damaged or hostile header. Pillow
# warns at 89 million.
MAX_PIXELS = 80_000_000

_DEFLATED = "1.2.840.10008.1.2.1.99"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TURNED_ON_ITS_SIDE = (5, 6, 7, 8)  # of the EXIF orientations


class ImageReadError(ValueError):
    """The one exception of `read_image` and `image_size`.

    Survives pickling, and torch's re-raising from a worker with the message alone (which loses the attributes).

    Attributes:
        path: the file.
        cause: what is wrong with it, without the path (which may hold a patient's id).
    """

    def __init__(self, message: str, path: str = "", cause: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.cause = cause


def read_image(path: str | Path) -> np.ndarray:
    """Reads one radiograph as 8-bit grey.

    The format is told by content; only a DICOM without its header is told by its suffix.

    - Files of 8 bits: the stored values, never stretched (a DICOM with a rescale or fewer stored bits is). Colour and
      palettes become luminance (ITU-R 601). Alpha is ignored: the colour channels are the picture, and a file whose
      alpha is 0 everywhere would turn black.
    - More than 8 bits (PNG, or DICOM without a window): linear from the picture's own range to 0-255, less one pixel
      in a thousand at either end. Not value / 256, which turns 12-bit data in a 16-bit file black; not plain
      minimum..maximum, because one burned-in marker at 65535 does the same. A picture of one value becomes 0.
    - 16-bit colour PNG is refused: Pillow keeps the high bytes only.
    - DICOM: modality LUT or rescale, then VOI LUT or the first window; a window that leaves one grey value is ignored.
      Pixels equal to the padding value do not count for the range. MONOCHROME1 is inverted, so that air is dark.
      Compressed transfer syntaxes go through pylibjpeg.
    - The EXIF orientation is applied. Orientation tags of DICOM are not.

    Returns:
        (H, W) uint8, 0-255.

    Raises:
        ImageReadError: on every failure, among them: no such file, an unknown format, a truncated file, several
            frames, more than `MAX_PIXELS` pixels. The message names the path and the cause.
    """
    return np.ascontiguousarray(_guarded(Path(path), _read_dicom, _read_picture))


def image_size(path: str | Path) -> tuple[int, int]:
    """Returns the (width, height) in pixels of what `read_image` gives; reads the header and decodes nothing.

    A file whose pixels are damaged has a size here all the same. The EXIF orientation counts, but that of a PNG only
    where it stands before the pixels, as is usual.

    Raises:
        ImageReadError: on every failure to read the header, with the limits of `read_image`.
    """
    return _guarded(Path(path), _dicom_size, _picture_size)


def _guarded(path: Path, dicom: Callable[[Path, bytes], T], picture: Callable[[Path, bytes], T]) -> T:
    """Hands the file and its first bytes to the one that knows its format."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
        is_dicom = head[128:] == b"DICM" or (path.suffix.lower() in (".dcm", ".dicom") and not _is_picture(head))
        return dicom(path, head) if is_dicom else picture(path, head)
    # Decoders raise whatever their C library or a damaged header leads to; the caller gets one class.
    except Exception as error:
        cause = _cause(error, path)
        raise ImageReadError(f"{path}: cannot be read as an image ({cause})", str(path), cause) from error


def _is_picture(head: bytes) -> bool:
    return head.startswith((_PNG_SIGNATURE, b"\xff\xd8\xff"))


def _cause(error: Exception, path: Path) -> str:
    """Says what went wrong without the path."""
    if isinstance(error, UnidentifiedImageError):
        return "neither PNG, JPEG nor DICOM, or its header is damaged"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.replace(str(path), "the file") or type(error).__name__


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels; at most {MAX_PIXELS:,} are read, as a guard against bombs")
    if width * height == 0:
        raise ValueError(f"{width} x {height} pixels; the picture is empty")


def _open_picture(path: Path, head: bytes) -> Image.Image:
    # Byte 24 of a PNG is the bit depth, byte 25 the colour type: 0 is grey alone.
    if head.startswith(_PNG_SIGNATURE) and len(head) > 25 and head[24] == 16 and head[25] != 0:
        raise ValueError("16-bit PNG with colour or alpha; save it as 16-bit grey or with 8 bits")
    return Image.open(path, formats=("PNG", "JPEG"))


def _check_picture(opened: Image.Image) -> None:
    _check_size(*opened.size)
    frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        raise ValueError(f"{frames} frames; one picture a file is read")


def _picture_size(path: Path, head: bytes) -> tuple[int, int]:
    with _open_picture(path, head) as opened:
        _check_picture(opened)
        # That of the base class: a PNG's own `getexif` decodes the pixels, to look behind them.
        orientation = Image.Image.getexif(opened).get(ExifTags.Base.Orientation)
        width, height = opened.size
        return (height, width) if orientation in _TURNED_ON_ITS_SIDE else (width, height)


def _read_picture(path: Path, head: bytes) -> np.ndarray:
    with _open_picture(path, head) as opened:
        _check_picture(opened)
        opened.load()
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith(("I", "F")):
            return stretched(np.asarray(image))
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        if image.mode not in ("L", "1", "LA"):
            image = image.convert("RGB")
        return np.asarray(image.getchannel("L") if image.mode == "LA" else image.convert("L"))


def _open_dicom(path: Path, head: bytes, is_header_only: bool = False) -> pydicom.Dataset:
    if head[128:] == b"DICM":
        syntax = str(pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", ""))
        if syntax == _DEFLATED:  # the whole data set would be inflated before its size is known
            raise ValueError("deflated transfer syntax; save it uncompressed or with a JPEG syntax")
    dataset = pydicom.dcmread(path, force=True, stop_before_pixels=is_header_only)
    if ("Columns" if is_header_only else "PixelData") not in dataset:
        raise ValueError("no pixel data, or not a DICOM file")
    _check_size(int(dataset.Columns), int(dataset.Rows))
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ValueError(f"{frames} frames; one picture a file is read")
    return dataset


def _dicom_size(path: Path, head: bytes) -> tuple[int, int]:
    dataset = _open_dicom(path, head, is_header_only=True)
    return int(dataset.Columns), int(dataset.Rows)


def _read_dicom(path: Path, head: bytes) -> np.ndarray:
    dataset = _open_dicom(path, head)
    if "TransferSyntaxUID" not in dataset.file_meta:  # a data set without the file header
        is_implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    interpretation = str(dataset.PhotometricInterpretation)
    if interpretation not in ("MONOCHROME1", "MONOCHROME2", "RGB") and not interpretation.startswith("YBR"):
        raise ValueError(f"photometric interpretation {interpretation}; MONOCHROME1, MONOCHROME2, RGB or YBR is read")
    _check_codestream(dataset)
    stored = pixel_array(dataset)
    if stored.ndim != (2 if interpretation.startswith("MONOCHROME") else 3):
        raise ValueError(f"{interpretation} with pixels of shape {stored.shape}; the header contradicts itself")
    if stored.ndim == 3:
        if stored.dtype != np.uint8:
            raise ValueError(f"colour with {dataset.BitsStored} bits; 8-bit colour or grey is read")
        return np.asarray(Image.fromarray(stored).convert("L"))
    grey = displayed(stored, dataset)
    return 255 - grey if interpretation == "MONOCHROME1" else grey


def _check_codestream(dataset: pydicom.Dataset) -> None:
    """Compares the size inside a JPEG or JPEG 2000 picture with the header's: decoders allocate what is inside."""
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    size = _codestream_size(get_frame(dataset.PixelData, 0, number_of_frames=1))
    said = (int(dataset.Columns), int(dataset.Rows))
    if size is not None and size != said:
        raise ValueError(f"{size} pixels in the compressed picture, {said} in the header; refused as a guard of memory")


def _codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Returns (width, height) from the SIZ marker of JPEG 2000 or the frame header of JPEG; None for others."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 1024)
    if start >= 0 and len(frame) >= start + 24:
        right, bottom, left, top = struct.unpack(">4I", frame[start + 8 : start + 24])
        return right - left, bottom - top
    position = 2
    while position + 9 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        # Start of frame: C0 to CF less the tables C4, C8, CC; F7 is that of JPEG-LS.
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = struct.unpack(">HH", frame[position + 5 : position + 9])
            return width, height
        is_fill = marker == 0xFF
        position += 1 if is_fill else 2 + int.from_bytes(frame[position + 2 : position + 4])
    return None
