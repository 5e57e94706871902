"""Detection: what is trained on and what comes of it, by hand-made pictures and by whole runs on a stand-in."""

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from detect import Args, check_parts, criterion, find_boxes, train
from flvlp.baselines import GivenEncoders
from flvlp.data.config import ImageConfig
from flvlp.data.loaders import PictureLoaders
from flvlp.data.pictures import BoxDataset, CollateBoxes
from flvlp.data.studies import Boxes
from flvlp.engine.log import RunLog
from flvlp.metrics.detection import ImageBoxes
from flvlp.metrics.detection_figures import detection_figures
from flvlp.models.detector import Detector
from flvlp.models.encoders import ViewEncoders
from support.detected import Found, selection
from support.downstream import Job
from support.entry import typed
from tests.builders import HandMadeSource, encoder_config
from tests.conftest import ONE_PROCESS, ROOT, TWO_PROCESSES, environment
from tests.warm import run_entry

SIDE = 48
NAMES = ("Lung Opacity",)


class BrightBoxes(HandMadeSource):
    """High pictures; the first of two has one bright rectangle, which is its box."""

    def __init__(self, size: int, unreadable: Sequence[int] = ()) -> None:
        super().__init__(size, unreadable)
        drawn = np.random.default_rng(0).uniform((0.1, 0.1, 0.25, 0.2), (0.5, 0.5, 0.45, 0.4), (size, 4))
        with_box = np.arange(0, size, 2)
        self.boxes = Boxes(NAMES, with_box, drawn[with_box].astype(np.float32), np.zeros(len(with_box), np.int64))
        self.splits = {part: np.arange(size) for part in ("train", "validation", "test")}

    def _picture(self, index: int, view: int) -> np.ndarray:
        super()._picture(index, view)  # raises where it cannot be read
        picture = np.full((96, 64), 40, dtype=np.uint8)
        assert self.boxes is not None
        for left, top, width, height in self.boxes.of(index)[0] * (64, 96, 64, 96):
            picture[round(top) : round(top + height), round(left) : round(left + width)] = 220
        return picture


def read(*overrides: str) -> Args:
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        return typed(Args, compose("detect", overrides=list(overrides)))


def job_on(source: HandMadeSource, args: Args, folder: Path) -> Job:
    torch.manual_seed(0)
    given = GivenEncoders("random", ViewEncoders(encoder_config()).eval(), ImageConfig(SIDE, SIDE), "")
    folder.mkdir(exist_ok=True)
    parts = {part: positions for part, positions in source.splits.items() if part in ("train", "validation", "test")}
    return Job(args, "detect", folder, torch.device("cpu"), given, source, parts, RunLog(folder), time.monotonic())


def loaders_of(args: Args) -> PictureLoaders:
    return PictureLoaders(CollateBoxes(SIDE), args.seed, args.task.fit.batch_size, 0, rank=0, world_size=1)


def detector_of(job: Job, args: Args) -> Detector:
    job.given.views.frontal.set_input_size(SIDE)
    return Detector(job.given.views.frontal, 1, args.task.model)


SMALL = ("task.model.width=32", "task.model.convolutions=1", "task.fit.precision=fp32", "task.fit.warmup_epochs=0")


def test_what_is_learned_lies_where_it_is_drawn_in_the_original_picture(tmp_path: Path) -> None:
    args = read(*SMALL, "task.fit.epochs=12", "task.fit.batch_size=4", "task.fit.lr=3e-3", "task.fit.patience=0")
    job = job_on(BrightBoxes(16), args, tmp_path / "run")
    model, loaders = detector_of(job, args), loaders_of(args)
    plain = BoxDataset(job.source, SIDE, seed=0, is_training=False, on_error="raise")

    def find(part: str) -> Found:
        return find_boxes(job, args, model, loaders=loaders, plain=plain, part=part)

    train(job, args, model, loaders=loaders, side=SIDE, find=find)
    value = selection(find("test"), NAMES)["ap_40_75"]
    assert value > 0.5, f"average precision on the training pictures {value:.3f}"


def test_figures_do_not_depend_on_the_batches_and_pictures_that_cannot_be_read_are_in_none(tmp_path: Path) -> None:
    args = read(*SMALL, "dataset.on_error=skip")
    job = job_on(BrightBoxes(9, unreadable=(2, 5)), args, tmp_path / "run")
    model = detector_of(job, args)
    plain = BoxDataset(job.source, SIDE, seed=0, is_training=False, on_error="skip")
    runs = [
        find_boxes(job, args, model, loaders=replace(loaders_of(args), batch_size=size), plain=plain, part="test")
        for size in (1, 4, 9)
    ]
    for one in runs:
        assert one.positions.tolist() == [0, 1, 3, 4, 6, 7, 8]
        for image, first in zip(one.predictions, runs[0].predictions, strict=True):
            assert len(image) == len(first) > 0
            assert image.scores is not None
            assert first.scores is not None
            assert np.allclose(image.scores, first.scores, atol=1e-5)
            assert (image.boxes >= 0).all()
            assert (image.boxes <= 1).all()


def test_a_picture_that_cannot_be_read_is_no_negative() -> None:
    """The blank that stands for it would be one: the loss must be that of the others, counted as their number."""
    source = BrightBoxes(4, unreadable=(2,))
    dataset = BoxDataset(source, SIDE, seed=0, is_training=False, on_error="skip")
    collate = CollateBoxes(SIDE)
    whole = collate([dataset[0, position] for position in (0, 1, 2, 3)])
    rest = collate([dataset[0, position] for position in (0, 1, 3)])
    assert whole.sizes.tolist() == [[96, 64], [96, 64], [0, 0], [96, 64]]
    torch.manual_seed(0)
    encoder = ViewEncoders(encoder_config()).eval().frontal
    encoder.set_input_size(SIDE)
    model = Detector(encoder, 1, read(*SMALL).task.model)
    (loss, count), (expected, number) = criterion(model, whole), criterion(model, rest)
    assert (int(count), int(number)) == (3, 3)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.item() > 0


def test_a_split_that_nothing_can_be_learned_from_stops_with_a_way_out(tmp_path: Path) -> None:
    args = read()
    job = job_on(BrightBoxes(8), args, tmp_path / "run")
    assert job.source.boxes is not None
    check_parts(job, args, job.source.boxes)
    job.parts["validation"] = job.parts["validation"][:0]
    with pytest.raises(ValueError, match=r"task\.score_threshold"):
        check_parts(job, args, job.source.boxes)
    check_parts(job, read("task.score_threshold=0.5"), job.source.boxes)
    job.parts["train"] = np.array([1, 3])
    with pytest.raises(ValueError, match=r"train part .* has a box"):
        check_parts(job, args, job.source.boxes)


@pytest.mark.parametrize("given", ["1.5", "high", "-0.1"])
def test_a_wrong_threshold_says_what_is_right(given: str) -> None:
    with pytest.raises(Exception, match=r"task\.score_threshold"):
        read(f"task.score_threshold={given}")


def run_detect(folder: Path, root: Path, *overrides: str, launcher: Sequence[str] = ONE_PROCESS) -> Path:
    """Trains one step that moves nothing, so that runs of any batch and world size judge the same detector."""
    line = [*launcher, str(ROOT / "experiments" / "detect.py"), "encoders=random", f"hydra.run.dir={folder}"]
    line += [f"dataset.standin_root={root}", "dataset.standin_studies=60", "dataset.standin_size=64", "draws=20"]
    line += ["encoder.resize=64", "encoder.crop=56", *SMALL, "task.fit.max_steps=1", "task.fit.lr=1e-12"]
    line += ["task.fit.num_workers=0", "pictures=4", *overrides]
    done = run_entry(line, root, environment())
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def standins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("standins")


@pytest.fixture(scope="module")
def finished(standins: Path) -> Path:
    return run_detect(standins / "one", standins, "task.fit.batch_size=8")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def images_of(folder: Path) -> tuple[list[str], list[ImageBoxes], list[ImageBoxes]]:
    """Reads what a run wrote: names, true and found boxes of every tested picture."""
    targets, predictions = rows_of(folder / "targets.csv"), rows_of(folder / "predictions.csv")
    names = sorted({row["id"] for row in targets})

    def boxes_of(rows: list[dict[str, str]], name: str) -> np.ndarray:
        values = [[float(row[key]) for key in ("left", "top", "width", "height")] for row in rows]
        kept = [value for value, row in zip(values, rows, strict=True) if row["id"] == name]
        boxes = np.array(kept, dtype=float).reshape(-1, 4)
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)

    with_box = [row for row in targets if row["class"]]
    truths = [boxes_of(with_box, name) for name in names]
    scores = [np.array([float(row["score"]) for row in predictions if row["id"] == name]) for name in names]
    shown = [boxes_of(predictions, name) for name in names]
    return (
        names,
        [ImageBoxes(one, np.zeros(len(one), int)) for one in truths],
        [ImageBoxes(one, np.zeros(len(one), int), score) for one, score in zip(shown, scores, strict=True)],
    )


def test_the_tables_of_a_run_give_its_figures_again(finished: Path) -> None:
    row = json.loads((finished / "result.json").read_text())
    names, truths, predictions = images_of(finished)
    assert len(names) == row["images"]["tested"] == row["images"]["test"]
    threshold = row["figures"]["score_threshold"]
    again = detection_figures(truths, predictions, NAMES, names, score_threshold=threshold, draws=2)
    for key in ("rsna_map", "coco_map", "ap_40_75", "coco_ap50", "positives", "boxes", "predictions", "images"):
        assert row["figures"][key] == pytest.approx(again[key], rel=1e-3, abs=1e-6), key
    assert {"rsna_map_low", "rsna_map_high", "coco_ap/Lung Opacity", "ap_40_75_skipping"} <= set(row["figures"])
    assert (row["task"], row["headline"], row["detector"], row["mode"]) == ("detect", "rsna_map", "fcos", "frozen")
    assert row["split"].endswith("@phantom")


def test_a_run_leaves_drawn_boxes_of_chosen_pictures(finished: Path) -> None:
    kinds = {path.name.split("_")[0] for path in (finished / "boxes").glob("*.png")}
    assert {"best", "worst"} <= kinds, kinds


@pytest.mark.slow
def test_two_processes_find_what_one_finds(finished: Path, standins: Path) -> None:
    two = run_detect(standins / "two", standins, "task.fit.batch_size=3", launcher=TWO_PROCESSES)
    one_row, two_row = (json.loads((folder / "result.json").read_text()) for folder in (finished, two))
    assert (one_row["world_size"], two_row["world_size"]) == (1, 2)
    (names, truths, ours), (other_names, other_truths, others) = images_of(finished), images_of(two)
    assert names == other_names
    for name, mine, its, one, other in zip(names, truths, other_truths, ours, others, strict=True):
        assert np.array_equal(mine.boxes, its.boxes), name
        assert one.scores is not None
        assert other.scores is not None
        assert np.allclose(np.sort(one.scores), np.sort(other.scores), atol=1e-4), name
    for key, value in one_row["figures"].items():
        assert two_row["figures"][key] == pytest.approx(value, abs=2e-3), key
