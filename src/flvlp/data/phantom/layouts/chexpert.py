"""CheXpert-v1.0-small as Stanford ships it, with the labels of the test set as their repository has them."""

from pathlib import Path

from flvlp.data.phantom.layouts.chance import age, sex, share
from flvlp.data.phantom.layouts.classes import chexpert_classes, labelled
from flvlp.data.phantom.layouts.files import table_text, write_picture, write_text
from flvlp.data.phantom.layouts.parts import parts_of
from flvlp.data.phantom.layouts.views import View, pixels_of, views_of
from flvlp.data.phantom.source import PhantomSource

CLASSES = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
)
HEADER = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CLASSES))
TEST_HEADER = ",".join(("Study", *CLASSES))
SMALL_RELEASE, FULL_RELEASE = "CheXpert-v1.0-small", "CheXpert-v1.0"
# Published: patients 1 to 64,540 for training, 200 for validation, 500 for the test.
FIRST_PATIENT = {"train": 1, "validation": 64541, "test": 64741}
FOLDERS = {"train": "train", "validation": "valid", "test": "test"}
_AP_SHARE = 0.84  # of the frontals


def write(folder: Path, phantoms: PhantomSource) -> None:
    """Writes every study with all its views: train.csv, valid.csv and groundtruth.csv, and a folder for each part.

    Labels are those of `classes.CHEXPERT`. Those of train.csv are what the labeller would make of a report: 1.0, 0.0,
    -1.0 (uncertain) or blank. Those of valid.csv are 1.0 or 0.0; those of the test set are 1 or 0 a *study*, under the
    name of the full release.
    """
    tables: dict[str, list[tuple[str, ...]]] = {part: [] for part in FOLDERS}
    parts = parts_of(phantoms)
    numbers = _patient_numbers(phantoms, parts)
    for plan, part, views in zip(phantoms.plans, parts, views_of(phantoms), strict=True):
        study = f"{FOLDERS[part]}/patient{numbers[plan.patient]:05d}/study{plan.visit + 1}"
        positive = chexpert_classes(plan.findings)
        said = labelled(plan.findings, phantoms.seed, plan.index)
        if part == "test":
            truth = (str(int(name in positive)) for name in CLASSES)
            tables[part].append((f"{FULL_RELEASE}/{study}", *truth))
        for number, view in enumerate(views, start=1):
            name = f"{study}/view{number}_{view.kind}.jpg"
            write_picture(folder / name, pixels_of(phantoms, plan.index, view))
            if part == "test":
                continue
            values = (
                [said.get(name, "") for name in CLASSES]
                if part == "train"
                else [f"{float(name in positive)}" for name in CLASSES]
            )
            person = "Female" if sex(phantoms.seed, plan.patient) == "F" else "Male"
            years = str(age(phantoms.seed, plan.patient, plan.visit))
            view_columns = (view.kind.capitalize(), _position(phantoms.seed, plan.index, view))
            tables[part].append((f"{SMALL_RELEASE}/{name}", person, years, *view_columns, *values))
    write_text(folder / "train.csv", table_text(HEADER, tables["train"]))
    write_text(folder / "valid.csv", table_text(HEADER, tables["validation"]))
    # Published without a line end behind the last row.
    write_text(folder / "groundtruth.csv", table_text(TEST_HEADER, tables["test"]).rstrip("\n"))


def _position(seed: int, index: int, view: View) -> str:
    if view.kind == "lateral":
        return ""
    return "AP" if share(seed, "chexpert position", index) < _AP_SHARE else "PA"


def _patient_numbers(phantoms: PhantomSource, parts: list[str]) -> dict[int, int]:
    """Numbers the patients of each part from the published first number, or from behind the part before."""
    numbers: dict[int, int] = {}
    upcoming = 1
    for part, first in FIRST_PATIENT.items():
        upcoming = max(upcoming, first)
        for plan, own in zip(phantoms.plans, parts, strict=True):
            if own == part and plan.patient not in numbers:
                numbers[plan.patient] = upcoming
                upcoming += 1
    return numbers
