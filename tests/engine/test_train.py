"""One optimiser step: counts, clipping and the schedule."""

import os
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from flvlp.engine.config import EngineConfig
from flvlp.engine.optim import Schedule
from flvlp.engine.state import TrainState
from flvlp.engine.train import Criterion, Training, count_step, train_step
from flvlp.losses.config import LossConfig
from flvlp.losses.total import LossSum
from flvlp.types import Batch
from tests.asked import Asked
from tests.builders import ALL_TERMS, counts_of, make_batch, make_model

CPU = torch.device("cpu")
BATCHES = [make_batch([True, False, True], seed=1), make_batch([False, True], is_valid=[True, False], seed=2)]


def training(clip: float = 1.0, scaler: Any = None, criterion: Criterion | None = None) -> Training:
    """Returns plain gradient descent at rate 1, so that the step is the gradient."""
    model = make_model()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0, fused=True)
    optimizer.param_groups[0]["peak_lr"] = 1.0
    return Training(
        model=model.train(),
        criterion=criterion or LossSum(LossConfig(), ALL_TERMS),
        optimizer=optimizer,
        schedule=Schedule(total_steps=10, warmup_steps=4, start=0.1),
        scaler=scaler or torch.amp.GradScaler("cpu", enabled=False),
        dtype=None,
        device=CPU,
        config=EngineConfig(clip=clip),
        state=TrainState(steps_per_epoch=1),
        run_log=cast(Any, None),
        checkpoints=cast(Any, None),
        skipped_path=Path(os.devnull),
        name_study=str,
    )


@pytest.mark.parametrize("batches", [BATCHES, BATCHES[:1], [make_batch([False])]], ids=["two", "one", "no lateral"])
def test_a_step_counts_masked_pieces_and_words_beside_a_lateral_over_all_micro_batches(batches: list[Batch]) -> None:
    found, expected = count_step(batches, CPU, epoch=0.0), counts_of(*batches)
    assert float(found.masked_pieces) == float(expected.masked_pieces), f"{found.masked_pieces} pieces, {expected}"
    assert float(found.aligned_words) == float(expected.aligned_words), f"{found.aligned_words} words, {expected}"
    assert found.micro_batches == len(batches)


def weights(run: Training) -> Tensor:
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


@pytest.mark.parametrize("clip", [0.01, 1e9])
def test_the_gradient_is_clipped_to_its_bound_and_reported_as_it_was(clip: float) -> None:
    run = training(clip)
    before = weights(run)
    _, norm = train_step(run, BATCHES)
    moved = float((weights(run) - before).norm()) / 0.1  # the schedule starts at 0.1
    expected = min(float(norm), clip)
    assert float(norm) > 0.01, f"gradient norm {norm}: the test shows nothing"
    assert moved == pytest.approx(expected, rel=1e-3), f"step of norm {moved}, clipped gradient {expected}"


def test_terms_of_the_micro_batches_are_summed_and_no_gradient_stays() -> None:
    run = training()
    terms, _ = train_step(run, BATCHES)
    model, criterion = make_model(), LossSum(LossConfig(), ALL_TERMS)
    parts = [criterion(model(batch), counts_of(*BATCHES)) for batch in BATCHES]
    for name, value in terms.items():
        expected = sum(float(part[name].detach()) for part in parts)
        assert float(value) == pytest.approx(expected, rel=1e-5), f"{name}: {value}, sum of micro-batches {expected}"
    assert all(p.grad is None for p in run.model.parameters())
    assert run.state.step == 1, f"step {run.state.step}, expected 1"


class Overflows:
    """A scaler that finds an overflow and skips the step."""

    def is_enabled(self) -> bool:
        return True

    def scale(self, loss: Tensor) -> Tensor:
        return loss

    def unscale_(self, optimizer: object) -> None: ...

    def step(self, optimizer: object) -> None: ...

    def update(self) -> None: ...


def test_a_step_skipped_for_overflow_advances_the_schedule_too() -> None:
    run = training(scaler=Overflows())
    before = weights(run)
    rates = []
    for _ in range(3):
        train_step(run, BATCHES)
        rates.append(run.optimizer.param_groups[0]["lr"])
    assert torch.equal(weights(run), before)
    assert rates == pytest.approx([0.1, 0.325, 0.55]), f"rates {rates}, by hand [0.1, 0.325, 0.55]"


@pytest.mark.parametrize("negatives", [0, 2])
def test_no_step_waits_for_its_device(monkeypatch: pytest.MonkeyPatch, negatives: int) -> None:
    run = training()
    cast(Any, run.model).lateral_negatives = negatives
    counts = count_step(BATCHES, CPU, 1.0)  # of tensors that are on the host
    monkeypatch.setattr("flvlp.engine.train.count_step", lambda *_: counts)
    train_step(run, BATCHES)  # what is made once
    with Asked() as asked:
        train_step(run, BATCHES)
    assert not asked.found, f"{len(asked.found)} waits: {asked.found[:3]}"


def test_a_wait_would_be_found() -> None:
    values = torch.arange(3.0)
    with Asked() as asked:
        float(values[0])
        values[values > 1]
        values.bool().nonzero()
    assert len(asked.found) >= 3, asked.found
