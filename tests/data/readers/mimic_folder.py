"""A small MIMIC-CXR-JPG on disk, in the publisher's layout; ids and texts are made up."""

import csv
import gzip
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flvlp.data.readers.config import MimicCxrConfig
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.labels import CHEXPERT14
from flvlp.data.readers.mimic_cxr import LABELS, METADATA, SPLIT, read_mimic_cxr

METADATA_HEADER = ("dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows")
# dicom, subject, study, view: one study a view pattern; 101 and 102 are of one patient
VIEWS = (
    ("d-ap", "10000001", "50000101", "AP"),
    ("d-pa", "10000001", "50000101", "PA"),
    ("d-ll", "10000001", "50000101", "LL"),
    ("d-lat", "10000001", "50000101", "LATERAL"),
    ("d-blank", "10000001", "50000101", ""),
    ("d-ap1", "10000001", "50000102", "AP"),
    ("d-ap2", "10000001", "50000102", "AP"),
    ("d-only-lateral", "10000002", "50000201", "LATERAL"),
    ("d-pa3", "11000003", "50000301", "PA"),
    ("d-ll3", "11000003", "50000301", "LL"),
    ("d-axial", "11000004", "50000401", "AP AXIAL"),
    ("d-pa4", "11000004", "50000401", "PA"),
)
PART_OF = {"10000001": "train", "10000002": "train", "11000003": "validate", "11000004": "test"}
TEXT = "FINAL REPORT\n FINDINGS: \n Clear lungs, study {study}.\n\n IMPRESSION: \n Normal.\n"


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a CSV file's content."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()


class MimicFolder:
    """The data set on disk, complete until a test takes something away; pixel values count the pictures."""

    def __init__(self, root: Path, views: Sequence[tuple[str, str, str, str]] = VIEWS, is_packed: bool = True) -> None:
        self.root, self.views, self.is_packed = root, list(views), is_packed
        self.labels = {study: {"Edema": "1.0"} for study in self.studies}
        for value, (dicom, subject, study, _) in enumerate(self.views):
            path = self.picture(subject, study, dicom)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4), value, dtype=np.uint8)).save(path)
        self.write_tables()

    @property
    def studies(self) -> dict[str, str]:
        """Study -> its subject."""
        return {study: subject for _, subject, study, _ in self.views}

    def picture(self, subject: str, study: str, dicom: str, suffix: str = ".jpg") -> Path:
        return self.root / f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}{suffix}"

    def write_tables(self) -> None:
        metadata = [
            (dicom, subject, study, "CHEST (PA AND LAT)", view, "4") for dicom, subject, study, view in self.views
        ]
        split = [(dicom, study, subject, PART_OF.get(subject, "train")) for dicom, subject, study, _ in self.views]
        labels = [
            (subject, study, *(self.labels[study].get(name, "") for name in sorted(CHEXPERT14)))
            for study, subject in self.studies.items()
            if study in self.labels
        ]
        self.write(METADATA, table_text(METADATA_HEADER, metadata))
        self.write(SPLIT, table_text(("dicom_id", "study_id", "subject_id", "split"), split))
        self.write(LABELS, table_text(("subject_id", "study_id", *sorted(CHEXPERT14)), labels))

    def write(self, name: str, content: str) -> None:
        """Writes a table, as `.csv.gz` or plain."""
        for path in (self.root / name, self.root / f"{name}.gz"):
            path.unlink(missing_ok=True)
        if self.is_packed:
            with gzip.open(self.root / f"{name}.gz", "wt", encoding="utf-8") as file:
                file.write(content)
        else:
            (self.root / name).write_text(content, encoding="utf-8")

    def texts(self) -> dict[str, bytes]:
        """Name of each report -> its bytes."""
        return {
            f"files/p{subject[:2]}/p{subject}/s{study}.txt": TEXT.format(study=study[-3:]).encode()
            for study, subject in self.studies.items()
        }

    def write_reports(self, below: str = "", without: str = "") -> None:
        """Writes the text tree below a folder of the root, leaving a study out."""
        for name, data in self.texts().items():
            if not (without and without in name):
                path = self.root / below / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def write_zip(self, name: str = "mimic-cxr-reports.zip", prefix: str = "", **changed: bytes) -> None:
        """Writes the reports as a zip file; `s50000101=b"..."` changes one."""
        with zipfile.ZipFile(self.root / name, "w", zipfile.ZIP_DEFLATED) as file:
            for member, data in self.texts().items():
                file.writestr(prefix + member, changed.get(Path(member).stem, data))

    def read(self, **knobs: Any) -> FileSource:
        return read_mimic_cxr(MimicCxrConfig(**{"name": "mimic_cxr", "root": str(self.root), **knobs}))

    def failure(self, error: type[Exception], **knobs: Any) -> str:
        with pytest.raises(error) as caught:
            self.read(**knobs)
        return str(caught.value)
