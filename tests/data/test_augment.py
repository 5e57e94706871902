"""Random changes of training pictures: mask and boxes move along, and chance is a function of the key alone."""

from typing import Any

import numpy as np
import pytest
import torch

from flvlp.data.augment import Augment
from flvlp.data.config import AugmentConfig

SIDE = 96
AFFINE = AugmentConfig(degrees=20, translate=0.1, scale=0.2)
ALL = AugmentConfig(degrees=20, translate=0.1, scale=0.2, brightness=0.3, contrast=0.3)
NO_BOX, NO_CLASS = np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64)
KEYS = range(20)


def rectangle(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a black picture with one white rectangle, and its box (1, 4)."""
    left, top, width, height = np.random.default_rng(number).integers((20, 20, 12, 12), (45, 45, 30, 30))
    picture = np.zeros((SIDE, SIDE), dtype=np.uint8)
    picture[top : top + height, left : left + width] = 255
    return picture, np.array([[left, top, left + width, top + height]], dtype=np.float32)


def noise(height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("key", KEYS)
def test_a_mask_stays_on_its_bright_pixels(key: int) -> None:
    picture, _ = rectangle(key)
    moved, mask = Augment(AFFINE).with_mask(picture, picture > 0, [0, key])
    assert mask.dtype == bool
    assert not np.array_equal(moved, picture), "nothing moved: the test shows nothing"
    assert overlap(mask, moved > 127) > 0.9, f"IoU {overlap(mask, moved > 127)}, expected more than 0.9"


@pytest.mark.parametrize("key", KEYS)
def test_a_box_encloses_its_bright_pixels_and_no_more_than_a_turn_of_20_degrees_adds(key: int) -> None:
    picture, box = rectangle(key)
    moved, boxes, classes = Augment(AFFINE).with_boxes(picture, box, np.array([3]), [0, key])
    rows, columns = np.nonzero(moved > 127)
    bright = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert (boxes.dtype, boxes.shape, classes.tolist()) == (np.float32, (1, 4), [3])
    assert np.abs(boxes[0] - bright).max() <= 1, f"box {boxes[0]}, bright pixels {bright}"


def test_the_three_kinds_of_target_change_the_picture_alike() -> None:
    picture, box = rectangle(0)
    change = Augment(ALL)
    alone = change.view(picture, [1, 2])
    assert np.array_equal(change.with_mask(picture, picture > 0, [1, 2])[0], alone)
    assert np.array_equal(change.with_boxes(picture, box, np.array([0]), [1, 2])[0], alone)
    assert alone.dtype == np.uint8
    assert alone.shape == picture.shape


def test_the_key_alone_decides_and_every_number_of_it_matters() -> None:
    change, picture = Augment(ALL), noise()
    drawn = {key: change.view(picture, key) for key in [(0, 0, 7), (1, 0, 7), (0, 1, 7), (0, 0, 8), (0, 0, 2**62 + 7)]}
    torch.manual_seed(5)
    torch.rand(3)
    for key in reversed(drawn):
        assert np.array_equal(Augment(ALL).view(picture, key), drawn[key]), f"{key} drawn another way"
    assert len({one.tobytes() for one in drawn.values()}) == len(drawn)


def test_no_global_generator_moves_not_even_that_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(*_: Any) -> None:
        raise AssertionError("the generator of a GPU was seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", moved)
    states = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]
    Augment(ALL).view(noise(), [0])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], states[1])


def test_what_is_given_is_not_changed() -> None:
    picture, box = rectangle(1)
    mask, classes = picture > 0, np.array([1])
    kept = [one.copy() for one in (picture, mask, box, classes)]
    for config in (ALL, AugmentConfig()):
        Augment(config).with_mask(picture, mask, [0])[0][:] = 7
        Augment(config).with_boxes(picture, box, classes, [0])[1][:] = 7
    for one, before in zip((picture, mask, box, classes), kept, strict=True):
        assert np.array_equal(one, before)


def test_nothing_asked_for_changes_nothing() -> None:
    picture, box = rectangle(2)
    change = Augment(AugmentConfig())
    assert np.array_equal(change.view(picture, [0]), picture)
    assert np.array_equal(change.with_mask(picture, picture > 0, [0])[1], picture > 0)
    assert np.array_equal(change.with_boxes(picture, box, np.array([1]), [0])[1], box)


def test_grey_levels_change_within_their_range_and_leave_mask_and_boxes_alone() -> None:
    picture = np.full((SIDE, SIDE), 100, dtype=np.uint8)
    mask, box = rectangle(3)
    change = Augment(AugmentConfig(brightness=0.2))
    levels = [int(change.view(picture, [key])[0, 0]) for key in range(50)]
    assert 80 <= min(levels) < 85, f"darkest {min(levels)} of 100"
    assert 115 < max(levels) <= 120, f"brightest {max(levels)} of 100"
    assert np.array_equal(change.with_mask(picture, mask > 0, [0])[1], mask > 0)
    assert np.array_equal(change.with_boxes(picture, box, np.array([0]), [0])[1], box)


def test_shift_and_size_stay_in_their_range_and_reach_its_ends() -> None:
    picture = np.zeros((SIDE, SIDE), dtype=np.uint8)
    picture[38:58, 38:58] = 255
    middle = (SIDE - 1) / 2
    shifted = [np.argwhere(Augment(AugmentConfig(translate=0.1)).view(picture, [key]) > 127) for key in range(60)]
    shifts = np.array([places.mean(axis=0) - middle for places in shifted])
    assert 0.08 * SIDE < np.abs(shifts).max() <= 0.1 * SIDE + 1, f"largest shift {np.abs(shifts).max()} pixels"
    scaled = [(Augment(AugmentConfig(scale=0.2)).view(picture, [key]) > 127).sum() for key in range(60)]
    sizes = np.sqrt(np.array(scaled)) / 20
    assert 0.75 < sizes.min() < 0.85, f"smallest {sizes.min()}"
    assert 1.15 < sizes.max() < 1.25, f"largest {sizes.max()}"


def test_left_stays_left() -> None:
    picture = np.zeros((SIDE, SIDE), dtype=np.uint8)
    picture[:, : SIDE // 2] = 200
    for key in range(30):
        moved = Augment(ALL).view(picture, [key]).astype(int)
        middle = slice(SIDE // 4, -SIDE // 4)
        left, right = moved[middle, SIDE // 4 : SIDE // 2].mean(), moved[middle, SIDE // 2 : -SIDE // 4].mean()
        assert left > right, f"key {key}: left {left}, right {right}"


def test_a_box_outside_is_gone_with_its_class_and_one_across_the_edge_is_cut() -> None:
    boxes = np.array([[-9, -9, -2, -2], [-5, 3, 4, 140], [10, 10, 10.5, 20], [2, 2, 3, 3]], dtype=np.float32)
    _, left, classes = Augment(AugmentConfig()).with_boxes(noise(), boxes, np.array([5, 6, 7, 8]), [0])
    assert classes.tolist() == [6, 8], f"{classes}, expected those of the second and the last box"
    assert left.tolist() == [[0, 3, 4, SIDE], [2, 2, 3, 3]]
    far = Augment(AugmentConfig(translate=0.9))
    counts = [len(far.with_boxes(noise(), boxes[1:2], np.array([6]), [key])[1]) for key in KEYS]
    assert set(counts) == {0, 1}, f"boxes left by far shifts: {counts}"


@pytest.mark.parametrize("config", [ALL, AugmentConfig()])
def test_a_picture_without_boxes_and_one_that_is_no_square_are_fine(config: AugmentConfig) -> None:
    picture, boxes, classes = Augment(config).with_boxes(noise(40, 60), NO_BOX, NO_CLASS, [0])
    assert (picture.shape, boxes.shape, classes.shape) == ((40, 60), (0, 4), (0,))
    assert (boxes.dtype, classes.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(("key", "value"), [("degrees", 181), ("degrees", -1), ("scale", 1), ("translate", -0.1)])
def test_a_change_out_of_range_is_refused_with_its_key(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"task\.augment\.{key}: must lie in \[0, .*got {value}"):
        AugmentConfig(**{key: value})
