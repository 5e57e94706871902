"""Writes tables, pictures and archives; equal content gives equal bytes."""

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import pydicom
from PIL import Image
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, SecondaryCaptureImageStorage

# What the challenges' DICOM files were written with (DCMTK 3.6.0).
_WRITER_UID, _WRITER_NAME = "1.2.276.0.7230010.3.0.3.6.0", "OFFIS_DCMTK_360"
_QUALITY = 90  # of JPEG; the quantisation tables of RSNA's files are those of 90
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def table_text(header: str, rows: Iterable[Sequence[str]]) -> str:
    """Returns a CSV table: the header line as it is, then the rows, quoted where they must be."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return f"{header}\n{text.getvalue()}"


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 without translating line ends; gzip where the name ends in `.gz`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_picture(path: Path, pixels: np.ndarray, mode: str = "L") -> None:
    """Writes (H, W) uint8 as the suffix says, PNG or JPEG; `mode` is Pillow's, such as RGBA."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels).convert(mode)
    if path.suffix == ".png":
        picture.save(path)
    else:
        picture.save(path, quality=_QUALITY)


def write_zip(path: Path, members: Iterable[tuple[str, str]]) -> None:
    """Writes name and text of each member."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, text in members:
            member = ZipInfo(name, _ZIP_DATE)
            member.external_attr = 0o644 << 16
            archive.writestr(member, text, ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class Header:
    """What a challenge's DICOM file says besides its pixels.

    Attributes:
        sop, study, series: instance UIDs.
        patient: PatientID; an id of the picture, not of the person.
        sex, age, view: `F` or `M`; years; `AP` or `PA`.
        spacing: mm between the pixels of the original.
    """

    sop: str
    study: str
    series: str
    patient: str
    sex: str
    age: int
    view: str
    spacing: str


def write_dicom(path: Path, pixels: np.ndarray, header: Header) -> None:
    """Writes (H, W) uint8 as SIIM-ACR's and RSNA's files are: secondary capture, MONOCHROME2, 8 bits, JPEG baseline."""
    dataset = pydicom.Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, UID(header.sop)
    dataset.StudyDate, dataset.StudyTime = "19010101", "000000.00"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.PatientBirthDate = ""
    dataset.Modality, dataset.ConversionType, dataset.BodyPartExamined = "CR", "WSD", "CHEST"
    dataset.SeriesDescription, dataset.ViewPosition = f"view: {header.view}", header.view
    dataset.PatientName = dataset.PatientID = header.patient
    dataset.PatientSex = header.sex
    # Published without the unit ("68", where the standard wants "068Y").
    dataset.add(DataElement("PatientAge", "AS", str(header.age), validation_mode=IGNORE))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = header.study, header.series
    dataset.StudyID = dataset.PatientOrientation = ""
    dataset.SeriesNumber = dataset.InstanceNumber = "1"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    # One of the published spacings, 0.14300000000000002, has more digits than the standard allows.
    dataset.add(DataElement("PixelSpacing", "DS", [header.spacing, header.spacing], validation_mode=IGNORE))
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
    frame = io.BytesIO()
    Image.fromarray(pixels).save(frame, "JPEG", quality=_QUALITY)
    dataset.PixelData = encapsulate([frame.getvalue()], has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(header.sop)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.file_meta.ImplementationClassUID = UID(_WRITER_UID)
    dataset.file_meta.ImplementationVersionName = _WRITER_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
