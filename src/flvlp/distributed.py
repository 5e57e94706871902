"""Ranks, gathering with gradient, and exact global figures. Everything is the identity in one process."""

import inspect
import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.parallel import DistributedDataParallel

from flvlp.rendezvous import join_group


def rank() -> int:
    """Returns this process's rank, 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Returns the number of processes W, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """True on the one rank that writes."""
    return rank() == 0


def launched_rank() -> int:
    """Returns the rank that torchrun gave this process through its environment, before any process group exists."""
    return int(os.environ.get("RANK", "0"))


def start(timeout_minutes: float = 30.0) -> torch.device:
    """Joins the process group where torchrun started this process, and returns the device of this rank.

    nccl on CUDA, gloo otherwise; without torchrun no group is made.

    Args:
        timeout_minutes: how long a rank waits for the others, here and in every exchange, before it ends with an error.

    Raises:
        TimeoutError: another rank did not join in time.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    has_cuda = torch.cuda.is_available()
    if has_cuda:
        torch.cuda.set_device(local_rank)
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        # gloo too: for flags that must not wait for nccl
        join_group("cpu:gloo,cuda:nccl" if has_cuda else "gloo", timedelta(minutes=timeout_minutes))
    return torch.device("cuda", local_rank) if has_cuda else torch.device("cpu")


def stop() -> None:
    """Leaves the process group, and sets back the kernel of attention (`flvlp.engine.optim.choose_attention`)."""
    torch.backends.cuda.enable_flash_sdp(True)
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(False)
    if dist.is_initialized():
        dist.destroy_process_group()


def wrap(model: nn.Module, *, averages: bool = True) -> nn.Module:
    """Returns the model inside DDP where there are several ranks, itself otherwise.

    Buffers are equal on all ranks by construction, so they are not sent; every parameter has a graph in every batch.

    Args:
        model: on this rank's device.
        averages: False for one whose gradients `average_gradients` averages; it gets rank 0's parameters, as DDP gives,
            and not the buckets that DDP keeps, which are as large as all gradients.
    """
    if world_size() == 1:
        return model
    if not averages:
        for parameter in model.parameters():
            dist.broadcast(parameter.data, src=0)
        return model
    device = next(model.parameters()).device
    devices = [device.index] if device.type == "cuda" else None
    known = inspect.signature(DistributedDataParallel).parameters
    buffers: dict[str, Any] = {
        "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
    }
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True, **buffers)


def barrier() -> None:
    """Waits for all ranks."""
    if dist.is_initialized():
        dist.barrier()


class _GatherRows(torch.autograd.Function):
    """all_gather forward; backward sums the gradients that all ranks have for this rank's rows.

    With DDP's averaging over ranks the gradient is then exactly that of the full batch. Re-inserting only the own shard
    would give it divided by W and so re-weight contrastive terms against per-rank ones.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.size = len(rows)
        gathered = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        # Autograd may hand the same tensor to other nodes: summing in place would give them the sum as well.
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        size: int = ctx.size  # type: ignore[attr-defined]
        return gradient[rank() * size : (rank() + 1) * size]


def gather_with_grad(rows: Tensor) -> Tensor:
    """Concatenates the rows of all ranks in rank order, with gradient.

    Args:
        rows: (B, ...), the same shape on every rank.

    Returns:
        (W * B, ...).
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


def gather_masks(masks: list[Tensor]) -> Tensor:
    """Concatenates bool masks of all ranks.

    Args:
        masks: p masks (B,) bool.

    Returns:
        (p, W * B) bool.
    """
    stacked = torch.stack(masks, dim=1)
    if world_size() == 1:
        return stacked.T
    gathered = [torch.empty_like(stacked, dtype=torch.uint8) for _ in range(world_size())]
    dist.all_gather(gathered, stacked.to(torch.uint8))
    return torch.cat(gathered).bool().T


def sum_over_ranks(values: Tensor) -> Tensor:
    """Returns the element-wise sum over ranks, without gradient; the argument is not changed."""
    values = values.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def any_rank(is_true: bool) -> bool:
    """Returns whether it is true on any rank, without waiting for an accelerator."""
    if world_size() == 1:
        return is_true
    flag = torch.tensor(int(is_true))
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Averages the gradients of all ranks, as DDP does in its own backward pass; every rank has the same ones."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size()


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenates rows of all ranks without gradient; ranks may hold different numbers of rows.

    Args:
        rows: (n, ...) on this rank.

    Returns:
        (sum of n, ...), rank after rank.
    """
    if world_size() == 1:
        return rows
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    longest = int(max(sizes).item())
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    return torch.cat([part[: int(size.item())] for part, size in zip(gathered, sizes, strict=True)])


def broadcast_object(value: Any) -> Any:
    """Returns rank 0's value on every rank."""
    if world_size() == 1:
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def gather_objects(value: Any) -> list[Any]:
    """Returns the values of all ranks, in rank order, on every rank."""
    if world_size() == 1:
        return [value]
    holder: list[Any] = [None] * world_size()
    dist.all_gather_object(holder, value)
    return holder
