"""Curves behind the areas of classification: ROC, and precision over recall, class by class."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flvlp.metrics.classification import auroc, average_precision, check_scores, has_both


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve of one class over the studies whose label is known.

    Attributes:
        x, y: (n,) float64 in [0, 1].
        area: below it, as `auroc` and `average_precision` give it.
    """

    x: np.ndarray
    y: np.ndarray
    area: float


def roc_curves(labels: np.ndarray, scores: np.ndarray) -> list[Curve | None]:
    """Returns the share of positives found (y) over the share of negatives called so (x), from (0, 0) to (1, 1).

    Args:
        labels: (N, C) 1, 0, or NaN where it is not known; that is left out.
        scores: (N, C), higher for the class; any scale.

    Returns:
        C curves, None for a class without both a positive and a negative.

    Raises:
        ValueError: as in `auroc`.
    """
    from sklearn.metrics import roc_curve

    def points(known: np.ndarray, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y, _ = roc_curve(known, scored)
        return x, y

    return _curves("roc_curves", labels, scores, auroc, points)


def precision_recall_curves(labels: np.ndarray, scores: np.ndarray) -> list[Curve | None]:
    """Returns precision (y) over recall (x), recall ascending; to be drawn as steps, as the area counts them.

    Args, returns and raises as in `roc_curves`.
    """
    from sklearn.metrics import precision_recall_curve

    def points(known: np.ndarray, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        precision, recall, _ = precision_recall_curve(known, scored)
        return recall[::-1], precision[::-1]

    return _curves("precision_recall_curves", labels, scores, average_precision, points)


def recall_shares(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the share (n,) of the positives that score no higher than each study: in [0, 1], rising with the score.

    The curve at the positives stays what it is, and thresholds that are spread evenly over [0, 1] meet recall evenly,
    however rare the class.

    Args:
        labels: (n,) 1 or 0, with at least one positive.
        scores: (n,), higher for the class; any scale.
    """
    positives = np.sort(scores[labels == 1])
    return np.searchsorted(positives, scores, side="right") / len(positives)


def _curves(
    where: str,
    labels: np.ndarray,
    scores: np.ndarray,
    area: Callable[[np.ndarray, np.ndarray], np.ndarray],
    points: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> list[Curve | None]:
    check_scores(where, labels, scores)
    curves: list[Curve | None] = [None] * labels.shape[1]
    areas = area(labels, scores)
    for column in np.flatnonzero(has_both(labels)):
        is_known = ~np.isnan(labels[:, column])
        curves[column] = Curve(*points(labels[is_known, column], scores[is_known, column]), float(areas[column]))
    return curves
