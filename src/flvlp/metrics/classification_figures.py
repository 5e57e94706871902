"""All figures of a classification task with intervals by patient, as a flat dict for the result row."""

from collections.abc import Sequence

import numpy as np

from flvlp.metrics.bootstrap import DRAWS, bootstrap, interval, known_mean
from flvlp.metrics.classification import auroc, average_precision, check_scores, confusion, has_both, weighted_auroc
from flvlp.metrics.exclusive import check_targets, hard, macro_f1, multiclass_accuracy, multiclass_mcc, occurring_f1


def findings_figures(
    names: Sequence[str],
    labels: np.ndarray,
    scores: np.ndarray,
    patients: Sequence[str],
    *,
    thresholds: np.ndarray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, float]:
    """Computes the figures of findings, each of which is present or not.

    A macro figure averages the classes that have both a positive and a negative in the set; in a draw, those of them
    that still have both there. Which are left out is seen from their NaN, how many count from `classes_averaged`.

    Args:
        names: of the C classes.
        labels: (N, C) 1, 0, or NaN where it is not known.
        scores: (N, C), higher for the class.
        patients: N patient ids.
        thresholds: (C,) chosen on the validation part (`best_thresholds`), NaN for a class that had none there; None
            leaves out what needs them.
        draws, seed: of the bootstrap.

    Returns:
        `macro_auroc` and `auroc/<name>`, each with `_low` and `_high`; `macro_average_precision`,
        `average_precision/<name>`; `images`, `classes_averaged`, `known/<name>` and `positives/<name>` (counts). With
        thresholds: `macro_f1`, `macro_accuracy` and `macro_mcc`, each with `_low` and `_high`, `f1/<name>`,
        `accuracy/<name>`, `mcc/<name>`, `threshold/<name>`, and `classes_with_threshold`, the number that these macros
        average.

    Raises:
        ValueError: no study, shapes that do not fit, or a score that is no number.
    """
    check_scores("findings_figures", labels, scores)
    _check_lengths("findings_figures", names, scores, patients)
    areas, precisions = auroc(labels, scores), average_precision(labels, scores)

    def areas_of(weights: np.ndarray) -> np.ndarray:
        columns = range(len(names))
        return np.stack([weighted_auroc(labels[:, c], scores[:, c], weights) for c in columns], axis=1)

    drawn = bootstrap(areas_of, patients, draws, seed)  # (draws, C)
    figures = interval(float(known_mean(areas)), known_mean(drawn)).named("macro_auroc")
    figures |= {
        "macro_average_precision": float(known_mean(precisions)),
        "images": float(len(labels)),
        "classes_averaged": float(has_both(labels).sum()),
    }
    for column, name in enumerate(names):
        figures |= interval(areas[column], drawn[:, column]).named(f"auroc/{name}")
        figures |= {
            f"average_precision/{name}": float(precisions[column]),
            f"known/{name}": float((~np.isnan(labels[:, column])).sum()),
            f"positives/{name}": float((labels[:, column] == 1).sum()),
        }
    if thresholds is not None:
        figures |= _thresholded_figures(
            names,
            labels,
            scores >= thresholds,
            patients,
            has_threshold=~np.isnan(thresholds),
            draws=draws,
            seed=seed,
        )
        figures |= {f"threshold/{name}": float(value) for name, value in zip(names, thresholds, strict=True)}
    return figures


def _thresholded_figures(
    names: Sequence[str],
    labels: np.ndarray,
    predictions: np.ndarray,
    patients: Sequence[str],
    *,
    has_threshold: np.ndarray,
    draws: int,
    seed: int,
) -> dict[str, float]:
    """Returns F1, accuracy and MCC of predictions (N, C) bool; NaN for a class without both or without a threshold."""

    def of_classes(weights: np.ndarray | None) -> np.ndarray:
        counts = confusion(labels, predictions, weights)
        is_defined = counts.has_both & has_threshold
        values = np.stack([counts.f1(), counts.accuracy(), counts.mcc()], axis=-2)  # (..., 3, C)
        return np.where(is_defined[..., None, :], values, np.nan)

    values = of_classes(None)
    drawn = bootstrap(lambda weights: known_mean(of_classes(weights)), patients, draws, seed)  # (draws, 3)
    figures = {"classes_with_threshold": float((has_both(labels) & has_threshold).sum())}
    for row, figure in enumerate(("f1", "accuracy", "mcc")):
        figures |= interval(float(known_mean(values[row])), drawn[:, row]).named(f"macro_{figure}")
        figures |= {f"{figure}/{name}": float(values[row, column]) for column, name in enumerate(names)}
    return figures


def exclusive_figures(
    names: Sequence[str],
    targets: np.ndarray,
    scores: np.ndarray,
    patients: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, float]:
    """Computes the figures of classes of which each study has exactly one.

    Args:
        names: of the C classes.
        targets: (N,) integers in [0, C).
        scores: (N, C) probabilities. The AUROC of one class against the rest compares a class's score between studies,
            where logits of other studies lie on another scale; accuracy and F1 take either.
        patients: N patient ids.
        draws, seed: of the bootstrap.

    Returns:
        `accuracy`, `macro_f1` (over the classes that occur) and `macro_auroc` (one against the rest, over the classes
        that have both), each with `_low` and `_high`; `mcc`; `auroc/<name>`, `f1/<name>`, `sensitivity/<name>`;
        `images`, `classes_averaged` (by `macro_auroc`) and `positives/<name>` (counts).

    Raises:
        ValueError: no study, shapes that do not fit, a target outside [0, C), or a score that is no number.
    """
    check_targets("exclusive_figures", targets, scores)
    _check_lengths("exclusive_figures", names, scores, patients)
    labels = (targets[:, None] == np.arange(len(names))).astype(np.float64)
    predictions = hard(scores)
    is_right = (predictions & (labels == 1)).any(axis=1).astype(np.float64)

    def of_draws(weights: np.ndarray) -> np.ndarray:
        areas = [weighted_auroc(labels[:, c], scores[:, c], weights) for c in range(len(names))]
        f1 = occurring_f1(confusion(labels, predictions, weights))
        accuracy = weights @ is_right / weights.sum(axis=1)
        return np.stack([accuracy, known_mean(f1), known_mean(np.stack(areas, axis=1))], axis=1)

    counts, areas = confusion(labels, predictions), auroc(labels, scores)
    drawn = bootstrap(of_draws, patients, draws, seed)  # (draws, 3)
    figures = interval(multiclass_accuracy(targets, scores), drawn[:, 0]).named("accuracy")
    figures |= interval(macro_f1(targets, scores), drawn[:, 1]).named("macro_f1")
    figures |= interval(float(known_mean(areas)), drawn[:, 2]).named("macro_auroc")
    figures |= {"mcc": multiclass_mcc(targets, scores), "images": float(len(targets))}
    figures["classes_averaged"] = float(has_both(labels).sum())
    of_class = {"auroc": areas, "f1": occurring_f1(counts), "sensitivity": counts.sensitivity()}
    of_class["positives"] = labels.sum(axis=0)
    for figure, values in of_class.items():
        figures |= {f"{figure}/{name}": float(values[column]) for column, name in enumerate(names)}
    return figures


def _check_lengths(where: str, names: Sequence[str], scores: np.ndarray, patients: Sequence[str]) -> None:
    """Raises ValueError unless there is a name a column and a patient a row, and at least one row."""
    if scores.shape != (len(patients), len(names)) or not len(patients):
        raise ValueError(
            f"{where}: scores of shape {scores.shape} for {len(patients)} patient ids and {len(names)} names; "
            "one id a row, one name a column, and at least one row"
        )
