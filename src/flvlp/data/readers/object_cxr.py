"""Reads Object-CXR as published: a table and a folder of pictures for each part, objects drawn as shapes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from flvlp.data.images import MAX_PIXELS, ImageReadError, image_size
from flvlp.data.readers.boxes import scaled
from flvlp.data.readers.config import ObjectCXRConfig
from flvlp.data.readers.files import FileSource, open_root, split_of
from flvlp.data.readers.layout import Expected
from flvlp.data.readers.listing import Listing, Record, list_studies
from flvlp.data.readers.shapes import Shape, ShapeMasks, read_shapes
from flvlp.data.readers.tables import Table, find_table, hides_ids, listed, read_table
from flvlp.data.readers.tree import Tree
from flvlp.data.studies import Boxes, Labels

log = logging.getLogger(__name__)

NAMES = ("Foreign Object",)
# Part of the split -> table and folder. The field tests on dev: the labels of the publisher's own test part were hidden
# at first, and not every copy has them.
PARTS = {"train": "train", "validation": "dev", "test": "test"}
_ANNOTATION = "annotation"
_NAME_COLUMNS = ("image_name", "image_path")  # releases differ
_SIZE_COLUMNS = ("width", "height")
_UNKNOWN = (0, 0)


def layout(config: ObjectCXRConfig) -> tuple[Expected, ...]:
    """Returns what a download holds; no key of the configuration moves a part of it."""
    names = [name for part, name in PARTS.items() if part != "test"]
    no_test = "a test part beside dev"
    return (
        *(Expected(f"table of {name}", (f"{name}.csv",), (_ANNOTATION,)) for name in names),
        *(Expected(f"pictures of {name}", (f"{name}/*", "images/*", "*"), is_pictures=True) for name in names),
        Expected("table of test", ("test.csv",), (_ANNOTATION,), is_required=False, without=no_test),
    )


@dataclass(slots=True)
class _Picture:
    """One row of a table.

    Attributes:
        part: of the split.
        shapes: its objects.
        size: (width, height) of the published picture, `_UNKNOWN` where the table does not say.
    """

    part: str
    shapes: list[Shape]
    size: tuple[int, int]


def read_object_cxr(config: ObjectCXRConfig) -> FileSource:
    """Reads the data set; each picture is a sample and a patient of its own, named as in `train/00001.jpg`.

    Boxes and masks are drawn on the published pictures, which vary in size. The size is read from the header of each
    picture that has an object. For resized copies the tables must give the published size in two more columns, `width`
    and `height`; without them, a box that lies outside its copy stops the reader.

    Pictures are looked for in `train` and `dev`, `images` and the root, as `.jpg` or as a converted copy. An object
    without area (a click that drew nothing) makes its picture positive and has no box.

    Raises:
        FileNotFoundError: a missing root, table or (with `missing_images=raise`) picture.
        ValueError: a missing column, an object that cannot be read, a box outside its picture, or no study left.
        ImageReadError: with `on_error=raise`, a header that cannot be read; `skip` leaves the objects of the picture
            out, whose pixels cannot be read either.
    """
    root = open_root(config, "train.csv and dev.csv")
    hides = hides_ids(config)
    parts = {part: name for part, name in PARTS.items() if part != "test" or _has_test(root, name, hides)}
    tree = Tree(root)
    records: list[Record] = []
    pictures: list[_Picture] = []
    for part, folder in parts.items():
        path = find_table(root, (f"{folder}.csv",)) or root / f"{folder}.csv"
        optional = (*_NAME_COLUMNS, *_SIZE_COLUMNS)
        table = read_table(path, "dataset.root", {_ANNOTATION: _ANNOTATION}, optional, hides)
        pictures += _pictures(table, part, hides)
        for line, name in zip(table.lines.tolist(), _names(table), strict=True):
            study_id = f"{folder}/{name}" if name else ""  # a blank id is refused later, with its row
            places = (f"{place}/{name}".lstrip("/") for place in (folder, "images", ""))
            file = next((place for place in places if tree.find(place)), f"{folder}/{name}")
            records.append(Record(study_id, study_id, (file,), row=line))
    listing = list_studies(config, root, records, tree)
    kept = [pictures[number] for number in listing.kept]
    sizes = _sizes(root, listing, kept, hides, is_strict=config.on_error == "raise")
    shapes = [[] if size == _UNKNOWN else picture.shapes for picture, size in zip(kept, sizes, strict=True)]
    return FileSource(
        root,
        listing,
        split_of(config, records, kept=listing.kept, published=[picture.part for picture in pictures]),
        hides,
        labels=Labels(NAMES, np.array([[len(picture.shapes) > 0] for picture in kept], dtype=np.float32)),
        boxes=_boxes(root, listing, shapes, sizes, hides),
        masks=ShapeMasks(shapes, sizes),
    )


def _has_test(root: Path, name: str, hides: bool) -> bool:
    """Says whether the test pictures have labels: at first the publisher kept them, and the table was one of names."""
    path = find_table(root, (f"{name}.csv",))
    if path is None:
        return False
    is_labelled = any(read_table(path, "dataset.root", {}, (_ANNOTATION,), hides).columns.get(_ANNOTATION, []))
    if not is_labelled:
        log.warning("%s: no object in a column %r, so this part is left out", path, _ANNOTATION)
    return is_labelled


def _names(table: Table) -> list[str]:
    """Returns the file name of each row, without the folders that some releases write."""
    column = next((name for name in _NAME_COLUMNS if name in table.columns), None)
    if column is None:
        raise ValueError(
            f"{table.path}: no column {' or '.join(map(repr, _NAME_COLUMNS))}; one of them must name the pictures; set "
            "dataset.root to the published files"
        )
    return [PurePosixPath(name.replace("\\", "/")).name for name in table.columns[column]]


def _pictures(table: Table, part: str, hides: bool) -> list[_Picture]:
    pictures = []
    broken: list[tuple[int, str | None]] = []
    reason = ""
    blanks = [""] * len(table.lines)
    widths, heights = (table.columns.get(name, blanks) for name in _SIZE_COLUMNS)
    for line, text, width, height in zip(
        table.lines.tolist(), table.columns[_ANNOTATION], widths, heights, strict=True
    ):
        try:
            pictures.append(_Picture(part, read_shapes(text), _said_size(width, height)))
        except ValueError as error:
            broken.append((line, None))
            # Where columns have moved, what is no shape is an id.
            reason = reason or ("no shape, or no size" if hides else str(error))
    if broken:
        raise ValueError(f"{table.path}: cannot be read in {listed(broken, hides)}; the first: {reason}")
    return pictures


def _said_size(width: str, height: str) -> tuple[int, int]:
    if not width and not height:
        return _UNKNOWN
    try:
        size = int(float(width)), int(float(height))
    except (ValueError, OverflowError):
        size = _UNKNOWN
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"size {width[:20]!r} x {height[:20]!r}; width and height of the published picture are whole numbers above "
            f"0, of at most {MAX_PIXELS:,} pixels together; correct the columns"
        )
    return size


def _sizes(
    root: Path, listing: Listing, pictures: Sequence[_Picture], hides: bool, is_strict: bool
) -> list[tuple[int, int]]:
    """Returns the (width, height) that the objects of each picture were drawn on, `_UNKNOWN` where there are none."""
    sizes = [picture.size if picture.shapes else _UNKNOWN for picture in pictures]
    lost: list[tuple[int, str | None]] = []
    measured, cause = 0, ""
    for number, (study, picture) in enumerate(zip(listing.studies, pictures, strict=True)):
        if not picture.shapes or picture.size != _UNKNOWN:
            continue
        try:
            sizes[number] = image_size(root / listing.frontal_paths[number])
            measured += 1
        except ImageReadError as error:
            lost.append((study.row, study.study_id))
            cause = cause or error.cause
    if lost:
        message = f"{root}: the size of the picture cannot be read in {listed(lost, hides)}; the first: {cause}"
        if is_strict:
            raise ImageReadError(f"{message}; copy the files again, or set dataset.on_error=skip", "", cause)
        log.warning("%s; their objects are left out", message)
    if measured:
        log.info(
            "%s: the objects of %d pictures are taken to be drawn on the files as they are; of resized copies the "
            "tables need the published %s",
            *(root, measured, " and ".join(_SIZE_COLUMNS)),
        )
    return sizes


def _boxes(
    root: Path, listing: Listing, shapes: Sequence[Sequence[Shape]], sizes: Sequence[tuple[int, int]], hides: bool
) -> Boxes:
    studies: list[int] = []
    boxes = []
    drawn = 0
    for number, (objects, size) in enumerate(zip(shapes, sizes, strict=True)):
        drawn += len(objects)
        for box in (shape.box(size) for shape in objects):
            if min(box[2:]) > 0:
                studies.append(number)
                boxes.append(box)
    if drawn > len(boxes):
        log.warning("%s: %d of %d objects have no area, and no box", root, drawn - len(boxes), drawn)
    return scaled(
        str(root),
        NAMES,
        studies=studies,
        boxes=boxes,
        classes=[0] * len(boxes),
        sizes=[sizes[number] for number in studies],
        sources=[(listing.studies[number].row, listing.studies[number].study_id) for number in studies],
        advice=f"of resized copies the tables need the published size in columns {' and '.join(_SIZE_COLUMNS)}",
        hides=hides,
    )
