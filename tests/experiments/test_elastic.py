"""One process of two dies: torchrun starts both again, and the run goes on from its last checkpoint."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.elastic import forget_restarts, restarted_run, same_run
from tests.conftest import TWO_PROCESSES, Run, environment
from tests.experiments.test_resume import differences, last_checkpoint

RESTARTING = (*TWO_PROCESSES[:-2], "--max-restarts", "1", *TWO_PROCESSES[-2:])
OVERRIDES = ("engine.checkpoint_every=1", "engine.keep_checkpoints=50", "engine.batch_size=4", "engine.log_every=1")


def kill_a_rank(command: list[str], cwd: Path, step: int) -> tuple[int, str]:
    """Starts a run, kills one of its two ranks once it has told of a step; returns exit status and what was said."""
    with subprocess.Popen(
        command, env=environment(), cwd=cwd, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if f"step {step}/" in line:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                ranks = [one for one in children if "pretrain.py" in Path(f"/proc/{one}/cmdline").read_text()]
                os.kill(int(ranks[-1]), signal.SIGKILL)
                break
        said += process.stderr.read()
        process.wait(timeout=250)
    return process.returncode, said


def test_a_killed_rank_restarts_all_and_training_goes_on_bit_for_bit(
    run: Run, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    done = run(f"hydra.run.dir={whole}", *OVERRIDES, cwd=tmp_path, launcher=TWO_PROCESSES)
    assert done.returncode == 0, done.stderr[-3000:]
    started = time.monotonic()
    status, said = kill_a_rank(command(*OVERRIDES, launcher=RESTARTING), tmp_path, 2)
    assert status == 0, said[-3000:]
    assert time.monotonic() - started < 200, "the other rank waited for the dead one"
    runs = [path for path in (tmp_path / "runs" / "pretrain").iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(runs) == 1, f"{runs}: one run, one folder"
    folder = runs[0]
    assert f"resumed from {folder.resolve()}" in said, said[-3000:]
    different = differences(last_checkpoint(whole), last_checkpoint(folder))
    assert not different, f"{len(different)} entries differ, such as {different[:5]}"
    assert not list((tmp_path / "runs" / "pretrain").glob(".torchrun-*"))


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
    assert restarted_run(again) is None, "there is nothing to go on with"
    leave_checkpoint(again)
    assert restarted_run(third) == again.resolve()
    forget_restarts(third)
    assert restarted_run(third) is None


def test_a_job_without_a_name_does_not_go_on_with_another_one(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert restarted_run(made) is None
    leave_checkpoint(made)
    assert restarted_run(made.parent / "other job") is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    leave_checkpoint(made.parent / "other job")
    assert restarted_run(made.parent / "again") == (made.parent / "other job").resolve()


def test_a_job_without_a_name_may_not_restart_on_several_hosts(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    assert restarted_run(made) is None
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(ValueError, match="give --rdzv-id"):
        restarted_run(made)


def test_a_restart_goes_on_with_no_other_run_than_the_command_line_asks_for(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    assert {same_run(asked, mine) for asked in (None, "latest", str(mine))} == {str(mine)}
    with pytest.raises(ValueError, match="give the job another --rdzv-id"):
        same_run(str(tmp_path / "other"), mine)


def test_without_torchrun_nothing_is_left_behind(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert restarted_run(made) is None
    forget_restarts(made)
    assert not made.parent.exists()
