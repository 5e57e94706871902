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


def statistics_of(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Returns the running statistics of every BatchNorm that is trained, each with a copy from before the step."""
    norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return [(buffer, buffer.clone()) for norm in norms if norm.training for buffer in norm.buffers()]


def restore_where_broken(statistics: list[tuple[Tensor, Tensor]], norm: Tensor) -> None:
    """Sets statistics back to their copies where the gradient is not finite, or a picture's NaN would stay in them."""
    for buffer, before in statistics:
        buffer.copy_(torch.where(torch.isfinite(norm), buffer, before))
