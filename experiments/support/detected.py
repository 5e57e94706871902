"""The boxes of a part of the data, true and found: figures, the threshold, tables, and pictures that show them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from support.downstream import Job
from support.drawing import SHOWN_SIDE, boxes_on, choose_rows, keep_picture
from support.results import named, write_table

if TYPE_CHECKING:
    from torch import Tensor

    from flvlp.data.studies import Boxes, Labels
    from flvlp.metrics.detection import ImageBoxes
    from flvlp.models.detector import Detections

log = logging.getLogger(__name__)

HEADLINE, SELECTED_ON = "rsna_map", "ap_40_75"
THRESHOLDS = np.linspace(0.02, 0.98, 49)  # that the confidence threshold is chosen from
KINDS = ("best", "median", "worst", "false_positive")
NO_BOX = ("",) * 5  # in the table of true boxes, so that it names every picture


@dataclass(frozen=True, slots=True)
class Found:
    """The n pictures of a part that could be read.

    Attributes:
        positions: (n,) int64 in the source, ascending.
        truths, predictions: n each; sides are shares of the picture's own width and height, in [0, 1]. Overlaps of
            boxes are the same in shares and in pixels.
    """

    positions: np.ndarray
    truths: "list[ImageBoxes]"
    predictions: "list[ImageBoxes]"


def keep_annotated(job: Job, boxes: "Boxes") -> None:
    """Leaves out pictures that are labelled with a class that has boxes and have none themselves: they are unknown.

    In NIH14 a few pictures are annotated, in Object-CXR an object may be a click without area. Neither is a negative.
    """
    positions = unannotated(boxes, job.source.labels)
    for part, members in job.parts.items():
        job.parts[part] = members[~np.isin(members, positions)]
        if lost := len(members) - len(job.parts[part]):
            log.info("%s: %d of %d pictures left out, labelled and without a box", part, lost, len(members))


def unannotated(boxes: "Boxes", labels: "Labels | None") -> np.ndarray:
    """Returns the positions (n,) of the pictures without a box whose label names a class that has boxes elsewhere."""
    with_boxes = {boxes.names[label] for label in np.unique(boxes.classes)}
    if labels is None or not with_boxes.intersection(labels.names):
        return np.zeros(0, dtype=np.int64)
    columns = [column for column, name in enumerate(labels.names) if name in with_boxes]
    is_labelled = (labels.values[:, columns] == 1).any(axis=1)
    return np.setdiff1d(np.flatnonzero(is_labelled), boxes.study)


def padded(found: "Sequence[Detections]", most: int) -> "dict[str, Tensor]":
    """Returns detections as rows of one length, which is what ranks gather: a score of -1 marks no detection.

    Args:
        found: of B pictures, at most `most` in each.
        most: D.

    Returns:
        `boxes` (B, D, 4), `classes` (B, D), `scores` (B, D).
    """
    import torch

    boxes, classes = torch.zeros(len(found), most, 4), torch.zeros(len(found), most, dtype=torch.int64)
    scores = torch.full((len(found), most), -1.0)
    for row, one in enumerate(found):
        count = len(one.scores)
        boxes[row, :count], classes[row, :count], scores[row, :count] = one.boxes, one.classes, one.scores
    return {"boxes": boxes, "classes": classes, "scores": scores}


def found_of(known: "Boxes", positions: np.ndarray, rows: "Mapping[str, Tensor]", side: int) -> Found:
    """Joins what was found with what is there.

    Args:
        known: the true boxes of the data set.
        positions: (n,) int64 in the source.
        rows: of `padded`, in pixels of the square, with `sizes` (n, 2) as in `BoxedPictures`.
        side: of the square in pixels.
    """
    from flvlp.data.transforms import unfit_boxes
    from flvlp.metrics.detection import ImageBoxes

    truths, predictions = [], []
    arrays = [rows[name].numpy() for name in ("boxes", "classes", "scores", "sizes")]
    for position, boxes, classes, scores, (height, width) in zip(positions, *arrays, strict=True):
        values, of_values = known.of(int(position))
        truths.append(ImageBoxes(corners(values), of_values))
        is_found = scores >= 0
        shares = unfit_boxes(boxes[is_found], int(height), int(width), side)
        predictions.append(ImageBoxes(corners(shares), classes[is_found], scores[is_found]))
    return Found(positions, truths, predictions)


def corners(values: np.ndarray) -> np.ndarray:
    """Returns left, top, right, bottom of boxes (n, 4) left, top, width, height."""
    return np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1)


def selection(found: Found, names: Sequence[str]) -> dict[str, float]:
    """Returns the validation figure of an epoch; none where no picture has a true box.

    Average precision at the challenge's overlaps needs no threshold and counts a hit wherever it ranks, so that it
    moves from the first epochs on; `rsna_map` stays at 0 until hits outrank false alarms.
    """
    from flvlp.metrics.bootstrap import known_mean
    from flvlp.metrics.coco import CocoEvaluation
    from flvlp.metrics.detection import RSNA_IOUS

    precision = CocoEvaluation(found.truths, found.predictions, len(names), RSNA_IOUS).precision
    value = float(known_mean(precision.mean(axis=0)))
    return {} if np.isnan(value) else {SELECTED_ON: value}


def choose_threshold(found: Found) -> float:
    """Returns the confidence threshold with the highest `rsna_map` on a validation part, the lowest of equal ones.

    Where no picture of the part has a true box, it is that of the literature.
    """
    from flvlp.metrics.bootstrap import known_mean
    from flvlp.metrics.detection import SCORE_THRESHOLD, rsna_map

    if not any(len(truth) for truth in found.truths):
        log.warning("no picture of the validation part has a box to choose the threshold on; it is %g", SCORE_THRESHOLD)
        return SCORE_THRESHOLD
    values = [float(known_mean(rsna_map(found.truths, found.predictions, float(one)))) for one in THRESHOLDS]
    best = int(np.argmax(values))
    log.info("confidence threshold %.2f: rsna_map %.4f on validation, its highest", THRESHOLDS[best], values[best])
    return float(THRESHOLDS[best])


def write_boxes(job: Job, found: Found, names: Sequence[str]) -> None:
    """Writes `targets.csv` (every tested picture; blanks for one without a box) and `predictions.csv`, on rank 0."""
    from flvlp import distributed

    if not distributed.is_main():
        return
    ids = named(job, found.positions)
    header = ("id", "class", "left", "top", "width", "height")
    truths = (
        (study, *box)
        for study, image in zip(ids, found.truths, strict=True)
        for box in (list(_described(image, names)) or [NO_BOX])
    )
    write_table(job.folder / "targets.csv", header, truths)
    predictions = (
        (study, *box, float(score))
        for study, image in zip(ids, found.predictions, strict=True)
        if image.scores is not None
        for box, score in zip(_described(image, names), image.scores, strict=True)
    )
    write_table(job.folder / "predictions.csv", (*header, "score"), predictions)


def _described(image: "ImageBoxes", names: Sequence[str]) -> Iterator[tuple[str | float, ...]]:
    """Yields class name, left, top, width, height of each box."""
    from flvlp.metrics.detection import left_top_width_height

    for values, label in zip(left_top_width_height(image).tolist(), image.classes, strict=True):
        yield names[label], *values


def draw_boxes(job: Job, found: Found, threshold: float) -> None:
    """Draws some tested pictures with their true boxes and those found with at least the threshold, on rank 0."""
    import torch

    from flvlp import distributed
    from flvlp.data.transforms import fit_boxes, fit_square
    from flvlp.metrics.detection import left_top_width_height, rsna_map

    if not distributed.is_main() or not job.shows_images:
        return
    values = rsna_map(found.truths, found.predictions, threshold)
    studies = named(job, found.positions)
    for name, row in choose_pictures(found, values, threshold, job.args.pictures):
        picture = job.source.frontal(int(found.positions[row]))
        height, width = picture.shape
        shown = found.predictions[row].at_least(threshold)
        assert shown.scores is not None, "checked by rsna_map"
        truth, predicted = (
            torch.from_numpy(fit_boxes(left_top_width_height(image), height, width, SHOWN_SIDE))
            for image in (found.truths[row], shown)
        )
        square = torch.from_numpy(fit_square(picture, SHOWN_SIDE).copy())[None]
        drawn = boxes_on(square, truth, predicted, torch.from_numpy(shown.scores))
        keep_picture(job, "boxes", name, studies[row], drawn)


def choose_pictures(found: Found, values: np.ndarray, threshold: float, count: int) -> list[tuple[str, int]]:
    """Chooses pictures to look at: the best, middle and worst of those with a true box, and the surest false alarms.

    Args:
        found: the tested pictures.
        values: (n,) their `rsna_map`.
        threshold: below it a box is no alarm.
        count: of all, see `choose_rows`.

    Returns:
        Name and row of each; a name is the kind and a number from 1 on.
    """
    positives = [row for row, truth in enumerate(found.truths) if len(truth)]
    positives.sort(key=lambda row: -values[row])
    surest = {row: _surest(one) for row, one in enumerate(found.predictions) if not len(found.truths[row])}
    alarms = sorted((row for row, score in surest.items() if score >= threshold), key=lambda row: -surest[row])
    middle = max(0, len(positives) // 2 - count // (2 * len(KINDS)))
    orders = (positives, positives[middle:], positives[::-1], alarms)
    return choose_rows(dict(zip(KINDS, orders, strict=True)), count)


def _surest(image: "ImageBoxes") -> float:
    """Returns the highest score of an image, -1 without a prediction."""
    return float(image.scores.max()) if image.scores is not None and len(image) else -1.0
