"""Reads MS-CXR as published: phrases of MIMIC-CXR's reports, each with the boxes that a radiologist drew for it.

The pictures are those of MIMIC-CXR-JPG and come with that set. Both are credentialed: unless `log_ids` says otherwise,
no message holds an id, a path below the root, or text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from flvlp.data.readers.boxes import scaled
from flvlp.data.readers.config import MSCXRConfig
from flvlp.data.readers.files import FileSource, open_root, split_of
from flvlp.data.readers.layout import Expected
from flvlp.data.readers.listing import Record, list_studies
from flvlp.data.readers.tables import Table, find_table, hides_ids, listed, read_table
from flvlp.data.readers.tree import Tree
from flvlp.data.studies import Boxes

NAMES = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Lung Opacity", "Pleural Effusion", "Pneumonia"),
    "Pneumothorax",
)
TABLES = ("MS_CXR_Local_Alignment_v1.1.0.csv", "MS_CXR_Local_Alignment_v1.0.0.csv")
PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_NUMBERS = ("x", "y", "w", "h", "image_width", "image_height")
_COLUMNS = ("dicom_id", "category_name", "label_text", "path", *_NUMBERS)
_SPLIT = "split"  # not in release 1.0.0
_PATH = re.compile(r"files/p\d{2}/p(\d+)/s\d+/[^/\\]+")


def layout(config: MSCXRConfig) -> tuple[Expected, ...]:
    """Returns what a download holds; `images` names the folder of the pictures."""
    folder = f"{config.images}/" if config.images else ""
    return (
        Expected("table of boxes", TABLES, _COLUMNS),
        Expected("pictures of MIMIC-CXR-JPG", (f"{folder}files/p1*/p*/s*/*",), is_pictures=True),
    )


@dataclass(slots=True)
class _Picture:
    """What the rows of one picture say: its record, its part ("" where the table names none)."""

    record: Record
    part: str


def read_ms_cxr(config: MSCXRConfig) -> FileSource:
    """Reads the data set; each picture is a sample of its own, of the patient `p10000032` that MIMIC-CXR knows.

    A row is a box. Rows of the same picture, category and phrase are the boxes of one phrase. The boxes are in pixels
    of the published picture, whose size each row gives, so resized copies need nothing.

    Raises:
        FileNotFoundError: a missing root, table or (with `missing_images=raise`) picture.
        ValueError: a missing column, an unknown category or split, a blank phrase, a path that is not MIMIC-CXR-JPG's,
            rows of a picture that contradict each other, a box that is none or lies outside its picture, or no study
            left.
    """
    root, hides = open_root(config, f"{TABLES[0]} and files/p10/..."), hides_ids(config)
    columns = {name: name for name in _COLUMNS}
    table = read_table(find_table(root, TABLES) or root / TABLES[0], "dataset.root", columns, (_SPLIT,), hides)
    _check_texts(table, hides)
    pictures = _pictures(table, hides)
    base = root / config.images
    listing = list_studies(config, table.path, [picture.record for picture in pictures.values()], Tree(base))
    position = {study.study_id: number for number, study in enumerate(listing.studies)}
    published = [picture.part for picture in pictures.values()]
    return FileSource(
        base,
        listing,
        split_of(
            config,
            [picture.record for picture in pictures.values()],
            kept=listing.kept,
            published=published if any(published) else [],
            no_lists=f"{table.path} has no column {_SPLIT!r} (release 1.1.0 has)",
        ),
        hides,
        boxes=_boxes(table, [position.get(name, -1) for name in table.columns["dicom_id"]], hides),
    )


def _check_texts(table: Table, hides: bool) -> None:
    """Stops at an unknown category, split, or path, and at a blank phrase or id."""
    parts = table.columns.get(_SPLIT, ["train"] * len(table.lines))
    for column, values, is_right, known in (
        ("category_name", table.columns["category_name"], NAMES.__contains__, ", ".join(NAMES)),
        ("label_text", table.columns["label_text"], bool, "a phrase of a report"),
        ("dicom_id", table.columns["dicom_id"], bool, "the id of a picture"),
        ("path", table.columns["path"], _PATH.fullmatch, "files/p10/p10000032/s50414267/<dicom_id>.jpg"),
        (_SPLIT, parts, PARTS.__contains__, ", ".join(PARTS)),
    ):
        wrong = [(int(line), value) for line, value in zip(table.lines, values, strict=True) if not is_right(value)]
        if wrong:
            raise ValueError(
                f"{table.path}: column {column!r} has an unknown value in {listed(wrong, hides)}; right is: {known}; "
                "copy the published table again"
            )


def _pictures(table: Table, hides: bool) -> dict[str, _Picture]:
    """Maps each picture's id to its record, in the order of the table."""
    pictures: dict[str, _Picture] = {}
    torn = []
    parts = table.columns.get(_SPLIT, [""] * len(table.lines))
    for line, name, path, said in zip(
        table.lines.tolist(), table.columns["dicom_id"], table.columns["path"], parts, strict=True
    ):
        part = PARTS.get(said, "")
        match = _PATH.fullmatch(path)
        assert match is not None, "checked before"
        found = pictures.setdefault(name, _Picture(Record(name, f"p{match[1]}", (path,), row=line), part))
        if found.record.frontals != (path,) or found.part != part:
            torn.append((line, name))
    if torn:
        raise ValueError(
            f"{table.path}: another path or split than an earlier row of the picture in {listed(torn, hides)}; both "
            "are the same in every row of a picture; copy the published table again"
        )
    return pictures


def _boxes(table: Table, positions: list[int], hides: bool) -> Boxes:
    """Reads one box a row; rows of pictures that are not there (position -1) are left out."""
    rows, bad = [], []
    texts = zip(*(table.columns[name] for name in _NUMBERS), strict=True)
    for row, (line, name, position, own) in enumerate(
        zip(table.lines.tolist(), table.columns["dicom_id"], positions, texts, strict=True)
    ):
        numbers = _numbers(own)
        if numbers is None or min(numbers[2:]) <= 0:
            bad.append((line, f"{name}: {' '.join(own)}"))
        elif position >= 0:
            rows.append((row, numbers))
    if bad:
        raise ValueError(
            f"{table.path}: no box in {listed(bad, hides)}; {', '.join(_NUMBERS)} are numbers, the last four above 0; "
            "copy the published table again"
        )
    kept = [row for row, _ in rows]
    studies = [positions[row] for row in kept]
    boxes = scaled(
        str(table.path),
        NAMES,
        studies=studies,
        boxes=[numbers[:4] for _, numbers in rows],
        classes=[NAMES.index(table.columns["category_name"][row]) for row in kept],
        sizes=[(numbers[4], numbers[5]) for _, numbers in rows],
        sources=[(int(table.lines[row]), table.columns["dicom_id"][row]) for row in kept],
        advice="image_width and image_height say of which size; copy the published table again",
        hides=hides,
    )
    order = np.argsort(np.array(studies, dtype=np.int64), kind="stable")  # as `scaled` sorts
    return replace(boxes, phrases=tuple(table.columns["label_text"][kept[number]] for number in order))


def _numbers(texts: Iterable[str]) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(text) for text in texts)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
