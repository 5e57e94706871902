"""Figures of classification, whether the scores come from a trained head or from prompts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from flvlp.data.studies import Labels


def headline(labels: "Labels") -> str:
    """Returns the figure that is selected on and shown first."""
    return "accuracy" if labels.is_exclusive else "macro_auroc"


def selection(labels: "Labels", positions: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Returns the validation figures of an epoch, without intervals; none where no class has both labels."""
    from flvlp.metrics.classification import auroc
    from flvlp.metrics.exclusive import multiclass_accuracy

    known = labels.values[positions]
    if labels.is_exclusive:
        return {"accuracy": multiclass_accuracy(known.argmax(axis=1), scores)}
    areas = auroc(known, scores)
    return {} if np.isnan(areas).all() else {"macro_auroc": float(np.nanmean(areas))}


def judge_scores(
    labels: "Labels",
    positions: np.ndarray,
    scores: np.ndarray,
    patients: Sequence[str],
    *,
    draws: int,
    thresholds: np.ndarray | None = None,
) -> dict[str, float]:
    """Returns all figures of the tested studies.

    Args:
        labels: of the data set.
        positions: (n,) of the studies.
        scores: (n, C).
        patients: n ids.
        draws: of the bootstrap.
        thresholds: (C,) chosen on validation; None leaves out what needs them.
    """
    from flvlp.metrics.classification_figures import exclusive_figures, findings_figures

    known = labels.values[positions]
    if labels.is_exclusive:
        return exclusive_figures(labels.names, known.argmax(axis=1), scores, patients, draws=draws)
    return findings_figures(labels.names, known, scores, patients, thresholds=thresholds, draws=draws)
