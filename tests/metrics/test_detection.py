"""The measure of the RSNA challenge: by hand, against a plain loop, and what public code leaves out."""

import numpy as np
import pytest

from flvlp.metrics.detection import RSNA_IOUS, ImageBoxes, rsna_map, rsna_map_skipping
from tests.metrics.boxes import found, random_set, truth


def value(true: ImageBoxes, predicted: ImageBoxes) -> float:
    return float(rsna_map([true], [predicted])[0])


def test_an_exact_box_is_1_and_one_of_half_the_area_counts_below_an_iou_of_one_half() -> None:
    assert value(truth((0, 0, 10, 10)), found((0, 0, 10, 10, 0.9))) == 1
    half = value(truth((0, 0, 10, 10)), found((0, 0, 10, 5, 0.9)))
    assert half == 2 / 8, f"{half}: IoU 0.5 is more than 0.40 and 0.45, and not more than 0.50"


def test_a_missed_box_and_a_false_one_both_count_in_the_denominator() -> None:
    missed = value(truth((0, 0, 10, 10), (50, 50, 60, 60)), found((0, 0, 10, 10, 0.9)))
    assert missed == 1 / 2, f"{missed}, one of two boxes found"
    alarm = value(truth((0, 0, 10, 10)), found((0, 0, 10, 10, 0.6), (50, 50, 60, 60, 0.9), (80, 80, 90, 90, 0.7)))
    assert alarm == pytest.approx(1 / 3), f"{alarm}, one hit and two false ones"


def test_images_with_boxes_on_one_side_only_count_0_and_those_without_any_are_left_out() -> None:
    truths = [truth((0, 0, 10, 10)), truth(), truth()]
    predictions = [found(), found((0, 0, 10, 10, 0.9)), found()]
    values = rsna_map(truths, predictions).tolist()
    assert values == pytest.approx([0, 0, np.nan], nan_ok=True), f"{values}"


def test_predictions_below_the_threshold_are_dropped_and_one_at_it_stays() -> None:
    pair = [truth((0, 0, 10, 10))], [found((0, 0, 10, 10, 0.5), (50, 50, 60, 60, 0.49))]
    assert rsna_map(*pair).tolist() == [1], "only the box of score 0.5 is left"
    assert rsna_map(*pair, score_threshold=0.3).tolist() == [0.5], "the false box counts too"
    assert rsna_map(*pair, score_threshold=0.6).tolist() == [0], "nothing is left: missed"


def test_a_true_box_is_found_once_and_by_the_prediction_of_the_highest_score() -> None:
    twice = value(truth((0, 0, 10, 10)), found((0, 0, 10, 10, 0.6), (0, 0, 10, 10, 0.9)))
    assert twice == 1 / 2, f"{twice}, the second of two equal boxes is false"
    # The surer prediction overlaps both true boxes, B most, and takes B; the other fits B alone and is left with none.
    boxes = truth((0, 0, 10, 10), (4, 0, 14, 10))
    greedy = value(boxes, found((3, 0, 13, 10, 0.9), (5, 0, 15, 10, 0.8)))
    order = value(boxes, found((3, 0, 13, 10, 0.8), (5, 0, 15, 10, 0.9)))
    assert greedy == pytest.approx(1 / 3), f"{greedy}, the surer one takes the box that the other needs"
    assert order > greedy, f"{order} in the other order, {greedy}"


def test_a_box_of_another_class_is_not_found() -> None:
    assert value(truth((0, 0, 10, 10), classes=[1]), found((0, 0, 10, 10, 0.9), classes=[0])) == 0


def test_the_skipping_variant_leaves_out_missed_and_negative_images_and_is_never_lower() -> None:
    truths = [truth((0, 0, 10, 10)), truth((0, 0, 10, 10)), truth(), truth()]
    predictions = [found((0, 0, 10, 10, 0.9)), found((0, 0, 10, 10, 0.4)), found((0, 0, 5, 5, 0.9)), found()]
    values = rsna_map_skipping(truths, predictions).tolist()
    assert values == pytest.approx([1, np.nan, np.nan, np.nan], nan_ok=True), f"{values}"
    honest = np.nanmean(rsna_map(truths, predictions))
    assert honest == pytest.approx(1 / 3), f"{honest}, one of three images that count"


def plain_loop(true: ImageBoxes, predicted: ImageBoxes, threshold: float) -> float:
    """TP / (TP + FP + FN) of one image, written from the rules of the challenge."""
    assert predicted.scores is not None
    free, hits = list(range(len(true))), 0
    for i in sorted(range(len(predicted)), key=lambda i: -predicted.scores[i]):  # type: ignore[index]
        overlaps = {}
        for j in free:
            a, b = predicted.boxes[i], true.boxes[j]
            width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            both = max(width, 0) * max(height, 0)
            area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
            overlaps[j] = both / area if predicted.classes[i] == true.classes[j] else 0.0
        best = max(overlaps, key=lambda j: overlaps[j], default=None)
        if best is not None and overlaps[best] > threshold:
            free.remove(best)
            hits += 1
    return hits / (len(predicted) + len(true) - hits)


@pytest.mark.parametrize("seed", range(6))
def test_values_are_those_of_a_plain_loop_in_any_order_of_images_and_boxes(seed: int) -> None:
    truths, predictions = random_set(seed)
    values = rsna_map(truths, predictions, score_threshold=0.0)
    for true, predicted, some in zip(truths, predictions, values, strict=True):
        if len(true) or len(predicted):
            expected = np.mean([plain_loop(true, predicted, threshold) for threshold in RSNA_IOUS])
            assert some == pytest.approx(expected), f"{some}, by a plain loop {expected}"
        else:
            assert np.isnan(some), f"{some} without any box, expected NaN"
    turned = [ImageBoxes(p.boxes[::-1], p.classes[::-1], p.scores[::-1]) for p in predictions if p.scores is not None]
    backwards = rsna_map(truths[::-1], turned[::-1], score_threshold=0.0)[::-1]
    assert backwards == pytest.approx(values, nan_ok=True), f"{backwards} with all turned round, {values}"


@pytest.mark.parametrize(
    ("boxes", "classes", "scores", "message"),
    [
        (np.zeros((2, 3)), np.zeros(2), None, r"boxes \(2, 3\), classes \(2,\)"),
        (np.zeros((2, 4)), np.zeros(1), None, r"classes \(1,\)"),
        (np.zeros((2, 4)), np.zeros(2), np.zeros(3), r"scores of shape \(3,\) for 2 boxes"),
        (np.zeros((1, 4)), np.zeros(1), np.array([np.nan]), "finite numbers"),
        (np.array([[5.0, 5, 3, 9]]), np.zeros(1), None, "ends before it begins"),
        (np.array([[0, 0, np.inf, 9]]), np.zeros(1), None, "or a side is no number"),
    ],
)
def test_boxes_that_cannot_be_are_refused(
    boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray | None, message: str
) -> None:
    with pytest.raises(ValueError, match=f"ImageBoxes: .*{message}"):
        ImageBoxes(boxes, classes, scores)


def test_lists_that_do_not_match_and_predictions_without_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="true boxes of 1 images, predictions of 2"):
        rsna_map([truth()], [found(), found()])
    with pytest.raises(ValueError, match="true boxes of 0 images"):
        rsna_map([], [])
    with pytest.raises(ValueError, match="predictions without scores"):
        rsna_map([truth()], [truth((0, 0, 1, 1))])
