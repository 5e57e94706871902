"""MIMIC-CXR-JPG and the reports of MIMIC-CXR as PhysioNet ships them."""

from dataclasses import dataclass
from pathlib import Path

from flvlp.data.phantom.layouts.chance import hexadecimal, is_turn, permuted, pick, share, whole
from flvlp.data.phantom.layouts.classes import labelled
from flvlp.data.phantom.layouts.files import table_text, write_picture, write_text, write_zip
from flvlp.data.phantom.layouts.mimic_reports import report_text
from flvlp.data.phantom.layouts.parts import parts_of
from flvlp.data.phantom.layouts.views import View, pixels_of, views_of
from flvlp.data.phantom.making import PhantomPlan
from flvlp.data.phantom.source import PhantomSource

METADATA_HEADER = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
SPLIT_HEADER = "dicom_id,study_id,subject_id,split"
CLASSES = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture"),
    *("Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax"),
    "Support Devices",
)
LABELS_HEADER = ",".join(("subject_id", "study_id", *CLASSES))
PARTS = {"train": "train", "validation": "validate", "test": "test"}
_VIEW_CODES = {"AP": "antero-posterior", "PA": "postero-anterior", "LATERAL": "lateral", "LL": "left lateral", "": ""}
_AP_SHARE, _LL_SHARE = 0.6, 0.3
# Turns, see `is_turn`.
_WITHOUT_POSITION = (30, 14)  # studies that do not say how they were taken
_UNLABELLED = (100, 9)  # studies that are not in the labeller's table
_SIZES = (("3056", "2544"), ("2544", "3056"), ("2022", "1736"), ("2140", "1760"))  # of the originals


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids of a study as they stand in the tables."""

    subject: str
    study: str

    @property
    def folder(self) -> str:
        """Folder of the study's pictures; with `.txt` behind it, its report."""
        return f"files/p{self.subject[:2]}/p{self.subject}/s{self.study}"


def ids_of(seed: int, plan: PhantomPlan) -> Ids:
    """Returns the ids of a study: eight digits each, subjects from 1, studies from 5."""
    subject = 10_000_000 + permuted(plan.patient, seed, "subject")
    return Ids(str(subject), str(50_000_000 + permuted(plan.index, seed, "study")))


def dicom_id(seed: int, index: int, number: int) -> str:
    """Returns the id of a picture: five groups of eight hexadecimal digits."""
    text = hexadecimal(40, seed, "dicom", index, number)
    return "-".join(text[start : start + 8] for start in range(0, 40, 8))


def write(folder: Path, phantoms: PhantomSource) -> None:
    """Writes every study with all its views and its report: three `.csv.gz`, folders of JPEG, and the zip of reports.

    Labels are what the labeller would make of the report, see `classes.labelled`; a few studies have none. Some studies
    say nothing of their view, some have two frontals or no frontal, some reports are empty (`mimic_reports`).
    """
    seed = phantoms.seed
    parts, views = parts_of(phantoms), views_of(phantoms)
    metadata, split, labels, reports = [], [], [], []
    ordered = sorted(phantoms.plans, key=lambda plan: (ids_of(seed, plan).subject, ids_of(seed, plan).study))
    for plan in ordered:
        ids = ids_of(seed, plan)
        rows = []
        for number, view in enumerate(views[plan.index]):
            dicom = dicom_id(seed, plan.index, number)
            write_picture(folder / ids.folder / f"{dicom}.jpg", pixels_of(phantoms, plan.index, view))
            rows.append((dicom, ids.subject, ids.study, *_described(seed, plan, view)))
        # Within a study the published table is sorted by id, not by view.
        metadata += sorted(rows)
        split += [(row[0], ids.study, ids.subject, PARTS[parts[plan.index]]) for row in sorted(rows)]
        if not is_turn(plan.index, _UNLABELLED):
            said = labelled(plan.findings, seed, plan.index)
            labels.append((ids.subject, ids.study, *(said.get(name, "") for name in CLASSES)))
        text = report_text(phantoms.raw_reports[plan.index], plan.index, plan.has_lateral)
        reports.append((f"{ids.folder}.txt", text))
    write_text(folder / "mimic-cxr-2.0.0-metadata.csv.gz", table_text(METADATA_HEADER, metadata))
    write_text(folder / "mimic-cxr-2.0.0-split.csv.gz", table_text(SPLIT_HEADER, split))
    write_text(folder / "mimic-cxr-2.0.0-chexpert.csv.gz", table_text(LABELS_HEADER, labels))
    write_zip(folder / "mimic-cxr-reports.zip", reports)


def _described(seed: int, plan: PhantomPlan, view: View) -> tuple[str, ...]:
    """Returns the columns behind the ids, for one picture."""
    is_portable = share(seed, "mimic position", plan.index) < _AP_SHARE and not plan.has_lateral
    if view.kind == "lateral":
        position = "LL" if share(seed, "mimic lateral", plan.index) < _LL_SHARE else "LATERAL"
    else:
        position = "AP" if is_portable or share(seed, "mimic seated", plan.index) < 0.25 else "PA"
    if is_turn(plan.index, _WITHOUT_POSITION):
        position = ""
    taken = "PA AND LAT" if plan.has_lateral else "PORTABLE AP" if is_portable else "SINGLE VIEW"
    procedure = f"CHEST ({taken})"
    rows, columns = pick(_SIZES, seed, "size", plan.index)
    year = 2110 + whole(seed, "year", plan.patient) % 90 + plan.visit
    date = f"{year}{1 + whole(seed, 'month', plan.index) % 12:02d}{1 + whole(seed, 'day', plan.index) % 28:02d}"
    clock = whole(seed, "clock", plan.index)
    time = f"{clock % 24 * 10_000 + clock // 24 % 60 * 100 + clock // 1440 % 60 + clock // 86_400 % 1000 / 1000:.3f}"
    orientation = "" if not position else "Recumbent" if is_portable else "Erect"
    return procedure, position, rows, columns, date, time, procedure, _VIEW_CODES[position], orientation
