"""MS-CXR as PhysioNet ships it, with the pictures of MIMIC-CXR-JPG that it is about."""

from pathlib import Path

from flvlp.data.phantom.findings import Finding, shows_on_frontal
from flvlp.data.phantom.layouts.files import table_text, write_picture, write_text
from flvlp.data.phantom.layouts.mimic_cxr import dicom_id, ids_of
from flvlp.data.phantom.layouts.parts import parts_of
from flvlp.data.phantom.layouts.views import View, views_of
from flvlp.data.phantom.making import phrase_of
from flvlp.data.phantom.source import PhantomSource

HEADER = "dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height,split"
PUBLISHED_SIZE = 2544  # pixels; published pictures are not square, phantoms are
PARTS = {"train": "train", "validation": "val", "test": "test"}
_OPACITIES = {"small": "Lung Opacity", "moderate": "Consolidation", "large": "Pneumonia"}
_CATEGORIES = {
    "atelectasis": "Atelectasis",
    "cardiomegaly": "Cardiomegaly",
    "edema": "Edema",
    "mass": "Lung Opacity",
    "nodule": "Lung Opacity",
    "pleural_effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
}


def category_of(finding: Finding) -> str:
    """Returns the category of a finding; "" for what has none, and for what the frontal hardly shows."""
    if finding.name == "consolidation":
        return _OPACITIES[finding.severity]
    if not shows_on_frontal(finding):
        return ""
    return _CATEGORIES.get(finding.name, "")


def write(folder: Path, phantoms: PhantomSource) -> None:
    """Writes the first frontal view of every study that shows something with a box, and the table of boxes.

    Ids, folders and parts are those of the stand-in of MIMIC-CXR-JPG, so that whoever was pre-trained on that has seen
    the same patients. A phrase has a box for each side that it speaks of: a row each.
    """
    seed, scale = phantoms.seed, PUBLISHED_SIZE / phantoms.size
    parts, views = parts_of(phantoms), views_of(phantoms)
    rows: list[tuple[str, ...]] = []
    for plan in phantoms.plans:
        frontal = View("frontal")
        if frontal not in views[plan.index]:
            continue
        dicom = dicom_id(seed, plan.index, views[plan.index].index(frontal))
        path = f"{ids_of(seed, plan).folder}/{dicom}.jpg"
        own = []
        for finding in plan.findings:
            category, phrase = category_of(finding), phrase_of(plan, finding, seed).removesuffix(".")
            for name, box in phantoms.finding_boxes[plan.index]["frontal"]:
                if name == finding.name and category:
                    numbers = [str(round(value * scale)) for value in (*box, phantoms.size, phantoms.size)]
                    own.append((dicom, category, phrase, path, *numbers, PARTS[parts[plan.index]]))
        if own:
            rows += own
            write_picture(folder / path, phantoms.frontal(plan.index))
    write_text(folder / "MS_CXR_Local_Alignment_v1.1.0.csv", table_text(HEADER, rows))
