"""Differences between two sets of runs on the same studies: pooled over seeds, with an interval by patient.

Letters: N studies, C classes, D draws of patients, S seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flvlp.metrics.bootstrap import DRAWS, Interval, bootstrap, interval, known_mean
from flvlp.metrics.classification import ratio, weighted_auroc


@dataclass(frozen=True, slots=True)
class MacroAuroc:
    """The mean AUROC of the classes that have both a positive and a negative.

    Attributes:
        labels: (N, C) 1, 0, or NaN where it is not known.
        scores: (N, C), higher for the class.
    """

    labels: np.ndarray
    scores: np.ndarray

    def of(self, weights: np.ndarray) -> np.ndarray:
        """Returns the figure in [0, 1] of each draw (D,) for weights (D, N); NaN where no class has both labels."""
        columns = range(self.labels.shape[1])
        areas = [weighted_auroc(self.labels[:, column], self.scores[:, column], weights) for column in columns]
        return known_mean(np.stack(areas, axis=1))

    def take(self, rows: np.ndarray) -> "MacroAuroc":
        """Returns the same figure of the studies at `rows` (n,)."""
        return MacroAuroc(self.labels[rows], self.scores[rows])


@dataclass(frozen=True, slots=True)
class Ratio:
    """A sum over studies divided by another: a mean, a mean over some of them, or pixels over pixels.

    Attributes:
        numerator, denominator: (N,); for a mean the denominator is 1 for a study that counts and 0 for one that does
            not.
    """

    numerator: np.ndarray
    denominator: np.ndarray

    def of(self, weights: np.ndarray) -> np.ndarray:
        """Returns the figure of each draw (D,) for weights (D, N); NaN where the denominator is 0."""
        above, below = (weights @ part.astype(np.float64) for part in (self.numerator, self.denominator))
        return ratio(above, below, undefined=np.nan)

    def take(self, rows: np.ndarray) -> "Ratio":
        """Returns the same figure of the studies at `rows` (n,)."""
        return Ratio(self.numerator[rows], self.denominator[rows])


def point_and_draws(
    figure: MacroAuroc | Ratio, patients: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """Returns a figure of the whole set, followed by that of each draw, (1 + D,).

    Args:
        figure: of N studies.
        patients: N patient ids.
        draws, seed: of the bootstrap. With the same patients and seed the draws are the same for every figure, so that
            figures of different runs can be subtracted draw by draw.
    """
    return np.concatenate([figure.of(np.ones((1, len(patients)))), bootstrap(figure.of, patients, draws, seed)])


def pooled_difference(ours: np.ndarray, theirs: np.ndarray) -> Interval:
    """Computes the difference of the averages over seeds, with the interval of its draws.

    What another choice of test patients would give is in the interval; what other training runs would give is not.

    Args:
        ours, theirs: (S, 1 + D) of `point_and_draws`, row by row the same seed, column by column the same patients.

    Returns:
        The average of `ours` minus that of `theirs`, with the 2.5 and 97.5 percentiles of the same in each draw. A draw
        in which a figure is not defined is left out.

    Raises:
        ValueError: shapes that differ, or no seed.
    """
    if ours.shape != theirs.shape or ours.ndim != 2 or not len(ours):
        raise ValueError(
            f"pooled_difference: draws of shape {ours.shape} and {theirs.shape}; both are (seeds, 1 + draws), with at "
            "least one seed"
        )
    difference = ours.mean(axis=0) - theirs.mean(axis=0)
    return interval(float(difference[0]), difference[1:])
