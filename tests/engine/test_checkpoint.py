"""Checkpoints: never a half file, only the last ones, and everything that a resumed run needs."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from flvlp.engine.checkpoint import (
    Checkpoints,
    list_checkpoints,
    random_state,
    write_atomically,
)
from flvlp.engine.seed import restore_random_state
from flvlp.engine.state import TrainState

SCALER = torch.amp.GradScaler("cpu", enabled=False)


def toy(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Returns a model with a buffer and an optimiser with a state."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Breaks:
    """Fails while it is being saved."""

    def __reduce__(self) -> Any:
        raise RuntimeError("disk full")


def test_a_failing_save_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "step_00000001.pt"
    write_atomically({"value": torch.ones(3)}, path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="disk full"):
        write_atomically({"large": torch.ones(9), "value": Breaks()}, path)
    assert names(tmp_path) == ["step_00000001.pt"], f"{names(tmp_path)}"
    assert path.read_bytes() == before


def test_a_failing_first_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="disk full"):
        write_atomically({"value": Breaks()}, tmp_path / "step_00000001.pt")
    assert names(tmp_path) == [], f"{names(tmp_path)}"


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_checkpoints_are_kept_and_other_files_left_alone(keep: int, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "step_notes.pt").write_text("mine")
    model, optimizer = toy()
    for step in (9, 10, 100, 2000):
        Checkpoints(folder, keep).save(model, optimizer, SCALER, TrainState(step=step))
    expected = [f"step_{step:08d}.pt" for step in (9, 10, 100, 2000)][-keep:]
    assert [path.name for path in list_checkpoints(folder)] == expected
    assert names(folder) == [*expected, "step_notes.pt"], f"{names(folder)}"


def test_model_optimiser_and_state_come_back(tmp_path: Path) -> None:
    model, optimizer = toy(seed=0)
    state = TrainState(step=7, epoch=2, studies=448, skipped=3, best=0.25)
    Checkpoints(tmp_path, 2).save(model, optimizer, SCALER, state)
    other, other_optimizer = toy(seed=1)
    loaded = Checkpoints(tmp_path, 2).load(other, other_optimizer, SCALER)
    assert loaded == state, f"{loaded}, saved {state}"
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), f"{key}: {other.state_dict()[key]}, saved {value}"
    for made, kept in zip(other_optimizer.state.values(), optimizer.state.values(), strict=True):
        assert torch.equal(made["exp_avg"], kept["exp_avg"]), f"{made['exp_avg']}, saved {kept['exp_avg']}"
        assert torch.equal(made["exp_avg_sq"], kept["exp_avg_sq"])
        assert float(made["step"]) == float(kept["step"])


def test_the_last_checkpoint_is_loaded(tmp_path: Path) -> None:
    model, optimizer = toy()
    for step in (2, 10, 9):
        Checkpoints(tmp_path, 5).save(model, optimizer, SCALER, TrainState(step=step))
    found = Checkpoints(tmp_path, 5).load(model, optimizer, SCALER).step
    assert found == 10, f"step {found}, the last is 10"


def draws() -> list[float]:
    """Draws from every global generator, an odd number of normal ones, so that half a pair is kept back."""
    numpy = [np.random.normal() for _ in range(3)]
    python = [random.gauss(0, 1) for _ in range(3)]
    return [*torch.randn(3).tolist(), *torch.rand(2).tolist(), *numpy, *python, random.random()]


def test_every_global_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    draws()
    torch.save(random_state(), tmp_path / "state.pt")
    expected = draws()
    draws()
    restore_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    found = draws()
    assert found == expected, f"{found} after restoring, {expected} before"


def test_loading_restores_the_generators_of_the_run(tmp_path: Path) -> None:
    model, optimizer = toy()
    Checkpoints(tmp_path, 2).save(model, optimizer, SCALER, TrainState(step=1))
    expected = draws()
    Checkpoints(tmp_path, 2).load(model, optimizer, SCALER)
    found = draws()
    assert found == expected, f"{found} after loading, {expected} after saving"


def test_a_checkpoint_holds_plain_values_alone(tmp_path: Path) -> None:
    Checkpoints(tmp_path, 2).save(*toy(), SCALER, TrainState(step=1))
    content = torch.load(tmp_path / "step_00000001.pt", weights_only=True)
    assert {"model", "optimizer", "scaler", "state", "rng"} <= set(content), f"{set(content)}"


def test_another_number_of_processes_or_version_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, optimizer = toy()
    Checkpoints(tmp_path, 2).save(model, optimizer, SCALER, TrainState(step=1))
    path = tmp_path / "step_00000001.pt"
    content = torch.load(path, weights_only=True)
    torch.save(content | {"rng": content["rng"] * 2, "torch": "1.0"}, path)
    Checkpoints(tmp_path, 2).load(model, optimizer, SCALER)
    assert "the run had 2 processes, now 1" in caplog.text, caplog.text
    assert f"torch was 1.0, is {torch.__version__}" in caplog.text, caplog.text


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    model, optimizer = toy()
    Checkpoints(tmp_path, 2).save(model, optimizer, SCALER, TrainState(step=1))
    with pytest.raises(ValueError, match=r"step_00000001\.pt does not fit this run \(RuntimeError: .*Missing key"):
        Checkpoints(tmp_path, 2).load(nn.Sequential(model, nn.Linear(2, 2)), optimizer, SCALER)


def test_resuming_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="resume: no checkpoint in"):
        Checkpoints(tmp_path / "absent", 2).load(*toy(), SCALER)
