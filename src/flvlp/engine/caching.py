"""Gradient caching: a contrastive batch larger than what fits in memory, with the gradient of the whole batch.

The encoders run on one micro-batch at a time, first without a graph; heads and losses see the features of all of them
at once; then the encoders run again and receive the gradient of their features (Gao et al. 2021, "Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup"). It costs one more forward pass of the encoders. What
grows with the whole batch are features and heads.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flvlp import distributed
from flvlp.engine.left_out import broken_where_not_finite
from flvlp.engine.profile import phase
from flvlp.types import Batch, Counts

if TYPE_CHECKING:
    from flvlp.engine.train import Training


def cached_backward(training: "Training", micro_batches: Sequence[Batch], counts: Counts) -> dict[str, Tensor]:
    """Accumulates the gradient of one step in which all micro-batches are one batch.

    Args:
        training: its model offers `encode` and `complete`.
        micro_batches: of this rank, on the host.
        counts: of the step.

    Returns:
        the terms of this rank, detached.
    """
    model, device = training.bare_model, training.device
    on_device = [batch.to(device) for batch in micro_batches]
    states, parts = [], []
    with phase("step/encode without graph"):
        for batch in on_device:
            states.append(_random_state(device))
            with torch.no_grad(), training.autocast():
                parts.append(model.encode(batch))
    features = {name: join_rows([part[name] for part in parts]).requires_grad_() for name in parts[0]}
    with phase("step/heads and loss"):
        with training.autocast():
            output = model.complete(join_batches(on_device), features)
        losses = training.criterion(output, replace(counts, micro_batches=1))
        training.scaler.scale(broken_where_not_finite(losses["total"])).backward()
    gradients = {name: rows.grad for name, rows in features.items() if rows.grad is not None}
    after, first = _random_state(device), 0
    for batch, state in zip(on_device, states, strict=True):
        _restore(state, device)  # what the encoders draw (dropout) is drawn again
        with phase("step/forward"), training.autocast():
            again = model.encode(batch)
        last = first + len(batch.tokens)
        pairs = [(again[name], whole[first:last]) for name, whole in gradients.items() if again[name].requires_grad]
        own = [gradient[:, : rows.shape[1]] if rows.ndim > 2 else gradient for rows, gradient in pairs]
        with phase("step/backward"):
            torch.autograd.backward([rows for rows, _ in pairs], own)
        first = last
    _restore(after, device)
    with phase("step/average"):
        distributed.average_gradients(model.parameters())
    return {name: value.detach() for name, value in losses.items()}


def join_rows(parts: Sequence[Tensor]) -> Tensor:
    """Concatenates (B, ...) or, filled up with zeros to the longest, (B, T, ...)."""
    longest = max(part.shape[1] for part in parts)
    return torch.cat([_widened(part, longest) if part.ndim > 2 else part for part in parts])


def join_batches(parts: Sequence[Batch]) -> Batch:
    """Returns the batch of all studies of some micro-batches, their reports padded to the longest of all."""
    sizes = [len(part.tokens) for part in parts]
    firsts = [sum(sizes[:number]) for number in range(len(sizes))]
    longest = max(part.tokens.shape[1] for part in parts)

    def rows(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    def words(name: str) -> Tensor:
        return torch.cat([_widened(getattr(part, name), longest) for part in parts])

    positions = []
    for part, first in zip(parts, firsts, strict=True):
        width = part.tokens.shape[1]
        row, column = part.masked_positions // width, part.masked_positions % width
        positions.append((row + first) * longest + column)
    return Batch(
        frontal=rows("frontal"),
        lateral=rows("lateral"),
        lateral_rows=torch.cat([part.lateral_rows + first for part, first in zip(parts, firsts, strict=True)]),
        has_lateral=rows("has_lateral"),
        is_valid=rows("is_valid"),
        study_index=rows("study_index"),
        tokens=words("tokens"),
        masked_tokens=words("masked_tokens"),
        is_token=words("is_token"),
        is_word=words("is_word"),
        masked_positions=torch.cat(positions),
        masked_targets=rows("masked_targets"),
        report_key=rows("report_key"),
    )


def _widened(part: Tensor, longest: int) -> Tensor:
    """Returns (B, T, ...) filled up with zeros to (B, longest, ...): padding is masked everywhere."""
    if part.shape[1] == longest:
        return part
    missing = part.new_zeros((len(part), longest - part.shape[1], *part.shape[2:]))
    return torch.cat([part, missing], dim=1)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _restore(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
