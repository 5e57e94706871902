"""Validation figures: the same for any batch size, and honest about what images taught a term."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from flvlp.losses.config import LossConfig
from flvlp.types import Batch
from flvlp.validation import HeldOut, format_figures, validate
from tests.builders import ALL_TERMS, make_batch, make_model, rows_of

CPU = torch.device("cpu")
EVERYONE = make_batch([True, False, True, True, False, True, True], is_valid=[True] * 6 + [False], seed=1)
OTHERS = make_batch([True, False, True, True, False, True, True], is_valid=[True] * 6 + [False], seed=2)


def held_out(parts: Sequence[Sequence[int]], others: Batch = OTHERS) -> HeldOut:
    """Returns the studies in the batches that `parts` lists; the pictures of `others` are the shuffled ones."""
    patients = [f"patient {row // 2}" for row in range(7)]
    labels = np.random.default_rng(0).integers(0, 2, (7, 2))
    own = [rows_of(EVERYONE, part) for part in parts]
    swapped = [rows_of(others, part) for part in parts]
    return HeldOut(own, swapped, np.ones(7, dtype=bool), patients, labels)


def figures(
    parts: Sequence[Sequence[int]], others: Batch = OTHERS, terms: frozenset[str] = ALL_TERMS
) -> dict[str, float]:
    return validate(make_model(terms), held_out(parts, others), LossConfig(), CPU, None).figures


def test_no_figure_depends_on_the_batch_size_or_order() -> None:
    whole, split = figures([range(7)]), figures([[6, 2], [0, 1, 3], [5], [4]])
    assert whole.keys() == split.keys()
    for key, value in whole.items():
        assert split[key] == pytest.approx(value, abs=1e-5), f"{key}: {value} in one batch, {split[key]} in four"


def test_the_gap_is_zero_when_the_other_pictures_are_the_own_ones() -> None:
    same = figures([range(7)], others=EVERYONE)
    other = figures([range(7)])
    for term in ("mlm", "view_alignment"):
        assert same[f"{term}_gap"] == pytest.approx(0, abs=1e-6), f"{term}: {same[f'{term}_gap']}"
        assert abs(other[f"{term}_gap"]) > 1e-6, f"{term}: another study's pictures change nothing"


def test_an_unreadable_study_takes_part_in_nothing() -> None:
    without = figures([range(6)])
    for key, value in figures([range(7)]).items():
        assert without[key] == pytest.approx(value, abs=1e-5), f"{key}: {value} with it, {without[key]} without"


def test_without_itc_nothing_is_said_of_the_fused_side() -> None:
    found = figures([range(7)], terms=ALL_TERMS - {"itc"})
    assert not [key for key in found if "fused" in key or key == "itc"], found
    assert "R@1/5/10" in format_figures(found)


def test_the_model_is_left_in_training_mode_without_gradients() -> None:
    model = make_model().train()
    validate(model, held_out([range(7)]), LossConfig(), CPU, None)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
