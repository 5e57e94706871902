"""Heat maps of phrases over pictures: what they are, and how they are drawn."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flvlp.data.config import ImageConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from torch import Tensor

    from flvlp.saved_encoders import LoadedEncoders
    from flvlp.types import ImageFeatures

COLOURS = "RdBu_r"  # blue below 0, red above; told apart by people who see no red and green
SCALE = "cosine of patch and phrase"
_OPACITY = 0.45
_SIDE, _BAR, _TITLE, _DPI = 3.2, 0.9, 0.5, 110  # inches of a panel's side, the colour bar and a row's title
_BAR_SHARE = 0.06  # of a panel's width
_LINE = 46  # characters of a title that fit above a panel
_LEAST_SCALE = 0.05  # of the scale; cosines that hardly differ from 0 are not blown up to full colours
_TEXTS = 64  # encoded at a time


def encode_phrases(given: "LoadedEncoders", phrases: Sequence[str]) -> "Tensor":
    """Returns the report features of phrases, (n, D) float32 of length 1, where the encoders are."""
    import torch
    from torch.nn import functional

    parts = [
        given.encode_reports(list(phrases[start : start + _TEXTS])).report.float()
        for start in range(0, len(phrases), _TEXTS)
    ]
    return functional.normalize(torch.cat(parts), dim=-1)


def patch_cosines(features: "ImageFeatures", texts: "Tensor") -> "Tensor":
    """Returns the cosine of each projected patch with a phrase, in the joint space and in float32.

    Args:
        features: of B pictures.
        texts: (B, D) of length 1, one a picture.

    Returns:
        (B, P) in [-1, 1], row by row over the grid of patches.
    """
    import torch
    from torch.nn import functional

    with torch.autocast(features.patches.device.type, enabled=False):
        return torch.einsum("bpd,bd->bp", functional.normalize(features.patches.float(), dim=-1), texts.float())


def draw_study(
    pictures: Mapping[str, np.ndarray], phrases: Sequence[str], heats: Mapping[str, np.ndarray], image: ImageConfig
) -> "Figure":
    """Draws the pictures, and below them a row of heat maps for each phrase, on one scale of colours.

    Args:
        pictures: view -> (H, W) uint8.
        phrases: R of them.
        heats: view -> (R, rows, columns) cosines.
        image: sizes that the encoders' crops were made with.
    """
    from matplotlib.figure import Figure

    views, norm = list(pictures), _scale(list(heats.values()))
    width = _SIDE * len(views) + _BAR
    titles = [_wrapped(phrase, len(views)) for phrase in phrases]
    heights = [_SIDE + _TITLE, *(_SIDE + _TITLE * (1 + title.count("\n") / 2) for title in titles)]
    figure = Figure(figsize=(width, sum(heights)), dpi=_DPI, layout="constrained")
    rows = figure.subfigures(1 + len(phrases), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, (part, title) in enumerate(zip(rows, ["as read", *titles], strict=True)):
        part.suptitle(title, fontsize=11)
        # The first row has no colour bar and leaves its room, so that a view stands in one column.
        *axes, beside = part.subplots(1, len(views) + 1, width_ratios=[1] * len(views) + [_BAR_SHARE])
        beside.set_axis_off()
        for view, panel in zip(views, axes, strict=True):
            panel.imshow(pictures[view], cmap="gray", vmin=0, vmax=255)
            if row:
                colours = _overlay(panel, heats[view][row - 1], pictures[view].shape, image, norm)
            else:
                panel.set_xlabel(view)
            panel.set_xticks([])
            panel.set_yticks([])
        if row:
            beside.set_axis_on()
            part.colorbar(colours, cax=beside, label=SCALE)
    return figure


def draw_region(picture: np.ndarray, heat: np.ndarray, inside: np.ndarray, title: str, image: ImageConfig) -> "Tensor":
    """Draws a picture, and beside it the heat map with the outline of where the phrase is true.

    Args:
        picture: (H, W) uint8.
        heat: (rows, columns) cosines.
        inside: (h, w) bool of the picture at any scale.
        title: what is said above it.
        image: sizes that the encoder's crop was made with.

    Returns:
        (3, H', W') uint8, 0-255.
    """
    import torch
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 * _SIDE + _BAR, _SIDE + 2 * _TITLE), dpi=_DPI, layout="constrained")
    figure.suptitle("\n".join(textwrap.wrap(title, 2 * _LINE)), fontsize=10)
    axes = figure.subplots(1, 2)
    height, width = picture.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    padded = np.pad(inside, 1).astype(float)  # so that an outline at the edge is closed
    steps = [
        (np.arange(-1, n + 1) + 0.5) * size / n - 0.5 for n, size in zip(inside.shape, (height, width), strict=True)
    ]
    for panel in axes:
        panel.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent)
        panel.contour(steps[1], steps[0], padded, levels=[0.5], colors="lime", linewidths=1.5)
        panel.set_xlim(extent[:2])
        panel.set_ylim(extent[2:])
        panel.set_xticks([])
        panel.set_yticks([])
    colours = _overlay(axes[1], heat, (height, width), image, _scale([heat]))
    figure.colorbar(colours, ax=axes.tolist(), label=SCALE, shrink=0.85)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1)


def _overlay(
    panel: "Axes", heat: np.ndarray, shape: tuple[int, ...], image: ImageConfig, norm: "Normalize"
) -> "AxesImage":
    """Lays a heat map over a picture of `shape`, with a cross where it is highest; nothing where nothing was seen."""
    from flvlp.data.transforms import heat_on_picture

    height, width = shape
    over = heat_on_picture(heat, (height, width), image)
    drawn = panel.imshow(np.ma.masked_invalid(over), cmap=COLOURS, norm=norm, alpha=_OPACITY)
    row, column = np.unravel_index(np.nanargmax(over), over.shape)
    for colour, size, thick in (("white", 11, 3.5), ("black", 9, 1.5)):  # seen on dark and on bright ground
        panel.plot([column], [row], marker="+", markersize=size, color=colour, markeredgewidth=thick)
    return drawn


def _scale(heats: Sequence[np.ndarray]) -> "Normalize":
    """Returns the scale that all maps of a figure share: the same distance to both sides of 0."""
    from matplotlib.colors import Normalize

    largest = max(_LEAST_SCALE, *(float(np.abs(heat).max()) for heat in heats))
    return Normalize(-largest, largest)


def _wrapped(phrase: str, panels: int) -> str:
    return "\n".join(textwrap.wrap(phrase, _LINE * panels))
