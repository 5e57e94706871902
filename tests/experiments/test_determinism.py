"""`deterministic=true`: the same command gives the same bits, however many workers read the data."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from flvlp.engine import train
from flvlp.engine.seed import seed_everything
from tests.conftest import ONE_PROCESS, TWO_PROCESSES, Run
from tests.experiments.sweeping import start_sweep
from tests.experiments.test_resume import differences, last_checkpoint

OVERRIDES = ("deterministic=true", "encoder.text.dropout=0.1", "dataset.studies=60")


def twice(run: Run, folder: Path, launcher: tuple[str, ...], workers: tuple[int, int]) -> list[str]:
    """Trains twice with as many reading workers as `workers` says; returns what differs at the end."""
    ends = []
    for number, count in enumerate(workers):
        place = folder / str(number)
        overrides = (f"hydra.run.dir={place}", f"engine.num_workers={count}", "engine.batch_size=4", *OVERRIDES)
        done = run(*overrides, cwd=folder, launcher=launcher, is_fresh=True)
        assert done.returncode == 0, done.stderr[-3000:]
        ends.append(last_checkpoint(place))
    return differences(ends[0], ends[1])


def test_none_and_four_workers_give_the_same_bits(run: Run, tmp_path: Path) -> None:
    different = twice(run, tmp_path, ONE_PROCESS, (0, 4))
    assert not different, f"{len(different)} entries differ, such as {different[:5]}"


@pytest.mark.slow
def test_two_processes_give_the_same_bits_twice(run: Run, tmp_path: Path) -> None:
    different = twice(run, tmp_path, TWO_PROCESSES, (1, 1))
    assert not different, f"{len(different)} entries differ, such as {different[:5]}"


@pytest.fixture
def restored() -> Iterator[None]:
    """Leaves the settings of kernels as they were."""
    was_on, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(was_on)
    torch.backends.cudnn.benchmark = benchmark


def runs_an_operation_without_a_deterministic_form() -> bool:
    """Returns whether this process computes one, or refuses it."""
    try:
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    except RuntimeError as error:
        assert "deterministic" in str(error), error
        return False
    return True


@pytest.mark.usefixtures("restored")
def test_each_job_of_a_sweep_has_the_kernels_that_it_asks_for(
    phantom_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, train_epoch = [], train.train_epoch

    def watched(*args: Any) -> None:
        train_epoch(*args)
        found.append((runs_an_operation_without_a_deterministic_form(), torch.backends.cudnn.benchmark))

    monkeypatch.setattr(train, "train_epoch", watched)
    ended = start_sweep(phantom_root, tmp_path, "deterministic=true,false", "engine.epochs=1")
    assert ended.status == 0, ended.said[-3000:]
    assert found == [(False, False), (True, True)], f"{found}: (runs any operation, may choose kernels by speed)"


@pytest.mark.usefixtures("restored")
def test_the_first_job_of_a_process_leaves_the_matrix_products_of_a_later_one_deterministic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    seed_everything(0, deterministic=False)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8"), "PyTorch takes no other one, and looks once"
