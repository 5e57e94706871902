"""One process at a time works in the folder of a run, a fresh one too."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from support import jobs
from support.jobs import run_job
from support.sweeps import FolderTakenError
from tests.conftest import ROOT, environment

ASK = "import sys, pathlib; from support.locks import take_lock; print(take_lock(pathlib.Path(sys.argv[1])) is None)"
CONFIG = OmegaConf.create({})


def is_held(folder: Path) -> bool:
    """Returns whether another process finds the folder taken."""
    paths = environment() | {"PYTHONPATH": str(ROOT / "experiments")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(folder / ".lock")], env=paths, capture_output=True, text=True, check=True
    )
    return done.stdout == "True\n"


def args(resume: str | None) -> Any:
    launch = SimpleNamespace(name="local", nnodes=1, nproc_per_node=1)
    return SimpleNamespace(then=None, seed=0, resume=resume, launch=launch, engine=SimpleNamespace(best_metric="x"))


@pytest.mark.parametrize("is_resumed", [True, False])
def test_a_run_has_its_folder_for_itself(tmp_path: Path, is_resumed: bool) -> None:
    def pretrain(*_: Any) -> float:
        assert is_held(tmp_path)
        (tmp_path / "config.yaml").touch()
        return 0.5

    assert run_job(pretrain, args(str(tmp_path) if is_resumed else None), tmp_path, CONFIG).value == 0.5
    assert not is_held(tmp_path), "the lock outlived the run"


def test_a_run_does_not_begin_where_another_process_works(tmp_path: Path) -> None:
    hold = "import sys, pathlib; from support.locks import take_lock; lock = take_lock(pathlib.Path(sys.argv[1])); "
    paths = environment() | {"PYTHONPATH": str(ROOT / "experiments")}
    with subprocess.Popen(
        [sys.executable, "-c", hold + "print(lock is not None, flush=True); input()", str(tmp_path / ".lock")],
        env=paths, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        for resume in (None, str(tmp_path)):
            with pytest.raises(FolderTakenError, match=f"another process is at work in {tmp_path}; wait for it, or"):
                run_job(lambda *_: pytest.fail("it ran"), args(resume), tmp_path, CONFIG)
        other.communicate("\n")


def test_a_run_that_does_not_begin_leaves_its_folder_empty(tmp_path: Path) -> None:
    def broken(*_: Any) -> float:
        raise ValueError("no such backbone")

    with pytest.raises(ValueError, match="backbone"):
        run_job(broken, args(None), tmp_path, CONFIG)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_and_keeps_no_run_from_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def lockf(*_: Any) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr("support.locks.fcntl.lockf", lockf)
    assert run_job(lambda *_: 0.5, args(None), tmp_path, CONFIG).value == 0.5
    assert f"no locks on the file system of {tmp_path / '.lock'}: see yourself" in caplog.text


def test_tasks_are_tried_again_without_a_new_start_of_the_pre_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, ran = [["zeroshot"]], list[str]()
    monkeypatch.setattr(jobs, "is_sweep", lambda: True)
    monkeypatch.setattr(jobs, "check_same_configuration", lambda *_: None)
    monkeypatch.setattr(jobs, "pending", lambda *_: waiting[0])

    def run_chain(*_: Any) -> None:
        ran.append("tasks")
        if len(ran) == 1:
            raise RuntimeError("then: 1 of 1 tasks broke")

    monkeypatch.setattr(jobs, "run_chain", run_chain)
    finished, failed = tmp_path / "finished.json", tmp_path / "failed.txt"
    with pytest.raises(RuntimeError, match="1 of 1 tasks broke"):
        run_job(lambda *_: 0.5, args(None), tmp_path, CONFIG)
    assert json.loads(finished.read_text())["value"] == 0.5, "the pre-training has ended, whatever its tasks do"
    finished.write_text(json.dumps({"value": 0.5, "metric": "x", "seconds": 4000.0}))
    failed.touch()
    done = run_job(lambda *_: pytest.fail("it was started again"), args(None), tmp_path, CONFIG)
    assert (done.value, done.is_skipped, ran) == (0.5, False, ["tasks", "tasks"])
    assert 4000 <= json.loads(finished.read_text())["seconds"] < 4010 and not failed.exists()
    waiting[0] = []
    failed.touch()
    assert run_job(lambda *_: pytest.fail("it ran"), args(None), tmp_path, CONFIG).is_skipped and not failed.exists()
