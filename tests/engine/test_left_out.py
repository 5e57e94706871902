"""A loss or gradient that is not finite: the step changes nothing, is counted, and many in a row stop the run."""

import errno
import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flvlp.engine import checkpoint
from flvlp.engine.checkpoint import Checkpoints, list_checkpoints
from flvlp.engine.config import EngineConfig
from flvlp.engine.left_out import changing_buffers, restore_where_broken
from flvlp.engine.log import RunLog
from flvlp.engine.meter import Meter
from flvlp.engine.optim import Schedule, build_optimizer
from flvlp.engine.state import TrainState
from flvlp.engine.train import Training, train_step
from flvlp.losses.config import LossConfig
from flvlp.losses.total import LossSum
from flvlp.types import Counts, Output
from tests.builders import ALL_TERMS, heads_config, make_batch, make_model

BATCH = make_batch([True, False, True], seed=1)
BROKEN = (torch.nan, torch.inf, -torch.inf)


class Breaking:
    """The losses of the method, times what is asked for at each step."""

    def __init__(self, factors: list[float]) -> None:
        self.factors, self.losses = iter(factors), LossSum(LossConfig(), ALL_TERMS)

    def __call__(self, output: Output, counts: Counts) -> dict[str, Tensor]:
        terms, factor = self.losses(output, counts), next(self.factors)
        return {**terms, "itc": terms["itc"] * factor, "total": terms["total"] * factor}


def made(folder: Path, factors: list[float], limit: int = 3) -> tuple[Training, Meter]:
    """Returns a training with the real optimiser, and its meter."""
    model = make_model(heads=heads_config(queue=6)).train()
    config = EngineConfig(lr=1e-3, max_left_out=limit)
    training = Training(
        model=model,
        criterion=Breaking(factors),
        optimizer=build_optimizer(model.param_groups(1.0), config),
        schedule=Schedule(total_steps=100, warmup_steps=0, start=1.0),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        dtype=None,
        device=torch.device("cpu"),
        config=config,
        state=TrainState(steps_per_epoch=10),
        run_log=RunLog(folder),
        checkpoints=Checkpoints(folder / "checkpoints", keep=2),
        skipped_path=folder / "skipped.jsonl",
        name_study=lambda index: f"study-{index}",
    )
    return training, Meter(training)


def weights(training: Training) -> Tensor:
    return torch.cat([p.detach().flatten() for p in training.model.parameters()])


def moments_of(training: Training) -> Tensor:
    states = training.optimizer.state_dict()["state"].values()
    return torch.cat([value.flatten().float() for state in states for value in state.values()])


def step(training: Training, meter: Meter) -> None:
    meter.add(*train_step(training, [BATCH]), BATCH.study_index.tolist())


@pytest.mark.parametrize("factor", BROKEN)
def test_a_broken_step_changes_neither_weights_nor_moments(tmp_path: Path, factor: float) -> None:
    training, meter = made(tmp_path, [1.0, factor, 1.0])
    step(training, meter)
    before, moments = weights(training), moments_of(training)
    step(training, meter)
    assert torch.equal(weights(training), before)
    assert torch.equal(moments_of(training), moments)
    step(training, meter)
    assert not torch.equal(weights(training), before)
    assert torch.isfinite(weights(training)).all()
    assert training.state.step == 3


def test_a_loss_that_is_not_finite_leaves_the_queue_as_it_was(tmp_path: Path) -> None:
    training, meter = made(tmp_path, [1.0, torch.nan])
    step(training, meter)
    before = {name: value.clone() for name, value in training.bare_model.queue.named_buffers()}
    step(training, meter)  # of finite features
    for name, value in training.bare_model.queue.named_buffers():
        assert torch.equal(value, before[name]), f"{name} of the queue changed"


def test_features_of_a_broken_step_do_not_stay_in_the_queue(tmp_path: Path) -> None:
    training, meter = made(tmp_path, [1.0, 1.0])
    with torch.no_grad():
        kept = training.bare_model.encoders.text.projection.bias.clone()
        training.bare_model.encoders.text.projection.bias.fill_(torch.nan)
    step(training, meter)
    queue = training.bare_model.queue
    assert torch.isfinite(queue.features).all()
    assert not queue.is_filled[2].any(), "a report of that step is among the codes"
    with torch.no_grad():
        training.bare_model.encoders.text.projection.bias.copy_(kept)
    step(training, meter)
    terms = {name: float(value) for name, value in meter.sums.items()}
    assert all(math.isfinite(value) for value in terms.values()), f"the next step: {terms}"
    assert queue.is_filled[2].sum() == 3


def test_averages_leave_it_out_and_the_log_counts_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training, meter = made(tmp_path, [1.0, torch.nan, torch.nan, 1.0])
    terms: list[Any] = []
    for _ in range(4):
        found, norm = train_step(training, [BATCH])
        meter.add(found, norm, [7, 8, 9])
        terms.append(found)
    with caplog.at_level(logging.INFO):
        meter.report()
    (line,) = [record.message for record in caplog.records if "not finite" in record.message]
    assert "at 2 of the last 4 steps (2, 3)" in line
    assert "itc nan" in line
    assert "studies on this rank: study-7, study-8, study-9; these steps are left out" in line
    (written,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    expected = (float(terms[0]["mlm"]) + float(terms[3]["mlm"])) / 2
    record = json.loads(written)
    assert record["mlm"] == pytest.approx(expected, rel=1e-5)
    assert record["left_out"] == 2
    assert training.state.left_out == 2


def test_many_in_a_row_stop_the_run_with_terms_studies_and_a_checkpoint(tmp_path: Path) -> None:
    training, meter = made(tmp_path, [1.0, torch.nan, torch.nan, torch.nan, 1.0])
    for _ in range(5):
        step(training, meter)
    with pytest.raises(FloatingPointError, match=r"itc nan.*total nan.*study-0, study-1.*3 in a row .*max_left_out=3"):
        meter.report()
    (kept,) = list_checkpoints(tmp_path / "checkpoints")
    assert kept.name == "step_00000005.pt"
    saved = torch.load(kept, weights_only=True)["model"]
    assert all(torch.isfinite(value).all() for value in saved.values() if value.is_floating_point())


def test_a_warning_names_some_studies_of_a_large_batch_and_the_stop_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training, meter = made(tmp_path, [torch.nan, torch.nan, torch.nan])
    studies = list(range(40))
    meter.add(*train_step(training, [BATCH]), studies)
    meter.report()
    assert "study-15 and 24 more" in caplog.text and "study-16" not in caplog.text, caplog.text
    for _ in range(2):
        meter.add(*train_step(training, [BATCH]), studies)
    with pytest.raises(FloatingPointError) as caught:
        meter.report()
    assert all(f"study-{number}" in str(caught.value) for number in studies), str(caught.value)


def test_runs_of_broken_steps_are_counted_across_log_lines(tmp_path: Path) -> None:
    training, meter = made(tmp_path, [1.0, torch.nan, torch.nan, torch.nan])
    for _ in range(3):
        step(training, meter)
    meter.report()
    step(training, meter)
    with pytest.raises(FloatingPointError, match="3 in a row"):
        meter.report()


def test_a_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    training, meter = made(tmp_path, [torch.nan, torch.nan, torch.nan])
    for _ in range(2):
        step(training, meter)
    meter.report()
    training.save()
    training.state = training.checkpoints.load(training.bare_model, training.optimizer, training.scaler)
    meter = Meter(training)
    step(training, meter)
    with pytest.raises(FloatingPointError, match="3 in a row"):
        meter.report()


def test_a_run_that_was_stopped_for_it_is_not_stopped_again_by_a_single_one(tmp_path: Path) -> None:
    training, _ = made(tmp_path, [1.0, torch.nan])
    training.state.left_out_in_a_row = 3
    meter = Meter(training)
    step(training, meter)
    step(training, meter)
    meter.report()
    assert training.state.left_out_in_a_row == 1


def test_a_full_disk_is_not_called_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    training, meter = made(tmp_path, [torch.nan] * 3)
    monkeypatch.setattr(checkpoint, "write_atomically", full)
    for _ in range(3):
        step(training, meter)
    with pytest.raises(FloatingPointError, match="the weights before them are NOT saved"):
        meter.report()


def test_a_loss_that_is_not_finite_while_its_gradient_is_changes_nothing(tmp_path: Path) -> None:
    training, meter = made(tmp_path, [1.0])
    breaking = training.criterion

    def constant_nan(output: Output, counts: Counts) -> dict[str, Tensor]:
        terms = breaking(output, counts)
        return {**terms, "total": terms["total"] + torch.nan}  # the derivative of a constant is 0

    training.criterion = constant_nan
    before = weights(training)
    step(training, meter)
    assert torch.equal(weights(training), before)


def test_statistics_of_a_batch_norm_do_not_keep_a_broken_step(tmp_path: Path) -> None:
    norm = nn.BatchNorm1d(3)
    norm(torch.randn(8, 3))
    before = {name: value.clone() for name, value in norm.named_buffers()}
    kept = changing_buffers(nn.Sequential(norm, nn.BatchNorm1d(3).eval()))
    assert len(kept) == 3
    norm(torch.full((8, 3), torch.nan))
    assert norm.running_mean is not None
    assert torch.isnan(norm.running_mean).all()
    restore_where_broken(kept, torch.tensor(torch.nan))
    assert all(torch.equal(value, before[name]) for name, value in norm.named_buffers())
    norm(torch.randn(8, 3))
    restore_where_broken(changing_buffers(norm), torch.tensor(1.0))
    assert norm.num_batches_tracked == 2


def test_two_short_runs_are_no_long_one(tmp_path: Path) -> None:
    training, meter = made(tmp_path, [torch.nan, torch.nan, 1.0, torch.nan, torch.nan])
    for _ in range(5):
        step(training, meter)
    meter.report()
    assert training.state.left_out == 4
