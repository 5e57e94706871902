"""Checkpoints that are damaged, and disks that are full."""

import errno
import logging
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from flvlp.engine import checkpoint
from flvlp.engine.checkpoint import Checkpoints, damage, list_checkpoints
from flvlp.engine.state import TrainState
from tests.conftest import environment

SCALER = torch.amp.GradScaler("cpu", enabled=False)


def toy(value: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Returns a model whose weights are all `value`, and an optimiser."""
    model = nn.Linear(60, 40)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with the checkpoints of steps 1, 2 and 3, whose weights are the step."""
    for step in (1, 2, 3):
        Checkpoints(tmp_path, keep=3).save(*toy(step), SCALER, TrainState(step=step))
    return tmp_path


def load(folder: Path) -> tuple[float, int]:
    """Returns the weight and the step that a resumed run would start from."""
    model, optimizer = toy(0.0)
    state = Checkpoints(folder, keep=3).load(model, optimizer, SCALER)
    return next(model.parameters())[0, 0].item(), state.step


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 16
    path.write_bytes(content)


def data_position(path: Path) -> int:
    """Returns a position in the middle of the largest tensor of a checkpoint."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    return largest.header_offset + 200 + largest.file_size // 2


def test_a_whole_file_with_other_content_is_no_checkpoint(folder: Path) -> None:
    newest = list_checkpoints(folder)[-1]
    torch.save({"model": {}}, newest)
    assert damage(newest) == "it holds no optimizer, scaler, state, rng, torch, threads"
    assert load(folder) == (2.0, 2)


def test_a_file_that_may_not_be_read_is_not_called_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(PermissionError):
        load(folder)
    assert len(list_checkpoints(folder)) == 3


def test_a_whole_checkpoint_has_no_damage(folder: Path) -> None:
    assert [damage(path) for path in list_checkpoints(folder)] == ["", "", ""]
    assert load(folder) == (3.0, 3)


def test_a_flipped_bit_of_a_weight_is_found_and_the_one_before_taken(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest = list_checkpoints(folder)[-1]
    flip(newest, data_position(newest))
    torch.load(newest, weights_only=True)  # PyTorch itself does not mind
    with caplog.at_level(logging.WARNING):
        assert load(folder) == (2.0, 2)
    assert f"{newest} is damaged (checksum of" in caplog.text
    assert "the one before it is taken" in caplog.text


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_cut_file_is_found(folder: Path, kept: float) -> None:
    newest = list_checkpoints(folder)[-1]
    content = newest.read_bytes()
    newest.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    assert damage(newest)
    assert load(folder) == (2.0, 2)


def test_two_damaged_ones_leave_the_third(folder: Path) -> None:
    for path in list_checkpoints(folder)[1:]:
        path.write_bytes(b"no checkpoint")
    assert load(folder) == (1.0, 1)


def test_with_all_damaged_it_says_what_to_do(folder: Path) -> None:
    for path in list_checkpoints(folder):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"all 3 checkpoints in .* are damaged; start a new run, with init_from="):
        load(folder)


def test_a_bit_flipped_anywhere_is_never_read_as_another_weight(folder: Path) -> None:
    newest = list_checkpoints(folder)[-1]
    whole, draw = newest.read_bytes(), random.Random(0)
    for position in draw.sample(range(len(whole)), 60):
        flip(newest, position)
        value, step = load(folder)
        newest.with_name(f"{newest.name}.damaged").unlink(missing_ok=True)
        assert (value, step) in ((3.0, 3), (2.0, 2)), f"byte {position}: weight {value} of step {step}"
        newest.write_bytes(whole)


def test_a_disk_that_fills_up_in_the_middle_is_no_error_of_the_archive(tmp_path: Path) -> None:
    script = f"""
import resource, signal, torch
from pathlib import Path
from flvlp.engine.checkpoint import write_atomically
from flvlp.engine.state import TrainState
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    write_atomically({{"a": torch.randn(1_000_000)}}, Path({str(tmp_path / "step_00000001.pt")!r}))
except OSError as error:
    print("OSError", error.errno)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment()
    )
    assert done.stdout.strip() == f"OSError {errno.EFBIG}", done.stderr[-1000:]
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_does_not_push_out_good_ones(folder: Path) -> None:
    newest = list_checkpoints(folder)[-1]
    newest.write_bytes(b"no checkpoint")
    assert load(folder) == (2.0, 2)
    assert newest.with_name("step_00000003.pt.damaged").exists()
    other = folder / "step_00000002.pt"
    Checkpoints(folder, keep=1).save(*toy(2.5), SCALER, TrainState(step=2))
    assert list_checkpoints(folder) == [other]
    assert load(folder) == (2.5, 2)


def test_a_checkpoint_from_before_a_count_was_added_is_read(folder: Path) -> None:
    newest = list_checkpoints(folder)[-1]
    content = torch.load(newest, weights_only=True)
    del content["state"]["left_out"]
    torch.save(content, newest)
    assert load(folder) == (3.0, 3)


def test_a_full_disk_keeps_the_old_checkpoints_says_so_and_training_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(checkpoint.os, "fsync", full)
        Checkpoints(folder, keep=1).save(*toy(4), SCALER, TrainState(step=4))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert "checkpoint of step 4 is NOT written" in caplog.text
    assert "No space left on device" in caplog.text
    assert "the last one is step_00000003.pt" in caplog.text
    Checkpoints(folder, keep=1).save(*toy(5), SCALER, TrainState(step=5))
    assert load(folder) == (5.0, 5)
