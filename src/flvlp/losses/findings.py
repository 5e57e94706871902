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


def exclusive_loss(logits: Tensor, labels: Tensor, class_weight: Tensor | None = None) -> Tensor:
    """Computes the *summed* cross-entropy of exclusive classes; divide by the global number of `known_studies`.

    Args:
        logits: (B, C).
        labels: (B, C), 1 for the one class of the study and 0 for the others; a row of NaN takes no part.
        class_weight: (C,) factor of the studies of each class, against imbalance.

    Returns:
        Scalar in nats, summed; 0 with a graph where no study is known.
    """
    with torch.autocast(logits.device.type, enabled=False):
        is_known = ~torch.isnan(labels).any(dim=1)
        targets = torch.nan_to_num(labels).argmax(dim=1)
        each = functional.cross_entropy(logits.float(), targets, weight=class_weight, reduction="none")
        return torch.where(is_known, each, 0.0).sum()


def known_studies(labels: Tensor) -> Tensor:
    """Returns how many studies of a batch have all their labels, scalar int64."""
    return (~torch.isnan(labels).any(dim=1)).sum()


def imbalance_weights(labels: Tensor, is_exclusive: bool) -> Tensor:
    """Returns weights (C,) against imbalance, from the labels of the training part (N, C).

    Negatives / positives of each class, a factor of its positives (1 for a class without either); for exclusive
    classes the inverse of their share, so that all count alike.
    """
    if is_exclusive:
        studies = labels[~torch.isnan(labels).any(dim=1)].sum(dim=0)
        return studies.sum() / studies.clamp_min(1) / len(studies)
    positives, negatives = (labels == 1).sum(dim=0).float(), (labels == 0).sum(dim=0).float()
    return torch.where((positives > 0) & (negatives > 0), negatives / positives.clamp_min(1), 1.0)
