"""Features of a frozen encoder as a training set in memory: computed once, read every epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from flvlp.data.sampler import EpochSampler

SMALLEST_DEVIATION = 1e-6  # a feature that hardly varies is left at its mean


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Rows of a micro-batch.

    Attributes:
        features: (B, F) float32.
        labels: (B, C) float32 1, 0 or NaN.
    """

    features: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "FeatureBatch":
        """Returns the batch on `device`."""
        return FeatureBatch(self.features.to(device), self.labels.to(device))


class FeatureBatches:
    """A loader of features: iterates over the epoch that its sampler has started."""

    def __init__(self, features: Tensor, labels: Tensor, batch_size: int, sampler: EpochSampler) -> None:
        """`sampler` gives rows of `features` (N, F) and `labels` (N, C); batches have `batch_size` rows of a rank."""
        self.features, self.labels, self.batch_size, self.sampler = features, labels, batch_size, sampler

    def __iter__(self) -> Iterator[FeatureBatch]:
        """Yields the micro-batches of this rank."""
        rows = torch.tensor([row for _, row in self.sampler])
        for part in rows.split(self.batch_size):
            yield FeatureBatch(self.features[part], self.labels[part])


def fill_and_scale(parts: dict[str, Tensor], *, scales: bool) -> dict[str, Tensor]:
    """Fills what is missing with the mean of the training features, and standardises all with their statistics.

    Args:
        parts: `train` and others, each (n, F) float32; NaN where a study has no such feature (an absent lateral).
        scales: subtract the mean and divide by the standard deviation; otherwise only fill.

    Returns:
        The same parts without NaN.
    """
    train = parts["train"]
    mean = train.nanmean(dim=0).nan_to_num()
    if not scales:
        return {name: torch.where(part.isnan(), mean, part) for name, part in parts.items()}
    deviation = (train - mean).square().nanmean(dim=0).nan_to_num().sqrt()
    deviation = torch.where(deviation < SMALLEST_DEVIATION, 1.0, deviation)
    return {name: ((part - mean) / deviation).nan_to_num() for name, part in parts.items()}
