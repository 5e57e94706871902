"""Sweeps with workers, beside each other and on a cluster: what is started, and what is said where it cannot be."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig

from support import devices, entry
from support.locks import take_lock
from support.workers import work
from tests.conftest import PRETRAIN, ROOT, environment
from tests.experiments.sweeping import JOB, start_sweep

SLURM = ("launch=slurm", "launch.dry_run=true", "launch.partition=gpu", "launch.account=lab", "launch.time=600")


def test_each_job_of_a_sweep_starts_workers_of_its_own_and_a_broken_worker_is_told(
    phantom_root: Path, tmp_path: Path
) -> None:
    """Two jobs of two workers each; the encoders that the second starts from are not there."""
    logger = logging.getLogger("torch.distributed.elastic.multiprocessing.api")
    level = logger.level
    overrides = ("launch=torchrun", "launch.nproc_per_node=2", "engine.batch_size=4", "engine.max_steps=2")
    ended = start_sweep(phantom_root, tmp_path / "sweep", *overrides, "init_from=null,/nowhere")
    logger.setLevel(level)
    assert ended.status == 1 and "1 finished, 0 skipped, 1 broken" in ended.said, ended.said[-3000:]
    assert json.loads((tmp_path / "sweep" / "0" / "run.json").read_text())[0]["world_size"] == 2
    assert (tmp_path / "sweep" / "0" / "finished.json").is_file()
    names = {path.name for path in (tmp_path / "sweep").iterdir()}
    assert "latest" not in names, "workers must know that they belong to a sweep, of which no job is the last"
    told = (tmp_path / "sweep" / "1" / "failed.txt").read_text()
    assert "failed (exit status 1)" in told and "in load_encoders" in told, told
    assert told.strip().endswith("no config.json in /nowhere; give the `encoders` folder of a run")


@dataclass
class NoArgs:
    """Arguments of an entry point that has none."""


def test_a_worker_that_another_one_left_waiting_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def waiting(args: NoArgs, folder: Path, config_yaml: str) -> float:
        raise RuntimeError("[third_party/gloo/gloo/transport] Timed out waiting 1800000ms for recv operation")

    monkeypatch.setitem(sys.modules, "waiting", SimpleNamespace(Args=NoArgs, waiting=waiting))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    with pytest.raises(TimeoutError, match=r"set more where one is only slow"):
        work("waiting", "{}", tmp_path, {"mode": "RUN", "overrides": {"task": []}})


@pytest.mark.slow
def test_jobs_run_beside_each_other(tmp_path: Path) -> None:
    made = ("dataset.root=made", "dataset.workers=2", "engine.num_workers=1")  # a job starts processes of its own
    line = [sys.executable, PRETRAIN, "-m", *JOB, *made, "engine.max_steps=2"]
    line += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "init_from=null,/nowhere", "hydra.sweep.dir=sweep"]
    done = subprocess.run(
        line, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1, done.stderr[-3000:]
    assert "1 finished, 0 skipped, 1 broken" in done.stdout, done.stdout[-2000:]
    assert (tmp_path / "sweep" / "0" / "finished.json").is_file()


def test_a_dry_run_prints_the_script_that_would_be_submitted_and_starts_nothing(
    phantom_root: Path, tmp_path: Path
) -> None:
    asked = ("launch.gpus=4", "launch.nodes=2", "launch.cpus=32", "hydra.launcher.mem_gb=64", "seed=0,1,2")
    ended = start_sweep(phantom_root, tmp_path / "sweep", *SLURM, *asked)
    assert ended.status == 0
    lines = ended.said.splitlines()
    for flag in ("partition=gpu", "account=lab", "time=600", "gpus-per-node=4", "nodes=2", "cpus-per-task=32"):
        assert f"#SBATCH --{flag}" in lines, ended.said
    assert {"#SBATCH --mem=64GB", "#SBATCH --ntasks-per-node=1", "#SBATCH --array=0-2%3"} <= set(lines)
    (setup,) = (line for line in lines if line.startswith("export PYTHONPATH="))
    assert (Path(setup.partition("=")[2].removesuffix(":$PYTHONPATH")) / "pretrain.py").samefile(PRETRAIN)
    assert not list(tmp_path.iterdir()), "nothing may be left behind"


def test_a_dry_run_that_fails_does_not_go_on_to_submit(
    phantom_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra turns an exception of a callback into a warning, and would go on."""

    def broken(*_: object) -> str:
        raise TypeError("another submitit")

    monkeypatch.setattr("support.slurm.sbatch_script", broken)
    with pytest.raises(ValueError, match="another submitit"):  # the exit status of a text is no number
        start_sweep(phantom_root, tmp_path / "sweep", *SLURM)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("choice", "extra"), [("launch=slurm", "slurm"), ("hydra/launcher=joblib", "parallel")])
def test_a_plugin_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, choice: str, extra: str
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(entry.metadata, "version", missing)
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "-m", choice])
    with pytest.raises(SystemExit, match=rf"{choice} needs hydra-.*-launcher.*flvlp\[{extra}\]"):
        entry.check_command_line()


@pytest.mark.parametrize("choice", ["-m", "--multirun", "launch=slurm"])
def test_under_torchrun_a_sweep_is_refused_with_the_way_to_do_it(monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(sys, "argv", ["pretrain.py", choice])
    with pytest.raises(SystemExit, match=r"launch=torchrun launch\.nproc_per_node="):
        entry.check_command_line()


@pytest.fixture
def four_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of four devices, in a process that has none yet; its folder of locks."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(devices, "_HELD", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    return tmp_path


def held_by_another(folder: Path, names: str) -> "subprocess.Popen[str]":
    """Starts a process that holds the locks of these devices until it is told to end."""
    code = (
        "import os, sys, pathlib; from support.locks import take_lock; "
        "locks = [take_lock(pathlib.Path(sys.argv[1]) / f'flvlp-{os.getuid()}-device-{name}.lock') "
        "for name in sys.argv[2]]; print(all(locks), flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), names],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT / "experiments")},
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "True\n"
    return process


def test_jobs_beside_each_other_take_devices_that_no_other_has(four_devices: Path) -> None:
    with held_by_another(four_devices, "46") as other:
        devices.claim_devices(2, job=1)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"
        devices.claim_devices(2, job=3)  # the next job of this process, where CUDA has started
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"
        other.communicate("\n")
    assert take_lock(four_devices / "free.lock") is not None


def test_more_jobs_than_devices_share_them_in_turn(four_devices: Path) -> None:
    with held_by_another(four_devices, "4567") as other:
        devices.claim_devices(1, job=6)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "6"
        other.communicate("\n")
