"""What image and text encoders share: a trunk that may be frozen for good."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from torch import nn


class TrunkEncoder(nn.Module):
    """An encoder around a trunk.

    A frozen trunk has no gradient, stays in evaluation mode whatever `.train()` says, and must be run inside
    `trunk_context()`, so that no graph is recorded. Freezing changes no parameter's name.
    """

    def __init__(self, trunk: nn.Module, is_frozen: bool, is_pretrained: bool) -> None:
        super().__init__()
        self.trunk: Any = trunk
        self.is_frozen, self.is_pretrained = is_frozen, is_pretrained
        if is_frozen:
            self.freeze()

    def freeze(self) -> None:
        """Freezes the trunk, whatever it was before; build the optimiser and DDP afterwards."""
        self.is_frozen = True
        self.trunk.requires_grad_(False).eval()

    def unfreeze(self) -> None:
        """Gives a trunk that was frozen its gradient and its mode back; one that was not is left as it is."""
        if self.is_frozen:
            self.is_frozen = False
            self.trunk.requires_grad_(True).train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of everything but a frozen trunk."""
        super().train(mode)
        if self.is_frozen:
            self.trunk.eval()
        return self

    def trunk_context(self) -> AbstractContextManager[None]:
        """Returns the context the trunk runs in."""
        return torch.no_grad() if self.is_frozen else nullcontext()
