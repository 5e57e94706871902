"""The RSNA Pneumonia Detection Challenge, stage 2, as Kaggle ships it, with RSNA's own mapping file."""

import json
from pathlib import Path

from flvlp.data.phantom.layouts.chance import age, pick, sex, share, uuid, whole
from flvlp.data.phantom.layouts.classes import NO_FINDING, nih_classes
from flvlp.data.phantom.layouts.files import Header, table_text, write_dicom, write_text
from flvlp.data.phantom.layouts.nih14 import AP_SHARE, ORIGINALS, PUBLISHED_SIZE, image_index
from flvlp.data.phantom.making import PhantomPlan
from flvlp.data.phantom.source import PhantomSource

LABELS_HEADER = "patientId,x,y,width,height,Target"
CLASSES_HEADER = "patientId,class"
SUBMISSION_HEADER = "patientId,PredictionString"
OPACITY, NOT_NORMAL, NORMAL = "Lung Opacity", "No Lung Opacity / Not Normal", "Normal"
UNLABELLED = 20  # one patient in so many is in the challenge's test folder, which has no labels
UID = "1.2.276.0.7230010.3.1"


def picture_id(seed: int, index: int) -> str:
    """Returns what the challenge calls `patientId`; it is one of the picture."""
    return uuid(seed, "rsna", index)


def write(folder: Path, phantoms: PhantomSource) -> None:
    """Writes every study's frontal view as DICOM, both tables, the sample submission and the mapping to NIH's pictures.

    A consolidation that the frontal view shows is a `Lung Opacity` with a box in pixels of the published 1024 x 1024; a
    phantom without findings is `Normal`. Patients are known from the mapping file alone. A few patients are in the
    folder of test pictures, which has no labels.
    """
    labels: list[tuple[str, ...]] = []
    classes: list[tuple[str, str]] = []
    submission: list[tuple[str, str]] = []
    mapping = []
    for plan in sorted(phantoms.plans, key=lambda plan: picture_id(phantoms.seed, plan.index)):
        name = picture_id(phantoms.seed, plan.index)
        header = header_of(phantoms, plan, name)
        entry = {"StudyInstanceUID": header.study, "SeriesInstanceUID": header.series, "SOPInstanceUID": header.sop}
        mapping.append(
            {
                **entry,
                "subset_img_id": name,
                "img_id": image_index(plan.patient, plan.visit),
                "orig_labels": sorted(nih_classes(plan.findings)) or [NO_FINDING],
            }
        )
        is_labelled = plan.patient % UNLABELLED != UNLABELLED // 2
        part = "train" if is_labelled else "test"
        write_dicom(folder / f"stage_2_{part}_images" / f"{name}.dcm", phantoms.frontal(plan.index), header)
        if not is_labelled:
            submission.append((name, "0.5 0 0 100 100"))
            continue
        boxes = boxes_of(phantoms, plan.index)
        labels += [(name, *numbers, "1") for numbers in boxes] or [(name, "", "", "", "", "0")]
        kind = OPACITY if boxes else NOT_NORMAL if plan.findings else NORMAL
        classes += [(name, kind)] * max(1, len(boxes))
    write_text(folder / "stage_2_train_labels.csv", table_text(LABELS_HEADER, labels))
    write_text(folder / "stage_2_detailed_class_info.csv", table_text(CLASSES_HEADER, classes))
    write_text(folder / "stage_2_sample_submission.csv", table_text(SUBMISSION_HEADER, submission))
    write_text(folder / "pneumonia-challenge-dataset-mappings_2018.json", json.dumps(mapping))


def boxes_of(phantoms: PhantomSource, index: int) -> list[tuple[str, str, str, str]]:
    """Returns left, top, width, height of each opacity: whole pixels of the published size, written with a decimal."""
    scale = PUBLISHED_SIZE / phantoms.size
    found = []
    for name, (left, top, width, height) in phantoms.finding_boxes[index]["frontal"]:
        if name == "consolidation":
            first = round(left * scale), round(top * scale)
            last = round((left + width) * scale), round((top + height) * scale)
            numbers = (*first, last[0] - first[0], last[1] - first[1])
            a, b, c, d = (f"{number:.1f}" for number in numbers)
            found.append((a, b, c, d))
    return found


def header_of(phantoms: PhantomSource, plan: PhantomPlan, patient_id: str) -> Header:
    """Returns the header of a picture; its ids count up as those of the converter that both challenges used."""
    seed = phantoms.seed
    moment = f"8323329.{1000 + plan.index}.{1517874000 + 3 * plan.index}"
    fraction = whole(seed, "moment", plan.index) % 900_000 + 100_000
    return Header(
        sop=f"{UID}.4.{moment}.{fraction}",
        study=f"{UID}.2.{moment}.{fraction - 1}",
        series=f"{UID}.3.{moment}.{fraction - 2}",
        patient=patient_id,
        sex=sex(seed, plan.patient),
        age=age(seed, plan.patient, plan.visit),
        view="AP" if share(seed, "position", plan.index) < AP_SHARE else "PA",
        spacing=pick(ORIGINALS, seed, "original", plan.patient)[2],
    )
