"""Figures over a whole set: exact for any batch size and world size, with intervals by patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

RECALL_AT = (1, 5, 10)
CHUNK = 1024  # queries whose similarities are in memory at once
BOOTSTRAP_DRAWS = 2000


def recall_at(queries: Tensor, gallery: Tensor, k: int) -> Tensor:
    """Computes the probability that each query's own match is among the k most similar of the whole gallery.

    Exact ties are broken at random in expectation, so identical reports cost no more and no less than they should.

    Args:
        queries, gallery: (N, D), row i of one matches row i of the other; any scale.
        k: at least 1.

    Returns:
        (N,) float32 in [0, 1]; its mean is R@k.
    """
    queries = functional.normalize(queries.float(), dim=-1)
    gallery = functional.normalize(gallery.float(), dim=-1)
    hits = []
    for start in range(0, len(queries), CHUNK):
        similarity = queries[start : start + CHUNK] @ gallery.T
        own = similarity.diagonal(start).unsqueeze(1)
        better = (similarity > own).sum(dim=1)
        tied = (similarity == own).sum(dim=1)  # includes the match itself
        hits.append(((k - better) / tied).clamp(0, 1).where(tied > 0, 0.0))  # a feature of NaN ties with nothing
    return torch.cat(hits) if hits else queries.new_zeros(0)


def retrieval(images: Tensor, reports: Tensor) -> dict[str, float]:
    """Returns R@1, 5, 10 of both directions and their mean, over the whole pool.

    Args:
        images, reports: (N, D), row by row the same study.

    Returns:
        `image_to_text/r1` ... `text_to_image/r10`, and `r1`, `r5`, `r10` averaged over directions, in [0, 1]; nothing
        for an empty pool.
    """
    if not len(images):
        return {}
    figures: dict[str, float] = {}
    for k in RECALL_AT:
        forth, back = (float(recall_at(*pair, k).mean()) for pair in ((images, reports), (reports, images)))
        figures |= {f"image_to_text/r{k}": forth, f"text_to_image/r{k}": back, f"r{k}": (forth + back) / 2}
    return figures


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


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


def perplexity(shares: Tensor) -> float:
    """Returns exp(entropy) of a distribution: the number of equally used entries that would be as spread out.

    Args:
        shares: (K,) not negative; normalised here.
    """
    shares = shares.double() / shares.double().sum().clamp_min(torch.finfo(torch.float64).tiny)
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))


def purity(clusters: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of studies that have the most frequent label set of their cluster.

    Grows with the number of clusters; compare with the purity of the same clusters with shuffled labels.

    Args:
        clusters: (n,) integers.
        labels: (n, C) 0 or 1; what is missing (NaN) counts as a value of its own.
    """
    _, label_set = np.unique(np.nan_to_num(labels.astype(np.float32), nan=-1.0), axis=0, return_inverse=True)
    table = np.zeros((clusters.max() + 1, label_set.max() + 1), dtype=np.int64)
    np.add.at(table, (clusters, label_set.reshape(-1)), 1)
    return float(table.max(axis=1).sum() / len(clusters))


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

    if labels.shape != scores.shape:
        raise ValueError(f"auroc: labels of shape {labels.shape}, scores of shape {scores.shape}; both are (N, C)")
    if not np.isfinite(scores).all():
        raise ValueError(f"auroc: {np.sum(~np.isfinite(scores))} scores are not finite; the model diverged")
    areas = np.full(labels.shape[1], np.nan)
    for column in range(labels.shape[1]):
        is_known = ~np.isnan(labels[:, column])
        known = labels[is_known, column]
        if known.any() and not known.all():
            areas[column] = roc_auc_score(known, scores[is_known, column])
    return areas
