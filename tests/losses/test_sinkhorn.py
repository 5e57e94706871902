"""Sinkhorn's codes: marginals, masks, and the plain loops of docs/paper.md section 5."""

from typing import Any

import pytest
import torch
from torch import Tensor

from flvlp.losses.config import SMALLEST_EPSILON, PrototypeConfig
from flvlp.losses.prototype import sinkhorn
from tests.losses.prototype_oracle import EPSILON, ITERATIONS, codes_by_loops

SEEDS = range(20)


def draw(seed: int) -> tuple[Tensor, Tensor]:
    """Returns similarities (n, K) in [-1, 1] of 1 to 7 studies and who is present."""
    generator = torch.Generator().manual_seed(seed)
    studies, prototypes = seed % 7 + 1, seed % 6 + 1
    logits = torch.rand(studies, prototypes, generator=generator) * 2 - 1
    is_present = torch.rand(studies, generator=generator) < 0.7
    is_present[int(torch.randint(studies, (1,), generator=generator))] = True
    return logits, is_present


@pytest.mark.parametrize("iterations", [1, 3, 20])
@pytest.mark.parametrize("seed", SEEDS)
def test_codes_are_those_of_plain_loops(seed: int, iterations: int) -> None:
    logits, is_present = draw(seed)
    found = sinkhorn(logits, is_present, EPSILON, iterations)[is_present]
    expected = torch.tensor(codes_by_loops(logits[is_present].tolist(), iterations))
    difference = float((found - expected).abs().max())
    assert difference < 1e-5, f"codes {found}, loops {expected}, largest difference {difference}"


@pytest.mark.parametrize("seed", SEEDS)
def test_each_code_sums_to_one_and_that_of_an_absent_study_to_zero(seed: int) -> None:
    logits, is_present = draw(seed)
    sums = sinkhorn(logits, is_present, EPSILON, ITERATIONS).sum(dim=1)
    assert torch.allclose(sums, is_present.float(), atol=1e-5), f"sums {sums}, expected {is_present.float()}"


@pytest.mark.parametrize("seed", SEEDS)
def test_many_iterations_use_every_prototype_alike(seed: int) -> None:
    logits, is_present = draw(seed)
    columns = sinkhorn(logits, is_present, EPSILON, 2000).sum(dim=0)
    expected = float(is_present.sum()) / logits.shape[1]
    assert torch.allclose(columns, torch.full_like(columns, expected), atol=1e-3), f"{columns}, expected {expected}"


@pytest.mark.parametrize("seed", SEEDS)
def test_absent_studies_change_no_code(seed: int) -> None:
    logits, is_present = draw(seed)
    alone = sinkhorn(logits[is_present], torch.ones(int(is_present.sum()), dtype=torch.bool), EPSILON, ITERATIONS)
    logits[~is_present] = 1e4
    among_others = sinkhorn(logits, is_present, EPSILON, ITERATIONS)[is_present]
    assert torch.allclose(among_others, alone, atol=1e-6), f"{among_others} among absent studies, {alone} alone"


def test_a_preference_of_every_study_for_one_prototype_is_evened_out() -> None:
    logits, _ = draw(11)
    everyone = torch.ones(len(logits), dtype=torch.bool)
    one, other = (sinkhorn(values, everyone, EPSILON, 3) for values in (logits, logits + torch.arange(logits.shape[1])))
    assert torch.allclose(one, other, atol=1e-4), f"{one} as drawn, {other} with a bonus for later prototypes"


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1e4])
def test_codes_are_finite_at_any_scale(scale: float) -> None:
    for seed in SEEDS:
        logits, is_present = draw(seed)
        codes = sinkhorn(logits * scale, is_present, EPSILON, ITERATIONS)
        assert torch.isfinite(codes).all(), f"codes {codes} at scale {scale}, seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_codes_of_any_cosines_sum_to_one_at_the_smallest_epsilon_that_is_allowed(seed: int) -> None:
    logits, is_present = draw(seed)
    logits[0], logits[-1] = -1.0, 1.0  # as far apart as cosines can be
    sums = sinkhorn(logits, is_present, SMALLEST_EPSILON, ITERATIONS).sum(dim=1)
    assert torch.allclose(sums, is_present.float(), atol=1e-5), f"sums {sums}, expected {is_present.float()}"


@pytest.mark.parametrize(("key", "value"), [("epsilon", 0.02), ("iterations", 0)])
def test_settings_that_give_no_plan_are_refused_with_their_key(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"loss.prototype.{key}: must lie in"):
        PrototypeConfig(**{key: value})


def test_nobody_present_gives_zeros() -> None:
    logits, is_present = draw(6)
    codes = sinkhorn(logits, torch.zeros_like(is_present), EPSILON, ITERATIONS)
    assert float(codes.abs().sum()) == 0, f"codes {codes}, expected 0"


def test_no_study_at_all_gives_no_code() -> None:
    codes = sinkhorn(torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool), EPSILON, ITERATIONS)
    assert codes.shape == (0, 4), f"shape {tuple(codes.shape)}, expected (0, 4)"


def test_codes_get_no_gradient_and_leave_the_logits_alone() -> None:
    logits, is_present = draw(6)
    before = logits.clone()
    codes = sinkhorn(logits.requires_grad_(), is_present, EPSILON, ITERATIONS)
    assert not codes.requires_grad
    assert torch.equal(logits, before), f"{logits}, before {before}"
