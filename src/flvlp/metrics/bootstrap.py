"""Intervals by patient: the images of one patient are drawn together, because they tell the same story."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

BOOTSTRAP_DRAWS = 2000  # of paired_bootstrap
DRAWS = 1000  # of everything else
CHUNK = 50  # draws whose weights are in memory at once


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, here a mean, with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def named(self, name: str) -> dict[str, float]:
        """Returns `name`, `name_low` and `name_high`, as they stand in a table of figures."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


def paired_bootstrap(differences: np.ndarray, patients: Sequence[str], seed: int = 0) -> Interval:
    """Computes the mean of paired differences with a bootstrap interval that resamples patients.

    Args:
        differences: (n,) one a study.
        patients: n patient ids; studies of one patient are drawn together.
        seed: of the resampling.

    Returns:
        Mean and the 2.5 and 97.5 percentiles.

    Raises:
        ValueError: no study.
    """
    if not len(differences):
        raise ValueError("paired_bootstrap: no study to compare (n = 0)")
    _, group = np.unique(np.asarray(patients), return_inverse=True)
    sums, sizes = np.bincount(group, weights=differences), np.bincount(group)
    drawn = np.random.default_rng(seed).integers(0, len(sums), size=(BOOTSTRAP_DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(differences.mean()), float(low), float(high))


def iter_patient_weights(
    patients: Sequence[str], draws: int = DRAWS, seed: int = 0, chunk: int = CHUNK
) -> Iterator[np.ndarray]:
    """Yields how often each image counts in each draw of patients with replacement, a few draws at a time.

    Args:
        patients: N patient ids. Their order does not matter: a patient is drawn equally often wherever it stands.
        draws: D of them in all, each of as many patients as there are.
        seed: of the drawing.
        chunk: draws a block; the numbers are the same for any.

    Yields:
        (at most chunk, N) int32.

    Raises:
        ValueError: no image, or no draw.
    """
    if not len(patients) or draws < 1:
        raise ValueError(
            f"iter_patient_weights: {draws} draws from {len(patients)} images; at least one of both is needed"
        )
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    count = int(patient.max()) + 1
    generator = np.random.default_rng(seed)
    for start in range(0, draws, chunk):
        drawn = [generator.integers(0, count, size=count) for _ in range(min(chunk, draws - start))]
        yield np.stack([np.bincount(some, minlength=count).astype(np.int32)[patient] for some in drawn])


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], patients: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """Returns what `statistic` makes of each draw, (draws, ...).

    Args:
        statistic: takes weights (D, N) int32 and returns (D, ...), row by row; called once a block of draws.
        patients, draws, seed: as in `iter_patient_weights`.
    """
    return np.concatenate([statistic(weights) for weights in iter_patient_weights(patients, draws, seed)])


def interval(point: float, draws: np.ndarray) -> Interval:
    """Returns the figure of the full set with the 2.5 and 97.5 percentiles of its draws.

    Args:
        point: on the full set.
        draws: (D,) the same figure in each draw; NaN where it is not defined there, which is left out. With no
            defined draw the interval is NaN.
    """
    known = draws[~np.isnan(draws)]
    low, high = np.percentile(known, (2.5, 97.5)) if len(known) else (np.nan, np.nan)
    return Interval(float(point), float(low), float(high))


def known_mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean (...) over the last axis of (..., C) without NaN; NaN where nothing is left, and no warning."""
    count = (~np.isnan(values)).sum(axis=-1)
    return np.where(count > 0, np.nansum(values, axis=-1) / np.maximum(count, 1), np.nan)
