"""Steps that are left out: a loss or gradient that is not finite must change nothing, on any rank."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def broken_where_not_finite(total: Tensor) -> Tensor:
    """Returns the same loss, with no finite gradient where it is not finite: all ranks then leave the step out."""
    return total * torch.where(torch.isfinite(total), 1.0, torch.nan).detach()


@contextmanager
def left_out_where_broken(optimizer: torch.optim.Optimizer, scaler: Any, norm: Tensor) -> Iterator[None]:
    """Makes a step inside change nothing where the gradient is not finite, without waiting for the device to tell.

    The norm is that of all ranks, so that they agree. A scaler (fp16) does the same by itself.
    """
    if scaler.is_enabled():
        yield
        return
    optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined] # what scalers tell fused kernels
    try:
        yield
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]


def changing_buffers(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Returns what a forward pass or a loss of training changes, each buffer with a copy from before the step.

    These are the statistics of every BatchNorm that is trained, and what a module says of itself by an attribute
    `changes_in_training = True` (the queue of features).
    """
    found = []
    for module in model.modules():
        is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
        if is_norm or getattr(module, "changes_in_training", False):
            found += [(buffer, buffer.clone()) for buffer in module.buffers(recurse=False)]
    return found


def restore_where_broken(buffers: list[tuple[Tensor, Tensor]], norm: Tensor) -> None:
    """Sets buffers back to their copies where the gradient is not finite, or something of the step would stay."""
    for buffer, before in buffers:
        buffer.copy_(torch.where(torch.isfinite(norm), buffer, before))
