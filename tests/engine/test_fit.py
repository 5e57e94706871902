"""The loop of downstream tasks: exact gradients, early stopping, the best epoch kept."""

import logging
import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from flvlp.engine.config import FitConfig
from flvlp.engine.fit import Fit
from flvlp.losses.findings import findings_loss, known_labels
from tests.engine.ranks import CUTS, FIGURES, LATERALS, RANKS, rank_parts, whole
from tests.engine.small_tasks import (
    Batches,
    Gradients,
    Linear,
    Notes,
    classifier,
    criterion,
    cut,
    drawn,
    fit_config,
    fit_epochs,
    picture_criterion,
    pictures,
    step_gradients,
)

SPLITS = [[7], [1, 6], [3, 4], [2, 2, 3], [1, 1, 1, 1, 1, 1, 1]]


def full_batch(batch: Any) -> Gradients:
    """Returns the gradients of the mean over the known labels, by autograd alone."""
    model = Linear()
    loss = findings_loss(model(batch.features), batch.labels) / known_labels(batch.labels)
    loss.backward()
    return {name: cast(Tensor, p.grad) for name, p in model.named_parameters()} | {"loss": loss.detach()}


def assert_same(found: Gradients, expected: Gradients, what: str, rtol: float = 1e-5) -> None:
    assert set(found) == set(expected), f"{what}: {set(found) ^ set(expected)} on one side only"
    for name, wanted in expected.items():
        difference, scale = float((found[name] - wanted).abs().max()), float(wanted.abs().max())
        assert difference <= rtol * scale + 1e-7, f"{what}: {name} {found[name]}, full batch {wanted}"


@pytest.mark.parametrize("sizes", SPLITS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_of_a_step_is_that_of_the_full_batch_however_it_is_cut(sizes: list[int], seed: int) -> None:
    batch = drawn(7, seed)
    assert_same(step_gradients(Linear(), cut(batch, sizes)), full_batch(batch), str(sizes))


@pytest.mark.parametrize("name", CUTS)
def test_the_gradient_of_two_ranks_is_that_of_the_full_batch(rank_results: list[dict[str, Any]], name: str) -> None:
    for rank in range(RANKS):
        assert_same(rank_results[rank][name], full_batch(whole(name)), f"rank {rank}")
    assert sum(len(part.labels) for rank in range(RANKS) for part in rank_parts(name, rank)) == 7


@pytest.mark.parametrize("lateral", ["", "shared"])
def test_a_rank_without_any_lateral_does_not_keep_the_other_waiting(
    rank_results: list[dict[str, Any]], lateral: str
) -> None:
    parts = [pictures(LATERALS[rank], seed=rank) for rank in range(RANKS)]
    expected = step_gradients(classifier(lateral), parts, picture_criterion)
    for rank in range(RANKS):
        assert_same(rank_results[rank][f"pictures {lateral}"], expected, f"rank {rank}", rtol=1e-4)


def test_ranks_that_judge_apart_stop_together_as_rank_0_says(rank_results: list[dict[str, Any]]) -> None:
    expected = fit_epochs(FIGURES[0], patience=2).fitted
    found = [rank_results[rank]["stopped"] for rank in range(RANKS)]
    for best_epoch, epochs, _ in found:
        assert (best_epoch, epochs) == (expected.best_epoch, expected.epochs) == (1, 3)
    assert torch.equal(found[0][2], found[1][2]), "the ranks went back to different weights"


def test_the_weights_of_the_best_epoch_are_kept_and_of_equal_ones_the_last() -> None:
    course = fit_epochs([0.1, 0.5, 0.2, 0.5, 0.3])
    assert (course.fitted.best_epoch, course.fitted.epochs, course.fitted.best) == (4, 5, 0.5)
    assert torch.equal(course.model.head.weight, course.weights[3])
    assert not torch.equal(course.weights[3], course.weights[4]), "the weights do not move: the test shows nothing"
    assert not course.model.training


@pytest.mark.parametrize(
    ("patience", "values", "epochs"),
    [
        (2, [0.5, 0.4, 0.3, 0.9], 3),
        (1, [0.5, 0.6, 0.4, 0.9], 3),
        (2, [0.0, 0.0, 0.0, 0.0, 0.3], 5),
        (2, [0.5, 0.4, 0.6, 0.4, 0.4, 0.9], 5),
        (0, [0.5, 0.4, 0.3, 0.2], 4),
        (9, [0.5, 0.4, 0.3, 0.2], 4),
    ],
)
def test_training_stops_after_so_many_epochs_without_a_better_figure(
    patience: int, values: list[float], epochs: int
) -> None:
    course = fit_epochs(values, patience=patience)
    assert course.fitted.epochs == epochs, f"{course.fitted.epochs} epochs, expected {epochs}"
    assert course.started == list(range(epochs))
    assert course.fitted.steps == 2 * epochs


def test_epochs_without_a_figure_are_not_the_best_and_do_not_stop_training_before_there_is_one() -> None:
    course = fit_epochs([None, math.nan, None, 0.3, math.nan, 0.2], patience=2)
    assert (course.fitted.best_epoch, course.fitted.epochs) == (4, 6)
    assert torch.equal(course.model.head.weight, course.weights[3])


def test_without_any_figure_the_last_epoch_is_kept_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    course = fit_epochs([None, math.nan, None, None], patience=1)
    assert (course.fitted.best_epoch, course.fitted.epochs) == (4, 4)
    assert math.isnan(course.fitted.best)
    assert torch.equal(course.model.head.weight, course.weights[3])
    assert "validation gave no figure in any epoch; the weights of the last epoch are kept" in caplog.text


def test_without_validation_all_epochs_are_run_and_the_last_is_kept() -> None:
    model, batches, notes, config = Linear(), Batches([drawn(5)]), Notes(), fit_config(patience=1, epochs=4)
    fitted = Fit(model, criterion, config, 1).run(batches, batches, None, metric="x", run_log=cast(Any, notes))
    assert (fitted.best_epoch, fitted.epochs, fitted.steps) == (4, 4, 4)
    assert math.isnan(fitted.best)
    assert [part for part, *_ in notes.lines] == ["train"] * 4
    again = Linear()
    Fit(again, criterion, config, 1).run(batches, batches, None, metric="x", run_log=cast(Any, Notes()))
    assert torch.equal(again.head.weight, model.head.weight)
    assert not torch.equal(again.head.weight, Linear().head.weight)
    assert not model.training


@pytest.mark.parametrize(("max_steps", "epochs"), [(1, 1), (2, 1), (3, 2), (99, 4)])
def test_training_stops_at_the_largest_number_of_steps_and_judges_what_it_has(max_steps: int, epochs: int) -> None:
    course = fit_epochs([0.1, 0.2, 0.3, 0.4], max_steps=max_steps)
    assert (course.fitted.epochs, course.fitted.steps) == (epochs, min(max_steps, 8))
    assert len(course.weights) == epochs
    assert course.fitted.best_epoch == epochs


def test_what_is_logged_is_the_mean_over_the_known_labels_and_the_figures() -> None:
    course = fit_epochs([0.1, 0.2], lr=1e-12)
    train, validation = course.notes.lines[:2]
    assert train[:3] == ("train", 2, 1)
    assert train[3]["loss"] == pytest.approx(float(full_batch(drawn(6))["loss"]), rel=1e-5)
    assert validation == ("validation", 2, 1, {"figure": 0.1})


def test_the_loss_falls_and_the_rate_follows_the_schedule() -> None:
    course = fit_epochs([0.0] * 20, lr=0.1)
    losses = [values["loss"] for part, _, _, values in course.notes.lines if part == "train"]
    assert losses[-1] < losses[0] / 2, f"loss {losses[0]} -> {losses[-1]}"
    fit = Fit(Linear(), criterion, fit_config(epochs=2, lr=0.1), 2)
    rates = []
    for _ in range(4):
        fit._train_step([drawn(3)])
        rates.append(fit.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)])


def test_the_gradient_is_clipped_after_it_was_divided() -> None:
    model = Linear()
    before, clip = model.head.weight.detach().clone(), 1e-3
    fit = Fit(model, criterion, fit_config(clip=clip), 1)
    fit.optimizer = cast(Any, torch.optim.SGD([{"params": list(model.parameters()), "peak_lr": 1.0}], lr=1.0))
    fit._train_step([drawn(5)])
    expected = full_batch(drawn(5))
    norm = math.sqrt(sum(float(expected[name].square().sum()) for name in ("head.weight", "head.bias")))
    assert norm > clip
    torch.testing.assert_close(before - model.head.weight, clip / norm * expected["head.weight"], rtol=1e-3, atol=1e-8)


def test_a_loss_that_is_not_finite_raises_with_what_to_do() -> None:
    batch = drawn(4)
    batch.features[1, 2] = float("nan")
    batches, fit = Batches([batch]), Fit(Linear(), criterion, fit_config(), 1)
    with pytest.raises(FloatingPointError, match=r"not finite \(nan\) at step 1; lower task\.fit\.lr"):
        fit.run(batches, batches, None, metric="x", run_log=cast(Any, Notes()))


def test_a_batch_in_which_nothing_is_known_leaves_the_model_as_it_is() -> None:
    batch = drawn(4)
    batch.labels[:] = float("nan")
    found = step_gradients(Linear(), [batch])
    assert {float(value.abs().max()) for value in found.values()} == {0.0}


def test_a_parameter_that_no_batch_uses_rests_in_one_process() -> None:
    model = Linear(has_spare=True)
    assert model.spare is not None
    before = model.spare.weight.detach().clone()
    batches = Batches([drawn(5)])
    fit = Fit(model, criterion, fit_config(), 1)
    fit.run(batches, batches, None, metric="x", run_log=cast(Any, Notes()))
    assert torch.equal(model.spare.weight, before)
    assert not torch.equal(model.head.weight, Linear().head.weight)


def test_the_model_is_in_training_mode_again_after_a_judge_that_evaluates() -> None:
    model, modes = Linear(), []

    def task(given: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        modes.append(given.training)
        return criterion(given, batch)

    def judge() -> dict[str, float]:
        model.eval()
        return {"figure": 1.0}

    batches = Batches([drawn(3)])
    Fit(model, task, fit_config(), 1).run(batches, batches, judge, metric="figure", run_log=cast(Any, Notes()))
    assert modes == [True] * 3


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_comes_to_about_the_same_loss_although_fp16_skips_the_steps_that_overflow(
    precision: str,
) -> None:
    losses = []
    for chosen in ("fp32", precision):
        batches, notes, config = Batches([drawn(5)]), Notes(), fit_config(precision=chosen, epochs=40)
        Fit(Linear(), criterion, config, 1).run(batches, batches, None, metric="x", run_log=cast(Any, notes))
        losses.append([values["loss"] for *_, values in notes.lines])
    full, half = losses
    assert full[-1] < full[0] / 2
    assert half[-1] == pytest.approx(full[-1], rel=0.2), f"{precision} {half[-1]}, fp32 {full[-1]}"


@pytest.mark.parametrize(
    ("key", "value"),
    [("epochs", 0), ("accumulate", 0), ("lr", 0.0), ("clip", -1.0), ("patience", -1), ("max_steps", 0)],
)
def test_a_knob_out_of_range_is_refused_with_its_key(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"task\.fit\.{key}: must .* got {value}"):
        FitConfig(**{key: value})


def test_an_unknown_precision_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"task\.fit\.precision: unknown choice 'half'; choose one of: auto, fp32"):
        FitConfig(precision="half")


def test_early_stopping_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fit_epochs([0.5, 0.4, 0.3], patience=1)
    assert "stopped early: no better figure for 1 epochs" in caplog.text
