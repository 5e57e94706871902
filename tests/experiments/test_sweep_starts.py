"""What keeps the starts of a sweep apart: a lock for each job, and no word of a process that is gone."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from support.locks import take_lock
from support.sweeps import Summary, check_same_configuration, refuse_preset_of_sweep, stop_if_orphaned
from tests.conftest import ROOT
from tests.experiments.sweeping import start_sweep


@pytest.mark.parametrize("content", ["", "3"])
def test_a_job_beside_a_damaged_configuration_says_which_file_it_is(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ValueError, match=f"{tmp_path}/config.yaml is damaged .*start a new run in another folder"):
        check_same_configuration(tmp_path, OmegaConf.create({"seed": 1}))


def test_two_starts_do_not_work_in_one_folder(phantom_root: Path, tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    holds = "import pathlib, sys; from support.locks import take_lock; lock = take_lock(pathlib.Path(sys.argv[1]))"
    with subprocess.Popen(
        [sys.executable, "-c", f"{holds}; print(1, flush=True); input()", str(tmp_path / "0" / ".lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT / "experiments")},
    ) as other:  # fmt: skip
        assert other.stdout and other.stdout.readline() == "1\n"
        assert take_lock(tmp_path / "0" / ".lock") is None
        ended = start_sweep(phantom_root, tmp_path)
        other.communicate("\n")
    assert ended.status == 1 and "another process is at work in" in ended.said
    assert not (tmp_path / "0" / "failed.txt").exists(), "the job of the other process has not failed"
    assert take_lock(tmp_path / "0" / ".lock") is not None, "the lock must end with its process"


def test_a_job_that_ended_without_a_word_counts_as_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = Summary()
    summary.folder = tmp_path
    monkeypatch.setenv("FLVLP_SWEEP_START", "host-1")
    (tmp_path / ".jobs" / "host-1").mkdir(parents=True)
    job = {"status": "running", "folder": str(tmp_path / "full" / "seed_0"), "value": None, "told": ""}
    (tmp_path / ".jobs" / "host-1" / "0.json").write_text(json.dumps(job))
    with caplog.at_level("INFO"):
        assert summary.show() == 1
        assert summary.show() == 1
    (said,) = (record.getMessage() for record in caplog.records)
    assert "0 finished, 0 skipped, 1 broken" in said and "full/seed_0" in said and "without a word" in said


def test_a_worker_stops_when_its_sweep_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    monkeypatch.setenv("FLVLP_SWEEP_START", f"{socket.gethostname()}-{gone.pid}")
    with pytest.raises(SystemExit, match="is gone"):
        stop_if_orphaned()
    monkeypatch.setenv("FLVLP_SWEEP_START", f"{socket.gethostname()}-{os.getpid()}")
    stop_if_orphaned()
    monkeypatch.setenv("FLVLP_SWEEP_START", f"another-host-{gone.pid}")
    stop_if_orphaned()


def test_the_preset_of_a_sweep_wants_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    for overrides, is_refused in (["experiment=ablation_terms"], True), (["experiment=short_job"], False):
        with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
            cfg = compose("pretrain", overrides=overrides, return_hydra_config=True)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", cfg)
        with pytest.raises(ValueError, match="add -m") if is_refused else contextlib.nullcontext():
            refuse_preset_of_sweep()
