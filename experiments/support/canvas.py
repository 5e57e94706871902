"""Paper to draw figures on: panels of radiographs, patches and heat maps, turned into pixels."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

DPI = 100
PANEL, TITLE, GAP = 2.1, 0.24, 0.1  # inches: side of a panel, height of its title, space around it
BLUE, ORANGE, GREY = "#0072b2", "#c84c00", "#666666"  # told apart by people who see no red and green
BLANK = 90  # grey of a radiograph that must not be shown
HEAT, LEAST_LIGHT, MOST_OPAQUE = "inferno", 0.25, 0.75
# The scale of attention ends at its largest value, but at no less than this multiple of looking everywhere alike: what
# prefers nothing looks pale.
LEAST_PEAK = 4.0


def new_figure(width: float, height: float) -> "Figure":
    """Returns an empty figure, in inches; pyplot and its global state are not touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def pixels_of(figure: "Figure") -> "Tensor":
    """Returns a figure as a picture (3, H, W) uint8, 0-255."""
    import torch

    canvas: Any = figure.canvas
    canvas.draw()
    return torch.from_numpy(np.array(canvas.buffer_rgba())[..., :3]).permute(2, 0, 1).contiguous()


def panels(rows: int, columns: int, head: float) -> "tuple[Figure, list[list[Axes]]]":
    """Returns a figure of square panels, each with room for a title, below `head` inches of free space."""
    width = columns * (PANEL + GAP) + GAP
    height = head + rows * (PANEL + TITLE + GAP) + GAP
    figure = new_figure(width, height)
    lefts = [GAP + column * (PANEL + GAP) for column in range(columns)]
    tops = [head + row * (PANEL + TITLE + GAP) + TITLE for row in range(rows)]
    return figure, [[panel(figure, left, top, PANEL) for left in lefts] for top in tops]


def panel(figure: "Figure", left: float, top: float, side: float) -> "Axes":
    """Returns a square for a picture, without axes, whose upper left corner lies `left` and `top` inches inside."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
    axes.set_axis_off()
    return axes


def write(figure: "Figure", left: float, top: float, text: str, **style: Any) -> None:
    """Writes a text whose upper left corner lies `left` and `top` inches inside the figure; "$" is a dollar."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, va="top", parse_math=False, **style)


def title(axes: "Axes", text: str, colour: str = "black") -> None:
    """Writes the title of a panel."""
    axes.set_title(text, fontsize=8, color=colour, pad=3, parse_math=False)


def lay_view(axes: "Axes", view: np.ndarray | None, side: int) -> None:
    """Shows a radiograph (side, side) uint8; None, for one that must not be shown, is plain grey."""
    shown = np.full((1, 1), BLANK, dtype=np.uint8) if view is None else view
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(0, side, side, 0), interpolation="nearest")


def lay_nothing(axes: "Axes") -> None:
    """Says that a study has no such view."""
    axes.text(0.5, 0.5, "no lateral", ha="center", va="center", fontsize=9, color=GREY, transform=axes.transAxes)


def lay_heat(axes: "Axes", heat: np.ndarray, side: int, peak: float) -> None:
    """Lays a heat map over a view, each value over its patch.

    Args:
        axes: of the view.
        heat: (rows, columns) not negative, row 0 on top.
        side: of the view in pixels.
        peak: the value that is brightest; 0 is left clear.
    """
    from matplotlib import colormaps

    share = np.clip(heat / max(peak, 1e-12), 0, 1)
    coloured = colormaps[HEAT](LEAST_LIGHT + (1 - LEAST_LIGHT) * share)
    coloured[..., 3] = MOST_OPAQUE * share
    axes.imshow(coloured, extent=(0, side, side, 0), interpolation="nearest")


def peak_of(*heats: np.ndarray) -> float:
    """Returns the end of the scale of attention maps that sum to 1 together."""
    values = np.concatenate([heat.reshape(-1) for heat in heats])
    return max(float(values.max()), LEAST_PEAK / len(values))


def cross_out(axes: "Axes", is_dropped: np.ndarray, side: int) -> None:
    """Darkens and hatches the patches of a view where `is_dropped` (rows, columns) bool."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    height, width = side / is_dropped.shape[0], side / is_dropped.shape[1]
    boxes = [Rectangle((column * width, row * height), width, height) for row, column in np.argwhere(is_dropped)]
    axes.add_collection(
        PatchCollection(boxes, facecolor=(0, 0, 0, 0.6), edgecolor=(1, 1, 1, 0.45), hatch="////", linewidth=0.5)
    )
