"""Where something lies: points (n, 3) in mm that a finding's box goes around, and which points are lung."""

import numpy as np

from flvlp.data.phantom.anatomy import APEX_Z, Thorax
from flvlp.data.phantom.solids import XX, YY, Z_GRID, X, Y

_CHAMBERS = slice(4, 8)  # of the organs of the heart: appendage, both atria, ventricle
_STEP, _WIDEST = 5.0, 150.0  # mm, of the grid that finds fluid, and how far it reaches from the midline


def in_lung(thorax: Thorax, side: int, points: np.ndarray) -> np.ndarray:
    """Returns which points (n, 3) lie in aerated lung of a side, (n,) bool."""
    lung = thorax.lungs[side]
    inside = (lung.tissue or lung.cavity).contains(points) & (side * points[:, 0] > lung.medial)
    if lung.bowl is not None:
        inside &= lung.bowl.contains(points)
    for solid in (lung.dome, *(organ for group in thorax.blocks.values() for organ in group)):
        inside[inside] = ~solid.contains(points[inside])
    return inside


def fluid(thorax: Thorax, side: int) -> np.ndarray:
    """Returns a grid over the fluid of a side: in the cavity, below the bowl, beside the organs."""
    lung = thorax.lungs[side]
    assert lung.bowl is not None, "the caller has set it"
    x = np.arange(_STEP, _WIDEST, _STEP)
    y = np.arange(-_WIDEST, _WIDEST, _STEP)
    z = np.arange(Z_GRID[0], APEX_Z, _STEP)
    points = np.stack(np.meshgrid(side * x, y, z, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    inside = lung.cavity.contains(points) & (side * points[:, 0] > lung.medial)
    for solid in (lung.bowl, lung.dome, *(organ for group in thorax.blocks.values() for organ in group)):
        inside[inside] = ~solid.contains(points[inside])
    return points[inside]


def heart(thorax: Thorax) -> np.ndarray:
    """Returns the left, right, front and back edge of the heart's chambers at every height."""
    points = []
    for chamber in thorax.blocks["heart"][_CHAMBERS]:
        is_there = chamber.table[XX] > 0
        table, z = chamber.table[:, is_there], Z_GRID[is_there]
        half_x, half_y = np.sqrt(table[XX]), np.sqrt(table[YY])
        for left, front in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            points.append(np.stack([table[X] + left * half_x, table[Y] + front * half_y, z], axis=1))
    return np.concatenate(points)
