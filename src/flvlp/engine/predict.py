"""Outputs of a model for a whole set, on every rank, in the order of the source."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from flvlp import distributed
from flvlp.engine.optim import choose_attention

log = logging.getLogger(__name__)


@torch.no_grad()
def predict(
    forward: Callable[[Any], dict[str, Tensor]],
    batches: Iterable[Any],
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Runs a model over this rank's batches and brings the rows of all ranks together.

    Args:
        forward: batch on the device -> tensors of B rows each, the model in evaluation mode.
        batches: `Pictures` of this rank; every study is in one batch of one rank.
        device: where the model is.
        dtype: autocast dtype, None for float32.

    Returns:
        positions in the source (n,) int64 ascending, of the pictures that could be read, and by name the rows (n, ...)
        in that order; on the CPU, floats as float32. The same for any batch size and world size.

    Raises:
        ValueError: no rank has any picture.
    """
    choose_attention(dtype, device)
    index: list[Tensor] = []
    unreadable = 0
    parts: dict[str, list[Tensor]] = {}
    for batch in batches:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            output = forward(batch.to(device))
        kept = batch.is_valid
        index.append(batch.study_index[kept])
        unreadable += int((~kept).sum())
        for name, rows in output.items():
            rows = rows.float() if rows.is_floating_point() else rows  # noqa: PLW2901
            parts.setdefault(name, []).append(rows.cpu()[kept])
    own = {name: torch.cat(rows) for name, rows in parts.items()}
    mine = torch.cat(index) if index else torch.zeros(0, dtype=torch.int64)
    gathered = distributed.gather_objects((mine, own, unreadable))
    filled = [(positions, rows) for positions, rows, _ in gathered if len(positions)]
    left_out = sum(count for _, _, count in gathered)
    if not filled:
        raise ValueError("predict: no picture of this part could be read; set dataset.on_error=raise to see why")
    positions = torch.cat([one for one, _ in filled])
    if left_out:
        log.warning("%d of %d pictures cannot be read and are left out", left_out, left_out + len(positions))
    order = torch.argsort(positions)
    names = filled[0][1].keys()
    return positions[order], {name: torch.cat([rows[name] for _, rows in filled])[order] for name in names}
