"""Norms that depend on no batch, in the place of BatchNorm."""

import math
from typing import Any

from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 8  # of GroupNorm that replaces BatchNorm


def group_norm(channels: int) -> nn.GroupNorm:
    """Returns GroupNorm for maps (B, channels, H, W)."""
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels)


def replace_batch_norm(module: nn.Module, norm: str) -> Any:
    """Returns the module with its BatchNorm replaced as `norm` says; weights and statistics are kept where they fit."""
    if norm == "as_is":
        return module
    if norm == "sync_batch":
        return convert_sync_batchnorm(module)  # timm's: it knows BatchNormAct2d
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            replacement: nn.Module = group_norm(child.num_features) if norm == "group" else FrozenBatchNorm2d(child)
            if isinstance(child, BatchNormAct2d):  # of EfficientNet, MobileNet, RegNet, DenseNet: holds the activation
                replacement = nn.Sequential(replacement, child.drop, child.act)
            setattr(module, name, replacement)
        else:
            replace_batch_norm(child, norm)
    return module


class FrozenBatchNorm2d(nn.Module):
    """BatchNorm2d with the running statistics it was made with: no batch enters, scale and shift are still trained."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)

    def forward(self, features: Tensor) -> Tensor:
        """Normalises features (B, C, H, W)."""
        return functional.batch_norm(
            features, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )
