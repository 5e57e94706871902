"""Bones as clouds: ribs, spine, clavicles, scapulae, sternum, humeri. Masses are relative to soft tissue."""

from functools import lru_cache

import numpy as np

from flvlp.data.phantom.anatomy import LEFT, RIGHT, VERTEBRA_STEP, Changes, vertebra_z
from flvlp.data.phantom.clouds import Cloud, curve, even_shifts, joined, tubes
from flvlp.data.phantom.organs import LUNG_POWER
from flvlp.data.phantom.solids import GRID_STEP, Z_GRID, Loft, ellipsoid, loft, profile

CORTEX = 0.056  # mm⁻¹ above soft tissue
MARROW = 0.009
_RIBS = 11
_RIB_STEPS = 84
_RIB_ANGLES = 12  # points around a rib
_SPREAD = even_shifts(_RIB_STEPS, _RIB_ANGLES)
_RIB_GAP = 5.0  # mm between the lung and the middle of a rib
_FIRST_ANGLE, _LAST_ANGLE = -7.0, np.array([118, 142, 148, 150, 150, 148, 142, 132, 120, 106, 78])  # degrees, 0 is back
_RIB_DROP = np.array([30, 52, 68, 78, 86, 93, 99, 101, 99, 90, 66])  # mm from the spine to the front end
_SIDE_SLOPE, _RIB_SLOPE = 0.05, 0.035  # standard deviations of a rib's drop, relative
_HIGHEST_WALL = 186.0  # mm; above it the ribs keep the width of the wall
_BROKEN_AT = (0.2, 0.29)  # share of a rib's course where fractures lie


def ribs(wall: dict[str, np.ndarray], changes: Changes, bone: float, generator: np.random.Generator) -> Cloud:
    """Builds both sides' ribs 1-11, which run along the chest wall from behind down to the front.

    Args:
        wall: inner chest wall from `chest_wall`.
        changes: broken ribs are offset from the fracture on.
        bone: factor on the mineral.
        generator: of the slopes of the ribs, which differ a little from rib to rib and between the sides.
    """
    along = np.linspace(0, 1, _RIB_STEPS)[None]
    angle = np.deg2rad(_FIRST_ANGLE + (_LAST_ANGLE[:, None] - _FIRST_ANGLE) * along)  # (ribs, steps)
    start = np.array([vertebra_z(k + 1) for k in range(_RIBS)])[:, None] + 4
    z = start + 5 * np.sin(np.pi * np.minimum(along * 4, 1)) - _RIB_DROP[:, None] * along**1.15
    index = np.clip((np.minimum(z, _HIGHEST_WALL) - Z_GRID[0]) / GRID_STEP, 0, len(Z_GRID) - 1).astype(np.int32)
    side, front, back = wall["side"][index], wall["front"][index], wall["back"][index]
    centre_x = 36.0
    half_x, half_y = side - centre_x + _RIB_GAP, 0.5 * (front - back) + _RIB_GAP
    sine, cosine, bend = np.sin(angle), np.cos(angle), 2 / LUNG_POWER
    x = centre_x + half_x * np.sign(sine) * np.abs(sine) ** bend
    y = 0.5 * (front + back) - half_y * np.sign(cosine) * np.abs(cosine) ** bend
    y += 22 * np.exp(-((along / 0.06) ** 2))  # the neck of the rib reaches forward to the vertebra
    around = 2 * np.pi * np.arange(_RIB_ANGLES) / _RIB_ANGLES
    up = (np.linspace(5.2, 6.6, _RIBS)[:, None] * (1 + 0.12 * along))[..., None] * np.sin(around)
    out = 3.0 * np.cos(around)
    spread = _SPREAD * np.gradient(np.stack((x, y, z)), axis=2)[..., None]
    x = x[..., None] + out * sine[..., None] + spread[0]
    y = y[..., None] - out * cosine[..., None] + spread[1]
    up = up + spread[2]
    step = np.sqrt(np.gradient(z, axis=1) ** 2 + (half_x * np.gradient(angle, axis=1)) ** 2)
    mass = bone * step * (26 * 0.9 * CORTEX + 52 * MARROW) / _RIB_ANGLES
    mass = (
        mass * np.clip(1.2 - 0.75 * along, 0, 1) * np.clip((1.02 - along) / 0.05, 0, 1)
    )  # the front end fades into cartilage
    mass = np.broadcast_to(mass[..., None], x.shape)
    points, masses = [], []
    for sign in (RIGHT, LEFT):
        slope = generator.normal(0, _SIDE_SLOPE) + generator.normal(0, _RIB_SLOPE, (_RIBS, 1))
        level = (z - slope * _RIB_DROP[:, None] * along)[..., None] + up
        weight = mass
        for number in range(1, _RIBS + 1):
            offset = changes.broken.get((sign, number))
            if offset is not None:
                at = _BROKEN_AT[number % 2]
                level, weight = level.copy(), weight.copy()
                level[number - 1] -= offset * ((along[0] > at) * (1 - 0.8 * (along[0] - at) / (1 - at)))[:, None]
                weight[number - 1] *= np.where(np.abs(along[0] - at) < 0.02, 0.1, 1.0)[:, None]
        points.append(np.stack((sign * x, y, level), axis=-1).reshape(-1, 3))
        masses.append(weight.reshape(-1))
    return Cloud(np.concatenate(points).astype(np.float32), np.concatenate(masses).astype(np.float32))


def _vertebra() -> tuple[np.ndarray, np.ndarray]:
    """Returns the points (n, 3) of a vertebra, body within [-1, 1]³, and the masses (n,) of a body of 1 mm³ scale."""
    grid = np.linspace(-0.92, 0.92, 11)
    plate = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    plate = plate[(plate**2).sum(axis=1) <= 1]
    ring = 2 * np.pi * np.arange(18) / 18
    parts = [np.column_stack((plate, np.full(len(plate), end))) for end in (-0.95, 0.95)]
    masses = [np.full(len(plate), np.pi * 17 * 15 * 1.5 * CORTEX / len(plate))] * 2
    for level in np.linspace(-0.8, 0.8, 7):
        waist = 0.93 + 0.07 * level**2
        parts.append(np.column_stack((waist * np.cos(ring), waist * np.sin(ring), np.full(18, level))))
        masses.append(np.full(18, 2 * np.pi * 16 * 18 * 0.7 * CORTEX / (18 * 7)))
        parts.append(np.column_stack((plate[::2], np.full(len(plate[::2]), level))))
        masses.append(np.full(len(plate[::2]), np.pi * 17 * 15 * 18 * MARROW / (7 * len(plate[::2]))))
    ring = 2 * np.pi * np.arange(14) / 14
    for sign in (RIGHT, LEFT):  # pedicles, then joints
        parts.append(np.column_stack((sign * 0.72 + 0.2 * np.cos(ring), np.full(14, -1.25), 0.25 + 0.4 * np.sin(ring))))
        masses.append(np.full(14, 2 * np.pi * 4 * 8 * 1.0 * CORTEX / 14))
        parts.append(np.column_stack((sign * 0.9 + 0.2 * np.cos(ring), np.full(14, -2.0), 0.9 * np.sin(ring))))
        masses.append(np.full(14, 500 * MARROW / 14))
    along = np.linspace(0, 1, 10)
    for width in (-0.1, 0.1):  # spinous process
        parts.append(np.column_stack((np.full(10, width), -2.3 - 0.9 * along, -0.3 - 1.4 * along)))
        masses.append(np.full(10, 350 * MARROW / 10))
    points = np.concatenate(parts)
    # Shaken so that the rows of points are not seen.
    points += np.random.default_rng(0).uniform(-1, 1, points.shape) * (0.12, 0.12, 0.07)
    return points, np.concatenate(masses)


_VERTEBRA_POINTS, _VERTEBRA_MASS = _vertebra()


def spine(wall: dict[str, np.ndarray], changes: Changes, bone: float) -> Cloud:
    """Builds the vertebrae C6 to L5 with disc spaces; a wedged one has lost height, most of it in front."""
    levels = np.arange(-1, 18)
    growth = 0.86 + 0.022 * np.clip(levels, 0, 14)
    size = np.stack((17 * growth, 15 * growth, 0.5 * (VERTEBRA_STEP - 4.5) * np.ones(len(levels))), axis=1)
    points = _VERTEBRA_POINTS[None] * size[:, None]
    for level, loss in changes.wedge.items():
        row = level + 1
        body = np.abs(_VERTEBRA_POINTS[:, 1]) <= 1
        forward = 0.5 * (1 + _VERTEBRA_POINTS[:, 1])
        upper = 0.5 * (1 + _VERTEBRA_POINTS[:, 2])
        points[row, :, 2] -= body * 2 * size[row, 2] * loss * (0.3 + 0.7 * forward) * upper
    z = np.array([vertebra_z(float(level)) for level in levels])
    line = wall["back"] + 28
    y = np.interp(z, Z_GRID, np.where(Z_GRID > 214, np.minimum(line, -22), line))
    slope = -np.gradient(y, z)  # the bodies stand across the curve of the spine
    tilted_z = points[..., 2] + points[..., 1] * slope[:, None]
    points = np.stack((points[..., 0], y[:, None] + points[..., 1], z[:, None] + tilted_z), axis=-1)
    mass = 0.55 * bone * np.broadcast_to(_VERTEBRA_MASS, points.shape[:2]) * growth[:, None] ** 2
    return Cloud(points.reshape(-1, 3).astype(np.float32), mass.reshape(-1).astype(np.float32))


@lru_cache(maxsize=4)
def _clavicle(sign: int, lift: float) -> Cloud:
    """Builds a collar bone: a cortical shell around marrow."""
    knots = [(13, 44, 150), (48, 52, 164), (92, 24, 174 + lift), (125, -8, 188 + lift), (156, -22, 190 + lift)]
    path = curve([(sign * x, y, z) for x, y, z in knots], 80)
    filled = tubes(path, np.array(6.0), 1.4 * (MARROW + 0.4 * CORTEX), across=30)
    return joined([filled, tubes(path, np.array(4.2), -1.4 * 0.4 * CORTEX, across=22)])


def shoulder_girdle(bone: float, are_arms_up: bool) -> tuple[list[Cloud], list[tuple[Loft, float]]]:
    """Builds what follows the arms: clavicles and scapulae as clouds; humeri as solids with their attenuation."""
    lift = 12.0 if are_arms_up else 0.0
    clouds, solids = [], []
    for s in (RIGHT, LEFT):
        for part in (_clavicle(s, lift), _scapula(s, lift)):
            clouds.append(Cloud(part.points, part.mass * np.float32(bone)))
        if are_arms_up:
            joint, x, y = (
                (s * 158, -12, 208),
                profile((200, s * 158), (360, s * 140)),
                profile((200, -12), (360, 40)),
            )
            shaft = np.where(Z_GRID > 208, 12.0**2, 0)
        else:
            joint, x, y = (s * 178, -30, 172), profile((-60, s * 236), (172, s * 182)), profile((172, -28))
            shaft = np.where(Z_GRID < 172, 12.0**2, 0)
        solids += [(ellipsoid(joint, (22, 22, 22)), 0.008 * bone), (loft(x, y, shaft, shaft), 0.014 * bone)]
    return clouds, solids


@lru_cache(maxsize=4)
def _scapula(sign: int, lift: float) -> Cloud:
    """Builds a shoulder blade: a thin triangle with thick lateral border, upper border and spine."""
    upper, lower, joint = (
        np.array(corner, dtype=np.float64) for corner in ((94, -118, 176), (112, -126, 62), (158, -58, 165))
    )
    joint[2] += lift
    first, second = (grid.reshape(-1, 1) for grid in np.meshgrid(np.linspace(0, 1, 34), np.linspace(0, 1, 34)))
    plate = upper + first * ((1 - second) * (lower - upper) + second * (joint - upper))
    area = 0.5 * np.linalg.norm(np.cross(lower - upper, joint - upper))
    mass = np.broadcast_to(area * 2.0 * CORTEX * 0.6 * 2 * first / len(first), first.shape)
    edge = np.linspace(0, 1, 50)[:, None]
    borders = [lower + edge * (joint - lower), upper + edge * (joint - upper), upper + edge * (lower - upper)]
    weights = [0.7, 0.5, 0.25]
    points = np.concatenate([plate, *borders]) * (sign, 1, 1)
    points += np.random.default_rng(0).normal(0, 1.8, points.shape)
    masses = [mass[:, 0], *(np.full(50, 130 * 9 * CORTEX * w / 50) for w in weights)]
    return Cloud(points.astype(np.float32), np.concatenate(masses).astype(np.float32))


def sternum(wall: dict[str, np.ndarray], bone: float) -> Cloud:
    """Builds the sternum: a plate behind the skin, seen on edge on the lateral view."""
    z, x, depth = np.meshgrid(np.arange(22, 160, 2.5), np.linspace(-17, 17, 9), (-4.5, 0.0, 4.5), indexing="ij")
    front = np.interp(z, Z_GRID, wall["front"]) + 8
    share = 138 * 34 * (2 * 1.2 * CORTEX * 0.6 + 9 * MARROW) / z.size
    gap = np.abs(z - 112) > 1.5  # the joint between manubrium and body
    fading = np.clip((z - 20) / 25, 0, 1) * np.clip((164 - z) / 30, 0, 1)  # thin at both ends
    points = np.stack((x, front + depth, z), axis=-1).reshape(-1, 3)
    return Cloud(points.astype(np.float32), (bone * share * gap * fading).reshape(-1).astype(np.float32))
