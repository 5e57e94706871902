"""What segmentation measures, by hand-made pixels."""

import numpy as np
import pytest
import torch

from flvlp.data.studies import Boxes
from support.segmented import SELECTED_ON, THRESHOLDS, Counted, balanced, choose_examples, pixel_counts, selection
from tests.builders import HandMadeSource


def counted(truth: list[int], predicted: list[list[int]], intersection: list[list[int]]) -> Counted:
    true, found, both = (np.array(values, dtype=np.int64) for values in (truth, predicted, intersection))
    return Counted(np.arange(len(truth)), true, found, both, score=np.zeros(len(truth)), side=10)


def test_pixels_are_counted_picture_by_picture_at_every_threshold() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 1, 6, 6, generator=generator)
    masks = torch.rand(5, 1, 6, 6, generator=generator) < 0.3
    masks[2] = False
    thresholds = (0.3, 0.5, 0.8)
    counts = pixel_counts(logits, masks, thresholds)
    for row in range(5):
        probabilities, mask = logits[row].sigmoid(), masks[row]
        assert counts["truth"][row] == sum(bool(one) for one in mask.flatten())
        assert counts["score"][row] == pytest.approx(max(probabilities.flatten().tolist()))
        for column, threshold in enumerate(thresholds):
            inside = [one >= threshold for one in probabilities.flatten().tolist()]
            both = [one and bool(other) for one, other in zip(inside, mask.flatten(), strict=True)]
            assert counts["predicted"][row, column] == sum(inside)
            assert counts["intersection"][row, column] == sum(both)


def test_a_pixel_that_reaches_the_threshold_is_predicted() -> None:
    counts = pixel_counts(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.bool), (0.5, 0.51))
    assert counts["predicted"].tolist() == [[4, 0]]


def test_the_threshold_is_that_of_the_largest_overlap_of_all_pixels() -> None:
    """At the first one the mask is found better, but the other picture is full of false alarms."""
    figures = selection(counted([10, 0], [[10, 8], [50, 2]], [[10, 8], [0, 0]]), (0.2, 0.6))
    assert figures["threshold"] == 0.6
    assert figures["iou_pixels"] == pytest.approx(8 / 12)
    assert figures["dice_positives"] == pytest.approx(2 * 8 / 18)
    assert figures["dice_all"] == pytest.approx(8 / 18)


def test_neither_marking_nothing_nor_marking_everything_makes_a_good_epoch() -> None:
    truth, finds = [10, 0, 0, 0], [[9], [0], [0], [0]]
    right = selection(counted(truth, [[10], [3], [3], [0]], finds), (0.5,))
    nothing = selection(counted(truth, [[0], [0], [0], [0]], [[0], [0], [0], [0]]), (0.5,))
    everywhere = selection(counted(truth, [[10], [60], [60], [60]], [[10], [0], [0], [0]]), (0.5,))
    assert nothing["dice_all"] > right["dice_all"], "the first would be chosen by this figure"
    assert everywhere["dice_positives"] > right["dice_positives"], "the second by this one"
    assert right[SELECTED_ON] > everywhere[SELECTED_ON] > nothing[SELECTED_ON]


def test_without_a_mask_there_is_no_figure_to_select_on_and_the_threshold_is_the_middle_one() -> None:
    many = [[3] * len(THRESHOLDS)] * 2
    assert selection(counted([0, 0], many, [[0] * len(THRESHOLDS)] * 2), THRESHOLDS) == {"threshold": 0.5}


@pytest.mark.parametrize(("ratio", "expected"), [(None, 12), (1.0, 8), (0.5, 6), (0.0, 4), (5.0, 12)])
def test_every_positive_is_trained_on_and_negatives_in_proportion(ratio: float | None, expected: int) -> None:
    source = HandMadeSource(20)
    positions = np.arange(4, 16)
    source.boxes = Boxes(("opacity",), np.array([4, 4, 6, 9, 14, 19]), np.zeros((6, 4), np.float32), np.zeros(6, int))
    chosen = balanced(source, positions, ratio, seed=0)
    assert {4, 6, 9, 14} <= set(chosen) <= set(positions)
    assert len(chosen) == len(set(chosen)) == expected
    assert np.array_equal(chosen, balanced(source, positions, ratio, seed=0))
    if ratio == 1.0:
        others = [tuple(balanced(source, positions, ratio, seed=seed)) for seed in range(8)]
        assert len(set(others)) > 1, "every seed draws the same negatives"


def test_a_training_part_without_a_mask_says_what_to_do() -> None:
    source = HandMadeSource(6)
    source.boxes = Boxes(("opacity",), np.array([5]), np.zeros((1, 4), np.float32), np.zeros(1, int))
    with pytest.raises(ValueError, match=r"none of the 5 pictures .* larger label_fraction"):
        balanced(source, np.arange(5), 1.0, seed=0)


def test_examples_are_best_middle_worst_false_alarms_and_the_first_of_all() -> None:
    # Dice of rows 0 to 4: 0.2, 0.8, 0.5, none, 0.9; row 5 and 7 are false alarms, the larger one last.
    truth, predicted = [10, 10, 10, 10, 10, 0, 0, 0], [10, 10, 10, 10, 10, 3, 0, 9]
    both = [2, 8, 5, 0, 9, 0, 0, 0]
    one = counted(truth, [[value] for value in predicted], [[value] for value in both])
    examples = choose_examples(one, 8)
    assert examples[:5] == [("best_1", 4), ("median_1", 2), ("worst_1", 3), ("false_positive_1", 7), ("first_1", 0)]
    assert sorted(row for _, row in examples) == list(range(8)), "each once"
    assert ("false_positive_2", 5) in examples
    assert choose_examples(one, 3) == examples[:3]
    assert choose_examples(one, 0) == []
    assert len(choose_examples(one, 50)) == 8
