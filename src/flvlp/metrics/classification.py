"""Figures of findings (each present or not, NaN where not known) and of exclusive classes, class by class."""

from dataclasses import dataclass

import numpy as np


def auroc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Computes the area under the ROC curve of each class, over the studies whose label is known.

    Args:
        labels: (N, C) 1, 0, or NaN where it is not known.
        scores: (N, C), higher for the class; any scale.

    Returns:
        (C,) float64 in [0, 1]; NaN for a class without both a positive and a negative, so that it is reported and not
        averaged (`np.nanmean` is the macro AUROC).

    Raises:
        ValueError: labels and scores of different shapes, or a score that is no number.
    """
    from sklearn.metrics import roc_auc_score  # takes a second; pre-training never needs it

    check_scores("auroc", labels, scores)
    areas = np.full(labels.shape[1], np.nan)
    for column in range(labels.shape[1]):
        is_known = ~np.isnan(labels[:, column])
        known = labels[is_known, column]
        if known.any() and not known.all():
            areas[column] = roc_auc_score(known, scores[is_known, column])
    return areas


def average_precision(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Computes the average precision of each class (the area below the steps of precision over recall).

    A score that says nothing gets the share of positives, so it compares within one test part only.

    Args:
        labels, scores: as in `auroc`.

    Returns:
        (C,) float64 in [0, 1]; NaN for a class without both a positive and a negative.

    Raises:
        ValueError: as in `auroc`.
    """
    from sklearn.metrics import average_precision_score

    check_scores("average_precision", labels, scores)
    areas = np.full(labels.shape[1], np.nan)
    for column in np.flatnonzero(has_both(labels)):
        is_known = ~np.isnan(labels[:, column])
        areas[column] = average_precision_score(labels[is_known, column], scores[is_known, column])
    return areas


def check_scores(where: str, labels: np.ndarray, scores: np.ndarray) -> None:
    """Raises ValueError, in the name of `where`, unless labels and scores are (N, C) alike and scores are numbers."""
    if labels.shape != scores.shape or labels.ndim != 2:
        raise ValueError(f"{where}: labels of shape {labels.shape}, scores of shape {scores.shape}; both are (N, C)")
    if not np.isfinite(scores).all():
        raise ValueError(f"{where}: {np.sum(~np.isfinite(scores))} scores are not finite; the model diverged")


def has_both(labels: np.ndarray) -> np.ndarray:
    """Returns (C,) bool: which classes of labels (N, C) have both a positive and a negative."""
    return (labels == 1).any(axis=0) & (labels == 0).any(axis=0)


def weighted_auroc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Computes the AUROC of one class in every draw at once: the weighted share of pairs in order, a tie being half.

    Args:
        labels: (N,) 1, 0, or NaN where it is not known, which is left out.
        scores: (N,) higher for the class.
        weights: (D, N) not negative, how often each study counts in each draw.

    Returns:
        (D,) float64 in [0, 1]; NaN for a draw with one label only.
    """
    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    below, up_to = (np.searchsorted(scores[negatives], scores[positives], side) for side in ("left", "right"))
    negative_weight = np.zeros((len(weights), len(negatives) + 1))  # of the i lowest
    np.cumsum(weights[:, negatives], axis=1, dtype=np.float64, out=negative_weight[:, 1:])
    positive_weight = weights[:, positives].astype(np.float64)
    twice_in_order = np.einsum("dp,dp->d", positive_weight, negative_weight[:, below] + negative_weight[:, up_to])
    return ratio(twice_in_order / 2, positive_weight.sum(axis=1) * negative_weight[:, -1], undefined=np.nan)


def ratio(numerator: np.ndarray, denominator: np.ndarray, *, undefined: float) -> np.ndarray:
    """Returns numerator / denominator, and `undefined` where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(np.shape(denominator), undefined), where=denominator != 0)


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of each class, (C,), or (D, C) where there were weights; float64 that holds whole numbers exactly."""

    true_positives: np.ndarray
    false_positives: np.ndarray
    true_negatives: np.ndarray
    false_negatives: np.ndarray

    @property
    def has_both(self) -> np.ndarray:
        """Whether there are positives and negatives."""
        return (self.true_positives + self.false_negatives > 0) & (self.true_negatives + self.false_positives > 0)

    def f1(self) -> np.ndarray:
        """Returns F1 in [0, 1]; 0 with neither a positive nor a positive prediction."""
        return ratio(
            2 * self.true_positives,
            2 * self.true_positives + self.false_positives + self.false_negatives,
            undefined=0.0,
        )

    def accuracy(self) -> np.ndarray:
        """Returns the share of right predictions; NaN where no label is known."""
        right = self.true_positives + self.true_negatives
        return ratio(right, right + self.false_positives + self.false_negatives, undefined=np.nan)

    def mcc(self) -> np.ndarray:
        """Returns Matthews' correlation coefficient in [-1, 1]; 0 where labels or predictions are all alike."""
        positives = self.true_positives + self.false_negatives
        negatives = self.true_negatives + self.false_positives
        asked = self.true_positives + self.false_positives  # predicted positives
        rest = self.true_negatives + self.false_negatives
        covariance = self.true_positives * self.true_negatives - self.false_positives * self.false_negatives
        return ratio(covariance, np.sqrt(positives * negatives) * np.sqrt(asked * rest), undefined=0.0)

    def sensitivity(self) -> np.ndarray:
        """Returns the share of positives that are found; NaN without a positive."""
        return ratio(self.true_positives, self.true_positives + self.false_negatives, undefined=np.nan)

    def specificity(self) -> np.ndarray:
        """Returns the share of negatives that are called so; NaN without a negative."""
        return ratio(self.true_negatives, self.true_negatives + self.false_positives, undefined=np.nan)


def confusion(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> Confusion:
    """Counts right and wrong predictions of each class, over the studies whose label is known.

    Args:
        labels: (N, C) 1, 0, or NaN where it is not known.
        predictions: (N, C) bool, True for the class.
        weights: (D, N) how often each study counts in each draw; None counts each once.
    """
    is_positive, is_negative = labels == 1, labels == 0
    parts = (
        is_positive & predictions,
        is_negative & predictions,
        is_negative & ~predictions,
        is_positive & ~predictions,
    )
    if weights is None:
        return Confusion(*(part.sum(axis=0).astype(np.float64) for part in parts))
    counts = weights.astype(np.float64) @ np.concatenate(parts, axis=1).astype(np.float64)  # (D, 4 C)
    return Confusion(*np.split(counts, 4, axis=1))


def best_thresholds(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Finds the threshold of each class that maximises F1 of `score >= threshold`, among all distinct scores.

    To be called with the validation part: a threshold chosen on the test part makes every figure on it too good.

    Args:
        labels, scores: as in `auroc`.

    Returns:
        (C,) float64, itself a score of the class; of several equally good ones the highest. NaN for a class without
        both a positive and a negative.

    Raises:
        ValueError: as in `auroc`.
    """
    check_scores("best_thresholds", labels, scores)
    thresholds = np.full(labels.shape[1], np.nan)
    for column in np.flatnonzero(has_both(labels)):
        is_known = ~np.isnan(labels[:, column])
        order = np.argsort(-scores[is_known, column], kind="stable")
        label, score = labels[is_known, column][order], scores[is_known, column][order]
        is_last = np.append(score[1:] != score[:-1], True)  # equal scores are predicted alike
        found, asked = np.cumsum(label, dtype=np.float64)[is_last], np.flatnonzero(is_last) + 1
        thresholds[column] = score[is_last][np.argmax(2 * found / (asked + label.sum(dtype=np.float64)))]
    return thresholds
