"""Squares of pictures, and masks and boxes that stay on them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flvlp.data.scaling import scaled, scaled_size, shrunk
from flvlp.data.transforms import fit_boxes, fit_mask, fit_square, unfit_boxes

sides = st.integers(1, 60)


@given(sides, sides, sides)
def test_what_a_cache_keeps_gives_the_square_of_the_picture(height: int, width: int, side: int) -> None:
    image = np.random.default_rng(height * width).integers(0, 256, (height, width), dtype=np.uint8)
    kept = shrunk(image, side)
    assert max(kept.shape) <= max(side, 1)
    assert np.array_equal(fit_square(kept, side), fit_square(image, side))
    assert np.array_equal(scaled(kept, side), scaled(image, side))


@given(sides, sides, sides)
def test_the_long_side_becomes_the_side_and_the_rest_is_black(height: int, width: int, side: int) -> None:
    square = fit_square(np.full((height, width), 200, dtype=np.uint8), side)
    assert square.shape == (side, side)
    assert (square > 0).sum() == np.prod(scaled_size((height, width), side))


@given(st.integers(20, 60), st.integers(20, 60), st.integers(8, 60))
def test_a_mask_of_the_whole_picture_covers_its_square_at_any_scale(height: int, width: int, side: int) -> None:
    picture = fit_square(np.full((height, width), 200, dtype=np.uint8), side)
    for scale in (1, 3):
        mask = fit_mask(np.ones((scale * height, scale * width), dtype=bool), side)
        # Rounding may differ between the two sizes by a row or column at either edge.
        assert np.abs((picture > 0).sum() - mask.sum()) <= 2 * side
        assert mask[side // 2, side // 2]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 48), (30, 90), (77, 51)])
def test_a_box_encloses_its_mask_on_the_square(height: int, width: int) -> None:
    top, left, bottom, right = height // 4, width // 3, height // 2, width // 2
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = True
    box = np.array([[left / width, top / height, (right - left) / width, (bottom - top) / height]], dtype=np.float32)
    fitted = fit_boxes(box, height, width, 128)[0]
    rows, columns = np.nonzero(fit_mask(mask, 128))
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(fitted - found).max() <= 1, f"box {fitted}, mask {found}"
    assert fit_boxes(box[:0], height, width, 128).shape == (0, 4)


def test_boxes_hold_for_a_resized_copy() -> None:
    box = np.array([[0.1, 0.2, 0.3, 0.4]], dtype=np.float32)
    assert np.allclose(fit_boxes(box, 1024, 512, 100), [[30, 20, 45, 60]])
    assert np.allclose(fit_boxes(box, 512, 256, 100), fit_boxes(box, 1024, 512, 100))


@given(sides, sides, sides, st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_boxes_go_to_the_square_and_back(height: int, width: int, side: int, count: int, seed: int) -> None:
    corners = np.sort(np.random.default_rng(seed).random((count, 2, 2)), axis=1)  # (count, first or last, x or y)
    boxes = np.concatenate([corners[:, 0], corners[:, 1] - corners[:, 0]], axis=1).astype(np.float32)
    returned = unfit_boxes(fit_boxes(boxes, height, width, side), height, width, side)
    assert returned.shape == (count, 4)
    assert np.allclose(returned, boxes, atol=1e-5), f"went {boxes}, came back {returned}"


def test_a_box_that_reaches_into_the_padding_is_cut() -> None:
    """A picture twice as high as wide lies in the columns 25 to 75 of a square of 100."""
    boxes = np.array([[0, 10, 50, 60], [80, 0, 100, 100]], dtype=np.float32)
    assert np.allclose(unfit_boxes(boxes, 200, 100, 100), np.array([[0, 0.1, 0.5, 0.5], [1, 0, 0, 1]]))


@pytest.mark.parametrize("offset", range(10))
def test_a_mask_too_thin_for_the_square_does_not_vanish(offset: int) -> None:
    mask = np.zeros((1024, 1024), dtype=bool)
    mask[100:900, 500 + offset : 504 + offset] = True
    fitted = fit_mask(mask, 112)
    assert fitted.any()
    assert fitted[:, :50].sum() == fitted[:, 60:].sum() == 0
    assert not fit_mask(np.zeros_like(mask), 112).any()
