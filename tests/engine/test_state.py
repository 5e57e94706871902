"""Where a run stands when a step takes another number of studies than before."""

from dataclasses import asdict
from pathlib import Path

import pytest

from flvlp.engine.config import EngineConfig
from flvlp.engine.lines import append_line
from flvlp.engine.optim import build_schedule
from flvlp.engine.setup import cut_skipped
from flvlp.engine.state import TrainState


def stopped(step: int, steps_per_epoch: int, studies_per_step: int) -> TrainState:
    """Returns the state of a run that took so many steps and was stopped in the middle of an epoch, or at its end."""
    state = TrainState(step=step, epoch=step // steps_per_epoch, epoch_step=step % steps_per_epoch)
    state.count_by(steps_per_epoch, studies_per_step)
    return state


@pytest.mark.parametrize(
    ("steps_taken", "steps", "per_step", "expected"),
    [
        (350, 50, 16, (3, 25)),  # 100 steps of 8 an epoch: half of the fourth
        (351, 50, 16, (3, 25)),  # the 8 studies beyond are seen again
        (300, 50, 16, (3, 0)),
        (170, 200, 4, (1, 140)),
        (399, 1, 800, (3, 0)),
        (350, 100, 8, (3, 50)),
    ],
)
def test_the_studies_that_were_seen_are_told_in_steps_of_the_new_size(
    steps_taken: int, steps: int, per_step: int, expected: tuple[int, int]
) -> None:
    state = stopped(steps_taken, steps_per_epoch=100, studies_per_step=8)
    state.count_by(steps, per_step)
    assert (state.epoch, state.epoch_step) == expected
    assert state.step == steps_taken, "optimiser steps stay what they were"


@pytest.mark.parametrize(("steps", "per_step"), [(6, 16), (26, 4), (13, 8)])
def test_an_epoch_that_waits_for_its_validation_is_over_in_steps_of_any_size(steps: int, per_step: int) -> None:
    state = TrainState(step=13, epoch_step=13, steps_per_epoch=13, studies_per_step=8)  # 105 studies
    state.count_by(steps, per_step)
    assert (state.epoch, state.epoch_step) == (0, steps)


def test_an_epoch_never_ends_before_its_end_in_larger_steps() -> None:
    state = TrainState(step=12, epoch_step=12, steps_per_epoch=13, studies_per_step=8)
    state.count_by(6, 16)
    assert state.epoch_step == 6, "96 of 105 studies are seen, which is all that steps of 16 see"


@pytest.mark.parametrize(("steps", "per_step"), [(50, 16), (200, 4), (25, 32)])
def test_the_learning_rate_goes_on_where_it_stood(steps: int, per_step: int) -> None:
    config = EngineConfig(epochs=10, warmup_epochs=2)
    state = stopped(360, steps_per_epoch=100, studies_per_step=8)
    before = build_schedule(config, 100).factor(state.position)
    state.count_by(steps, per_step)
    assert build_schedule(config, steps).factor(state.position) == pytest.approx(before, abs=1e-12)


def test_going_on_with_another_size_is_said_and_with_the_same_is_not(caplog: pytest.LogCaptureFixture) -> None:
    state = stopped(351, steps_per_epoch=100, studies_per_step=8)
    state.count_by(100, 8)
    assert not caplog.records, caplog.text
    state.count_by(50, 16)
    assert "a step took 8 studies, now 16: epoch 4 goes on after step 25 of 50" in caplog.text
    assert "8 studies are seen a second time" in caplog.text
    assert "engine.bucket_steps" not in caplog.text
    state.count_by(100, 8, has_buckets=True)
    assert "0 studies are seen a second time, and others too: engine.bucket_steps orders" in caplog.text


def test_an_epoch_ends_when_it_is_judged_after_its_last_step() -> None:
    state = TrainState(step=12, epoch_step=12, steps_per_epoch=13)
    state.end_judging()  # where engine.max_steps ends a run
    assert (state.epoch, state.epoch_step, state.is_judged) == (0, 12, True)
    state.step, state.epoch_step = 13, 13
    assert not state.is_judged
    state.end_judging()
    assert (state.epoch, state.epoch_step, state.is_judged) == (1, 0, True)


@pytest.mark.parametrize(("rank", "ranks", "cut"), [(0, 1, {0, 1, 10}), (0, 2, {0, 10}), (1, 2, {1})])
def test_lists_of_skipped_studies_end_at_the_checkpoint_whoever_wrote_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, ranks: int, cut: set[int]
) -> None:
    monkeypatch.setattr("flvlp.distributed.rank", lambda: rank)
    monkeypatch.setattr("flvlp.distributed.world_size", lambda: ranks)
    for number in (0, 1, 10):
        append_line(tmp_path / f"skipped-rank{number}.jsonl", {"step": 8})
    append_line(tmp_path / "skipped-rank0 (copy).jsonl", {"step": 8})
    assert cut_skipped(tmp_path, 7) == tmp_path / f"skipped-rank{rank}.jsonl"
    empty = {path for path in tmp_path.iterdir() if not path.stat().st_size}
    assert empty == {tmp_path / f"skipped-rank{number}.jsonl" for number in cut}


def test_a_state_that_does_not_tell_its_epoch_is_refused() -> None:
    saved = asdict(TrainState(step=7))
    assert TrainState.read(saved) == TrainState(step=7)
    del saved["judged_step"]  # a version that did not note it, in the middle of an epoch and between two
    assert TrainState.read(saved).is_judged
    assert not TrainState.read(saved | {"epoch_step": 3}).is_judged
    del saved["epoch_step"]
    with pytest.raises(KeyError, match="epoch_step"):
        TrainState.read(saved)
