"""What a pre-training leaves for people to look at: when, of what, and nothing that must not be shown."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import pretrain
from flvlp.data.config import ImageConfig, MaskingConfig
from flvlp.data.loaders import Loaders
from flvlp.data.readers.config import PairsConfig
from flvlp.data.studies import Labels
from flvlp.engine.config import EngineConfig
from flvlp.engine.log import RunLog
from flvlp.models.flvlp import FLVLP
from flvlp.validation import Validated
from support.board import Board, framed, open_board
from tests.builders import (
    ALL_TERMS,
    CROP,
    WIDTH,
    HandMadeSource,
    encoder_config,
    heads_config,
    make_tokenizer,
    text_config,
)
from tests.engine.test_log import events
from tests.experiments.test_resume import differences, last_checkpoint

STUDIES = ("key_patches", "masked_words-0", "masked_words-1", "words_in_both_views-0", "words_in_both_views-1")
EVERYTHING = {f"{name}.png" for name in (*STUDIES, "prototype_usage", "prototype_studies")}


class Setting:
    """A run folder, a model without training on ten hand-made studies, and what validation found."""

    def __init__(self, folder: Path, dataset: dict[str, Any], engine: dict[str, Any], terms: frozenset[str]) -> None:
        self.folder = folder
        self.source = HandMadeSource(10)
        self.source.splits = {"train": np.arange(4), "validation": np.arange(4, 10)}
        self.source.labels = Labels(("mass",), np.eye(10, 1, -5, dtype=np.float32))
        self.args = pretrain.Args(
            dataset=PairsConfig(name="pairs", **dataset),
            engine=EngineConfig(**{"log_pictures": 2, "batch_size": 8, **engine}),
        )
        tokenizer = make_tokenizer()
        self.loaders = Loaders(
            self.source,
            tokenizer,
            MaskingConfig(),
            ImageConfig(CROP + 4, CROP),
            seed=0,
            on_error="skip",
            with_lateral=True,
            batch_size=8,
            num_workers=0,
            rank=0,
            world_size=1,
        )
        torch.manual_seed(0)
        model = FLVLP(encoder_config(text=text_config(vocab_size=200)), heads_config(), terms, len(tokenizer))
        state = SimpleNamespace(step=0, epoch=0)
        self.training: Any = SimpleNamespace(
            bare_model=model, device=torch.device("cpu"), dtype=None, run_log=RunLog(folder), state=state
        )
        has_lateral = np.array([study.has_lateral for study in self.source.studies[4:]])
        self.validated = Validated({}, np.arange(4, 10), has_lateral, torch.randn(6, 4, WIDTH))
        (folder / "encoders").mkdir()
        best = {"training": {"validation": {"mlm_gap": 0.25, "retrieval/fused/r1": 0.5, "other": 1.0}}}
        (folder / "encoders" / "config.json").write_text(json.dumps(best))

    def board(self) -> Board:
        return open_board(self.args, self.loaders, self.training, self.folder)

    def run(self, epochs: int = 1) -> set[str]:
        """Validates after some epochs and closes; returns the names of the drawn figures."""
        board = self.board()
        for epoch in range(epochs):
            self.training.state.epoch = epoch
            board.show(self.training, self.validated)
        board.close(self.training)
        return {path.name for path in self.folder.glob("figures/*")}


def setting(folder: Path, terms: frozenset[str] = ALL_TERMS, engine: Any = None, **dataset: Any) -> Setting:
    return Setting(folder, dataset, engine or {}, terms)


def test_every_part_of_the_method_has_its_figures_in_the_folder_and_in_tensorboard(tmp_path: Path) -> None:
    assert setting(tmp_path).run() == EVERYTHING
    tags = {tag for tag in events(tmp_path).Tags()["images"] if not tag.startswith("studies/")}
    assert {tag.removeprefix("figures/").replace("/", "-") + ".png" for tag in tags} == EVERYTHING
    assert (tmp_path / "00000" / "joint_space" / "sprite.png").exists()


@pytest.mark.parametrize(
    ("term", "figures"),
    [("itc", set()), ("mlm", {*STUDIES[:3]}), ("prototype", {"prototype_usage", "prototype_studies"})],
)
def test_a_term_that_is_off_has_no_figures(tmp_path: Path, term: str, figures: set[str]) -> None:
    assert setting(tmp_path, frozenset({term})).run() == {f"{name}.png" for name in figures}


@pytest.mark.parametrize(("every", "epochs", "sets"), [(0, 3, 0), (1, 3, 3), (2, 4, 2), (2, 3, 2), (5, 3, 1)])
def test_figures_come_at_the_configured_rate_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, epochs: int, sets: int
) -> None:
    one = setting(tmp_path, frozenset({"mlm"}), {"figures_every": every})
    drawn = []
    inspect = Board._inspect

    def count(board: Board, training: Any) -> Any:
        drawn.append(training.state.epoch)
        return inspect(board, training)

    monkeypatch.setattr(Board, "_inspect", count)
    assert bool(one.run(epochs)) == (sets > 0)
    assert len(drawn) == sets


def test_nothing_is_projected_with_0_and_no_more_than_asked_for(tmp_path: Path) -> None:
    for count, points in ((0, 0), (4, 4), (500, 6)):
        folder = tmp_path / str(count)
        folder.mkdir()
        setting(folder, engine={"projector": count, "figures_every": 0}).run()
        path = folder / "00000" / "joint_space" / "metadata.tsv"
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        assert len(lines) == 2 * points, f"engine.projector={count}"
    fields = [line.split("\t") for line in lines]
    assert fields[0] == ["study 4", "image", "yes", "none", "0"]
    assert fields[3] == ["study 5", "report", "no", "mass", "1"]


def test_studies_with_a_lateral_are_looked_into_first_and_unreadable_ones_left_out(tmp_path: Path) -> None:
    one = setting(tmp_path, engine={"log_pictures": 3}, on_error="skip")
    one.source.unreadable = (6,)
    shown = one.board()._inspect(one.training)
    assert [study.name for study in shown] == ["study 4", "study 7"]
    assert [study.found.study for study in shown] == [4, 7]


@pytest.mark.parametrize("shows", ["", "log_text", "log_images", "log_ids"])
def test_a_credentialed_set_shows_only_what_is_allowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shows: str
) -> None:
    caplog.set_level(logging.INFO)
    allowed: dict[str, Any] = {shows: True} if shows else {}
    one = setting(tmp_path, credentialed=True, **allowed)
    one.source.studies = [
        replace(study, study_id=f"planted-{number}", report=f"Planted words, {study.report}")
        for number, study in enumerate(one.source.studies)
    ]
    figures = one.run()
    hidden = {
        "log_text": {name for name in EVERYTHING if "words" in name},
        "log_images": {"prototype_studies.png"},
    }
    for key, names in hidden.items():
        assert bool(figures & names) == (shows == key), f"{key}: {figures}"
    assert {"key_patches.png", "prototype_usage.png"} <= figures
    assert (tmp_path / "00000" / "joint_space" / "sprite.png").exists() == (shows == "log_images")
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert (b"planted-" in content) == (shows == "log_ids" and path.name == "metadata.tsv"), path
        is_text = shows == "log_text" and path.name.startswith("events") and path.suffix != ".hparams"
        assert (b"Planted words" in content) == is_text, path
    shown = one.board()._inspect(one.training)
    assert all((study.frontal is None) == (shows != "log_images") for study in shown)
    assert all(bool(study.words) == (shows == "log_text") for study in shown)
    assert all(study.name.startswith("planted") == (shows == "log_ids") for study in shown)
    (said,) = {record.message for record in caplog.records if record.message.startswith("figures:")}
    keys = ("log_text", "log_images", "log_ids")
    assert [key for key in keys if f"dataset.{key}=true" in said] == [key for key in keys if key != shows]


def test_the_line_of_the_run_holds_the_figures_of_the_best_epoch(tmp_path: Path) -> None:
    setting(tmp_path, engine={"figures_every": 0, "projector": 0}).run()
    found = events(tmp_path)
    values = {tag: found.Scalars(tag)[0].value for tag in found.Tags()["scalars"]}
    assert values == {"result/terms/mlm_gap": 0.25, "result/retrieval/fused/r1": 0.5}


def test_neither_the_model_nor_a_generator_is_touched(tmp_path: Path) -> None:
    one = setting(tmp_path)
    one.training.bare_model.train()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    one.run()
    assert one.training.bare_model.training
    assert torch.equal(before[0], torch.get_rng_state()), "torch's generator has moved"
    assert np.array_equal(before[1], np.random.get_state()[1]), "numpy's generator has moved"  # type: ignore[index]


def test_a_frame_has_its_colour_and_the_picture_stays_inside() -> None:
    drawn = framed(np.full((10, 10), 9, dtype=np.uint8), (1, 2, 3))
    assert drawn[0, 5].tolist() == drawn[5, -1].tolist() == [1, 2, 3]
    assert drawn[5, 5].tolist() == [9, 9, 9]


def test_training_with_figures_is_bitwise_that_without(pretrain_here: Callable[..., Path]) -> None:
    shared = ("encoder.text.dropout=0.1", "engine.max_steps=8")  # what moves a generator would move the dropout
    without = pretrain_here("without", *shared)
    with_figures = pretrain_here("with", *shared, "engine.figures_every=1", "engine.projector=5")
    assert list(with_figures.glob("figures/*.png"))
    assert not (without / "figures").exists()
    one, other = last_checkpoint(without), last_checkpoint(with_figures)
    assert differences(one, other) == []
