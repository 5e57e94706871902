"""Encoders and figures that find no room on the disk while a pre-training goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import pretrain
from flvlp import saved_encoders
from flvlp.saved_encoders import load_encoders
from tests.experiments.test_resume import last_checkpoint


def validated(folder: Path) -> list[int]:
    """Returns the steps of a run at which it was validated."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["step"] for record in records if record["part"] == "validation"]


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_figures_without_room_cost_no_run(
    pretrain_here: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("support.board.Board._draw", full)
    folder = pretrain_here("run", "engine.figures_every=1", "engine.epochs=1")
    assert "figures of step 5 are NOT written ([Errno 28] No space left" in capfd.readouterr().err
    assert load_encoders(folder).training["step"] == 5


def test_encoders_without_room_are_saved_after_the_next_epoch(
    pretrain_here: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    save, asked = saved_encoders.save_encoders, []

    def full_at_first(*given: Any) -> None:
        asked.append(given[0].name)
        (full if len(asked) == 1 else save)(*given)

    monkeypatch.setattr(saved_encoders, "save_encoders", full_at_first)
    folder = pretrain_here("run")
    assert "encoders of step 5 are NOT written" in capfd.readouterr().err
    assert load_encoders(folder).training["step"] == 10, "the second epoch is the best of those that could be saved"
    assert last_checkpoint(folder)["state"]["best"] is not None


def test_encoders_without_room_at_the_end_are_saved_by_a_resumed_run(
    pretrain_here: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(saved_encoders, "save_encoders", full)
        pretrain_here("run")
    folder = tmp_path / "run"
    assert not (folder / "encoders").exists()
    state = last_checkpoint(folder)["state"]
    assert (state["step"], state["epoch"], state["epoch_step"]) == (10, 1, 5), "its last validation is to be repeated"
    pretrain_here("run", f"resume={folder}")
    assert load_encoders(folder).training["step"] == 10
    assert validated(folder) == [5, 10]


def test_encoders_without_room_at_the_last_of_max_steps_end_the_run(
    pretrain_here: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save, folder = saved_encoders.save_encoders, tmp_path / "run"

    def full_later(*given: Any) -> None:
        (save if given[-1]["step"] == 5 else full)(*given)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(saved_encoders, "save_encoders", full_later)
        pretrain_here("run", "engine.max_steps=7")
    assert load_encoders(folder / "encoders_last").training["step"] == 5
    pretrain_here("run", f"resume={folder}", "engine.max_steps=7")
    assert load_encoders(folder / "encoders_last").training["step"] == 7
    assert validated(folder) == [5, 7]


@pytest.mark.parametrize("limit", [3, 5, 7, 10])
def test_a_run_stopped_in_its_last_validation_is_judged_when_it_goes_on_and_only_then(
    pretrain_here: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: int
) -> None:
    folder, judge, overrides = tmp_path / "run", pretrain.judge, (f"engine.max_steps={limit}", "engine.figures_every=1")

    def stop_at_the_end(args: Any, training: Any, *rest: Any) -> Any:
        if training.state.step == limit:
            raise KeyboardInterrupt
        return judge(args, training, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretrain, "judge", stop_at_the_end)
        pretrain_here("run", *overrides)
    for _ in range(2):  # the second start finds nothing to do
        pretrain_here("run", f"resume={folder}", *overrides)
        assert load_encoders(folder / "encoders_last").training["step"] == limit
        assert validated(folder) == [step for step in (3, 5, 7, 10) if step in {5, 10, limit} and step <= limit]
    written = folder.joinpath("encoders_last", "config.json").stat().st_mtime_ns
    pretrain_here("run", f"resume={folder}", *overrides)
    assert folder.joinpath("encoders_last", "config.json").stat().st_mtime_ns == written, "judged a second time"
    pretrain_here("run", f"resume={folder}", "engine.max_steps=null")
    assert validated(folder) == sorted({5, 10, limit})


def test_a_run_of_a_version_that_did_not_note_its_judging_goes_on_and_keeps_its_records(
    pretrain_here: Callable[..., Path],
) -> None:
    folder = pretrain_here("run", "engine.max_steps=5")
    path = max(folder.glob("checkpoints/step_*.pt"))
    content = torch.load(path, weights_only=True)
    del content["state"]["judged_step"]
    torch.save(content, path)
    pretrain_here("run", f"resume={folder}")
    assert last_checkpoint(folder)["state"]["step"] == 10
    assert validated(folder) == [5, 10]
