"""Large solids of the thorax as stacks of ellipses, and the closed-form length of a ray inside them.

Coordinates are in mm: x to the patient's left, y to the front, z up. A `Loft` has an ellipse at every height z; so an
ellipsoid, a paraboloid (diaphragm dome, meniscus), a cylinder and a lung are all the same kind of solid. A ray along
x or y stays at one height, so it meets a loft in one interval whose ends are the roots of a quadratic.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import ndimage

GRID_STEP = 2.0  # mm between two ellipses of a loft
Z_GRID = np.arange(-240.0, 360.0, GRID_STEP, dtype=np.float32)
FAR = 1e4  # mm; a ray that misses a solid gets an empty interval there
_SMALLEST_SQUARE = 1e-4  # mm², a semi-axis below 0.01 mm counts as no ellipse

X, Y, XX, YY, XY = range(5)  # rows of a loft's table


class Interval(NamedTuple):
    """Where rays enter and leave a solid: (rows, columns) mm along the ray, `low >= high` where they miss it."""

    low: np.ndarray
    high: np.ndarray

    def length(self) -> np.ndarray:
        """Returns the path inside the solid, (rows, columns) mm."""
        return np.maximum(self.high - self.low, 0)

    def both(self, other: "Interval") -> "Interval":
        """Returns the part inside both solids."""
        return Interval(np.maximum(self.low, other.low), np.minimum(self.high, other.high))


@dataclass(frozen=True, slots=True)
class Loft:
    """A stack of ellipses on `Z_GRID`.

    Attributes:
        table: (5, n) float32: centre x, centre y in mm, and the shape matrix xx, yy, xy in mm² (squared semi-axes when
            xy is 0); xx <= 0 means that the solid has ended.
        power: 2 for ellipses, more for squarer cross-sections |x/a|^power + |y/b|^power <= 1.
    """

    table: np.ndarray
    power: float = 2.0

    def resized(self, squares: np.ndarray) -> "Loft":
        """Returns the loft with other squared semi-axes, (2, n) mm²."""
        table = self.table.copy()
        table[XX], table[YY] = squares
        return replace(self, table=table)

    def reach(self, side: int) -> float:
        """Returns how far the loft reaches to a side (-1 right, 1 left), mm from the midline; xy is neglected."""
        there = self.table[XX] > 0
        return float((side * self.table[X, there] + np.sqrt(self.table[XX, there])).max(initial=-FAR))

    def at(self, z: np.ndarray) -> np.ndarray:
        """Returns the nearest ellipses to heights z (any shape) as (5, *shape)."""
        index = np.clip((z - Z_GRID[0]) * (1 / GRID_STEP) + 0.5, 0, len(Z_GRID) - 1).astype(np.int32)
        return self.table[:, index]

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Returns which of the (n, 3) points lie inside, (n,) bool; xy is neglected."""
        x, y, xx, yy, _ = self.at(points[:, 2])
        square_x = (points[:, 0] - x) ** 2 / np.maximum(xx, _SMALLEST_SQUARE)
        square_y = (points[:, 1] - y) ** 2 / np.maximum(yy, _SMALLEST_SQUARE)
        half = 0.5 * self.power
        return (square_x**half + square_y**half <= 1) & (xx > 0)


def smoothed(curve: np.ndarray, smooth_mm: float) -> np.ndarray:
    """Returns a curve on `Z_GRID`, (n,), with its corners rounded over about `smooth_mm`."""
    return ndimage.gaussian_filter1d(curve, smooth_mm / GRID_STEP, mode="nearest").astype(np.float32)


def profile(*knots: tuple[float, float], smooth_mm: float = 12.0) -> np.ndarray:
    """Returns a smooth curve through (z, value) knots on `Z_GRID`, (n,) float32, read-only, level beyond the ends."""
    return _profile(knots, smooth_mm)


@lru_cache(maxsize=128)
def _profile(knots: tuple[tuple[float, float], ...], smooth_mm: float) -> np.ndarray:
    z, value = zip(*sorted(knots), strict=True)
    curve = smoothed(np.interp(Z_GRID, z, value), smooth_mm)
    curve.setflags(write=False)
    return curve


def loft(
    x: np.ndarray | float, y: np.ndarray | float, xx: np.ndarray | float, yy: np.ndarray | float, power: float = 2.0
) -> Loft:
    """Builds a loft from curves on `Z_GRID` (or constants): centre in mm, squared semi-axes in mm²."""
    table = np.zeros((5, len(Z_GRID)), dtype=np.float32)
    table[X], table[Y], table[XX], table[YY] = x, y, xx, yy
    table[XX] = np.where(table[YY] > 0, table[XX], 0)
    return Loft(table, power)


def ellipsoid(
    centre: Sequence[float] | np.ndarray,
    semi_axes: Sequence[float] | np.ndarray,
    axis: Sequence[float] | None = None,
    floor: float = -FAR,
) -> Loft:
    """Builds an ellipsoid.

    Args:
        centre: x, y, z in mm.
        semi_axes: mm; without `axis` along x, y, z, else the first along `axis` and the others across it.
        axis: direction of the long axis, any length.
        floor: mm; the ellipsoid is cut flat below this height (a gas-fluid level).
    """
    if axis is None:
        shape = np.diag(np.square(np.asarray(semi_axes, dtype=np.float64)))
    else:
        first = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
        second = np.cross(first, (0.0, 0.0, 1.0))
        second /= np.linalg.norm(second)
        basis = np.stack((first, second, np.cross(first, second)), axis=1)
        shape = basis @ np.diag(np.square(semi_axes)) @ basis.T
    # The slice of an ellipsoid at height z is the conditional of a Gaussian: linear centre, constant orientation.
    above = Z_GRID - centre[2]
    left = 1 - above**2 / shape[2, 2]
    lean = shape[:2, 2] / shape[2, 2]
    across = shape[:2, :2] - np.outer(shape[:2, 2], lean)
    table = np.stack(
        (
            centre[0] + lean[0] * above,
            centre[1] + lean[1] * above,
            across[0, 0] * left,
            across[1, 1] * left,
            across[0, 1] * left,
        )
    ).astype(np.float32)
    table[2:, floor > Z_GRID] = 0
    return Loft(table)


def paraboloid(
    apex: Sequence[float], radii: Sequence[float], drop: float, roundness: float = 1.0, opens_up: bool = False
) -> Loft:
    """Builds a dome (or, with `opens_up`, a bowl): a distance `drop` below (above) its apex it has these two radii.

    `roundness` above 1 flattens the top. All lengths in mm.
    """
    depth = (Z_GRID - apex[2]) if opens_up else (apex[2] - Z_GRID)
    spread = np.where(depth > 0, np.abs(depth / drop) ** (1 / roundness), 0)
    return loft(apex[0], apex[1], radii[0] ** 2 * spread, radii[1] ** 2 * spread)


def ray_interval(rows: np.ndarray, power: float, across: np.ndarray, along_y: bool) -> Interval:
    """Intersects rays with a loft.

    Args:
        rows: (5, rows) the loft's ellipses at the heights of the rays.
        power: the loft's power.
        across: (columns,) mm, x of rays along y, or y of rays along x.
        along_y: True for rays along y.
    """
    own, other, own_square, other_square = (X, Y, XX, YY) if along_y else (Y, X, YY, XX)
    square = np.maximum(rows[own_square], _SMALLEST_SQUARE)
    lean = rows[XY] / square
    reach = np.sqrt(np.maximum(rows[other_square] - rows[XY] * lean, 0))
    offset = across[None, :] - rows[own][:, None]
    part = offset * (1 / np.sqrt(square))[:, None]
    if power == 2.0:
        left = 1 - part * part
        half = np.sqrt(np.maximum(left, 0))
    else:
        left = 1 - np.abs(part) ** np.float32(power)
        half = np.maximum(left, 0) ** np.float32(1 / power)
    half *= reach[:, None]
    middle = offset * lean[:, None]
    middle += rows[other][:, None]
    half -= np.float32(FAR) * (left <= 0)
    return Interval(middle - half, middle + half)


def hull(intervals: Sequence[Interval]) -> Interval:
    """Returns the union of intervals that overlap wherever two of them are hit."""
    low, high = intervals[0]
    for interval in intervals[1:]:
        low, high = np.minimum(low, interval.low), np.maximum(high, interval.high)
    return Interval(low, high)


def covered_length(inside: Interval, blocks: Sequence[Interval]) -> np.ndarray:
    """Returns how much of `inside` the union of `blocks` takes, (rows, columns) mm.

    Exact where the blocks are listed in the order in which the ray enters them.
    """
    total = np.zeros_like(inside.low)
    reached = inside.low
    for block in blocks:
        end = np.minimum(block.high, inside.high)
        total += np.maximum(end - np.maximum(block.low, reached), 0)
        reached = np.maximum(reached, end)
    return total


def free_length(inside: Interval, floor: Interval, blocks: Sequence[Interval]) -> np.ndarray:
    """Returns the path inside `inside` but neither in `floor` (which may overlap all) nor in the ordered `blocks`."""
    below = inside.both(floor)
    taken = covered_length(inside, blocks) - covered_length(below, blocks)
    return np.maximum(inside.length() - below.length() - taken, 0)
