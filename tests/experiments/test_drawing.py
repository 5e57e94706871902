"""Drawn masks and boxes lie where they are, at a size that a person can see."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from support.drawing import GAP, PREDICTION, SHOWN_SIDE, TRUTH, boxes_on, factor_of, overlay, save_png


def coloured(picture: Tensor) -> Tensor:
    """Returns (H, W) bool: where a picture (3, H, W) is not grey."""
    return picture.amax(dim=0) != picture.amin(dim=0)


def test_the_three_panels_are_the_picture_the_truth_and_the_prediction_in_their_places() -> None:
    picture = torch.randint(0, 256, (1, 30, 20), dtype=torch.uint8)
    truth, predicted = torch.zeros(2, 30, 20, dtype=torch.bool)
    truth[3:9, 2:5] = True
    predicted[20:28, 11:19] = True
    drawn = overlay(picture, truth, predicted)
    factor = factor_of(picture)
    assert factor * 30 >= SHOWN_SIDE > (factor - 1) * 30
    assert drawn.shape == (3, 30 * factor, 3 * 20 * factor + 2 * GAP)
    assert drawn.dtype == torch.uint8
    width = 20 * factor
    panels = [drawn[:, :, start : start + width] for start in (0, width + GAP, 2 * (width + GAP))]
    assert torch.equal(panels[0][:, ::factor, ::factor], picture.expand(3, -1, -1))
    assert torch.equal(coloured(panels[1])[::factor, ::factor], truth)
    assert torch.equal(coloured(panels[2])[::factor, ::factor], predicted)
    colours = [panel[:, coloured(panel)].float().mean(dim=1) for panel in panels[1:]]
    assert colours[0].argmax() == int(np.argmax(TRUTH))
    assert colours[1].argmin() == int(np.argmin(PREDICTION))


def test_empty_masks_leave_the_picture_grey() -> None:
    empty = torch.zeros(1, 8, 8, dtype=torch.bool)
    drawn = overlay(torch.full((1, 8, 8), 7, dtype=torch.uint8), empty, empty)
    assert not coloured(drawn).any()


def test_boxes_are_drawn_around_what_they_mark_in_the_enlarged_picture() -> None:
    picture = torch.zeros(1, 64, 64, dtype=torch.uint8)
    drawn = boxes_on(picture, torch.tensor([[8.0, 16, 24, 40]]), torch.tensor([[40.0, 8, 56, 24]]), torch.tensor([0.7]))
    factor = factor_of(picture)
    assert drawn.shape == (3, 64 * factor, 64 * factor)
    is_truth = (drawn == torch.tensor(TRUTH)[:, None, None]).all(dim=0).nonzero()
    assert is_truth.amin(dim=0).tolist() == pytest.approx([16 * factor, 8 * factor], abs=2)
    assert is_truth.amax(dim=0).tolist() == pytest.approx([40 * factor, 24 * factor], abs=2)
    is_predicted = (drawn == torch.tensor(PREDICTION)[:, None, None]).all(dim=0).nonzero()
    assert is_predicted.amax(dim=0).tolist() == pytest.approx([24 * factor, 56 * factor], abs=2)


def test_a_picture_without_any_box_stays_as_it_is() -> None:
    picture = torch.randint(0, 256, (1, 500, 400), dtype=torch.uint8)
    none = torch.zeros(0, 4)
    assert torch.equal(boxes_on(picture, none, none, torch.zeros(0)), picture.expand(3, -1, -1))


def test_a_saved_picture_is_read_back_as_it_was(tmp_path: Path) -> None:
    picture = torch.randint(0, 256, (3, 6, 9), dtype=torch.uint8)
    path = tmp_path / "overlays" / "one.png"
    save_png(path, picture)
    assert np.array_equal(np.asarray(Image.open(path)), picture.permute(1, 2, 0).numpy())
