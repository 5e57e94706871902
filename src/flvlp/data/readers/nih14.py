"""Reads NIH ChestX-ray14 as published: one table of labels, twelve folders of pictures (or one), two lists, boxes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flvlp.data.readers.boxes import boxes_of
from flvlp.data.readers.config import NIH14Config
from flvlp.data.readers.files import FileSource, open_root, split_of
from flvlp.data.readers.layout import Expected
from flvlp.data.readers.listing import Record, list_studies
from flvlp.data.readers.tables import Table, find_table, hides_ids, listed, read_table
from flvlp.data.readers.tree import Tree, stem_of
from flvlp.data.splits.lists import read_list
from flvlp.data.studies import Boxes, Labels

NAMES = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)
NO_FINDING = "No Finding"
OFFICIAL = "nih14/official"  # and the default
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
BOXES = "BBox_List_2017.csv"
LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
FOLDERS = (*(f"images_{number:03d}/images" for number in range(1, 13)), "images", "")
# Boxes are in pixels of the published pictures.
PUBLISHED_SIZE = (1024.0, 1024.0)
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
_BOX_COLUMNS = ("Bbox [x", "y", "w", "h]")
_BOX_NAMES = {**{name: name for name in NAMES}, "Infiltrate": "Infiltration"}


def layout(config: NIH14Config) -> tuple[Expected, ...]:
    """Returns what a download holds; no key of the configuration moves a part of it."""
    official, boxes = "dataset.split=nih14/official", ("Image Index", "Finding Label", *_BOX_COLUMNS)
    return (
        Expected("table of labels", TABLES, _COLUMNS),
        Expected("pictures", tuple(f"{folder}/*".lstrip("/") for folder in FOLDERS), is_pictures=True),
        Expected("official lists", (LISTS["train"],), is_required=False, without=official),
        Expected("official test list", (LISTS["test"],), is_required=False, without=official),
        Expected("boxes", (BOXES,), boxes, is_required=False, without="boxes"),
    )


def read_nih14(config: NIH14Config) -> FileSource:
    """Reads the data set; each picture is a sample of its own.

    Pictures are looked for in `images_001/images` to `images_012/images`, `images` and the root, as `.png` or as a
    converted copy. The lists and the boxes may be missing; then the official split cannot be made, and there are no
    boxes.

    Raises:
        FileNotFoundError: a missing root, table or (with `missing_images=raise`) picture.
        ValueError: a missing column, an unknown label, a box of an unknown class, or no study left.
    """
    root, hides = open_root(config, TABLES[0]), hides_ids(config)
    path = find_table(root, TABLES)
    table = read_table(path or root / TABLES[0], "dataset.root", {name: name for name in _COLUMNS}, hides=hides)
    tree = Tree(root)
    folder_of = {stem_of(name): folder for folder in reversed(FOLDERS) for name in tree.names(folder)}
    records = [
        Record(name, patient, (f"{folder_of.get(stem_of(name), 'images')}/{name}".lstrip("/"),), row=int(line))
        for line, name, patient in zip(
            table.lines, table.columns["Image Index"], table.columns["Patient ID"], strict=True
        )
    ]
    labels = read_labels(table, hides)
    listing = list_studies(config, table.path, records, tree)
    names = [study.study_id for study in listing.studies]
    absent = [name for name in LISTS.values() if not (root / name).is_file()]
    no_lists = f"{' and '.join(LISTS.values())} name no picture of the table"
    if absent:
        no_lists = f"{' and '.join(absent)} {'are' if len(absent) > 1 else 'is'} not in {root}"
    published = []
    if not absent and config.split in ("", OFFICIAL):  # a bad list is no matter where another split is asked for
        published = published_parts(root, table.columns["Image Index"])
    return FileSource(
        root,
        listing,
        split_of(config, records, kept=listing.kept, published=published, no_lists=no_lists),
        hides,
        labels=Labels(NAMES, labels.values[listing.kept]),
        boxes=read_boxes(boxes, names, hides) if (boxes := find_table(root, (BOXES,))) else None,
    )


def read_labels(table: Table, hides: bool) -> Labels:
    """Reads `Finding Labels`: classes joined by a bar, `No Finding` alone for none.

    Raises:
        ValueError: an unknown class.
    """
    values = np.zeros((len(table.lines), len(NAMES)), dtype=np.float32)
    position = {name: column for column, name in enumerate(NAMES)}
    unknown = []
    for row, text in enumerate(table.columns["Finding Labels"]):
        for name in text.split("|"):
            if name in position:
                values[row, position[name]] = 1
            elif name != NO_FINDING:
                unknown.append((int(table.lines[row]), name))
    if unknown:
        raise ValueError(
            f"{table.path}: unknown label in {listed(unknown, hides)}; known: {', '.join(NAMES)}, {NO_FINDING}; "
            "correct the column 'Finding Labels'"
        )
    return Labels(NAMES, values)


def published_parts(root: Path, names: Sequence[str]) -> list[str]:
    """Returns the part of each picture by the official lists.

    Raises:
        ValueError: a list that names no picture, or is no text.
    """
    part_of: dict[str, str] = {}
    for part, name in LISTS.items():
        try:
            part_of |= dict.fromkeys(read_list(root / name), part)
        except ValueError as error:  # its advice is for lists that dataset.split_lists names
            raise ValueError(
                f"{root / name}: cannot be read as the publisher's list, one picture a line; copy it again, or choose "
                "another dataset.split"
            ) from error
    return [part_of.get(stem_of(name), "") for name in names]


def read_boxes(path: Path, names: Sequence[str], hides: bool) -> Boxes:
    """Reads the box list; boxes of pictures that are not in `names` are left out.

    The header says `Infiltrate` where the labels say `Infiltration`, and names nine columns above rows of six.
    """
    columns = ("Image Index", "Finding Label", *_BOX_COLUMNS)
    table = read_table(path, "dataset.root", {name: name for name in columns}, hides=hides)
    position = {stem_of(name): number for number, name in enumerate(names)}
    return boxes_of(
        table,
        [position.get(stem_of(name), -1) for name in table.columns["Image Index"]],
        [table.columns[name] for name in _BOX_COLUMNS],
        [_BOX_NAMES.get(name, name) for name in table.columns["Finding Label"]],
        ids=table.columns["Image Index"],
        names=NAMES,
        size=PUBLISHED_SIZE,
        hides=hides,
    )
