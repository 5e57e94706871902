"""Small trees of every data set whose ids, paths and texts all hold one word, so that a test finds what leaks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flvlp.data.readers.build import build_source
from flvlp.data.readers.config import DATASET_CONFIGS
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.labels import CHEXPERT14

SECRET = "leak"
_BLANKS = "," * 13  # between 14 labels
CHEXPERT_HEADER = f"Path,Frontal/Lateral,{','.join(CHEXPERT14)}\n"
CHEXPERT_PATHS = tuple(
    f"{part}/patientleak{number}/study1/view1_frontal.jpg" for number, part in enumerate(("train", "train", "valid"))
)
# Data set -> file -> content. Picture files are in `PICTURES`.
TABLES: dict[str, dict[str, str]] = {
    "pairs": {
        "table.csv": "Path_frontal,Path_lateral,Report,patient,part,effusion,mask\n"
        "leaks/leak1.png,,leak: clear.,leakp1,train,1,leaks/leakmask.png\n"
        "leaks/leak2.png,,leak: odd.,leakp2,train,0,\n"
    },
    "nih14": {
        "Data_Entry_2017_v2020.csv": "Image Index,Finding Labels,Patient ID\n"
        "leak1.png,Mass,leakp1\nleak2.png,No Finding,leakp2\n",
        "BBox_List_2017.csv": "Image Index,Finding Label,Bbox [x,y,w,h],,,\nleak1.png,Mass,1,1,9,9\n",
    },
    "rsna": {
        "stage_2_train_labels.csv": "patientId,x,y,width,height,Target\nleak1,1,1,9,9,1\nleak2,,,,,0\n",
        "stage_2_detailed_class_info.csv": "patientId,class\nleak1,Lung Opacity\nleak2,Normal\n",
    },
    "siim": {"train-rle.csv": "ImageId, EncodedPixels\nleak1,0 2\nleak2, -1\n"},
    "siim mirror": {
        "stage_1_train_images.csv": "new_filename,ImageId,has_pneumo\n1_leak1.png,leak1,1\n0_leak2.png,leak2,0\n"
    },
    "object_cxr": {
        "train.csv": "image_name,annotation\nleak1.jpg,0 1 1 4 4\nleak2.jpg,\n",
        "dev.csv": "image_name,annotation\nleak3.jpg,\n",
    },
    "covidx": {
        "train_COVIDx9A.txt": "leakp1 leak1.png normal rsna\nleakp2 leak2.png COVID-19 rsna\n",
        "test_COVIDx9A.txt": "leakp3 leak3.png normal rsna\n",
    },
    "chexpert": {
        "train.csv": CHEXPERT_HEADER + "".join(f"C/{path},Frontal,{_BLANKS}\n" for path in CHEXPERT_PATHS[:2]),
        "valid.csv": CHEXPERT_HEADER + f"C/{CHEXPERT_PATHS[2]},Frontal,{_BLANKS}\n",
    },
    "iu_xray": {
        "indiana_reports.csv": "uid,findings,impression\nleak1,leak: clear.,leak\nleak2,,leak: odd.\n",
        "indiana_projections.csv": "uid,filename,projection\nleak1,leak1.png,Frontal\nleak2,leak2.png,Frontal\n",
    },
    "ms_cxr": {
        "MS_CXR_Local_Alignment_v1.1.0.csv": "dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height,"
        "split\n"
        "leak1,Edema,leak: odd,files/p10/p10000001/s50000001/leak1.jpg,1,1,4,4,8,8,train\n"
        "leak2,Edema,leak: bad,files/p10/p10000002/s50000002/leak2.jpg,1,1,4,4,8,8,train\n"
    },
}
PICTURES: dict[str, tuple[str, ...]] = {
    "pairs": ("leaks/leak1.png", "leaks/leak2.png", "leaks/leakmask.png"),
    "nih14": ("images/leak1.png", "images/leak2.png"),
    "rsna": ("stage_2_train_images/leak1.png", "stage_2_train_images/leak2.png"),
    "siim": ("train/leak1.png", "train/leak2.png"),
    "siim mirror": ("png_images/1_leak1.png", "png_images/0_leak2.png", "png_masks/1_leak1.png"),
    "object_cxr": ("train/leak1.jpg", "train/leak2.jpg", "dev/leak3.jpg"),
    "covidx": ("train/leak1.png", "train/leak2.png", "test/leak3.png"),
    "chexpert": CHEXPERT_PATHS,
    "iu_xray": ("images/leak1.png", "images/leak2.png"),
    "ms_cxr": tuple(f"files/p10/p1000000{number}/s5000000{number}/leak{number}.jpg" for number in (1, 2)),
}
_PATIENT_SPLITS = ("nih14", "rsna", "siim", "chexpert", "iu_xray")


def write_tree(root: Path, tree: str) -> None:
    """Writes a whole tree without fault."""
    for name, content in TABLES[tree].items():
        (root / name).write_text(content)
    for value, name in enumerate(PICTURES[tree]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), value, dtype=np.uint8)).save(root / name)


def damage(root: Path, changes: Mapping[str, str | bytes | None]) -> None:
    """Replaces the content of files; None removes one."""
    for name, content in changes.items():
        if content is None:
            (root / name).unlink()
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def read_tree(root: Path, tree: str, **knobs: Any) -> FileSource:
    """Reads a tree, with all columns that a table of pairs has."""
    name = tree.split(maxsplit=1)[0]
    own: dict[str, Any] = {"root": str(root)}
    if name == "pairs":
        own |= {"csv": str(root / "table.csv"), "patient_column": "patient", "split_column": "part"}
        own |= {"label_columns": ["effusion"], "mask_column": "mask"}
    if name == "ms_cxr":
        own |= {"credentialed": False}  # its default is True
    if name in _PATIENT_SPLITS:
        own |= {"split": f"{name}/patient"}
    source = build_source(DATASET_CONFIGS[name](**{"name": name, **own, **knobs}))
    assert isinstance(source, FileSource)
    return source


def read_all(root: Path, tree: str, **knobs: Any) -> None:
    """Reads a tree with all its pixels and masks."""
    source = read_tree(root, tree, **knobs)
    for index in range(len(source.studies)):
        source.frontal(index)
        if source.masks is not None:
            source.masks.of(index)
