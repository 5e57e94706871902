"""Phrase grounding: does the heat map of a phrase lie where the phrase says, in the conventions of the literature.

A heat map is (H, W), any unit, with NaN where the encoder saw nothing of the picture; `inside` is (H, W) bool, True in
the boxes or the mask of the phrase. Letters: N phrases (each with its picture).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from flvlp.metrics.bootstrap import DRAWS, bootstrap, interval, known_mean

MIOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)  # of BioViL, in units of the cosine
FIGURES = ("pointing", "cnr", "cnr_signed", "miou", "iou", "dice")


def pointing_hit(heat: np.ndarray, inside: np.ndarray) -> float:
    """Plays the pointing game: is the hottest pixel inside.

    Of several equally hot pixels one is drawn, so the value is the share of them that is inside; of a level map that is
    the share of the picture that is inside, which is what chance hits.

    Returns:
        In [0, 1].

    Raises:
        ValueError: shapes that differ, nothing inside, or a map without a number.
    """
    _check("pointing_hit", heat, inside)
    is_hottest = heat == np.nanmax(heat)  # False at NaN
    return float((is_hottest & inside).sum() / is_hottest.sum())


def contrast_to_noise(heat: np.ndarray, inside: np.ndarray) -> float:
    """Computes (mean inside - mean outside) / sqrt(variance inside + variance outside), with its sign.

    BioViL's CNR is the absolute value, which also rewards a map that is coldest inside. Variances are of the
    population.

    Returns:
        Without unit, the same for any scale and offset of the map; 0 for a level map, infinite where both sides are
        level and differ, NaN where the encoder saw only one side.

    Raises:
        ValueError: as in `pointing_hit`.
    """
    _check("contrast_to_noise", heat, inside)
    is_seen = ~np.isnan(heat)
    within, without = (heat[is_seen & side].astype(np.float64) for side in (inside, ~inside))
    if not len(within) or not len(without):
        return float("nan")
    difference, noise = within.mean() - without.mean(), np.sqrt(within.var() + without.var())
    if not noise:
        return float(np.copysign(np.inf, difference)) if difference else 0.0
    return float(difference / noise)


def overlap(marked: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Computes intersection over union and Dice of what is marked, (H, W) bool, with what is inside.

    What is inside and was never seen counts as missed.

    Raises:
        ValueError: as in `pointing_hit`.
    """
    _check("overlap", marked, inside)
    both, total = (marked & inside).sum(), marked.sum() + inside.sum()
    return float(both / (total - both)), float(2 * both / total)


def mean_iou(heat: np.ndarray, inside: np.ndarray, thresholds: Sequence[float] = MIOU_THRESHOLDS) -> float:
    """Averages the intersection over union of what reaches each threshold, BioViL's mIoU.

    The map is taken as it is, in units of the cosine, so it also depends on how large an encoder's cosines are; what
    is below 0 is below every threshold.

    Raises:
        ValueError: as in `pointing_hit`.
    """
    _check("mean_iou", heat, inside)
    return float(np.mean([overlap(heat >= threshold, inside)[0] for threshold in thresholds]))


def marked_by(heat: np.ndarray, threshold: float) -> np.ndarray:
    """Returns where a map reaches a share of its own maximum, (H, W) bool, what is below 0 counting as 0.

    Unlike a threshold in units of the cosine it does not depend on how large those are. A map that is nowhere above 0
    marks nothing.

    Args:
        heat: (H, W).
        threshold: share in (0, 1].
    """
    hottest = np.nanmax(heat)
    return heat >= threshold * hottest if hottest > 0 else np.zeros(heat.shape, dtype=bool)


def grounding_values(heat: np.ndarray, inside: np.ndarray, threshold: float) -> dict[str, float]:
    """Returns the `FIGURES` of one phrase; `iou` and `dice` are of `marked_by` at the threshold.

    Raises:
        ValueError: as in `pointing_hit`.
    """
    signed = contrast_to_noise(heat, inside)
    iou, dice = overlap(marked_by(heat, threshold), inside)
    values = (pointing_hit(heat, inside), abs(signed), signed, mean_iou(heat, inside), iou, dice)
    return dict(zip(FIGURES, values, strict=True))


def grounding_figures(
    values: Mapping[str, np.ndarray],
    categories: Sequence[str],
    patients: Sequence[str],
    *,
    subsets: Mapping[str, np.ndarray] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, float]:
    """Averages the figures of phrases, with intervals by patient.

    Args:
        values: name -> (N,), NaN or infinite where it is not defined, which is left out.
        categories: N names.
        patients: N ids.
        subsets: name -> (N,) bool, such as the phrases of one view, which are averaged on their own too.
        draws, seed: of the bootstrap.

    Returns:
        For each name: `<name>` (mean over phrases), `macro_<name>` (mean over the categories' means) and
        `<name>/<category or subset>`, each with `_low` and `_high`; `phrases` and `phrases/<category or subset>`,
        their numbers.

    Raises:
        ValueError: no phrase, or lengths that differ.
    """
    lengths = {len(categories), len(patients), *(len(column) for column in values.values())}
    if len(lengths) != 1 or not len(categories):
        raise ValueError(
            f"grounding_figures: {len(categories)} categories and {len(patients)} patients for values of lengths "
            f"{sorted(lengths)}; all have one entry a phrase, and at least one phrase is needed"
        )
    own = np.asarray(categories)
    names = sorted(set(categories))
    groups = {name: own == name for name in names} | dict(subsets or {})
    masks = np.stack([np.ones(len(own), dtype=bool), *groups.values()])  # (1 + G, N)

    def means(weights: np.ndarray) -> np.ndarray:
        """Returns (D, figures, 1 + G + 1): all phrases, each group, and the mean of the categories."""
        columns = []
        for column in values.values():
            known = np.isfinite(column)
            sums = weights @ (masks * np.where(known, column, 0)).T
            counts = weights @ (masks * known).T
            averages = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
            macro = known_mean(averages[:, 1 : 1 + len(names)])
            columns.append(np.column_stack([averages, macro]))
        return np.stack(columns, axis=1)

    points = means(np.ones((1, len(own))))[0]
    drawn = bootstrap(lambda weights: means(weights.astype(np.float64)), patients, draws, seed)
    figures: dict[str, float] = {}
    for row, name in enumerate(values):
        labels = [name, *(f"{name}/{group}" for group in groups), f"macro_{name}"]
        for place, label in enumerate(labels):
            figures |= interval(points[row, place], drawn[:, row, place]).named(label)
    counts = {"phrases": len(own)} | {f"phrases/{name}": int(mask.sum()) for name, mask in groups.items()}
    return figures | {name: float(count) for name, count in counts.items()}


def _check(where: str, heat: np.ndarray, inside: np.ndarray) -> None:
    """Raises ValueError, in the name of `where`, unless the map has a number and something is inside."""
    if heat.shape != inside.shape or heat.ndim != 2 or inside.dtype != bool:
        raise ValueError(
            f"{where}: a map of shape {heat.shape} and inside {inside.shape} {inside.dtype}; both are "
            "(H, W), the second bool"
        )
    if not inside.any():
        raise ValueError(f"{where}: nothing is inside; leave phrases without box or mask out")
    if np.isnan(heat).all():
        raise ValueError(f"{where}: the map has no number; the encoder saw nothing of the picture")
