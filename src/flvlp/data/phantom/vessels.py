"""Airways and pulmonary vessels as clouds of tubes."""

import numpy as np

from flvlp.data.phantom.anatomy import LEFT, RIGHT, WATER, Lung
from flvlp.data.phantom.clouds import Cloud, curve, joined, tubes

HILUM = {RIGHT: (-34.0, -14.0, 92.0), LEFT: (36.0, -18.0, 102.0)}  # mm, the left one stands higher
_GENERATIONS = ((4, 12, 14), (4, 6, 11), (0, 3, 8))  # children, points across, points along a vessel
_TRUNKS = 15


def airways() -> Cloud:
    """Builds the air in the main bronchi; masses are negative."""
    right = tubes(curve([(4, -32, 128), (-16, -34, 108), (-36, -32, 92)], 24), np.array(6.0), -WATER)
    left = tubes(curve([(4, -32, 128), (22, -34, 112), (42, -36, 100)], 24), np.array(5.5), -WATER)
    return joined([right, left])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _grow(start: np.ndarray, direction: np.ndarray, length: np.ndarray, bend: np.ndarray, steps: int) -> np.ndarray:
    """Returns gently bent centre lines (n, steps, 3) mm from starts, directions and bends (n, 3) and lengths (n,)."""
    along = np.linspace(0, 1, steps)[None, :, None] * length[:, None, None]
    share = along / length[:, None, None]
    return start[:, None] + along * (direction[:, None] + bend[:, None] * share)


def pulmonary_vessels(lung: Lung, generator: np.random.Generator, calibre: float) -> Cloud:
    """Grows three generations of vessels from the hilum outwards, thinner to the periphery, larger below.

    Args:
        lung: gives side, density, and the outline that the vessels stay within.
        generator: of the patient's tree.
        calibre: factor on all radii.
    """
    angle = np.deg2rad(np.linspace(-100, 82, _TRUNKS) + generator.normal(0, 6, _TRUNKS))  # up is 90
    depth = generator.uniform(-0.75, 0.75, _TRUNKS)
    direction = np.stack((lung.side * (0.2 + np.cos(angle).clip(0)), depth, np.sin(angle)), axis=1)
    start = np.array(HILUM[lung.side]) + generator.normal(0, (3, 6, 7), (_TRUNKS, 3))
    length = generator.uniform(45, 85, _TRUNKS) * (1 + 0.25 * (np.sin(angle) < 0))
    direction = _unit(direction)
    radius = generator.uniform(2.4, 4.2, _TRUNKS) * (1 + 0.25 * (np.sin(angle) < 0))
    clouds = []
    attenuation = WATER * (1 - lung.density)
    for children, across, steps in _GENERATIONS:
        count = len(start)
        path = _grow(start, direction, length, generator.normal(0, 0.16, (count, 3)), steps)
        clouds.append(tubes(path, calibre * radius[:, None] * np.linspace(1.0, 0.6, steps), attenuation, across))
        if not children:
            break
        leaving = generator.integers(steps // 4, steps, (count, children))
        leaving[:, 0] = steps - 1
        start = path[np.arange(count)[:, None], leaving].reshape(-1, 3)
        tangent = np.repeat(_unit(path[:, -1] - path[:, -3]), children, axis=0)
        direction = _unit(tangent + generator.normal(0, 0.5, tangent.shape))
        length = np.repeat(length, children) * generator.uniform(0.45, 0.85, count * children)
        radius = np.repeat(radius, children) * generator.uniform(0.5, 0.75, count * children)
    # The central arteries make the hilar shadow.
    x, y, z = HILUM[lung.side]
    low = curve([(0.5 * x, y, z + 8), (x, y, z + 4), (x * 1.25, y - 6, z - 22), (x * 1.45, y - 14, z - 58)], 30)
    high = curve([(0.5 * x, y, z + 4), (x * 1.1, y + 8, z + 12), (x * 1.4, y + 10, z + 40)], 20)
    clouds.append(tubes(low, calibre * np.linspace(8.5, 3.5, 30), attenuation))
    clouds.append(tubes(high, calibre * np.linspace(7.5, 3.0, 20), attenuation))
    cloud = joined(clouds)
    return cloud.where(lung.cavity.contains(cloud.points) & ~lung.dome.contains(cloud.points))
