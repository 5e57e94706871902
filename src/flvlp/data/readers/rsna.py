"""Reads the RSNA Pneumonia Detection Challenge (stage 2) as published: a table of boxes, a folder of DICOM pictures."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from flvlp.data.readers.bounded import read_json
from flvlp.data.readers.boxes import boxes_of
from flvlp.data.readers.config import RSNAConfig
from flvlp.data.readers.files import FileSource, open_root, split_of
from flvlp.data.readers.labels import known_values
from flvlp.data.readers.layout import Expected
from flvlp.data.readers.listing import Record, list_studies
from flvlp.data.readers.tables import Table, find_table, hides_ids, listed, read_table
from flvlp.data.readers.tree import Tree, stem_of
from flvlp.data.studies import Labels

log = logging.getLogger(__name__)

NAMES = ("Pneumonia",)
BOX_NAMES = ("Lung Opacity",)
TABLE = "stage_2_train_labels.csv"
CLASSES = "stage_2_detailed_class_info.csv"
BY_PATIENT, BY_PICTURE = "rsna/patient-70-15-15", "rsna/picture-70-15-15"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
# The publisher's, then those of converted copies.
FOLDERS = ("stage_2_train_images", "train_images", "images", "")
# Boxes are in pixels of the published pictures.
PUBLISHED_SIZE = (1024.0, 1024.0)
_BOX_COLUMNS = ("x", "y", "width", "height")
_COLUMNS = ("patientId", *_BOX_COLUMNS, "Target")
_TARGETS = {"1": 1.0, "0": 0.0}
# Only the first class has boxes.
_CLASS_TARGETS = {"Lung Opacity": 1.0, "No Lung Opacity / Not Normal": 0.0, "Normal": 0.0}


def layout(config: RSNAConfig) -> tuple[Expected, ...]:
    """Returns what a download holds; no key of the configuration moves a part of it."""
    no_patients = "patients: each picture is one of its own"
    return (
        Expected("table of boxes", (TABLE,), _COLUMNS),
        Expected("pictures", tuple(f"{folder}/*".lstrip("/") for folder in FOLDERS), is_pictures=True),
        Expected("classes", (CLASSES,), ("patientId", "class"), is_required=False, without="a check of the labels"),
        Expected("mapping to NIH ChestX-ray14", (MAPPING,), is_required=False, without=no_patients),
    )


def read_rsna(config: RSNAConfig) -> FileSource:
    """Reads the data set; each picture is a sample of its own, however many rows it has.

    `patientId` names a picture, not a patient. The pictures come from NIH ChestX-ray14, where a patient has several:
    with the publisher's mapping file in the root, samples carry the NIH patient (as `nih-00000003`) and splits keep
    those together; without it each picture counts as a patient.

    Pictures are looked for in `stage_2_train_images`, `train_images`, `images` and the root, as `.dcm` or as a
    converted copy.

    Raises:
        FileNotFoundError: a missing root, table or (with `missing_images=raise`) picture.
        ValueError: a missing column, a target that is neither 1 nor 0 or contradicts another row, its box or the table
            of classes, a damaged mapping file, or no study left.
    """
    root = open_root(config, TABLE)
    hides = hides_ids(config)
    columns = {name: name for name in _COLUMNS}
    table = read_table(find_table(root, (TABLE,)) or root / TABLE, "dataset.root", columns, hides=hides)
    targets = known_values(table, "Target", _TARGETS, hides)
    names = table.columns["patientId"]
    first_row: dict[str, int] = {}
    for row, name in enumerate(names):
        first_row.setdefault(name, row)
    _check_targets(table, targets, first_row, hides)
    _check_classes(root, {name: float(targets[row]) for name, row in first_row.items()}, hides)
    tree = Tree(root)
    folder_of = {stem_of(name): folder for folder in reversed(FOLDERS) for name in tree.names(folder)}
    patient_of = read_patients(root)
    if patient_of and (unknown := [name for name in first_row if name not in patient_of]):
        log.warning("%s: %d of %d pictures are not in %s", table.path, len(unknown), len(first_row), MAPPING)
    records = [
        Record(
            study_id=name,
            patient_id=patient_of.get(name, name),
            frontals=(f"{folder_of.get(name, FOLDERS[0])}/{name}.dcm".lstrip("/"),),
            row=int(table.lines[row]),
        )
        for name, row in first_row.items()
    ]
    listing = list_studies(config, table.path, records, tree)
    position = {study.study_id: number for number, study in enumerate(listing.studies)}
    return FileSource(
        root,
        listing,
        split_of(_with_split(config, has_patients=bool(patient_of)), records, kept=listing.kept),
        hides,
        labels=Labels(NAMES, targets[list(first_row.values())][listing.kept, None]),
        boxes=boxes_of(
            table,
            [position.get(name, -1) for name in names],
            [table.columns[name] for name in _BOX_COLUMNS],
            BOX_NAMES * len(names),
            ids=names,
            names=BOX_NAMES,
            size=PUBLISHED_SIZE,
            hides=hides,
        ),
    )


def _with_split(config: RSNAConfig, *, has_patients: bool) -> RSNAConfig:
    """Chooses the default split: by patient with the mapping file, by picture without it, each with its own name.

    Raises:
        ValueError: a split by patient, without the mapping file.
    """
    if not config.split:
        return replace(config, split=BY_PATIENT if has_patients else BY_PICTURE)
    if config.split == BY_PATIENT and not has_patients:
        raise ValueError(
            f"dataset.split: {BY_PATIENT} needs {MAPPING}, which says whose each picture is; add it to dataset.root, "
            f"or take {BY_PICTURE}"
        )
    return config


def read_patients(root: Path) -> dict[str, str]:
    """Reads which NIH patient each picture is of: `nih-` and the number as NIH's file names have it; {} without a file.

    Raises:
        ValueError: if the file is not the publisher's.
    """
    path = root / MAPPING
    if not path.is_file():
        log.warning("%s: no %s; a person with several pictures may be in several parts", root, MAPPING)
        return {}
    try:
        entries = read_json(path)
        patient_of = {entry["subset_img_id"]: f"nih-{entry['img_id'].split('_')[0]}" for entry in entries}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path}: not the mapping file ({type(error).__name__}: {str(error)[:100]}); it is a list of entries with "
            "subset_img_id and img_id; download it again, or remove it"
        ) from error
    log.info("%s: %d pictures of %d NIH patients", path, len(patient_of), len(set(patient_of.values())))
    return patient_of


def _check_targets(table: Table, targets: np.ndarray, first_row: Mapping[str, int], hides: bool) -> None:
    """Compares the rows of each picture, and target with box: 1 has one, 0 has none."""
    names = table.columns["patientId"]
    has_box = np.array([any(texts) for texts in zip(*(table.columns[name] for name in _BOX_COLUMNS), strict=True)])
    firsts = np.array([first_row[name] for name in names], dtype=np.int64)
    for is_wrong, what in (
        (targets != targets[firsts], "another target than an earlier row of the picture"),
        (has_box != (targets == 1), "a target of 1 without a box, or of 0 with one"),
    ):
        if is_wrong.any():
            offenders = [(int(table.lines[row]), names[row]) for row in np.flatnonzero(is_wrong)]
            raise ValueError(
                f"{table.path}: {what} in {listed(offenders, hides)}; Target is 1 with a box or 0 without, the same in "
                "every row of a picture; copy the published table again"
            )


def _check_classes(root: Path, target_of: Mapping[str, float], hides: bool) -> None:
    """Compares the table of classes, where there is one; it holds nothing else that is needed."""
    path = find_table(root, (CLASSES,))
    if path is None:
        return
    table = read_table(path, "dataset.root", {"patientId": "patientId", "class": "class"}, hides=hides)
    said = known_values(table, "class", _CLASS_TARGETS, hides)
    offenders = [
        (int(line), name)
        for line, name, target in zip(table.lines, table.columns["patientId"], said.tolist(), strict=True)
        if target_of.get(name, target) != target
    ]
    if offenders:
        raise ValueError(
            f"{path}: class and Target of {TABLE} contradict in {listed(offenders, hides)}; 'Lung Opacity' goes with "
            "1, the other classes with 0; both tables must be of stage 2; copy them again"
        )
