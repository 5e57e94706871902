"""A run that is killed and resumed ends bitwise equal to the run that was never killed."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flvlp.engine.lines import cut_lines
from support.locks import take_lock
from tests.conftest import ONE_PROCESS, TWO_PROCESSES, Run, environment
from tests.processes import kill_all


def last_checkpoint(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(max(folder.glob("checkpoints/step_*.pt")), weights_only=True)
    return content


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Returns the names of everything that is not bitwise equal in two checkpoints."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), f"{name}: {one.keys() ^ other.keys()}"
        return [found for key in one for found in differences(one[key], other[key], f"{name}/{key}")]
    if isinstance(one, list | tuple):
        return [
            found for i, pair in enumerate(zip(one, other, strict=True)) for found in differences(*pair, f"{name}/{i}")
        ]
    is_equal = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if is_equal else [name]


def kill_after(command: list[str], folder: Path, step: int) -> None:
    """Starts a run that writes a checkpoint every step and kills it, without warning, once it has written `step`."""
    with subprocess.Popen(
        command, env=environment(), cwd=folder.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 200
        while not (folder / "checkpoints" / f"step_{step:08d}.pt").exists():
            assert process.poll() is None, f"the run ended before step {step}, exit status {process.returncode}"
            assert time.monotonic() < deadline, f"no checkpoint of step {step} within 200 s"
            time.sleep(0.02)
        kill_all(process.pid)  # with the ranks of torchrun, which would go on without it and hold the run


@pytest.mark.parametrize(
    ("launcher", "step"), [(ONE_PROCESS, 3), pytest.param(TWO_PROCESSES, 2, marks=pytest.mark.slow)], ids=["one", "two"]
)
def test_a_killed_run_resumes_bit_for_bit(
    run: Run, command: Callable[..., list[str]], tmp_path: Path, launcher: tuple[str, ...], step: int
) -> None:
    batch = "engine.batch_size=4" if launcher == TWO_PROCESSES else "engine.batch_size=8"
    overrides = ("engine.checkpoint_every=1", "engine.keep_checkpoints=100", "encoder.text.dropout=0.1", batch)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = run(f"hydra.run.dir={whole}", *overrides, cwd=tmp_path, launcher=launcher)
    assert done.returncode == 0, done.stderr[-3000:]
    kill_after(command(f"hydra.run.dir={killed}", *overrides, launcher=launcher), killed, step)
    reached = max(killed.glob("checkpoints/step_*.pt")).name
    done = run(f"resume={killed}", cwd=tmp_path, launcher=launcher)
    assert done.returncode == 0, done.stderr[-3000:]
    expected, got = last_checkpoint(whole), last_checkpoint(killed)
    assert reached < max(whole.glob("checkpoints/step_*.pt")).name, "killed too late to prove anything"
    different = differences(expected, got)
    assert not different, f"{len(different)} entries differ after resuming from {reached}, such as {different[:5]}"


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 4, 6, 9])
def test_a_run_killed_at_any_step_resumes_bit_for_bit(
    run: Run, command: Callable[..., list[str]], tmp_path: Path, step: int
) -> None:
    test_a_killed_run_resumes_bit_for_bit(run, command, tmp_path, ONE_PROCESS, step)


def test_a_run_killed_before_its_first_regular_checkpoint_is_resumed(
    run: Run, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    kill_after(command(f"hydra.run.dir={folder}"), folder, 0)
    done = run(f"resume={folder}", "engine.max_steps=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert last_checkpoint(folder)["state"]["step"] == 2
    done = run(f"resume={folder}", "engine.max_steps=1", cwd=tmp_path)
    assert done.returncode == 0 and "finished at step 2" in done.stderr, done.stderr[-2000:]


def test_resume_refuses_what_would_be_another_run(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(f"hydra.run.dir={folder}", "engine.max_steps=1", cwd=tmp_path).returncode == 0
    done = run("resume=latest", f"hydra.run.dir={tmp_path / 'new'}", "engine.lr=0.5", cwd=tmp_path)
    assert done.returncode != 0
    assert "resume: engine.lr=0.5 is not what the run" in done.stderr, done.stderr[-2000:]
    assert not (tmp_path / "new").exists(), "a refused resume left a folder behind"
    done = run(f"hydra.run.dir={folder}", cwd=tmp_path)
    assert "already holds a run; set resume=" in done.stderr, done.stderr[-2000:]


def test_records_beyond_the_checkpoint_and_half_lines_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (1, 2, 3)) + '{"step": 4, "it')
    cut_lines(path, 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_run_killed_in_validation_validates_again_and_has_every_record_once(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(f"hydra.run.dir={folder}", "engine.epochs=1", "engine.log_every=1", cwd=tmp_path).returncode == 0
    path = max(folder.glob("checkpoints/step_*.pt"))
    content = torch.load(path, weights_only=True)
    state = content["state"]
    state |= {"epoch": 0, "epoch_step": state["step"], "judged_step": 0}  # what is saved before the validation
    torch.save(content, path)
    (folder / "run.json").write_text("")  # what a kill in the middle left, in versions that wrote it in place
    before = (folder / "metrics.jsonl").read_text().splitlines()
    assert json.loads(before[-1])["part"] == "validation"

    lock = take_lock(folder / ".lock")
    assert lock is not None
    with lock:
        done = run(f"resume={folder}", cwd=tmp_path)
    assert done.returncode == 1
    assert f"another process is at work in {folder}; wait for it, or stop it" in done.stderr, done.stderr[-2000:]
    assert last_checkpoint(folder)["state"] == content["state"], "it went on in a run that another process holds"

    done = run(f"resume={folder}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    after = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["part"] for line in after] == [json.loads(line)["part"] for line in before]
    assert "run.json is damaged: it is kept as run.json.damaged, and begun anew" in done.stderr
    assert len(json.loads((folder / "run.json").read_text())) == 1
