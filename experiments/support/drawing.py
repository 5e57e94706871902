"""Pictures for people: masks and boxes drawn over radiographs, large enough to look at."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from support.downstream import Job

SHOWN_SIDE = 448  # pixels; a smaller picture is enlarged by the least whole factor that reaches it
TRUTH, PREDICTION = (0, 200, 0), (255, 0, 200)  # green and magenta: told apart by people who see no red and green
ALPHA = 0.45  # of a mask
GAP = 4  # pixels between panels
_NO_NAME = re.compile(r"[^\w.-]")  # what of an id a file name does not take


def overlay(picture: "Tensor", truth_mask: "Tensor", predicted_mask: "Tensor") -> "Tensor":
    """Draws three panels side by side: the picture, the truth in green over it, the prediction in magenta over it.

    Args:
        picture: (1, H, W) uint8, 0-255.
        truth_mask, predicted_mask: (H, W) or (1, H, W) bool.

    Returns:
        (3, H', W') uint8, 0-255; enlarged, three pictures wide.
    """
    import torch
    from torchvision.utils import draw_segmentation_masks

    grey = _enlarged(picture)
    panels = [grey]
    for mask, colour in ((truth_mask, TRUTH), (predicted_mask, PREDICTION)):
        large = _repeated(mask.reshape(picture.shape[-2:]).cpu().bool(), factor_of(picture))
        panels.append(draw_segmentation_masks(grey, large, alpha=ALPHA, colors=colour))
    gap = grey.new_full((3, grey.shape[1], GAP), 255)
    return torch.cat([panels[0], gap, panels[1], gap, panels[2]], dim=2)


def boxes_on(picture: "Tensor", truth: "Tensor", predicted: "Tensor", scores: "Tensor") -> "Tensor":
    """Draws true boxes in green and predicted ones in magenta, with their scores, on one picture.

    Args:
        picture: (1, H, W) uint8, 0-255.
        truth: (n, 4) left, top, right, bottom in pixels of the picture; n may be 0.
        predicted: (m, 4), likewise.
        scores: (m,) in [0, 1].

    Returns:
        (3, H', W') uint8, 0-255; enlarged.
    """
    from torchvision.utils import draw_bounding_boxes

    factor = factor_of(picture)
    drawn = _enlarged(picture)
    if len(truth):
        drawn = draw_bounding_boxes(drawn, truth.cpu().float() * factor, colors=TRUTH, width=2)
    if len(predicted):
        labels = [f"{score:.2f}" for score in scores.tolist()]
        drawn = draw_bounding_boxes(drawn, predicted.cpu().float() * factor, labels, colors=PREDICTION, width=2)
    return drawn


def choose_rows(orders: Mapping[str, Sequence[int]], count: int) -> list[tuple[str, int]]:
    """Chooses what to look at, from each order in turn, no row twice.

    Args:
        orders: name -> rows, the most telling first.
        count: of all, fewer where there are not enough.

    Returns:
        Name and row of each; a name is that of the order and a number from 1 on.
    """
    chosen: dict[int, str] = {}
    for number in range(1, count + 1):
        for name, order in orders.items():
            new = next((row for row in order if row not in chosen), None)
            if new is not None and len(chosen) < count:
                chosen[new] = f"{name}_{number}"
    return [(name, row) for row, name in chosen.items()]


def keep_picture(job: "Job", folder: str, name: str, study: str, picture: "Tensor") -> None:
    """Writes a picture (3, H, W) uint8 of a study to a folder of the run and to TensorBoard."""
    save_png(job.folder / folder / f"{name}-{_NO_NAME.sub('_', study)}.png", picture)
    job.run_log.picture(f"{folder}/{name}", picture, 0)


def save_png(path: Path, picture: "Tensor") -> None:
    """Writes a picture (3, H, W) uint8 as PNG, and makes the folder it lies in."""
    from flvlp.data.png import png_bytes

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(picture.permute(1, 2, 0).cpu().numpy()))


def factor_of(picture: "Tensor") -> int:
    """Returns the whole factor by which a picture (..., H, W) is enlarged for people."""
    return -(-SHOWN_SIDE // max(picture.shape[-2:]))


def _enlarged(picture: "Tensor") -> "Tensor":
    """Returns a grey picture (1, H, W) as three channels, each pixel a square of `factor_of` pixels."""
    return _repeated(picture.cpu(), factor_of(picture)).expand(3, -1, -1).contiguous()


def _repeated(values: "Tensor", factor: int) -> "Tensor":
    """Returns (..., H, W) with each pixel repeated, so that edges of masks and pixels stay where they are."""
    return values.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
