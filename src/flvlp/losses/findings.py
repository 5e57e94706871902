"""Classification of findings with missing labels (downstream; not a term of pre-training)."""

import torch
from torch import Tensor
from torch.nn import functional


def findings_loss(logits: Tensor, labels: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    """Computes the mean binary cross-entropy over the known labels.

    A missing label takes no part: neither in the sum, nor in the count, nor in any gradient.

    Args:
        logits: (B, C).
        labels: (B, C) 1, 0, or NaN where it is not known (`flvlp.data.studies.Labels`).
        positive_weight: (C,) factor of the positive labels of each class, against imbalance.

    Returns:
        Scalar in nats; 0 with a graph where no label is known.
    """
    is_known = ~torch.isnan(labels)
    with torch.autocast(logits.device.type, enabled=False):
        each = functional.binary_cross_entropy_with_logits(
            logits.float(), torch.nan_to_num(labels.float()), pos_weight=positive_weight, reduction="none"
        )
        return torch.where(is_known, each, 0.0).sum() / is_known.sum().clamp_min(1)
