"""A text encoder that starts from the training reports alone: made once, kept, and worth something."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from flvlp.models.config import ReportsConfig
from support import text_start
from support.text_start import train_text, with_text_start
from tests.builders import REPORTS, text_config
from tests.conftest import Run

TEXT = text_config(weights="reports", vocab_size=120, max_tokens=32, pool="mean")


def source(reports: tuple[str, ...] = REPORTS * 12) -> Any:
    """Returns a source whose last reports are held out."""
    studies = [SimpleNamespace(report=report) for report in (*reports, "Never seen: quixotic zebras.")]
    return SimpleNamespace(studies=studies, splits={"train": np.arange(len(reports))})


@pytest.fixture
def text(tmp_path: Path) -> Any:
    return replace(TEXT, reports=ReportsConfig(root=str(tmp_path / "text"), epochs=2, batch_size=8))


def test_it_is_made_once_and_read_as_any_folder_of_weights(text: Any) -> None:
    state = torch.get_rng_state()
    made = with_text_start(text, source(), None, credentialed=False)
    folder = Path(made.weights)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert torch.equal(state, torch.get_rng_state()), "the chance of this process was used up"
    date = (folder / "model.safetensors").stat().st_mtime_ns
    assert with_text_start(text, source(), None, credentialed=False) == made
    assert (folder / "model.safetensors").stat().st_mtime_ns == date, "made again"
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert "effusion" in vocabulary
    assert not any("zebra" in piece for piece in vocabulary), "a report outside the training part was read"


def test_other_reports_and_other_settings_are_another_start(text: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_start, "_start", lambda *_: None)
    changes = [
        (text, source(), None, False),
        (text, source(REPORTS * 11), None, False),
        (text, source(), 30, False),
        (text, source(), None, True),
        (replace(text, layers=1), source(), None, False),
        (replace(text, reports=replace(text.reports, epochs=3)), source(), None, False),
    ]
    folders = {with_text_start(*change).weights for change in changes}
    assert len(folders) == len(changes), folders


def test_what_plays_no_part_in_making_it_makes_no_other_start(text: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_start, "_start", lambda *_: None)
    other = replace(text, pool="mean", name="another", frozen=True)
    first, second = (with_text_start(one, source(), None, credentialed=False).weights for one in (text, other))
    assert first == second


def test_weights_of_other_kinds_are_left_alone(text: Any) -> None:
    for weights in ("random", "pretrained", "a/folder"):
        given = replace(text, weights=weights)
        assert with_text_start(given, source(), None, credentialed=False) is given


def test_it_learns_what_words_stand_together(tmp_path: Path, text: Any) -> None:
    reports = list(REPORTS * 40)
    settings = replace(text.reports, lr=3e-3)
    short, long = (
        train_text(replace(text, reports=replace(settings, epochs=epochs)), reports, False, tmp_path / str(epochs))
        for epochs in (1, 12)
    )
    assert long < 0.5 * short, f"{long:.2f} nats after 12 epochs, {short:.2f} after one"


def test_what_breaks_leaves_no_folder(text: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        exitcode = 1

        def start(self) -> None: ...

        def join(self) -> None: ...

    monkeypatch.setattr(text_start, "get_context", lambda _: SimpleNamespace(Process=lambda **_: Broken()))
    with pytest.raises(RuntimeError, match=r"encoder.text.weights=reports: .* \(exit status 1\)"):
        with_text_start(text, source(), None, credentialed=False)
    assert not [path for path in Path(text.reports.root).iterdir() if path.suffix != ".lock"]


def test_the_process_that_makes_it_is_no_rank(text: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "nowhere"}.items():
        monkeypatch.setenv(name, value)
    seen: dict[str, str] = {}
    monkeypatch.setattr(text_start, "train_text", lambda *_: seen.update(os.environ))
    monkeypatch.setattr("flvlp.data.processes.end_with_parent", lambda: None)  # this test is nobody's child
    text_start._train_alone(text, [], False, tmp_path)
    assert seen
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"} & set(seen)


@pytest.mark.slow
def test_pre_training_starts_from_it_and_resumes(run: Run, tmp_path: Path) -> None:
    overrides = [
        "encoder.text.weights=reports",
        "encoder.text.reports.epochs=1",
        f"encoder.text.reports.root={tmp_path / 'text'}",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    first = run(*overrides, "engine.max_steps=1", cwd=tmp_path)
    assert first.returncode == 0, first.stderr[-3000:]
    assert "pre-training the text encoder on" in first.stderr
    (folder,) = [path for path in (tmp_path / "text").iterdir() if path.is_dir()]
    assert f"starts from reports alone ({folder})" in first.stderr
    assert (tmp_path / "run" / "tokenizer" / "tokenizer.json").read_text() == (folder / "tokenizer.json").read_text()
    again = run(f"resume={tmp_path / 'run'}", "engine.max_steps=2", cwd=tmp_path)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "pre-training the text encoder on" not in again.stderr
