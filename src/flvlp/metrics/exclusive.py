"""Figures of classes of which each study has exactly one. Letters: N studies, C classes."""

import numpy as np

from flvlp.metrics.bootstrap import known_mean
from flvlp.metrics.classification import Confusion, confusion


def check_targets(where: str, targets: np.ndarray, scores: np.ndarray) -> None:
    """Raises ValueError, in the name of `where`, unless targets (N,) name columns of scores (N, C), N at least 1."""
    if targets.ndim != 1 or scores.ndim != 2 or len(targets) != len(scores) or not len(targets):
        raise ValueError(
            f"{where}: targets of shape {targets.shape}, scores of shape {scores.shape}; (N,) and (N, C), N >= 1"
        )
    if targets.min() < 0 or targets.max() >= scores.shape[1]:
        raise ValueError(
            f"{where}: targets from {targets.min()} to {targets.max()}; [0, {scores.shape[1]}) with these scores"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{where}: {np.sum(~np.isfinite(scores))} scores are not finite; the model diverged")


def multiclass_accuracy(targets: np.ndarray, scores: np.ndarray) -> float:
    """Returns the share of studies whose highest score is that of their class; of equal scores the first counts.

    Args:
        targets: (N,) integers in [0, C).
        scores: (N, C).

    Raises:
        ValueError: no study, shapes that do not fit, a target outside [0, C), or a score that is no number.
    """
    check_targets("multiclass_accuracy", targets, scores)
    return float((scores.argmax(axis=1) == targets).mean())


def macro_f1(targets: np.ndarray, scores: np.ndarray) -> float:
    """Returns the mean F1 over the classes that occur among targets or predictions, as scikit-learn does.

    Args:
        targets, scores: as in `multiclass_accuracy`.

    Raises:
        ValueError: as in `multiclass_accuracy`.
    """
    check_targets("macro_f1", targets, scores)
    columns = np.arange(scores.shape[1])
    return float(known_mean(occurring_f1(confusion(targets[:, None] == columns, hard(scores)))))


def multiclass_mcc(targets: np.ndarray, scores: np.ndarray) -> float:
    """Returns Matthews' correlation of several classes; 0 where targets or predictions are of one class only.

    Args:
        targets, scores: as in `multiclass_accuracy`.

    Raises:
        ValueError: as in `multiclass_accuracy`.
    """
    from sklearn.metrics import matthews_corrcoef

    check_targets("multiclass_mcc", targets, scores)
    return float(matthews_corrcoef(targets, scores.argmax(axis=1)))


def hard(scores: np.ndarray) -> np.ndarray:
    """Returns (N, C) bool, True at the first highest score of each row."""
    return scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1])


def occurring_f1(counts: Confusion) -> np.ndarray:
    """Returns F1 of each class, NaN for one that is neither a target nor a prediction."""
    occurs = counts.true_positives + counts.false_positives + counts.false_negatives > 0
    return np.where(occurs, counts.f1(), np.nan)
