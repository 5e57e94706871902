"""What is made of found boxes: shares of the picture, the threshold, the pictures to look at, the files."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from detect import Args
from flvlp.baselines import GivenEncoders
from flvlp.data.config import ImageConfig
from flvlp.data.readers.config import RSNAConfig
from flvlp.data.studies import Boxes, Labels
from flvlp.engine.log import RunLog
from flvlp.metrics.detection import ImageBoxes, rsna_map
from flvlp.models.detector import Detections
from flvlp.models.encoders import ViewEncoders
from support.detected import (
    THRESHOLDS,
    Found,
    choose_pictures,
    choose_threshold,
    draw_boxes,
    found_of,
    padded,
    selection,
    unannotated,
    write_boxes,
)
from support.downstream import Job
from tests.builders import HandMadeSource, encoder_config
from tests.metrics.boxes import found, truth

NAMES = ("Lung Opacity",)


@pytest.mark.parametrize(("height", "width"), [(100, 100), (200, 100), (90, 130)])
def test_padded_rows_give_back_what_was_found_as_shares_of_the_picture(height: int, width: int) -> None:
    known = Boxes(NAMES, np.array([4]), np.array([[0.1, 0.2, 0.3, 0.4]], np.float32), np.array([0]))
    left, top = (100 - 100 * width / max(height, width)) / 2, (100 - 100 * height / max(height, width)) / 2
    centre = torch.tensor([[50.0 - (50 - left) / 2, 50 - (50 - top) / 2, 50 + (50 - left) / 2, 50 + (50 - top) / 2]])
    rows = padded([Detections(centre, torch.tensor([0]), torch.tensor([0.7])), Detections(*empty())], 3)
    assert rows["scores"].tolist() == [[pytest.approx(0.7), -1, -1], [-1, -1, -1]]
    sizes = torch.tensor([[height, width]] * 2)
    both = found_of(known, np.array([4, 9]), rows | {"sizes": sizes}, 100)
    assert [len(one) for one in both.truths] == [len(one) for one in both.predictions] == [1, 0]
    assert np.allclose(both.truths[0].boxes, [[0.1, 0.2, 0.4, 0.6]])
    assert np.allclose(both.predictions[0].boxes, [[0.25, 0.25, 0.75, 0.75]], atol=0.01), both.predictions[0].boxes


def empty() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0)


def part_of(pairs: Sequence[tuple[ImageBoxes, ImageBoxes]]) -> Found:
    return Found(np.arange(len(pairs)), [one for one, _ in pairs], [one for _, one in pairs])


BOX, ELSEWHERE = (0.1, 0.1, 0.4, 0.4), (0.6, 0.6, 0.9, 0.9)


def test_the_threshold_that_is_chosen_drops_false_alarms_and_keeps_hits() -> None:
    hits = [(truth(BOX), found((*BOX, 0.5 + row / 100))) for row in range(4)]
    alarms = [(truth(), found((*ELSEWHERE, 0.3))) for _ in range(4)]
    chosen = choose_threshold(part_of([*hits, *alarms]))
    assert 0.3 < chosen <= 0.5, chosen
    part = part_of([*hits, *alarms])
    assert np.nanmean(rsna_map(part.truths, part.predictions, chosen)) == 1
    assert chosen in THRESHOLDS
    worthless = part_of([(truth(BOX), found((*ELSEWHERE, 0.3)))])
    assert choose_threshold(worthless) == THRESHOLDS[0], "equal everywhere: the lowest"
    no_truth = part_of([(truth(), found((*ELSEWHERE, 0.3)))])
    assert choose_threshold(no_truth) == 0.5, "nothing to choose on: that of the literature"


def test_selection_credits_a_hit_that_ranks_below_a_false_alarm() -> None:
    low = part_of([(truth(BOX), found((*BOX, 0.01))), (truth(), found((*ELSEWHERE, 0.02)))])
    assert selection(low, NAMES)["ap_40_75"] == pytest.approx(0.5, abs=0.01)
    assert selection(part_of([(truth(), found((*BOX, 0.9)))]), NAMES) == {}, "no true box, no figure"


def test_best_median_worst_and_false_alarms_are_shown_none_twice() -> None:
    shifts = (0.02, 0.0, 0.06, 0.2, 0.04)  # of the found box: the larger, the worse
    pairs = [(truth(BOX), found((0.1 + shift, 0.1, 0.4 + shift, 0.4, 0.9))) for shift in shifts]
    pairs += [(truth(), found((*BOX, score))) for score in (0.6, 0.8, 0.1)] + [(truth(), found())]
    part = part_of(pairs)
    values = rsna_map(part.truths, part.predictions, 0.5)
    chosen = dict(choose_pictures(part, values, 0.5, 5))
    assert {chosen["best_1"], chosen["best_2"]} == {0, 1}
    assert (chosen["worst_1"], chosen["false_positive_1"]) == (3, 6)
    assert chosen["median_1"] in (2, 4)
    everything = choose_pictures(part, values, 0.5, 40)
    assert len({row for _, row in everything}) == len(everything) == 7, "the two without an alarm are not shown"
    assert choose_pictures(part, values, 0.5, 0) == []


def test_a_labelled_picture_without_a_box_is_unknown_and_no_negative() -> None:
    boxes = Boxes(("Mass", "Nodule"), np.array([1]), np.array([[0.1, 0.1, 0.2, 0.2]], np.float32), np.array([0]))
    values = np.array([[1, 0], [1, 0], [0, 1], [0, 0], [np.nan, 0]], dtype=np.float32)  # Mass, Nodule
    labels = Labels(("Mass", "Nodule"), values)
    assert unannotated(boxes, labels).tolist() == [0], "nodules have no box anywhere and say nothing"
    assert unannotated(boxes, Labels(("Pneumonia", "Hernia"), values)).tolist() == []
    assert unannotated(boxes, None).tolist() == []


@pytest.mark.parametrize("is_credentialed", [False, True])
def test_files_hold_every_picture_and_a_credentialed_set_leaves_neither_ids_nor_pictures(
    tmp_path: Path, is_credentialed: bool
) -> None:
    part = part_of([(truth(BOX, ELSEWHERE), found((*BOX, 0.9))), (truth(), found((*BOX, 0.7))), (truth(), found())])
    given = GivenEncoders("random", ViewEncoders(encoder_config()), ImageConfig(16, 16), "")
    args = Args(dataset=RSNAConfig(name="rsna", credentialed=is_credentialed))
    job = Job(
        args, "detect", tmp_path, torch.device("cpu"), given, HandMadeSource(3), {}, RunLog(tmp_path), time.monotonic()
    )
    write_boxes(job, part, NAMES)
    draw_boxes(job, part, 0.5)
    with (tmp_path / "targets.csv").open() as targets, (tmp_path / "predictions.csv").open() as predictions:
        expected, shown = list(csv.DictReader(targets)), list(csv.DictReader(predictions))
    assert [row["class"] for row in expected] == ["Lung Opacity"] * 2 + ["", ""]
    assert [float(row["score"]) for row in shown] == [0.9, 0.7]
    assert [float(shown[0][key]) for key in ("left", "top", "width", "height")] == pytest.approx([0.1, 0.1, 0.3, 0.3])
    assert ("study 0" in {row["id"] for row in expected}) is not is_credentialed
    drawn = sorted(path.name for path in tmp_path.glob("boxes/*.png"))
    assert drawn == ([] if is_credentialed else ["best_1-study_0.png", "false_positive_1-study_1.png"])
