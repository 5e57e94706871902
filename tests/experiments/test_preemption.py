"""A run that is told to stop saves, ends with its own status, and resumes bit for bit."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flvlp.engine.stopping import PREEMPTED
from tests.conftest import ONE_PROCESS, TWO_PROCESSES, Run
from tests.experiments.test_resume import differences, last_checkpoint
from tests.processes import ranks_of, watch

OVERRIDES = ("engine.checkpoint_every=0", "encoder.text.dropout=0.1", "engine.log_every=1", "engine.num_workers=1")


def stop_after(command: list[str], folder: Path, step: int, hit: Callable[[int], None]) -> tuple[int, str]:
    """Starts a run, hits it (its process id) once it has told of a step; returns its exit status and what it said."""
    return watch(command, folder.parent, {f"step {step}/": hit}, 250)


def terminate(pid: int) -> None:
    """Sends SIGTERM to one process alone."""
    os.kill(pid, signal.SIGTERM)


def terminate_group(pid: int) -> None:
    """Sends SIGTERM to a process and all it started, data workers included, as SLURM does."""
    os.killpg(pid, signal.SIGTERM)


def children_of(pid: int) -> list[int]:
    """Returns what a process started that runs pretrain.py: ranks of torchrun, data workers of a rank."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if workers := ranks_of(pid):
            return workers
    raise AssertionError(f"process {pid} has no workers")


@pytest.mark.parametrize("hit", [pytest.param(terminate, marks=pytest.mark.slow), terminate_group])
def test_a_preempted_run_saves_ends_with_its_status_and_resumes_bit_for_bit(
    run: Run, command: Callable[..., list[str]], tmp_path: Path, hit: Callable[[int], None]
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run(f"hydra.run.dir={whole}", *OVERRIDES, cwd=tmp_path).returncode == 0
    line = command(f"hydra.run.dir={stopped}", *OVERRIDES, launcher=ONE_PROCESS)
    status, said = stop_after(line, stopped, 2, hit)
    assert status == PREEMPTED, f"exit status {status}\n{said[-2000:]}"
    found = re.search(r"stopped by SIGTERM after step (\d+)", said)
    assert found, said[-2000:]
    assert last_checkpoint(stopped)["state"]["step"] == int(found[1]) in (2, 3, 4)
    done = run(f"resume={stopped}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    different = differences(last_checkpoint(whole), last_checkpoint(stopped))
    assert not different, f"{len(different)} entries differ, such as {different[:5]}"


@pytest.mark.parametrize(
    "workers", [pytest.param(1, marks=pytest.mark.slow), 2]
)  # another one that lives must not keep the process from ending
def test_a_run_whose_data_worker_dies_is_saved_and_resumes_bit_for_bit(
    run: Run, command: Callable[..., list[str]], tmp_path: Path, workers: int
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(f"hydra.run.dir={whole}", *OVERRIDES, cwd=tmp_path).returncode == 0
    line = command(f"hydra.run.dir={broken}", *OVERRIDES, f"engine.num_workers={workers}", launcher=ONE_PROCESS)
    status, said = stop_after(line, broken, 1, lambda pid: os.kill(children_of(pid)[0], signal.SIGKILL))
    assert status == 1, f"exit status {status}\n{said[-2000:]}"
    found = re.search(r"a data worker died after step (\d+) .*lower engine.num_workers", said)
    assert found, said[-2000:]
    assert last_checkpoint(broken)["state"]["step"] == int(found[1])
    assert run(f"resume={broken}", cwd=tmp_path).returncode == 0
    different = differences(last_checkpoint(whole), last_checkpoint(broken))
    assert not different, f"{len(different)} entries differ, such as {different[:5]}"


@pytest.mark.slow
def test_a_data_worker_that_dies_under_one_rank_saves_all_and_torchrun_goes_on(
    run: Run, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    overrides = (*OVERRIDES, "engine.batch_size=4")
    assert run(f"hydra.run.dir={whole}", *overrides, cwd=tmp_path, launcher=TWO_PROCESSES).returncode == 0
    launcher = (*TWO_PROCESSES[:-2], "--max-restarts", "1", *TWO_PROCESSES[-2:])

    def kill_a_worker(agent: int) -> None:
        os.kill(children_of(children_of(agent)[-1])[0], signal.SIGKILL)

    status, said = stop_after(command(*overrides, launcher=launcher), tmp_path / "run", 1, kill_a_worker)
    assert status == 0, said[-3000:]
    assert "a data worker died after step" in said
    folder = tmp_path / "runs" / "pretrain" / "latest"
    different = differences(last_checkpoint(whole), last_checkpoint(folder.resolve()))
    assert not different, f"{len(different)} entries differ, such as {different[:5]}"


@pytest.mark.slow
def test_sigterm_to_torchrun_itself_saves_too(run: Run, command: Callable[..., list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    line = command(f"hydra.run.dir={folder}", *OVERRIDES, "engine.batch_size=4", launcher=TWO_PROCESSES)
    status, said = stop_after(line, folder, 2, terminate)
    assert status != 0
    found = re.search(r"stopped by SIGTERM after step (\d+)", said)
    assert found, said[-3000:]
    assert last_checkpoint(folder)["state"]["step"] == int(found[1])


@pytest.mark.slow
def test_one_rank_that_is_told_to_stop_stops_all_after_the_same_step(
    run: Run, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    overrides = (*OVERRIDES, "engine.batch_size=4")
    line = command(f"hydra.run.dir={folder}", *overrides, launcher=TWO_PROCESSES)
    status, said = stop_after(line, folder, 2, lambda pid: terminate(children_of(pid)[-1]))
    assert status != 0
    assert len(set(re.findall(r"stopped by SIGTERM after step (\d+)", said))) == 1, said[-3000:]
    state = last_checkpoint(folder)["state"]
    assert state["step"] in (2, 3, 4), state
    done = run(f"resume={folder}", cwd=tmp_path, launcher=TWO_PROCESSES)
    assert done.returncode == 0, done.stderr[-3000:]
