"""Features of earlier batches, so that prototype codes see more studies than one batch holds."""

import torch
from torch import Tensor, nn

from flvlp.types import QueueState

PARTS = 3  # frontal, lateral, report


class FeatureQueue(nn.Module):
    """Keeps the last n studies' features of the global batch; the same on every rank, and in the checkpoint."""

    features: Tensor
    is_filled: Tensor
    changes_in_training = True  # a step that is left out must not stay in it

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(PARTS, size, width))
        self.register_buffer("is_filled", torch.zeros(PARTS, size, dtype=torch.bool))

    def state(self) -> QueueState:
        """Returns the queue as it is now."""
        return QueueState(self.features, self.is_filled)

    @torch.no_grad()
    def push(self, features: Tensor, is_present: Tensor) -> None:
        """Appends one global batch and forgets the oldest studies.

        Args:
            features: (3, N, D) frontal, lateral, report; normalised.
            is_present: (3, N) bool.
        """
        size = self.features.shape[1]
        self.features.copy_(torch.cat([self.features, features.to(self.features)], dim=1)[:, -size:])
        self.is_filled.copy_(torch.cat([self.is_filled, is_present], dim=1)[:, -size:])
