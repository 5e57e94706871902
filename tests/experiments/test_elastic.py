"""One process of two dies: torchrun starts both again, and the run goes on from its last checkpoint."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import pretrain
from flvlp import distributed
from flvlp.engine.config import EngineConfig
from support.elastic import forget_restarts, note_run, restarted_run, same_run
from support.entry import remove_if_empty
from tests.conftest import TWO_PROCESSES, Run
from tests.experiments.test_resume import differences, last_checkpoint
from tests.processes import ranks_of, root_logging, watch

RESTARTING = (*TWO_PROCESSES[:-2], "--max-restarts", "1", *TWO_PROCESSES[-2:])
OVERRIDES = ("engine.checkpoint_every=1", "engine.keep_checkpoints=50", "engine.batch_size=4", "engine.log_every=1")


SECONDS = 200  # that a run of these may take; one that hangs is killed then


def test_a_killed_rank_restarts_all_and_training_goes_on_bit_for_bit(
    run: Run, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    done = run(f"hydra.run.dir={whole}", *OVERRIDES, cwd=tmp_path, launcher=TWO_PROCESSES)
    assert done.returncode == 0, done.stderr[-3000:]
    kill = {"step 2/": lambda agent: os.kill(ranks_of(agent)[-1], signal.SIGKILL)}
    status, said = watch(command(*OVERRIDES, launcher=RESTARTING), tmp_path, kill, SECONDS)
    assert status == 0, f"exit status {status}; -9: the other rank waited for the dead one\n{said[-3000:]}"
    runs = [path for path in (tmp_path / "runs" / "pretrain").iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(runs) == 1, f"{runs}: one run, one folder"
    folder = runs[0]
    assert f"resumed from {folder.resolve()}" in said, said[-3000:]
    different = differences(last_checkpoint(whole), last_checkpoint(folder))
    assert not different, f"{len(different)} entries differ, such as {different[:5]}"
    assert not list((tmp_path / "runs" / "pretrain").glob(".torchrun-*"))


@pytest.mark.parametrize("hung", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_the_other_rank_of_one_that_hangs_leaves_in_time_and_says_what_to_do(
    command: Callable[..., list[str]], tmp_path: Path, hung: int
) -> None:
    ranks: list[int] = []
    times: list[float] = []

    def stop(agent: int) -> None:
        ranks.extend(ranks_of(agent))
        os.kill(ranks[hung], signal.SIGSTOP)
        times.append(time.monotonic())

    def go_on(agent: int) -> None:
        times.append(time.monotonic())
        os.kill(ranks[hung], signal.SIGKILL)  # torchrun would wait for it

    told = f"TimeoutError: distributed: rank {1 - hung} got no answer from another rank in time"
    line = command("engine.timeout_minutes=0.2", *OVERRIDES, "engine.epochs=50", launcher=TWO_PROCESSES)
    status, said = watch(line, tmp_path, {"step 2/": stop, told: go_on}, SECONDS)
    assert status == 1, f"exit status {status}\n{said[-3000:]}"
    waited = times[1] - times[0]
    assert 5 < waited < 60, f"it left after {waited:.0f} s, and engine.timeout_minutes=0.2 is 12 s"
    (error,) = (line for line in said.splitlines() if told in line)
    assert "Timed out waiting 12000ms" in error and "engine.timeout_minutes" in error, error


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {"TORCHELASTIC_RUN_ID": "7", "TORCHELASTIC_RESTART_COUNT": "0", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "runs" / "first"


def leave_checkpoint(made: Path) -> None:
    (made / "checkpoints").mkdir(parents=True)
    (made / "checkpoints" / "step_00000003.pt").touch()


@pytest.mark.parametrize("restarts", ["0", "1"])  # of the agent that holds rank 0 now: another one may have counted
def test_only_a_start_that_left_a_checkpoint_is_gone_on_with(
    made: Path, monkeypatch: pytest.MonkeyPatch, restarts: str
) -> None:
    assert restarted_run(made) is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
    again, third = made.parent / "second", made.parent / "third"
    note_run(made, again)
    assert restarted_run(again) is None, "there is nothing to go on with"
    leave_checkpoint(again)
    assert restarted_run(third) == again.resolve()
    forget_restarts(third)
    assert restarted_run(third) is None


def test_a_job_without_a_name_does_not_go_on_with_another_one(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    note_run(made, made)
    leave_checkpoint(made)
    other = made.parent / "other job"
    assert restarted_run(other) is None
    note_run(other, other)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    leave_checkpoint(other)
    assert restarted_run(made.parent / "again") == other.resolve()


def test_a_restart_of_a_run_that_was_resumed_goes_on_in_its_folder(made: Path) -> None:
    resumed = made.parent.parent / "elsewhere"
    note_run(made, resumed)  # what resume=latest stood for at the first start
    leave_checkpoint(resumed)
    assert restarted_run(made.parent / "second") == resumed.resolve()


def test_a_job_without_a_name_may_not_restart_on_several_hosts(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    assert restarted_run(made) is None
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(ValueError, match="give --rdzv-id"):
        restarted_run(made)


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_rank_that_is_killed_leaves_no_folder_of_its_own(
    made: Path, monkeypatch: pytest.MonkeyPatch, is_shared: bool
) -> None:
    made.mkdir(parents=True)  # as Hydra does, under a name with the second in which the rank started
    of_rank_0 = made if is_shared else made.parent / "the second before"
    monkeypatch.setattr("flvlp.distributed.broadcast_object", lambda _: (of_rank_0, None))
    with root_logging():
        args = SimpleNamespace(engine=EngineConfig(), seed=0, deterministic=False, resume=None)
        _, folder = pretrain.start_rank(cast(Any, args), made)
    distributed.stop()
    assert folder == of_rank_0
    assert made.exists() == is_shared


def test_several_ranks_remove_one_folder(tmp_path: Path) -> None:
    for kind in ("empty", "gone", "full", "link"):
        folder = tmp_path / kind
        if kind in ("empty", "full"):
            folder.mkdir()
        if kind == "full":
            (folder / "a").touch()
        if kind == "link":
            (tmp_path / "target").mkdir()
            folder.symlink_to(tmp_path / "target")
        remove_if_empty(folder)
        assert folder.exists() == (kind in ("full", "link")), kind


def test_a_restart_goes_on_with_no_other_run_than_the_command_line_asks_for(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    assert {same_run(asked, mine) for asked in (None, "latest", str(mine))} == {str(mine)}
    with pytest.raises(ValueError, match="give the job another --rdzv-id"):
        same_run(str(tmp_path / "other"), mine)


def test_without_torchrun_nothing_is_left_behind(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert restarted_run(made) is None
    note_run(made, made)
    forget_restarts(made)
    assert not made.parent.exists()
