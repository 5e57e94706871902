"""What segmentation measures: pixels of each picture, the threshold, the table, and pictures that show it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from support.downstream import Job
from support.drawing import choose_rows, keep_picture, overlay
from support.results import named, write_table

if TYPE_CHECKING:
    from torch import Tensor

    from flvlp.data.studies import StudySource

log = logging.getLogger(__name__)

HEADLINE = "dice_positives"
# Epochs are chosen by the overlap of all pixels of the set together. `dice_positives` does not see false alarms: it has
# chosen epochs with one in four pictures without a mask marked. `dice_all` is highest for a model that marks nothing,
# where most pictures have no mask.
SELECTED_ON = "iou_pixels"
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # that `auto` chooses from
KINDS = ("best", "median", "worst", "false_positive", "first")


@dataclass(frozen=True, slots=True)
class Counted:
    """The n pictures of a part that could be read, and their pixels at G thresholds.

    Attributes:
        positions: (n,) int64 in the source, ascending.
        truth: (n,) int64 pixels of the true mask.
        predicted, intersection: (n, G) int64.
        score: (n,) probability of the surest pixel.
        side: of the pictures in pixels.
    """

    positions: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    intersection: np.ndarray
    score: np.ndarray
    side: int


def pixel_counts(logits: "Tensor", masks: "Tensor", thresholds: Sequence[float]) -> "dict[str, Tensor]":
    """Counts the pixels of each picture.

    Args:
        logits: (B, 1, S, S).
        masks: (B, 1, S, S) bool.
        thresholds: G probabilities; a pixel that reaches one is predicted.

    Returns:
        `truth` (B,), `predicted` (B, G), `intersection` (B, G), int64; `score` (B,) the highest probability.
    """
    import torch

    probabilities, truth = logits.float().sigmoid().flatten(1), masks.flatten(1)  # (B, S * S)
    predicted = [probabilities >= threshold for threshold in thresholds]
    return {
        "truth": truth.sum(dim=1),
        "predicted": torch.stack([mask.sum(dim=1) for mask in predicted], dim=1),
        "intersection": torch.stack([(mask & truth).sum(dim=1) for mask in predicted], dim=1),
        "score": probabilities.amax(dim=1),
    }


def selection(counted: Counted, thresholds: Sequence[float]) -> dict[str, float]:
    """Returns the validation figures at the threshold where `SELECTED_ON` is highest, and that threshold.

    Where no picture has a mask, the middle threshold and no figure: there is nothing to select on.
    """
    from flvlp.metrics.segmentation import overlaps

    if not counted.truth.any():
        return {"threshold": thresholds[len(thresholds) // 2]}
    columns = zip(counted.intersection.T, counted.predicted.T, strict=True)
    figures = [overlaps(both, counted.truth, predicted, counted.side**2) for both, predicted in columns]
    best = int(np.argmax([one[SELECTED_ON] for one in figures]))
    return figures[best] | {"threshold": thresholds[best]}


def figures_of(counted: Counted, patients: Sequence[str], draws: int) -> dict[str, float]:
    """Returns all figures of a part that was counted at one threshold: n patient ids, `draws` of the bootstrap."""
    from flvlp.metrics.segmentation import segmentation_figures

    both, predicted = counted.intersection[:, 0], counted.predicted[:, 0]
    return segmentation_figures(both, counted.truth, predicted, counted.side**2, patients=patients, draws=draws)


def balanced(
    source: "StudySource", positions: np.ndarray, negatives_per_positive: float | None, seed: int
) -> np.ndarray:
    """Returns the pictures to train on: all with a mask, and so many without one, drawn by `seed`.

    Args:
        source: the data set; its masks are looked at on rank 0 only.
        positions: (n,) int64 of the training part, ascending.
        negatives_per_positive: null keeps all.
        seed: of the draw.

    Raises:
        ValueError: no picture has a mask.
    """
    from flvlp import distributed

    is_positive = distributed.broadcast_object(has_mask(source, positions) if distributed.is_main() else None)
    positives, negatives = positions[is_positive], positions[~is_positive]
    if not len(positives):
        raise ValueError(
            f"dataset.split: none of the {len(positions)} pictures to train on has a mask; take another split, a "
            "larger label_fraction, or a larger stand-in (dataset.standin_studies)"
        )
    if negatives_per_positive is not None:
        drawn = np.random.default_rng(seed).permutation(negatives)
        negatives = drawn[: round(negatives_per_positive * len(positives))]
    log.info("trained on %d pictures with a mask and %d without", len(positives), len(negatives))
    return np.sort(np.concatenate([positives, negatives]))


def has_mask(source: "StudySource", positions: np.ndarray) -> np.ndarray:
    """Returns (n,) bool: whether anything is marked on the pictures at `positions` (n,)."""
    if source.masks is None:
        assert source.boxes is not None, "checked by the data set of masks"
        return np.isin(positions, source.boxes.study)
    return np.array([bool(source.masks.of(int(position)).any()) for position in positions])


def write_pixels(job: Job, counted: Counted) -> None:
    """Writes `predictions.csv`, one line a picture, on rank 0; pixels are counted at the one threshold of `counted`."""
    from flvlp import distributed
    from flvlp.metrics.segmentation import dice_per_image, iou_per_image

    if not distributed.is_main():
        return
    predicted, both = counted.predicted[:, 0], counted.intersection[:, 0]
    dice, iou = (measure(both, counted.truth, predicted) for measure in (dice_per_image, iou_per_image))
    columns = (counted.truth, predicted, both, dice, iou, counted.score)
    rows = zip(named(job, counted.positions), *(column.tolist() for column in columns), strict=True)
    header = ("id", "truth_pixels", "predicted_pixels", "intersection", "dice", "iou", "score")
    write_table(job.folder / "predictions.csv", header, rows)


def choose_examples(counted: Counted, count: int) -> list[tuple[str, int]]:
    """Chooses pictures to look at, in turn: best, middle and worst Dice, false alarms by size, and the first ones.

    Args:
        counted: at one threshold.
        count: of all, fewer where there are not enough.

    Returns:
        Name and row of each, no row twice; a name is one of `KINDS` and a number from 1 on.
    """
    from flvlp.metrics.segmentation import dice_per_image

    predicted = counted.predicted[:, 0]
    dice = dice_per_image(counted.intersection[:, 0], counted.truth, predicted)
    positives = np.flatnonzero(counted.truth > 0)
    by_dice = positives[np.argsort(-dice[positives], kind="stable")]
    middle = np.argsort(np.abs(np.arange(len(by_dice)) - (len(by_dice) - 1) / 2), kind="stable")
    alarms = np.flatnonzero((counted.truth == 0) & (predicted > 0))
    alarms = alarms[np.argsort(-predicted[alarms], kind="stable")]
    rows = (by_dice, by_dice[middle], by_dice[::-1], alarms, np.arange(len(dice)))
    return choose_rows({kind: some.tolist() for kind, some in zip(KINDS, rows, strict=True)}, count)


def draw_overlays(job: Job, counted: Counted, examples: Sequence[tuple[str, int]], drawn: "dict[str, Tensor]") -> None:
    """Writes examples to `overlays/` and TensorBoard, on rank 0.

    Args:
        job: the run, which may show pictures.
        counted: of the part.
        examples: of `choose_examples`.
        drawn: `picture` (n, 1, S, S) uint8, `truth` and `predicted` (n, 1, S, S) bool, in the order of the examples.
    """
    from flvlp import distributed

    if not distributed.is_main():
        return
    studies = named(job, [int(counted.positions[row]) for _, row in examples])
    for number, ((name, _), study) in enumerate(zip(examples, studies, strict=True)):
        panels = overlay(*(drawn[part][number] for part in ("picture", "truth", "predicted")))
        keep_picture(job, "overlays", name, study, panels)
