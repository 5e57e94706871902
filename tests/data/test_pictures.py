"""Data sets of the downstream tasks: targets lie on their pixels, chance is a function of (seed, epoch, study)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from flvlp.data.config import AugmentConfig, ImageConfig
from flvlp.data.images import ImageReadError
from flvlp.data.pictures import BoxDataset, MaskDataset, PictureDataset, PictureSample, ViewDataset
from flvlp.data.studies import Boxes, Labels
from flvlp.data.transforms import crop_view, fit_boxes, fit_square
from tests.builders import HandMadeSource

SIDE = 48
IMAGE = ImageConfig(resize=64, crop=32)
AUGMENT = AugmentConfig(degrees=15, translate=0.1, scale=0.1, brightness=0.2, contrast=0.2)
MOVES = AugmentConfig(degrees=15, translate=0.1, scale=0.1)
SHAPES = [(96, 96), (96, 64), (40, 120), (77, 51)]


class Painted(HandMadeSource):
    """Black pictures of a given shape, each with one white rectangle that is its box and its mask.

    The annotation's mask is twice as large as the picture, as after a pixel cache.
    """

    def __init__(self, shape: tuple[int, int] = (64, 64), size: int = 6, unreadable: tuple[int, ...] = ()) -> None:
        super().__init__(size, unreadable)
        height, width = shape
        self.shape = shape
        # Whole pixels: left, top, width, height.
        pixels = [(width // 4 + i, height // 5 + i, width // 3, height // 3) for i in range(size)]
        self.pixels = np.array(pixels)
        shares = (self.pixels / [width, height, width, height]).astype(np.float32)
        self.boxes = Boxes(("opacity", "nodule"), np.arange(size), shares, np.arange(size) % 2)
        self.labels = Labels(("opacity",), (np.arange(size)[:, None] % 2).astype(np.float32))
        self.masks = self

    def _picture(self, index: int, view: int) -> np.ndarray:
        super()._picture(index, view)  # raises for the unreadable
        return self.of(index)[::2, ::2].astype(np.uint8) * 255

    def of(self, index: int) -> np.ndarray:
        """Returns the mask of a study."""
        left, top, width, height = 2 * self.pixels[index]
        mask = np.zeros((2 * self.shape[0], 2 * self.shape[1]), dtype=bool)
        mask[top : top + height, left : left + width] = True
        return mask


def views(source: HandMadeSource, with_lateral: bool = True, **changes: Any) -> ViewDataset:
    return ViewDataset(source, IMAGE, with_lateral=with_lateral, **common(**changes))


def masks(source: HandMadeSource, **changes: Any) -> MaskDataset:
    return MaskDataset(source, SIDE, **common(**changes))


def boxes(source: HandMadeSource, **changes: Any) -> BoxDataset:
    return BoxDataset(source, SIDE, **common(**changes))


def common(**changes: Any) -> dict[str, Any]:
    return {"seed": 0, "is_training": True, "on_error": "raise", "augment": AUGMENT} | changes


KINDS: dict[str, Callable[..., PictureDataset]] = {"views": views, "masks": masks, "boxes": boxes}
EveryKind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def bytes_of(sample: PictureSample) -> bytes:
    target = sample.target if isinstance(sample.target, tuple) else (sample.target,)
    return b"|".join(b"" if one is None else one.tobytes() for one in (sample.frontal, sample.lateral, *target))


def same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@EveryKind
def test_a_sample_depends_on_seed_epoch_and_study_alone(make: Callable[..., PictureDataset]) -> None:
    source = Painted()
    forth = [bytes_of(make(source)[2, index]) for index in range(6)]
    np.random.seed(1)
    torch.manual_seed(1)
    again = make(source)
    assert [bytes_of(again[2, index]) for index in reversed(range(6))] == forth[::-1]
    others = [bytes_of(make(source)[3, 0]), bytes_of(make(source, seed=1)[2, 0]), forth[0]]
    assert len(set(others)) == 3, "another epoch or seed draws the same"


@EveryKind
def test_a_study_at_another_position_is_drawn_alike(make: Callable[..., PictureDataset]) -> None:
    one, other = Painted(), Painted()
    other.studies = [one.studies[1], one.studies[1], *one.studies[2:]]  # study 1 also takes the place of study 0
    other.pixels[0] = one.pixels[1]
    assert other.boxes is not None
    assert other.labels is not None
    other.boxes.values[0], other.boxes.classes[0] = other.boxes.values[1], other.boxes.classes[1]
    other.labels.values[0] = other.labels.values[1]
    assert bytes_of(make(other)[0, 0]) == bytes_of(make(one)[0, 1])


@EveryKind
def test_no_global_generator_moves(make: Callable[..., PictureDataset]) -> None:
    states = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]
    make(Painted())[0, 0]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], states[1])


def test_the_two_views_are_drawn_apart() -> None:
    source = HandMadeSource()
    source._picture = lambda index, view: np.arange(64 * 64).reshape(64, 64).astype(np.uint8)  # type: ignore[method-assign]
    samples = [views(source)[0, index] for index in (0, 1, 3, 4)]
    assert any(not same(sample.frontal, sample.lateral) for sample in samples)


def test_evaluation_pictures_are_untouched_whatever_the_epoch_and_seed() -> None:
    source = Painted((96, 64))
    assert source.boxes is not None
    for epoch, seed in ((0, 0), (5, 3)):
        changes: dict[str, Any] = {"is_training": False, "seed": seed}
        view, mask, box = (make(source, **changes)[epoch, 1] for make in (views, masks, boxes))
        assert same(view.frontal, crop_view(source.frontal(1), IMAGE, None))
        assert same(view.lateral, crop_view(source.lateral(1), IMAGE, None))
        for sample in (mask, box):
            assert same(sample.frontal, fit_square(source.frontal(1), SIDE))
        assert same(box.target[0], fit_boxes(source.boxes.values[1:2], 96, 64, SIDE))
        assert box.target[1].tolist() == [1]


def test_training_without_changes_still_crops_at_random_and_shows_the_whole_picture_to_the_other_tasks() -> None:
    source = HandMadeSource()
    crops = {views(source, augment=None)[epoch, 0].frontal.tobytes() for epoch in range(5)}  # type: ignore[union-attr]
    assert len(crops) > 1
    painted = Painted((96, 64))
    for make in (masks, boxes):
        assert same(make(painted, augment=None)[4, 1].frontal, fit_square(painted.frontal(1), SIDE))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_training", [False, True])
def test_boxes_filled_as_a_mask_lie_on_the_right_pixels(shape: tuple[int, int], is_training: bool) -> None:
    source = Painted(shape)
    source.masks = None
    dataset = MaskDataset(source, 96, **common(is_training=is_training, augment=MOVES))
    for index in range(6):
        sample = dataset[0, index]
        assert sample.frontal is not None
        found = overlap(sample.target, sample.frontal > 127)
        assert found > 0.85, f"study {index}: IoU {found} of mask and bright pixels"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_training", [False, True])
def test_a_mask_of_another_size_than_the_picture_lies_on_the_right_pixels(
    shape: tuple[int, int], is_training: bool
) -> None:
    dataset = MaskDataset(Painted(shape), 96, **common(is_training=is_training, augment=MOVES))
    for index in range(6):
        sample = dataset[0, index]
        assert sample.frontal is not None
        found = overlap(sample.target, sample.frontal > 127)
        assert found > 0.85, f"study {index}: IoU {found} of mask and bright pixels"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_training", [False, True])
def test_a_box_encloses_the_bright_pixels_of_its_square(shape: tuple[int, int], is_training: bool) -> None:
    dataset = BoxDataset(Painted(shape), 96, **common(is_training=is_training, augment=MOVES))
    for index in range(6):
        sample = dataset[0, index]
        assert sample.frontal is not None
        rows, columns = np.nonzero(sample.frontal > 127)
        bright = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert np.abs(sample.target[0][0] - bright).max() <= 1.5, f"box {sample.target[0][0]}, bright {bright}"


def test_masks_are_taken_where_there_are_boxes_too() -> None:
    source = Painted()
    source.of = lambda index: np.ones((64, 64), dtype=bool)  # type: ignore[method-assign]
    source._picture = lambda index, view: np.zeros((64, 64), dtype=np.uint8)  # type: ignore[method-assign]
    assert masks(source, augment=None)[0, 0].target.all()


def test_boxes_of_one_picture_are_filled_together_and_none_leaves_the_mask_empty() -> None:
    source = Painted(size=3)
    source.masks = None
    corners = np.array([[0, 0, 0.25, 0.5], [0.5, 0.5, 0.5, 0.5]], dtype=np.float32)
    source.boxes = Boxes(("opacity",), np.array([1, 1]), corners, np.array([0, 0]))
    expected = np.zeros((SIDE, SIDE), dtype=bool)
    expected[:24, :12] = expected[24:, 24:] = True
    dataset = masks(source, augment=None)
    assert np.array_equal(dataset[0, 1].target, expected)
    assert not dataset[0, 0].target.any()
    assert not dataset[0, 2].target.any()


def test_the_lateral_is_read_only_when_it_is_asked_for() -> None:
    class OneView(HandMadeSource):
        def lateral(self, index: int) -> np.ndarray:
            raise ImageReadError(f"study {index}: damaged lateral")

    assert views(OneView(), with_lateral=False)[0, 0].lateral is None
    with pytest.raises(ImageReadError, match="damaged lateral"):
        views(OneView())[0, 0]
    assert views(OneView(), on_error="skip")[0, 0].frontal is None, "a study with half its pictures is no study"
    assert views(OneView(), on_error="skip")[0, 2].frontal is not None  # has no lateral


@EveryKind
def test_an_unreadable_picture_raises_or_has_no_target(make: Callable[..., PictureDataset]) -> None:
    source = Painted(unreadable=(2,))
    with pytest.raises(ImageReadError, match="study 2: damaged"):
        make(source)[0, 2]
    assert make(source, on_error="skip")[0, 2] == PictureSample(2, None, None, None)


def test_a_data_set_without_targets_is_refused_with_those_that_have_them() -> None:
    source = HandMadeSource()
    with pytest.raises(ValueError, match=r"neither masks nor boxes.*siim, rsna"):
        masks(source)
    with pytest.raises(ValueError, match=r"no boxes, and detection needs them.*object_cxr"):
        boxes(source)


@pytest.mark.parametrize("box", [(0.5, 0.25, 0.001, 0.5), (0.25, 0.5, 0.5, 0.001)], ids=["upright", "lying"])
def test_a_box_thinner_than_a_pixel_still_marks_one(box: tuple[float, ...]) -> None:
    source = Painted(size=1)
    source.masks = None
    source.boxes = Boxes(("opacity",), np.array([0]), np.array([box], np.float32), np.array([0]))
    assert masks(source, augment=None)[0, 0].target.sum() == SIDE // 2
