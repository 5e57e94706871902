"""Dice and IoU in all conventions: by hand, against pixels in plain loops, and with intervals by patient."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from flvlp.metrics.segmentation import (
    CONVENTIONS,
    dice_per_image,
    iou_per_image,
    overlaps,
    segmentation_figures,
)
from tests.metrics.draws import patient_weights

# Overlap, truth, prediction: half right, missed, both empty, a false alarm.
HAND_MADE = np.array([2, 0, 0, 0]), np.array([4, 5, 0, 0]), np.array([4, 0, 0, 3])
Counts = tuple[np.ndarray, np.ndarray, np.ndarray]
SIDE = 8


def masks(seed: int, images: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Returns true and predicted masks (N, H, W) bool; some are empty."""
    generator = np.random.default_rng(seed)
    fill = generator.choice([0, 0.3, 0.8], size=(2, images, 1, 1))
    truths, predictions = generator.random((2, images, SIDE, SIDE)) < fill
    return truths, predictions


def pixels(truths: np.ndarray, predictions: np.ndarray) -> Counts:
    intersection, truth, predicted = (part.sum(axis=(1, 2)) for part in (truths & predictions, truths, predictions))
    return intersection, truth, predicted


def test_the_three_dice_of_a_hand_made_set() -> None:
    assert dice_per_image(*HAND_MADE).tolist() == [0.5, 0, 1, 0]
    assert iou_per_image(*HAND_MADE).tolist() == pytest.approx([2 / 6, 0, 1, 0])
    found = overlaps(*HAND_MADE, 10)
    # Pixels of the set: 2 of overlap, 9 true, 7 predicted, 40 in all; background: 40 - 14 = 26 shared, 31 and 33.
    expected = {
        "dice_all": 1.5 / 4,
        "dice_positives": 0.25,
        "dice_with_background": (2 * 2 / 16 + 2 * 26 / 64) / 2,
        "iou_positives": 1 / 6,
        "iou_pixels": 2 / 14,
    }
    assert found == pytest.approx(expected), f"{found}, by hand {expected}"


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_are_those_of_pixel_by_pixel_scikit_learn(seed: int) -> None:
    truths, predictions = masks(seed)
    found = overlaps(*pixels(truths, predictions), SIDE * SIDE)
    per_image = [f1_score(t.ravel(), p.ravel(), zero_division=1.0) for t, p in zip(truths, predictions, strict=True)]
    is_positive = truths.any(axis=(1, 2))
    dice = np.array(per_image)
    expected = {
        "dice_all": dice.mean(),
        "dice_positives": dice[is_positive].mean(),
        "dice_with_background": f1_score(truths.ravel(), predictions.ravel(), average="macro"),
        "iou_positives": (dice / (2 - dice))[is_positive].mean(),
        "iou_pixels": (truths & predictions).sum() / (truths | predictions).sum(),
    }
    assert found == pytest.approx(expected), f"{found}, scikit-learn {expected}"


@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_those_of_resampling_patients_one_by_one(seed: int) -> None:
    parts = pixels(*masks(seed))
    sizes = np.arange(12) + SIDE * SIDE  # images of different sizes
    patients = [f"p{i // 2}" for i in range(12)]
    found = segmentation_figures(*parts, sizes, patients=patients, draws=80, seed=seed)
    rows = [np.repeat(np.arange(12), weights) for weights in patient_weights(patients, 80, seed)]
    drawn = [overlaps(parts[0][some], parts[1][some], parts[2][some], sizes[some]) for some in rows]
    for name, point in overlaps(*parts, sizes).items():
        expected = [point, *np.nanpercentile([draw[name] for draw in drawn], (2.5, 97.5))]
        some = [found[f"{name}{end}"] for end in ("", "_low", "_high")]
        assert some == pytest.approx(expected), f"{name} {some}, one by one {expected}"


def test_counts_say_how_many_images_have_a_mask_and_how_many_others_were_left_empty() -> None:
    found = segmentation_figures(*HAND_MADE, 10, patients=list("abcd"), draws=20)
    counts = [found[name] for name in ("images", "positives", "negatives_left_empty")]
    assert counts == [4, 2, 0.5], f"{counts}: 4 images, 2 with a mask, 1 of 2 others left empty"


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_images_changes_nothing(seed: int) -> None:
    parts, order = pixels(*masks(seed)), np.random.default_rng(seed).permutation(12)
    shuffled = parts[0][order], parts[1][order], parts[2][order]
    patients = [f"p{i // 3}" for i in range(12)]
    expected = segmentation_figures(*parts, 64, patients=patients, draws=30)
    found = segmentation_figures(*shuffled, 64, patients=[patients[i] for i in order], draws=30)
    assert found == pytest.approx(expected), f"{found}, in order {expected}"


@pytest.mark.filterwarnings("error")
def test_a_set_without_any_foreground_is_nan_where_nothing_is_defined() -> None:
    nothing = np.zeros(4, dtype=np.int64)
    found = overlaps(nothing, nothing, nothing, 10)
    expected = dict.fromkeys(CONVENTIONS, np.nan) | {"dice_all": 1.0}
    assert found == pytest.approx(expected, nan_ok=True), f"{found}, only dice_all is defined"


def test_a_perfect_prediction_is_1_in_every_convention_and_an_empty_one_is_not() -> None:
    truth = np.array([3, 0, 7])
    assert overlaps(truth, truth, truth, 20) == dict.fromkeys(CONVENTIONS, 1.0)
    found = overlaps(np.zeros(3, int), truth, np.zeros(3, int), 20)
    expected = dict.fromkeys(CONVENTIONS, 0.0) | {"dice_all": 1 / 3, "dice_with_background": (2 * 50 / 110) / 2}
    assert found == pytest.approx(expected), f"{found}, an empty prediction {expected}"


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([], "0 images"),
        ([-1, 2, 2], "the overlap of 1 images is negative or larger"),
        ([3, 2, 4], "the overlap of 1 images is negative or larger"),
        ([0, 3, 3], "1 of them with more foreground than pixels"),
    ],
)
def test_counts_that_cannot_be_are_refused(counts: list[int], message: str) -> None:
    intersection, truth, predicted = np.array(counts, dtype=np.int64).reshape(3, -1)
    with pytest.raises(ValueError, match=message):
        overlaps(intersection, truth, predicted, 5)


def test_another_number_of_patients_or_of_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="3 patient ids for 4 images"):
        segmentation_figures(*HAND_MADE, 10, patients=list("abc"))
    with pytest.raises(ValueError, match=r"intersection of shape \(2,\), truth \(3,\)"):
        dice_per_image(np.zeros(2, int), np.zeros(3, int), np.zeros(3, int))
