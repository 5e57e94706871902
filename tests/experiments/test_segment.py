"""Segmentation: what is trained on and what comes of it, by hand-made pictures and by whole runs on a stand-in."""

import csv
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from flvlp.baselines import GivenEncoders
from flvlp.data.config import ImageConfig
from flvlp.data.transforms import fit_square
from flvlp.engine.log import RunLog
from flvlp.metrics.segmentation import overlaps
from flvlp.models.encoders import ViewEncoders
from segment import Args, Work, set_up
from support.downstream import Job
from support.entry import typed
from support.segmented import SELECTED_ON, THRESHOLDS
from tests.builders import HandMadeSource, encoder_config
from tests.conftest import ROOT, TWO_PROCESSES, environment
from tests.experiments.conftest import TINY, result_of
from tests.warm import run_entry

SIDE = 32
SMALL = (
    *("task.model.width=16", "task.fit.precision=fp32", "task.fit.num_workers=0"),
    *("task.fit.warmup_epochs=0", "task.fit.min_steps=0"),
)
Task = Callable[..., Path]


class BrightMasks(HandMadeSource):
    """High pictures; the first of two has a bright rectangle, which is its mask, annotated at half the size."""

    def __init__(self, size: int, unreadable: Sequence[int] = ()) -> None:
        super().__init__(size, unreadable)
        self.masks = self
        self.splits = {part: np.arange(size) for part in ("train", "validation", "test")}

    def of(self, index: int) -> np.ndarray:
        mask = np.zeros((48, 32), dtype=bool)
        if index % 2 == 0:
            top, left = np.random.default_rng(index).integers((2, 2), (28, 14))
            mask[top : top + 16, left : left + 12] = True
        return mask

    def _picture(self, index: int, view: int) -> np.ndarray:
        super()._picture(index, view)  # raises where it cannot be read
        return np.where(self.of(index).repeat(2, axis=0).repeat(2, axis=1), 220, 40).astype(np.uint8)


def read(*overrides: str) -> Args:
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        return typed(Args, compose("segment", overrides=[*SMALL, *overrides]))


def work_on(source: HandMadeSource, folder: Path, *overrides: str) -> Work:
    args = read(f"task.side={SIDE}", *overrides)
    torch.manual_seed(0)
    given = GivenEncoders("random", ViewEncoders(encoder_config()).eval(), ImageConfig(SIDE, SIDE), "")
    parts = dict(source.splits)
    job = Job(args, "segment", folder, torch.device("cpu"), given, source, parts, RunLog(folder), time.monotonic())
    return set_up(job, args)


@pytest.mark.parametrize("decoder", ["unet", "upernet"])
def test_what_is_learned_lies_where_it_is_drawn(tmp_path: Path, decoder: str) -> None:
    fit = ("task.fit.epochs=12", "task.fit.batch_size=4", "task.fit.lr=1e-2", "task.fit.patience=0")
    work = work_on(BrightMasks(16), tmp_path, f"task.model.decoder={decoder}", *fit)
    work.train()
    assert work.judge()["dice_positives"] > 0.7, work.judge()
    positions = np.array([6, 3, 0])
    drawn = work.masks(positions, 0.5)
    for row, position in enumerate(positions):
        picture = drawn["picture"][row, 0].numpy()
        assert np.array_equal(picture, fit_square(work.job.source.frontal(position), SIDE)), "in another order"
        is_same = (picture > 130) == drawn["truth"][row, 0].numpy()
        assert is_same.mean() > 0.99, "the mask is not where the picture is bright"


def test_counts_do_not_depend_on_the_batches_and_pictures_that_cannot_be_read_are_in_none(tmp_path: Path) -> None:
    work = work_on(BrightMasks(9, unreadable=(2, 5)), tmp_path, "dataset.on_error=skip", "task.model.prior=0.5")
    runs = [
        replace(work, loaders=replace(work.loaders, batch_size=size)).count("test", (0.4, 0.5)) for size in (1, 4, 9)
    ]
    for one in runs:
        assert one.positions.tolist() == [0, 1, 3, 4, 6, 7, 8]
        assert np.array_equal(one.truth, runs[0].truth)
        assert np.allclose(one.predicted, runs[0].predicted, atol=1), "a pixel may lie on the threshold"
        assert np.allclose(one.score, runs[0].score, atol=1e-5)
    assert runs[0].predicted.any()


def test_a_frozen_encoder_stays_as_it_was_and_a_trained_one_does_not(tmp_path: Path) -> None:
    for mode, moves in (("frozen", False), ("finetune", True)):
        work = work_on(BrightMasks(8), tmp_path, f"task.model.encoder_mode={mode}", "task.fit.epochs=1")
        before = [one.clone() for one in work.job.given.views.frontal.parameters()]
        work.train()
        after = list(work.job.given.views.frontal.parameters())
        moved = any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
        assert moved == moves, mode


@pytest.mark.parametrize("given", ["1.5", "high", "0"])
def test_a_wrong_threshold_says_what_is_right(given: str) -> None:
    with pytest.raises(ValueError, match=r"task\.threshold: must be auto or lie between 0 and 1"):
        read(f"task.threshold={given}")


def test_a_threshold_cannot_be_chosen_without_a_validation_part(tmp_path: Path) -> None:
    source = BrightMasks(4)
    source.splits["validation"] = source.splits["validation"][:0]
    with pytest.raises(ValueError, match=r"task\.threshold: auto is chosen on validation"):
        work_on(source, tmp_path, "task.threshold=auto")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


# A split of the small stand-in whose parts all have a positive, and a model that predicts something from the start.
QUICK = (*SMALL, "dataset.split_seed=4", "task.model.prior=0.5", "task.fit.epochs=2")


def test_the_table_of_a_run_gives_its_figures_again_and_pictures_are_drawn(task: Task) -> None:
    folder = task("segment", *QUICK, "task.threshold=auto", "pictures=4")
    row, lines = result_of(folder), rows_of(folder)
    assert (row["task"], row["headline"], row["mode"], row["decoder"]) == (
        "segment",
        "dice_positives",
        "frozen",
        "unet",
    )
    assert row["split"] == "siim/patient-70-15-15@phantom"
    assert row["images"]["tested"] == row["images"]["test"] == len(lines)
    columns = ("intersection", "truth_pixels", "predicted_pixels")
    both, truth, predicted = (np.array([int(line[name]) for line in lines]) for name in columns)
    assert predicted.any(), "the run shows nothing"
    for name, value in overlaps(both, truth, predicted, row["side"] ** 2).items():
        assert row["figures"][name] == (None if np.isnan(value) else pytest.approx(value)), name
    assert all(0 <= float(line["score"]) <= 1 for line in lines)
    assert len(list((folder / "overlays").glob("*.png"))) == 4
    # The threshold is that of the best epoch on validation; nothing of the test part enters.
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    epochs = [one for one in records if one["part"] == "validation"]
    best = max(epochs, key=lambda one: one[SELECTED_ON])
    assert row["figures"]["threshold"] == best["threshold"]
    assert best["threshold"] in THRESHOLDS


@pytest.mark.parametrize("credentialed", [True, False])
def test_masks_of_a_table_are_segmented_and_credentialed_pictures_leave_no_trace(
    task: Task, tmp_path: Path, credentialed: bool
) -> None:
    source = BrightMasks(12)
    lines = ["image,mask,part"]
    for index in range(12):
        Image.fromarray(source.frontal(index)).save(tmp_path / f"{index}.png")
        Image.fromarray(source.of(index).astype(np.uint8) * 255).save(tmp_path / f"{index}_mask.png")
        lines.append(f"{index}.png,{index}_mask.png,{('train', 'validation', 'test')[index % 3]}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    pairs = ("dataset=pairs", f"dataset.csv={tmp_path / 'table.csv'}", "dataset.frontal_column=image")
    columns = ("dataset.lateral_column=", "dataset.report_column=", "dataset.mask_column=mask")
    more = (*columns, "dataset.split_column=part", f"dataset.credentialed={str(credentialed).lower()}")
    folder = task("segment", *SMALL, "task.fit.epochs=1", *pairs, *more)
    assert [int(line["truth_pixels"]) > 0 for line in rows_of(folder)] == [True, False, True, False]
    assert (folder / "overlays").exists() is not credentialed
    assert any("row-" in line["id"] for line in rows_of(folder)) is not credentialed


def test_boxes_are_filled_as_masks_with_a_trained_encoder_of_another_size(task: Task) -> None:
    overrides = ("dataset=rsna", "task.side=48", "task.model.encoder_mode=finetune", "task.model.decoder=upernet")
    row = result_of(task("segment", *SMALL, "task.fit.max_steps=1", *overrides))
    assert (row["dataset"], row["mode"], row["decoder"], row["side"]) == ("rsna", "finetune", "upernet", 48)
    assert row["figures"]["positives"] > 0


@pytest.mark.slow
def test_two_processes_count_what_one_counts(task: Task, tmp_path: Path, standin_root: Path) -> None:
    """One step that moves nothing, so that both judge the same model."""
    still = (*QUICK, "task.fit.max_steps=1", "task.fit.lr=1e-12")
    one = task("segment", *still)
    line = [*TWO_PROCESSES, str(ROOT / "experiments" / "segment.py"), *TINY, *still, "task.fit.batch_size=3"]
    line += [f"dataset.standin_root={standin_root}", f"hydra.run.dir={tmp_path / 'two'}"]
    done = run_entry(line, tmp_path, environment())
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = rows_of(one), rows_of(tmp_path / "two")
    assert [line["id"] for line in first] == [line["id"] for line in second]
    for ours, theirs in zip(first, second, strict=True):
        assert ours["truth_pixels"] == theirs["truth_pixels"], ours["id"]
        assert float(ours["score"]) == pytest.approx(float(theirs["score"]), abs=1e-4)
        assert int(ours["predicted_pixels"]) == pytest.approx(int(theirs["predicted_pixels"]), abs=2)
    one_row, two_row = result_of(one), result_of(tmp_path / "two")
    assert (one_row["world_size"], two_row["world_size"]) == (1, 2)
    for key, value in one_row["figures"].items():
        assert two_row["figures"][key] == (None if value is None else pytest.approx(value, abs=2e-3)), key
