"""Focal and soft dice: against plain loops, in closed form, and what padding and order may change."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from flvlp.losses.segmentation import segmentation_loss
from flvlp.losses.task_config import SegmentationLossConfig

SEEDS = range(20)
BATCH = SegmentationLossConfig(dice_over="batch")
DICE = SegmentationLossConfig(focal_weight=0.0)
FOCAL = SegmentationLossConfig(dice_weight=0.0)


def drawn(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns logits, masks (B, 1, H, W) and is_valid (B,) of 1 to 7 pictures, every other mask empty."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1 + seed % 7, 1, 2 + seed % 3, 3 + seed % 2)
    masks = torch.rand(shape, generator=generator) < 0.4
    masks[::2] &= seed % 2 == 0
    return 3 * torch.randn(shape, generator=generator), masks, torch.rand(shape[0], generator=generator) < 0.7


def by_loops(logits: Tensor, masks: Tensor, is_valid: Tensor, config: SegmentationLossConfig) -> float:
    """The formulas, pixel by pixel."""
    focal, pairs = 0.0, []
    for picture, mask, valid in zip(logits.tolist(), masks.tolist(), is_valid.tolist(), strict=True):
        if not valid:
            continue
        pixels = [
            (1 / (1 + math.exp(-z)), float(m))
            for row, inside in zip(picture[0], mask[0], strict=True)
            for z, m in zip(row, inside, strict=True)
        ]
        true = [p if m else 1 - p for p, m in pixels]
        focal += sum(-((1 - q) ** config.gamma) * math.log(q) for q in true) / len(true)
        pairs.append((sum(p * m for p, m in pixels), sum(p + m for p, m in pixels)))
    if config.dice_over == "batch" and pairs:
        both, either = (sum(part) for part in zip(*pairs, strict=True))
        pairs = [(both, either)] * len(pairs)
    dice = [(2 * both + config.smoothing) / (either + config.smoothing) for both, either in pairs]
    return config.focal_weight * focal - config.dice_weight * sum(math.log(one) for one in dice)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "config", [SegmentationLossConfig(), BATCH, SegmentationLossConfig(3.0, 1.5, 0.5, 0.1)], ids=str
)
def test_it_is_the_sum_that_the_formulas_give(seed: int, config: SegmentationLossConfig) -> None:
    logits, masks, is_valid = drawn(seed)
    found, expected = (
        float(segmentation_loss(logits, masks, is_valid, config)),
        by_loops(logits, masks, is_valid, config),
    )
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6), f"loss {found}, loops {expected}"


def test_the_default_is_ten_times_focal_of_gamma_2_minus_the_logarithm_of_dice() -> None:
    logits, masks, is_valid = drawn(4)
    found = float(segmentation_loss(logits, masks, is_valid))
    parts = [float(segmentation_loss(logits, masks, is_valid, config)) for config in (FOCAL, DICE)]
    assert found == pytest.approx(sum(parts), rel=1e-6)
    unit = replace(FOCAL, focal_weight=1.0)
    assert parts[0] == pytest.approx(10 * float(segmentation_loss(logits, masks, is_valid, unit)), rel=1e-6)


@pytest.mark.parametrize("config", [SegmentationLossConfig(), BATCH], ids=str)
def test_a_perfect_prediction_costs_nothing_empty_masks_included(config: SegmentationLossConfig) -> None:
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, :, 1:3, :2] = 1
    found = float(segmentation_loss(200 * masks - 100, masks, torch.ones(2, dtype=torch.bool), config))
    assert found == pytest.approx(0, abs=1e-6), f"{found}"


def test_untrained_logits_cost_what_the_formulas_say() -> None:
    logits, is_valid = torch.zeros(1, 1, 2, 4), torch.tensor([True])
    half = torch.tensor([[[[1.0, 1, 1, 1], [0, 0, 0, 0]]]])
    found = float(segmentation_loss(logits, half, is_valid, FOCAL))
    assert found == pytest.approx(10 * 0.25 * math.log(2)), f"focal {found}"
    found = float(segmentation_loss(logits, half, is_valid, replace(FOCAL, gamma=0.0, focal_weight=1.0)))
    assert found == pytest.approx(math.log(2)), f"cross-entropy {found}"
    found = float(segmentation_loss(logits, half, is_valid, DICE))  # (2 * 2 + 1) / (4 + 4 + 1)
    assert found == pytest.approx(math.log(9 / 5)), f"dice {found}"
    found = float(segmentation_loss(logits, torch.zeros_like(half), is_valid, DICE))  # 1 / (4 + 1)
    assert found == pytest.approx(math.log(5)), f"dice of an empty mask {found}"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_sums_and_gradients_of_two_ranks_are_those_of_the_whole_batch(seed: int) -> None:
    logits, masks, is_valid = drawn(seed)
    logits.requires_grad_()
    (whole,) = torch.autograd.grad(segmentation_loss(logits, masks, is_valid), logits)
    cut = len(logits) // 2
    parts = [segmentation_loss(logits[at], masks[at], is_valid[at]) for at in (slice(cut), slice(cut, None))]
    (both,) = torch.autograd.grad(parts[0] + parts[1], logits)
    torch.testing.assert_close(both, whole)


@pytest.mark.parametrize("config", [SegmentationLossConfig(), BATCH], ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_order_and_invalid_pictures_change_nothing(seed: int, config: SegmentationLossConfig) -> None:
    logits, masks, is_valid = drawn(seed)
    logits.requires_grad_()
    loss = segmentation_loss(logits, masks, is_valid, config)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[~is_valid] == 0).all()
    assert float(logits.grad.abs().sum()) > 0 or not is_valid.any()
    expected = float(loss.detach())
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    found = float(segmentation_loss(logits.detach()[order], masks[order], is_valid[order], config))
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6), f"{found} in another order, {expected}"
    spoilt = logits.detach().clone()
    spoilt[~is_valid] = float("nan")
    spoilt.requires_grad_()
    loss = segmentation_loss(spoilt, masks, is_valid, config)
    loss.backward()
    assert float(loss.detach()) == expected, f"{loss} with other invalid rows, {expected}"
    assert spoilt.grad is not None
    assert torch.equal(spoilt.grad, logits.grad)


@pytest.mark.parametrize("config", [SegmentationLossConfig(), BATCH, SegmentationLossConfig(gamma=0.5)], ids=str)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_large_logits_and_empty_masks_stay_finite(size: float, config: SegmentationLossConfig) -> None:
    logits = torch.full((3, 1, 5, 5), size, requires_grad=True)
    masks = torch.zeros(3, 1, 5, 5, dtype=torch.bool)
    masks[0] = True
    loss = segmentation_loss(logits, masks, torch.ones(3, dtype=torch.bool), config)
    loss.backward()
    assert torch.isfinite(loss), f"loss {loss}"
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_autocast_does_not_lower_its_precision() -> None:
    logits, masks, is_valid = drawn(6)
    expected = segmentation_loss(logits, masks, is_valid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = segmentation_loss(logits, masks, is_valid)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected), f"{found} under autocast, {expected}"


def test_without_a_valid_picture_it_is_zero_with_a_graph() -> None:
    logits = torch.zeros(2, 1, 3, 3, requires_grad=True)
    loss = segmentation_loss(logits, torch.ones(2, 1, 3, 3), torch.zeros(2, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dice_over": "set"}, r"dice_over: unknown choice 'set'; choose one of: picture, batch"),
        ({"gamma": -1.0}, "gamma: must lie in"),
        ({"focal_weight": 0.0, "dice_weight": 0.0}, "both weights are 0"),
        ({"smoothing": 0.0}, "smoothing: must lie in"),
    ],
)
def test_a_wrong_knob_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SegmentationLossConfig(), **changes)
