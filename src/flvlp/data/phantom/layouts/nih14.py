"""NIH ChestX-ray14 as the NIH Clinical Center ships it."""

from pathlib import Path

import numpy as np

from flvlp.data.phantom.layouts.chance import age, pick, sex, share
from flvlp.data.phantom.layouts.classes import NIH, NO_FINDING, nih_classes, nih_opacity
from flvlp.data.phantom.layouts.files import table_text, write_picture, write_text
from flvlp.data.phantom.layouts.parts import parts_of
from flvlp.data.phantom.source import PhantomSource

TABLE_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
FOLDERS = 12
PUBLISHED_SIZE = 1024  # pixels, side of the published pictures, which boxes are of
# Width, height and spacing (mm) of the originals, as often as they are.
ORIGINALS = (
    *[("2500", "2048", "0.168")] * 5,
    *[("2500", "2048", "0.171")] * 2,
    *[("2048", "2500", "0.168")] * 2,
    *[("2992", "2991", "0.14300000000000002")] * 2,
    *[("3056", "2544", "0.139")],
    *[("2021", "2021", "0.19431099999999998")],
)
AP_SHARE = 0.4
_WITH_ALPHA = 90  # one picture in so many is published with colours and alpha
_BOX_NAMES = {"Infiltration": "Infiltrate"}


def image_index(patient: int, visit: int) -> str:
    """Returns the name of a picture."""
    return f"{patient + 1:08d}_{visit:03d}.png"


def write(folder: Path, phantoms: PhantomSource) -> None:
    """Writes every study's frontal view: the table of labels, both lists, the boxes, and twelve folders of PNG.

    Labels are those of `classes.NIH`. As published, only pictures of the test list have boxes: of opacities,
    atelectasis, nodules, masses, and around the air of a pneumothorax; some findings have none. The table of boxes
    names nine columns over rows of six and says `Infiltrate`. A few pictures are RGBA.
    """
    rows, boxes = [], []
    names: dict[str, list[str]] = {"train_val_list.txt": [], "test_list.txt": []}
    for plan, part in zip(phantoms.plans, parts_of(phantoms), strict=True):
        name = image_index(plan.patient, plan.visit)
        is_test = part == "test"
        names["test_list.txt" if is_test else "train_val_list.txt"].append(name)
        position = "AP" if share(phantoms.seed, "position", plan.index) < AP_SHARE else "PA"
        width, height, spacing = pick(ORIGINALS, phantoms.seed, "original", plan.patient)
        years = str(age(phantoms.seed, plan.patient, plan.visit))
        labels = "|".join(sorted(nih_classes(plan.findings))) or NO_FINDING
        person = (str(plan.patient + 1), years, sex(phantoms.seed, plan.patient))
        rows.append((name, labels, str(plan.visit), *person, position, width, height, spacing, spacing))
        if is_test:
            boxes += [(name, label, *numbers) for label, numbers in boxes_of(phantoms, plan.index)]
        number = plan.patient * FOLDERS // (phantoms.plans[-1].patient + 1) + 1
        path = folder / f"images_{number:03d}" / "images" / name
        has_alpha = plan.index % _WITH_ALPHA == _WITH_ALPHA // 10
        write_picture(path, phantoms.frontal(plan.index), "RGBA" if has_alpha else "L")
    write_text(folder / "Data_Entry_2017_v2020.csv", table_text(TABLE_HEADER, rows))
    write_text(folder / "BBox_List_2017.csv", table_text(BOX_HEADER, boxes))
    for name, listed in names.items():
        write_text(folder / name, "".join(f"{one}\n" for one in listed))


def boxes_of(phantoms: PhantomSource, index: int) -> list[tuple[str, tuple[str, str, str, str]]]:
    """Returns class and left, top, width, height of each box, in pixels of the published size."""
    finding_of = {finding.name: finding for finding in phantoms.plans[index].findings}
    found = []
    for name, box in phantoms.finding_boxes[index]["frontal"]:
        if name == "consolidation":
            found.append((nih_opacity(finding_of[name]), box))
        elif name in ("atelectasis", "nodule", "mass"):
            found.append((NIH[name][0], box))
    mask = phantoms.pneumothorax.of(index)
    if mask.any():
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        found.append(("Pneumothorax", (left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)))
    scale = PUBLISHED_SIZE / phantoms.size
    return [
        (_BOX_NAMES.get(name, name), (_number(a * scale), _number(b * scale), _number(c * scale), _number(d * scale)))
        for name, (a, b, c, d) in found
    ]


def _number(value: float) -> str:
    return f"{value:.15g}"
