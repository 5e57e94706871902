"""Runs the entry points of the downstream tasks inside the test process: imports cost more than the tasks."""

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

import pretrain
from flvlp import distributed
from support.entry import typed
from tests.conftest import PHANTOMS, SMALL
from tests.experiments.made_runs import write_sweep
from tests.processes import root_logging

CONF = Path(__file__).parents[2] / "conf"
# A stand-in that is made in a second, and encoders without training.
TINY = (
    "encoders=random",
    "encoder.resize=40",
    "encoder.crop=32",
    "dataset.standin_studies=60",
    "dataset.standin_size=64",
    "draws=20",
)


@pytest.fixture(scope="session")
def standin_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder where the stand-ins of this test session are kept."""
    return tmp_path_factory.mktemp("standins")


@pytest.fixture
def task(tmp_path: Path, standin_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Returns `run(entry, *overrides)`, which runs a task on a small stand-in and returns its run folder."""
    monkeypatch.chdir(tmp_path)

    def run(entry: str, *overrides: str) -> Path:
        folder = tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"
        shared = [*TINY, f"dataset.standin_root={standin_root}"]
        if {"dataset=pairs", "dataset=phantom"} & set(overrides):  # of no stand-in
            shared = [override for override in shared if not override.startswith("dataset.standin")]
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            config = compose(entry, overrides=[*shared, *overrides])
        module = importlib.import_module(entry)
        folder.mkdir()
        with root_logging():
            getattr(module, entry)(typed(module.Args, config), folder, "")
        return folder

    yield run
    distributed.stop()  # a task that fails does not come to it


@pytest.fixture
def pretrain_here(tmp_path: Path, phantom_root: Path) -> Iterator[Callable[..., Path]]:
    """Returns `run(name, *overrides)`, which pre-trains inside this process and returns the run folder."""

    def run(name: str, *overrides: str) -> Path:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            config = compose("pretrain", overrides=[f"dataset.root={phantom_root}", *PHANTOMS, *SMALL, *overrides])
        with root_logging():
            pretrain.pretrain(typed(pretrain.Args, config), tmp_path / name, "")
        return tmp_path / name

    yield run
    distributed.stop()


def result_of(folder: Path) -> dict[str, Any]:
    """Returns the result row of a run folder."""
    lines = (folder / "result.json").read_text().splitlines()
    assert len(lines) == 1, f"result.json has {len(lines)} lines"
    row: dict[str, Any] = json.loads(lines[0])
    return row


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Folder of a made-up sweep, see `write_sweep`."""
    return write_sweep(tmp_path)
