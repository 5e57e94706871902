"""Runs that are killed at random, also in the middle of writing a checkpoint; `make faults` draws many of them."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flvlp.engine.checkpoint import NAME, damage, list_checkpoints
from tests.conftest import Run, environment
from tests.experiments.test_resume import differences, last_checkpoint

DRAWS = int(os.environ.get("FLVLP_FAULT_DRAWS", "3"))
OVERRIDES = ("engine.checkpoint_every=1", "engine.keep_checkpoints=3", "engine.log_every=1", "encoder.text.dropout=0.1")
STEPS = 10  # of the small run


@pytest.fixture(scope="module")
def whole(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of the undisturbed run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = run(f"hydra.run.dir={folder}", *OVERRIDES, cwd=folder.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    assert last_checkpoint(folder)["state"]["step"] == STEPS
    return folder


def is_writing(folder: Path) -> bool:
    """True while a checkpoint is half written."""
    return any((folder / "checkpoints").glob(".step_*.tmp"))


class Moment:
    """When to kill: `seconds` after the checkpoint of a step, or, where that is None, while the next one is written."""

    def __init__(self, folder: Path, step: int, seconds: float | None) -> None:
        self.folder, self.reached = folder, NAME.format(step)
        self.seconds, self.seen = seconds, float("inf")

    def __call__(self) -> bool:
        """Returns whether it is now."""
        if any(path.name >= self.reached for path in list_checkpoints(self.folder / "checkpoints")):
            self.seen = min(self.seen, time.monotonic())
        waited = time.monotonic() - self.seen
        return waited >= 0 and is_writing(self.folder) if self.seconds is None else waited >= self.seconds


def kill_while(command: list[str], folder: Path, is_time: Callable[[], bool]) -> str:
    """Starts a run and kills it without warning at the first moment that `is_time`; returns what it said."""
    log_path = folder.parent / f"{time.monotonic_ns()}.txt"
    with (
        log_path.open("w") as log,
        subprocess.Popen(
            command, env=environment(), cwd=folder.parent, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        deadline = time.monotonic() + 200
        while process.poll() is None:
            assert time.monotonic() < deadline, f"not the time within 200 s: {log_path.read_text()[-2000:]}"
            if is_time():
                os.killpg(process.pid, signal.SIGSTOP)  # the moment must not pass while it is looked at
                if is_time():
                    os.killpg(process.pid, signal.SIGKILL)
                    break
                os.killpg(process.pid, signal.SIGCONT)
        process.wait()
        assert process.returncode == -signal.SIGKILL, f"it ended by itself: {log_path.read_text()[-2000:]}"
    return log_path.read_text()


@pytest.mark.parametrize("draw", range(DRAWS))
def test_a_run_killed_at_random_ends_bitwise_as_if_nothing_had_happened(
    run: Run, command: Callable[..., list[str]], tmp_path: Path, whole: Path, draw: int
) -> None:
    chance, folder = random.Random(draw), tmp_path / "run"
    overrides, killed_at = [f"hydra.run.dir={folder}", *OVERRIDES], []
    for step in sorted(chance.sample(range(1, STEPS - 1), chance.choice([1, 2]))):
        in_writing = chance.random() < 0.5
        moment = Moment(folder, step, None if in_writing else chance.uniform(0, 0.3))
        kill_while(command(*overrides), folder, moment)
        found = list_checkpoints(folder / "checkpoints")
        assert not any(damage(path) for path in found), "a half-written file bears the name of a checkpoint"
        killed_at.append({"after": found[-1].name, "in_writing": in_writing})
        overrides = [f"resume={folder}"]
    done = run(f"resume={folder}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    different = differences(last_checkpoint(whole), last_checkpoint(folder))
    assert not different, f"killed {json.dumps(killed_at)}: {len(different)} entries differ, such as {different[:5]}"
    assert not is_writing(folder), "the half-written file is still there"
