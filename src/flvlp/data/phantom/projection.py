"""Line integrals of a thorax along one axis: rays along y make the frontal view, rays along x the lateral.

Beams are parallel. In the frontal picture the patient's right is on the left; in the lateral one the patient faces
left, the spine is on the right.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from flvlp.data.phantom.anatomy import RIGHT, WATER, Lung, Thorax
from flvlp.data.phantom.clouds import Cloud, deposit, joined
from flvlp.data.phantom.solids import (
    FAR,
    GRID_STEP,
    XX,
    XY,
    YY,
    Z_GRID,
    Interval,
    Loft,
    X,
    Y,
    covered_length,
    free_length,
    hull,
    ray_interval,
)

_MEDIAL_RAMP = 22.0  # mm over which the frontal lung begins beside the midline
_SHARP_BLUR, _SOFT_BLUR = 1.1, 3.6  # mm, standard deviations
_LEAST_BLUR = 0.5  # pixels; less leaves the grain of the points
_OTHER_SIDE = -6.0  # mm; an organ that does not come closer to the midline never meets this lung
_PLEURA = 1.2  # thickness of the visceral pleura, mm
_SEEN = 4.0  # mm of air from which a pneumothorax counts as seen
# Order in which rays along x that start at the midline enter the organs.
_FROM_MIDLINE = ("spine", "heart", "hernia", "aorta")


@dataclass(frozen=True, slots=True)
class Pose:
    """How a patient stands in one view.

    Attributes:
        name: `frontal` or `lateral`.
        scale: (3,) the patient's size along x, y, z.
        turn: rotation about the vertical axis, radians.
        tilt: sideways shift per mm of height.
        bend: mm of side bend of the spine.
        field: side of the square picture, mm.
        centre: mm at the middle of the picture, across and up.
    """

    name: str
    scale: np.ndarray
    turn: float
    tilt: float
    bend: float
    field: float
    centre: tuple[float, float]

    def lean(self, z: np.ndarray) -> np.ndarray:
        """Returns the sideways shift at height z of the standard adult, mm."""
        return self.tilt * z + self.bend * np.cos(z * (np.pi / 260.0))


class View:
    """The rays of one picture: `size` rows of equal height, `size` columns from left to right.

    Attributes:
        z: (size,) mm, height of each row for the standard adult, top row first.
        across: (size,) mm, x of the columns (frontal) or y (lateral, falling from left to right).
        pixel: side of a pixel, mm.
    """

    def __init__(self, pose: Pose, size: int) -> None:
        self.pose, self.size = pose, size
        self.along_y = pose.name == "frontal"
        self.pixel = pose.field / size
        steps = (np.arange(size) + 0.5) * self.pixel - 0.5 * pose.field
        self.z = ((pose.centre[1] - steps) / pose.scale[2]).astype(np.float32)
        self.across = (pose.centre[0] + (steps if self.along_y else -steps)).astype(np.float32)
        place = np.clip((self.z - Z_GRID[0]) / GRID_STEP, 0, len(Z_GRID) - 2)
        self._below = place.astype(np.int32)
        self._part = (place - self._below).astype(np.float32)
        self._lean = pose.lean(self.z)
        self._rows: dict[int, tuple[Loft, np.ndarray]] = {}

    def rows(self, loft: Loft) -> np.ndarray:
        """Returns the loft's ellipses in the pose at the rows of the picture, (5, size)."""
        if id(loft) in self._rows:
            return self._rows[id(loft)][1]
        table = loft.table[:, self._below] * (1 - self._part) + loft.table[:, self._below + 1] * self._part
        scale_x, scale_y, _ = (float(s) for s in self.pose.scale)
        cosine, sine = float(np.cos(self.pose.turn)), float(np.sin(self.pose.turn))
        x, y = scale_x * (table[X] + self._lean), scale_y * table[Y]
        xx, yy, xy = scale_x**2 * table[XX], scale_y**2 * table[YY], scale_x * scale_y * table[XY]
        turned = np.empty_like(table)
        turned[X], turned[Y] = cosine * x - sine * y, sine * x + cosine * y
        turned[XX] = cosine**2 * xx + sine**2 * yy - 2 * sine * cosine * xy
        turned[YY] = sine**2 * xx + cosine**2 * yy + 2 * sine * cosine * xy
        turned[XY] = sine * cosine * (xx - yy) + (cosine**2 - sine**2) * xy
        turned[2:, table[XX] <= 0] = 0
        self._rows[id(loft)] = loft, turned  # the loft is kept so that no other one gets its id
        return turned

    def pixels(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the columns and rows, in pixels from the upper left corner, of (n, 3) points in mm."""
        pose = self.pose
        x = float(pose.scale[0]) * (points[:, 0] + pose.lean(points[:, 2]))
        y = float(pose.scale[1]) * points[:, 1]
        cosine, sine = float(np.cos(pose.turn)), float(np.sin(pose.turn))
        offset = cosine * x - sine * y - pose.centre[0] if self.along_y else pose.centre[0] - sine * x - cosine * y
        down = pose.centre[1] - float(pose.scale[2]) * points[:, 2]
        return offset / self.pixel + 0.5 * self.size, down / self.pixel + 0.5 * self.size

    def _reached(self, table: np.ndarray, across: np.ndarray) -> tuple[slice, slice]:
        """Returns the rows and columns that can meet a loft with these ellipses, (5, rows)."""
        there = np.flatnonzero((table[XX] > 0) & (table[YY] > 0))
        if not len(there):
            return slice(0, 0), slice(0, 0)
        centre, square = (table[X], table[XX]) if self.along_y else (table[Y], table[YY])
        reach = np.sqrt(square[there])
        first, last = (centre[there] - reach).min(), (centre[there] + reach).max()
        columns = np.flatnonzero((across >= first) & (across <= last))
        if not len(columns):
            return slice(0, 0), slice(0, 0)
        return slice(int(there[0]), int(there[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def window(self, loft: Loft) -> tuple[slice, slice]:
        """Returns the rows and columns that the loft can reach."""
        return self._reached(self.rows(loft), self.across)

    def interval(self, loft: Loft, window: tuple[slice, slice]) -> Interval:
        """Returns where the rays of a window enter and leave a loft."""
        table, across = self.rows(loft)[:, window[0]], self.across[window[1]]
        part = self._reached(table, across)
        low = np.full((table.shape[1], len(across)), FAR, np.float32)
        high = -low
        found = ray_interval(table[:, part[0]], loft.power, across[part[1]], self.along_y)
        low[part], high[part] = found.low, found.high
        return Interval(low, high)


@dataclass(frozen=True, slots=True)
class Integral:
    """What one view sees.

    Attributes:
        attenuation: (size, size) float32, line integral of the attenuation coefficient.
        pleural_air: (size, size) bool, True where a pneumothorax is seen.
    """

    attenuation: np.ndarray
    pleural_air: np.ndarray


def _lung_air(view: View, thorax: Thorax, lung: Lung, window: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Integrates one pleural cavity in a window.

    Returns:
        missing tissue, (rows, columns) mm of water, and whether pleural air is seen, (rows, columns) bool.
    """
    is_mirrored = not view.along_y and lung.side == RIGHT  # rays start at the midline

    def seen(loft: Loft) -> Interval:
        found = view.interval(loft, window)
        return Interval(-found.high, -found.low) if is_mirrored else found

    cavity = seen(lung.cavity)
    if view.along_y:
        beside = lung.side * (view.across[window[1]][None] - view.pose.lean(view.z[window[0]])[:, None]) - lung.medial
        share = np.clip(beside * np.float32(1 / _MEDIAL_RAMP), 0, 1)
    else:
        cavity = Interval(np.maximum(cavity.low, np.float32(lung.medial + 0.5 * _MEDIAL_RAMP)), cavity.high)
        share = np.float32(1.0)
    if lung.bowl is not None:
        cavity = cavity.both(seen(lung.bowl))
    dome = seen(lung.dome)
    names = list(thorax.blocks) if view.along_y else [name for name in _FROM_MIDLINE if name in thorax.blocks]
    organs = [
        hull([seen(organ) for organ in thorax.blocks[name] if organ.reach(lung.side) > _OTHER_SIDE]) for name in names
    ]
    air = free_length(cavity, dome, organs)
    if lung.tissue is None:
        return share * air * np.float32(1 - lung.density), np.zeros(air.shape, bool)
    inner = free_length(seen(lung.tissue).both(cavity), dome, organs)
    outer = free_length(seen(_grown(lung.tissue)).both(cavity), dome, organs)
    missing = air - inner * np.float32(lung.density) - np.maximum(outer - inner, 0)
    return share * missing, (share * air > _SEEN) & (inner < 1)


def _grown(tissue: Loft) -> Loft:
    """Returns a collapsed lung with its visceral pleura."""
    half = np.sqrt(np.maximum(tissue.table[2:4], 0))
    return tissue.resized(np.where(half > 0, (half + _PLEURA) ** 2, 0))


def _project(view: View, clouds: list[Cloud], blur_mm: float) -> np.ndarray:
    """Returns the line integral of clouds, blurred, (size, size) float32."""
    cloud = joined(clouds)
    image = deposit(cloud, *view.pixels(cloud.points), view.size, view.pixel)
    return ndimage.gaussian_filter(image, max(blur_mm / view.pixel, _LEAST_BLUR), mode="nearest", truncate=2.5)


def integrate(view: View, thorax: Thorax) -> Integral:
    """Integrates the attenuation of everything in the thorax along the rays of a view."""
    size = view.size
    everywhere = (slice(0, size), slice(0, size))
    body = view.interval(thorax.body[view.pose.name], everywhere)
    tissue = body.length()
    for solid in thorax.outside[view.pose.name]:
        window = view.window(solid)
        found = view.interval(solid, window)
        tissue[window] += found.length() - covered_length(found, [Interval(body.low[window], body.high[window])])
    pleural_air = np.zeros((size, size), bool)
    for lung in thorax.lungs.values():
        window = view.window(lung.cavity)
        missing, is_air = _lung_air(view, thorax, lung, window)
        tissue[window] -= missing
        pleural_air[window] |= is_air
    attenuation = np.float32(WATER) * tissue
    for solid, more in thorax.inserts:
        window = view.window(solid)
        attenuation[window] += np.float32(more) * view.interval(solid, window).length()
    attenuation += _project(view, thorax.sharp, _SHARP_BLUR)
    if thorax.soft:
        attenuation += _project(view, thorax.soft, _SOFT_BLUR)
    return Integral(np.maximum(attenuation, 0), pleural_air)
