"""Masked language modelling: against loops written from docs/paper.md section 3, closed forms, properties."""

import math

import pytest
import torch
from torch import Tensor

from flvlp.losses.mlm import MLMLoss, mlm_loss
from flvlp.types import Counts, MLMOutput, Output

SEEDS = range(20)


def draw(seed: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Returns logits (N, V) of 1 to 7 pieces and targets (N,)."""
    generator = torch.Generator().manual_seed(seed)
    pieces, vocabulary = seed % 7 + 1, seed % 5 + 2
    logits = torch.randn(pieces, vocabulary, generator=generator) * scale
    return logits, torch.randint(vocabulary, (pieces,), generator=generator)


def output_of(logits: Tensor, targets: Tensor) -> Output:
    """Wraps logits and targets; the rest of the output plays no part."""
    rows, mask = torch.zeros(1, 2), torch.ones(1, dtype=torch.bool)
    return Output(rows, rows, rows, mask, mask, mlm=MLMOutput(logits, targets))


def counts(pieces: int, micro_batches: int = 1) -> Counts:
    return Counts(torch.tensor(float(pieces)), torch.tensor(1.0), micro_batches)


def mean_by_loops(logits: Tensor, targets: Tensor) -> float:
    """Mean over pieces of -log softmax at the target, in double precision."""
    total = 0.0
    for row, target in zip(logits.double().tolist(), targets.tolist(), strict=True):
        highest = max(row)
        total -= row[target] - highest - math.log(sum(math.exp(value - highest) for value in row))
    return total / len(targets)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_loss_is_that_of_plain_loops(seed: int) -> None:
    logits, targets = draw(seed)
    found = float(MLMLoss()(output_of(logits, targets), counts(len(targets))))
    expected = mean_by_loops(logits, targets)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6), f"loss {found}, loops {expected}"


@pytest.mark.parametrize("vocabulary", [1, 2, 7, 28996])
def test_equal_logits_give_the_logarithm_of_the_vocabulary(vocabulary: int) -> None:
    found = float(mlm_loss(torch.zeros(3, vocabulary), torch.zeros(3, dtype=torch.int64))) / 3
    assert found == pytest.approx(math.log(vocabulary), rel=1e-5, abs=1e-6), f"{found}, ln V {math.log(vocabulary)}"


def test_certain_and_right_predictions_give_zero() -> None:
    found = float(mlm_loss(torch.eye(4) * 1e4, torch.arange(4)))
    assert found == 0, f"loss {found}, expected 0"


def test_no_masked_piece_gives_zero_with_a_graph() -> None:
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = MLMLoss()(output_of(logits, torch.zeros(0, dtype=torch.int64)), counts(1))
    loss.backward()
    assert float(loss.detach()) == 0, f"loss {float(loss.detach())}, expected 0"
    assert logits.grad is not None


@pytest.mark.parametrize("seed", SEEDS)
def test_uneven_micro_batches_sum_to_the_mean_over_all_pieces(seed: int) -> None:
    logits, targets = draw(6)
    cut = seed % (len(targets) + 1)
    step = counts(len(targets), micro_batches=2)
    parts = [(logits[:cut], targets[:cut]), (logits[cut:], targets[cut:])]
    found = sum(float(MLMLoss()(output_of(*part), step)) for part in parts)
    expected = mean_by_loops(logits, targets)
    assert found == pytest.approx(expected, rel=1e-5), f"sum of {cut} + {len(targets) - cut} pieces {found}, {expected}"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_pieces_and_a_shift_of_the_logits_do_not_matter(seed: int) -> None:
    logits, targets = draw(seed)
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    one, other = float(mlm_loss(logits, targets)), float(mlm_loss(logits[order] + 7, targets[order]))
    assert one == pytest.approx(other, rel=1e-4, abs=1e-5), f"{one} in order, {other} permuted and shifted"


def test_loss_and_gradient_are_finite_for_huge_logits() -> None:
    for seed in SEEDS:
        logits, targets = draw(seed, scale=1e4)
        logits.requires_grad_()
        loss = mlm_loss(logits, targets)
        loss.backward()
        assert torch.isfinite(loss), f"loss {loss}, seed {seed}"
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all(), f"gradient {logits.grad}, seed {seed}"


def test_half_precision_logits_are_summed_in_single_precision() -> None:
    logits, targets = torch.zeros(4096, 3000, dtype=torch.float16), torch.zeros(4096, dtype=torch.int64)
    found, expected = mlm_loss(logits, targets), 4096 * math.log(3000)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(expected, rel=1e-5), f"loss {float(found)}, closed form {expected}"


def test_a_model_without_predictions_is_told_so() -> None:
    rows, mask = torch.zeros(1, 2), torch.ones(1, dtype=torch.bool)
    with pytest.raises(ValueError, match="predicted no masked words"):
        MLMLoss()(Output(rows, rows, rows, mask, mask), counts(1))
