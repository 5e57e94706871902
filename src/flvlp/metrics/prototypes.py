"""How evenly prototypes are used, and whether studies of one prototype share their findings."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def prototype_similarity(features: Tensor, prototypes: Tensor) -> Tensor:
    """Returns the cosine (N, K) float32 of features (N, D) and prototypes (K, D), both at any scale."""
    return functional.normalize(features.float(), dim=-1) @ functional.normalize(prototypes.float(), dim=-1).T


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
