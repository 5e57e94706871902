"""Paper to draw figures on: pictures laid as pixels, texts beside them. One axes a panel would cost seconds a set."""

from typing import TYPE_CHECKING, Any

import numpy as np

from flvlp.data.scaling import scaled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

DPI = 100  # pixels an inch
PANEL, TITLE, GAP = 224, 22, 10  # pixels: side of a panel, height of its title, space around it
HEAD = 30  # pixels, of the first line
BLACK, BLUE, ORANGE, GREY = "black", "#0072b2", "#c84c00", "#666666"  # told apart by people who see no red and green
BLANK = 90  # grey of a radiograph that must not be shown
HEAT, LEAST_LIGHT, MOST_OPAQUE, UNDERNEATH = "inferno", 0.25, 0.75, 0.75  # the last is what is left of the picture
# The scale of attention ends at its largest value, but at no less than this multiple of looking everywhere alike: what
# prefers nothing looks pale.
LEAST_PEAK = 4.0
HATCH, HATCH_WIDTH, HATCH_LIGHT, DARK = 14, 2, 170, 0.35  # pixels between lines and of a line, its grey, what is left


class Sheet:
    """White paper; all places are in pixels from its upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = new_figure(width / DPI, height / DPI)
        self.pictures: list[tuple[int, int, np.ndarray]] = []

    def lay(self, left: int, top: int, picture: np.ndarray) -> None:
        """Lays a picture (h, w, 3) uint8; it covers what is written there."""
        self.pictures.append((left, top, picture))

    def write(self, left: float, top: float, text: str, size: float = 8, **style: Any) -> None:
        """Writes a text whose upper left corner is given; "$" is a dollar."""
        self.figure.text(left / self.width, 1 - top / self.height, text, va="top", size=size, parse_math=False, **style)

    def head(self, text: str) -> None:
        """Writes the first line."""
        self.write(GAP, GAP, text, 9, weight="bold")

    def panel(self, row: int, column: int, below: int, picture: np.ndarray | None, title: str, **style: Any) -> None:
        """Lays a panel (PANEL, PANEL, 3) of a grid, with a title above it; None for a lateral that is not there.

        Args:
            row, column: in the grid.
            below: where the grid begins.
            picture, title, style: of the panel.
        """
        left, top = GAP + column * (PANEL + GAP), below + row * (PANEL + TITLE + GAP)
        if picture is None:
            self.write(left + PANEL / 3, top + TITLE + PANEL / 2, "no lateral", color=GREY)
        else:
            self.write(left, top + 5, title, **style)
            self.lay(left, top + TITLE, picture)

    def pixels(self) -> "Tensor":
        """Returns it as a picture (3, H, W) uint8, 0-255."""
        import torch

        drawn = pixels_of(self.figure)
        for left, top, picture in self.pictures:
            drawn[:, top : top + len(picture), left : left + picture.shape[1]] = torch.from_numpy(picture).permute(
                2, 0, 1
            )
        return drawn


def grid_size(rows: int, columns: int, below: int) -> tuple[int, int]:
    """Returns width and height of a sheet that holds a grid of panels which begins at `below`."""
    return columns * (PANEL + GAP) + GAP, below + rows * (PANEL + TITLE + GAP) + GAP


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


def view_panel(view: np.ndarray | None, side: int = PANEL) -> np.ndarray:
    """Returns a square radiograph uint8 as (side, side, 3); None, for one that must not be shown, is plain grey."""
    grey = np.full((side, side), BLANK, dtype=np.uint8) if view is None else scaled(view, side)
    return np.repeat(grey[..., None], 3, axis=2)


def heated(panel: np.ndarray, heat: np.ndarray, peak: float) -> np.ndarray:
    """Lays a heat map over a panel, each value over its patch.

    Args:
        panel: (S, S, 3) uint8.
        heat: (rows, columns) not negative, row 0 on top.
        peak: the value that is brightest; 0 is left clear.

    Returns:
        (S, S, 3) uint8.
    """
    from matplotlib import colormaps

    share = _spread(np.clip(heat / max(peak, 1e-12), 0, 1), len(panel))
    colour = colormaps[HEAT](LEAST_LIGHT + (1 - LEAST_LIGHT) * share)[..., :3] * 255
    opacity = MOST_OPAQUE * share[..., None]
    return np.round(opacity * colour + (1 - opacity) * UNDERNEATH * panel).astype(np.uint8)


def crossed_out(panel: np.ndarray, is_dropped: np.ndarray) -> np.ndarray:
    """Darkens and hatches the patches of a panel (S, S, 3) uint8 where `is_dropped` (rows, columns) bool."""
    is_line = np.add.outer(np.arange(len(panel)), np.arange(panel.shape[1])) % HATCH < HATCH_WIDTH
    dark = np.where(is_line[..., None], HATCH_LIGHT, panel * DARK).astype(np.uint8)
    return np.where(_spread(is_dropped, len(panel))[..., None], dark, panel)


def peak_of(*heats: np.ndarray) -> float:
    """Returns the end of the scale of attention maps that sum to 1 together."""
    values = np.concatenate([heat.reshape(-1) for heat in heats])
    return max(float(values.max()), LEAST_PEAK / len(values))


def _spread(values: np.ndarray, side: int) -> np.ndarray:
    """Returns values (rows, columns) of patches as those of the pixels (side, side) of the picture they cover."""
    pixels = np.arange(side)
    return values[pixels[:, None] * len(values) // side, pixels * values.shape[1] // side]
