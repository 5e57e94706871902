"""Objects drawn as rectangles, ellipses and polygons, as Object-CXR writes them, to boxes and masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

RECTANGLE, ELLIPSE, POLYGON = 0, 1, 2
_LARGEST = 1e6  # pixels; no radiograph is near it, and drawing takes no time for it
_LONGEST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Shape:
    """One drawn object.

    Attributes:
        kind: `RECTANGLE`, `ELLIPSE` or `POLYGON`.
        points: (n, 2) float64, x and y in pixels: two opposite corners of the box of a rectangle or an ellipse, the
            corners of a polygon.
    """

    kind: int
    points: np.ndarray

    def box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Returns left, top, width and height in pixels.

        A polygon is drawn by hand and may leave the picture: it is cut at the edges of `size` = (width, height), unless
        nothing would be left. The other two are not: corners that lie outside tell that the size is wrong.
        """
        first, last = self.points.min(axis=0), self.points.max(axis=0)
        if self.kind == POLYGON:
            inner_first, inner_last = np.clip(first, 0, size), np.clip(last, 0, size)
            if (inner_first < inner_last).all():
                first, last = inner_first, inner_last
        width, height = last - first
        return float(first[0]), float(first[1]), float(width), float(height)


def read_shapes(text: str) -> list[Shape]:
    """Reads `0 x1 y1 x2 y2;2 x1 y1 x2 y2 x3 y3 ...`: a kind and its points; blank is no object.

    Raises:
        ValueError: an unknown kind, something that is no number of pixels, or a count of numbers that makes no points.
    """
    return [_shape(piece) for piece in text.split(";") if piece.strip()]


def _shape(piece: str) -> Shape:
    tokens = piece.split()
    try:
        numbers = np.array([float(token) for token in tokens[1:]])
    except ValueError:
        numbers = np.full(1, np.nan)
    kind = {"0": RECTANGLE, "1": ELLIPSE, "2": POLYGON}.get(tokens[0])
    is_right = len(numbers) % 2 == 0 and len(numbers) > 0 if kind == POLYGON else len(numbers) == 4
    if kind is None or not is_right or not (np.abs(numbers) < _LARGEST).all():
        dots = "..." if len(piece) > _LONGEST_SHOWN else ""
        raise ValueError(
            f"object {piece[:_LONGEST_SHOWN]!r}{dots}: no shape; 0 (rectangle) and 1 (ellipse) have x1 y1 x2 y2, 2 "
            "(polygon) has a pair of numbers for each corner; correct the annotation"
        )
    return Shape(kind, numbers.reshape(-1, 2))


@dataclass(frozen=True)
class ShapeMasks:
    """Masks drawn from shapes; `flvlp.data.studies.Masks`.

    Attributes:
        shapes: of each study.
        sizes: (width, height) of the picture that the shapes were drawn on; not used where there are none.
    """

    shapes: Sequence[Sequence[Shape]]
    sizes: Sequence[tuple[int, int]]

    def of(self, index: int) -> np.ndarray:
        """Returns the mask of study `index`, (H, W) bool: all its objects, filled.

        (1, 1) False where there are none.
        """
        if not self.shapes[index]:
            return np.zeros((1, 1), dtype=bool)
        canvas = Image.new("L", self.sizes[index])
        draw = ImageDraw.Draw(canvas)
        for shape in self.shapes[index]:
            # From left and top to right and bottom: Pillow refuses the corners in another order.
            box = [*shape.points.min(axis=0), *shape.points.max(axis=0)]
            if shape.kind == RECTANGLE:
                draw.rectangle(box, fill=1)
            elif shape.kind == ELLIPSE:
                draw.ellipse(box, fill=1)
            elif len(shape.points) > 2:
                draw.polygon([tuple(point) for point in shape.points], fill=1)
        return np.asarray(canvas) > 0
