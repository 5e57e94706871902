"""Heat maps go back to the pixels they are of, and regions are where the data set says."""

import numpy as np
import pytest

from flvlp.data.config import ImageConfig
from flvlp.data.grounding import Region, RegionPictures, classes_of, find_regions, inside_of
from flvlp.data.scaling import scaled_size
from flvlp.data.studies import Boxes, Labels
from flvlp.data.transforms import crop_view, fit_boxes, heat_on_picture
from tests.builders import HandMadeSource

# Square, upright and lying pictures; larger and smaller than what the encoder gets; a crop that is all or a part of it.
SHAPES = [(64, 64), (300, 200), (200, 300), (40, 96), (96, 40), (64, 61)]
SIZES = [ImageConfig(64, 64), ImageConfig(64, 48), ImageConfig(64, 49)]
PATCHES = 8


def seen_patch(shape: tuple[int, int], place: tuple[int, int], image: ImageConfig) -> tuple[int, int]:
    """Returns the patch in which the encoder sees a bright square around a pixel, by the crop itself."""
    picture = np.zeros(shape, dtype=np.uint8)
    reach = max(1, max(shape) // 40)
    picture[tuple(slice(max(0, middle - reach), middle + reach + 1) for middle in place)] = 255
    crop = crop_view(picture, image, None)
    edges = np.linspace(0, image.crop, PATCHES + 1)
    row, column = np.unravel_index(np.argmax(crop), crop.shape)
    assert crop.max() > 0, "the square lies outside the crop"
    return int(np.searchsorted(edges, row + 0.5) - 1), int(np.searchsorted(edges, column + 0.5) - 1)


@pytest.mark.parametrize("image", SIZES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_hot_patch_is_hottest_at_the_pixels_that_the_encoder_saw_in_it(
    shape: tuple[int, int], image: ImageConfig
) -> None:
    for share in ((0.5, 0.5), (0.3, 0.6), (0.65, 0.25)):  # off the middle, so that nothing may be mirrored or turned
        place = round(share[0] * shape[0]), round(share[1] * shape[1])
        row, column = seen_patch(shape, place, image)
        heat = np.zeros((PATCHES, PATCHES))
        heat[row, column] = 1
        over = heat_on_picture(heat, shape, image)
        assert over.shape == shape
        hottest = np.argwhere(over == np.nanmax(over)).mean(axis=0)
        patch = image.crop / PATCHES * max(shape) / image.resize  # side in pixels of the picture
        assert np.abs(hottest - place).max() <= 0.75 * patch + 1, f"{hottest} for {place}"


@pytest.mark.parametrize("image", SIZES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_numbers_are_where_the_encoder_saw_something_and_nowhere_else(
    shape: tuple[int, int], image: ImageConfig
) -> None:
    over = heat_on_picture(np.ones((PATCHES, PATCHES)), shape, image)
    assert set(np.unique(over[~np.isnan(over)])) == {1.0}
    scale, margin = max(shape) / image.resize, (image.resize - image.crop) // 2
    for axis, length in enumerate(shape):
        padding = (image.resize - scaled_size(shape, image.resize)[axis]) // 2
        first, last = (margin - padding) * scale, (margin + image.crop - padding) * scale
        seen = np.flatnonzero((~np.isnan(over)).any(axis=1 - axis))
        assert seen[0] == pytest.approx(max(0, first), abs=scale + 1)
        assert seen[-1] + 1 == pytest.approx(min(length, last), abs=scale + 1)


def test_between_the_centres_of_patches_the_map_is_linear_and_beyond_them_level() -> None:
    over = heat_on_picture(np.array([[0.0, 1.0]]), (8, 8), ImageConfig(8, 8))
    np.testing.assert_allclose(over[0], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1], atol=1e-7)
    assert np.array_equal(over, np.repeat(over[:1], 8, axis=0))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_box_lies_at_the_same_place_as_in_the_square_of_its_picture(shape: tuple[int, int]) -> None:
    source, side = HandMadeSource(2), 64
    boxes = np.array([[0.1, 0.2, 0.3, 0.25], [0.6, 0.5, 0.3, 0.4]], dtype=np.float32)
    inside = inside_of(source, Region(0, "frontal", "a", "b", boxes), shape, side)
    height, width = scaled_size(shape, side)
    assert inside.shape == (height, width)
    expected = np.zeros((side, side), dtype=bool)
    for left, top, right, bottom in np.rint(fit_boxes(boxes, *shape, side)).astype(int):
        expected[top:bottom, left:right] = True
    top, left = (side - height) // 2, (side - width) // 2
    assert np.array_equal(inside, expected[top : top + height, left : left + width])


def test_a_box_thinner_than_a_pixel_still_marks_one() -> None:
    for box in ([0.999, 0.999, 0.001, 0.001], [0.5, 0.2, 1e-4, 0.5], [0, 0, 1e-4, 1e-4]):
        region = Region(0, "frontal", "a", "b", np.array([box], dtype=np.float32))
        assert inside_of(HandMadeSource(1), region, (32, 32), 16).any(), box


class OneMask:
    """A mask on study 1, the upper left quarter."""

    def of(self, index: int) -> np.ndarray:
        mask = np.zeros((40, 80), dtype=bool)
        mask[:20, :40] = index == 1
        return mask


def test_a_mask_is_a_region_where_it_marks_something() -> None:
    source = HandMadeSource(3)
    source.labels = Labels(("Pneumothorax",), np.zeros((3, 1), dtype=np.float32))
    source.masks = OneMask()
    assert classes_of(source) == ("Pneumothorax",)
    regions = find_regions(source, range(3), {"Pneumothorax": "Pneumothorax."})
    assert [(one.study, one.view, one.category, one.phrase) for one in regions] == [
        (1, "frontal", "Pneumothorax", "Pneumothorax.")
    ]
    inside = inside_of(source, regions[0], (40, 80), 32)  # a picture twice as wide as high
    assert inside.shape == (16, 32)
    assert inside[:8, :16].all()
    assert inside.sum() == 8 * 16


def boxes(phrases: tuple[str, ...] = ()) -> Boxes:
    values = np.array([[0.1, 0.1, 0.2, 0.2], [0.5, 0.1, 0.2, 0.2], [0.2, 0.3, 0.4, 0.5], [0, 0, 1, 1]], np.float32)
    return Boxes(("x", "y"), np.array([0, 0, 0, 2]), values, np.array([0, 0, 1, 0]), phrases)


def test_boxes_of_one_class_are_one_region_and_those_of_one_phrase_too() -> None:
    source = HandMadeSource(3)
    source.boxes = boxes()
    assert classes_of(source) == ("x", "y")
    regions = find_regions(source, range(3), {"x": "An x.", "y": "A y."})
    assert [(one.study, one.phrase, len(one.boxes if one.boxes is not None else ())) for one in regions] == [
        (0, "An x.", 2),
        (0, "A y.", 1),
        (2, "An x.", 1),
    ]
    source.boxes = boxes(("left x", "right x", "left x", "x"))
    assert classes_of(source) == ()
    regions = find_regions(source, [0], {})
    assert [(one.category, one.phrase) for one in regions] == [("x", "left x"), ("x", "right x"), ("y", "left x")]


def test_a_data_set_that_says_of_nothing_where_it_is_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no boxes, and no masks.*ms_cxr, phantom, rsna"):
        classes_of(HandMadeSource(2))


def test_what_the_encoder_gets_of_a_region_is_its_own_view_and_what_cannot_be_read_is_blank() -> None:
    source, image = HandMadeSource(3, unreadable=[2]), ImageConfig(20, 16)
    regions = [Region(1, view, "a", "b") for view in ("frontal", "lateral")] + [Region(2, "frontal", "a", "b")]
    pictures = RegionPictures(source, regions, image, "skip")
    for number, picture in enumerate((source.frontal(1), source.lateral(1))):
        sample = pictures[0, number]
        assert sample.frontal is not None
        assert np.array_equal(sample.frontal, crop_view(picture, image, None))
        assert (sample.index, sample.size) == (number, (64, 64))
    assert pictures[0, 2].frontal is None
    with pytest.raises(Exception, match="damaged"):
        RegionPictures(source, regions, image, "raise")[0, 2]
