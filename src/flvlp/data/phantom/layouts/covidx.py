"""COVIDx V9A as the COVID-Net lists and the Kaggle folders lay it out."""

from pathlib import Path

from flvlp.data.phantom.findings import Finding
from flvlp.data.phantom.layouts.chance import pick, uuid, whole
from flvlp.data.phantom.layouts.files import write_picture, write_text
from flvlp.data.phantom.layouts.parts import parts_of
from flvlp.data.phantom.making import PhantomPlan
from flvlp.data.phantom.source import PhantomSource

NORMAL, PNEUMONIA, COVID = "normal", "pneumonia", "COVID-19"
# The lists of V9A spell RSNA so.
SOURCES = ("rnsa", "rnsa", "rnsa", "ricord", "ricord", "cohen", "sirm", "sirm")


def class_of(findings: tuple[Finding, ...]) -> str:
    """Returns the class of a phantom, "" for one that is not in the data set."""
    names = {finding.name for finding in findings}
    if "edema" in names:
        return COVID
    if "consolidation" in names:
        return PNEUMONIA
    return "" if names else NORMAL


def write(folder: Path, phantoms: PhantomSource) -> None:
    """Writes the studies of three classes: one list and one folder for each of train and test.

    `normal` is a phantom without findings, `pneumonia` one with a consolidation. **`COVID-19` is not COVID**: phantoms
    have none, and edema, an opacity on both sides, stands in for it. All other phantoms are left out.

    Lines have no header; ids and names follow the collections that COVIDx was put together from, and PNG and JPEG both
    occur. Lists of V9A have `COVID_70 COVID(70).png`; half of these patients have spaces in both, as in lists before V8
    (`COVID 70`).
    """
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for plan, part in zip(phantoms.plans, parts_of(phantoms), strict=True):
        label = class_of(plan.findings)
        if not label:
            continue
        folder_name = "test" if part == "test" else "train"
        patient, name, source = name_of(phantoms.seed, plan)
        lines[folder_name].append(f"{patient} {name} {label} {source}\n")
        write_picture(folder / folder_name / name, phantoms.frontal(plan.index))
    for part, listed in lines.items():
        write_text(folder / f"{part}_COVIDx9A.txt", "".join(listed))


def name_of(seed: int, plan: PhantomPlan) -> tuple[str, str, str]:
    """Returns patient id, file name and collection; all studies of a patient come from one collection."""
    source = pick(SOURCES, seed, "source", plan.patient)
    number = plan.patient + 1
    match source:
        case "ricord":
            patient = f"419639-{number:06d}"
            return patient, f"MIDRC-RICORD-1C-{patient}-{whole(seed, plan.index) % 90_000 + 10_000}-0.png", source
        case "cohen":
            suffix = ("jpg", "jpeg", "png")[plan.index % 3]
            return str(number), f"pneumonia-{number}-day{3 * plan.visit}.{suffix}", source
        case "sirm":
            visit = f"-{plan.visit}" if plan.visit else ""
            if number % 2:
                return f"COVID {number}", f"COVID ({number}){visit}.png", source
            return f"COVID_{number}", f"COVID({number}){visit}.png", source
        case _:
            return uuid(seed, "covidx", plan.patient), f"{uuid(seed, 'covidx picture', plan.index)}.png", source
