"""Classification of findings with missing labels (downstream; not a term of pre-training)."""

import torch
from torch import Tensor
from torch.nn import functional


def findings_loss(logits: Tensor, labels: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    """Computes the *summed* binary cross-entropy of the known labels.

    A missing label takes no part: neither in the sum nor in any gradient. Summed, because the mean of means over ranks
    and micro-batches with unequal numbers of known labels is no mean: divide by the global number of `known_labels`.

    Args:
        logits: (B, C).
        labels: (B, C) 1, 0, or NaN where it is not known (`flvlp.data.studies.Labels`).
        positive_weight: (C,) factor of the positive labels of each class, against imbalance.

    Returns:
        Scalar in nats, summed; 0 with a graph where no label is known.
    """
    with torch.autocast(logits.device.type, enabled=False):
        each = functional.binary_cross_entropy_with_logits(
            logits.float(), torch.nan_to_num(labels.float()), pos_weight=positive_weight, reduction="none"
        )
        return torch.where(torch.isnan(labels), 0.0, each).sum()


def known_labels(labels: Tensor) -> Tensor:
    """Returns how many labels of a batch are known, scalar int64."""
    return (~torch.isnan(labels)).sum()
