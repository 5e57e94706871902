"""Boxes from the pixels of the published picture to shares of any copy's width and height."""

from collections.abc import Sequence

import numpy as np

from flvlp.data.readers.tables import Table, listed
from flvlp.data.studies import Boxes

_ROOM = 0.02  # published boxes may end a little outside; they are cut there


def boxes_of(
    table: Table,
    positions: Sequence[int],
    corners: Sequence[Sequence[str]],
    classes: Sequence[str],
    *,
    ids: Sequence[str],
    names: tuple[str, ...],
    size: tuple[float, float],
    hides: bool = False,
) -> Boxes:
    """Reads one box a row.

    Args:
        table: for messages.
        positions: study of each row, -1 for a row to leave out.
        corners: four columns of text: left, top, width, height in pixels of the published picture; a row of blanks has
            no box.
        classes: class of each row.
        ids: name of the picture of each row, for messages.
        names: the classes.
        size: width and height of the published picture in pixels.
        hides: True keeps ids and values out of messages: where columns have moved, a number is an id.

    Raises:
        ValueError: an unknown class, a box that is no four finite numbers or has no area, or one that lies outside the
            picture (boxes of another size than `size`).
    """
    rows, kinds, studies, sources, bad = [], [], [], [], []
    for line, name, position, kind, *texts in zip(table.lines, ids, positions, classes, *corners, strict=True):
        if position < 0 or not any(texts):
            continue
        box = _numbers(texts)
        if kind not in names or box is None or min(box[2:]) <= 0:
            bad.append((int(line), f"{name}: {kind} {' '.join(texts)}"))
            continue
        studies.append(position)
        kinds.append(names.index(kind))
        sources.append((int(line), name))
        rows.append(box)
    if bad:
        raise ValueError(
            f"{table.path}: no box in {listed(bad, hides)}; left, top, width and height are numbers, the "
            f"last two above 0, of a class among: {', '.join(names)}; correct the table"
        )
    return scaled(
        str(table.path),
        names,
        studies=studies,
        boxes=rows,
        classes=kinds,
        sizes=[size] * len(rows),
        sources=sources,
        advice="check that table and pictures are of the same release",
        hides=hides,
    )


def scaled(
    where: str,
    names: tuple[str, ...],
    *,
    studies: Sequence[int],
    boxes: Sequence[Sequence[float]],
    classes: Sequence[int],
    sizes: Sequence[tuple[float, float]],
    sources: Sequence[tuple[int, str]],
    advice: str,
    hides: bool = False,
) -> Boxes:
    """Returns boxes of pixels as shares, sorted by study, cut at the picture's edges.

    Args:
        where: file or folder that messages name.
        names: the classes.
        studies, boxes, classes: of each box its study, (left, top, width, height) in pixels, and position in `names`.
        sizes: width and height of the picture that each box was drawn on.
        sources: row and picture of each box, for messages.
        advice: what to do about boxes outside their picture.
        hides: as in `boxes_of`.

    Raises:
        ValueError: a box that lies outside its picture.
    """
    values = (
        np.array(boxes, dtype=np.float64).reshape(-1, 4)
        / np.array(sizes, dtype=np.float64).reshape(-1, 2)[:, [0, 1, 0, 1]]
    )
    first, last = values[:, :2], values[:, :2] + values[:, 2:]
    is_far = (first < -_ROOM) | (last > 1 + _ROOM)
    first, last = np.clip(first, 0, 1), np.clip(last, 0, 1)
    # Of a box that lies within the room alone nothing is left.
    outside = np.flatnonzero((is_far | (first >= last)).any(axis=1))
    if len(outside):
        # Of several boxes of a row the first.
        worst = {sources[box]: box for box in reversed(outside.tolist())}
        offenders = [
            (row, f"{name}: {list(boxes[box])} in {sizes[box]} pixels") for (row, name), box in sorted(worst.items())
        ]
        raise ValueError(
            f"{where}: {len(outside)} of {len(values)} boxes lie outside the picture, in {listed(offenders, hides)}; "
            f"boxes are in pixels of the published picture; {advice}"
        )
    order = np.argsort(np.array(studies, dtype=np.int64), kind="stable")
    return Boxes(
        names,
        np.array(studies, dtype=np.int64)[order],
        np.concatenate([first, last - first], axis=1).astype(np.float32)[order],
        np.array(classes, dtype=np.int64)[order],
    )


def _numbers(texts: Sequence[str]) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(text) for text in texts)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
