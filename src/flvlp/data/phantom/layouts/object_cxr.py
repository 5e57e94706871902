"""Object-CXR as JF Healthcare shipped it."""

from itertools import pairwise
from pathlib import Path

from flvlp.data.phantom.findings import DEVICES
from flvlp.data.phantom.layouts.files import table_text, write_picture, write_text
from flvlp.data.phantom.layouts.parts import one_of_each_patient, parts_of
from flvlp.data.phantom.rendering import Box
from flvlp.data.phantom.source import PhantomSource

HEADER = "image_name,annotation"
FIRST_DEV = 8001  # published: train 00001 to 08000, dev 08001 to 09000
RECTANGLE, ELLIPSE, POLYGON = "0", "1", "2"
# Long and thin ones are outlined, as in the data set.
SHAPES = {
    "endotracheal_tube": RECTANGLE,
    "central_line": POLYGON,
    "pacemaker": ELLIPSE,
    "nasogastric_tube": POLYGON,
    "sternotomy_wires": ELLIPSE,
}
_WIRES = 6


def write(folder: Path, phantoms: PhantomSource) -> None:
    """Writes one study of each patient: folders and tables of train and dev, in pixels of the written pictures.

    Foreign objects are the phantoms' support devices, which the publisher did *not* annotate (there they are buttons,
    necklaces, coins); the six wires of a sternotomy are an object each. Rectangles, ellipses and polygons all occur.
    The publisher knows no patients, so each is there once, with a device where one of the studies shows it.
    """
    parts = parts_of(phantoms)
    chosen = one_of_each_patient(phantoms, "support_device")
    train = [index for index in chosen if parts[index] != "test"]
    dev = [index for index in chosen if parts[index] == "test"]
    for part, first, members in (("train", 1, train), ("dev", max(FIRST_DEV, len(train) + 1), dev)):
        rows = []
        for number, index in enumerate(members, start=first):
            name = f"{number:05d}.jpg"
            write_picture(folder / part / name, phantoms.frontal(index))
            rows.append((name, annotation_of(phantoms, index)))
        write_text(folder / f"{part}.csv", table_text(HEADER, rows))


def annotation_of(phantoms: PhantomSource, index: int) -> str:
    """Returns the objects of a frontal view: type and points, joined by semicolons; "" for none."""
    devices = [(name, box) for name, box in phantoms.finding_boxes[index]["frontal"] if name in DEVICES]
    return ";".join(_drawn(SHAPES[name], one) for name, box in devices for one in objects_of(name, box))


def objects_of(device: str, box: Box) -> list[Box]:
    """Returns the boxes that a device is annotated with: its own, for wires one each."""
    left, top, width, height = box
    if device != "sternotomy_wires" or height < _WIRES:
        return [box]
    edges = [top + height * number // _WIRES for number in range(_WIRES + 1)]
    return [(left, upper, width, lower - upper) for upper, lower in pairwise(edges)]


def _drawn(shape: str, box: Box) -> str:
    left, top, width, height = box
    right, bottom = left + width, top + height
    points = [left, top, right, bottom]
    if shape == POLYGON:  # an octagon that touches all sides
        a, b = width // 3, height // 3
        points = [left + a, top, right - a, top, right, top + b, right, bottom - b]
        points += [right - a, bottom, left + a, bottom, left, bottom - b, left, top + b]
    return " ".join((shape, *map(str, points)))
