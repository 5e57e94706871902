"""Thin and irregular structures (bones, vessels, tubes, opacities) as clouds of points that carry attenuation.

A point stands for a small volume; its mass is attenuation coefficient x volume (mm⁻¹ x mm³ = mm²), relative to what
surrounds it, so that the sum of the masses over a pixel, divided by the pixel's area, is the line integral there. The
same cloud is projected along both axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

_GOLDEN = (np.sqrt(5) - 1) / 2  # multiples of it, modulo 1, fill an interval evenly


@dataclass(frozen=True, slots=True)
class Cloud:
    """Points (n, 3) in mm, x left, y front, z up, with mass (n,) in mm²; both float32."""

    points: np.ndarray
    mass: np.ndarray

    def where(self, keep: np.ndarray) -> "Cloud":
        """Returns the points for which `keep`, (n,) bool, is True."""
        return Cloud(self.points[keep], self.mass[keep])


def joined(clouds: Sequence[Cloud]) -> Cloud:
    """Returns one cloud of all points; empty for an empty list."""
    if not clouds:
        return Cloud(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    return Cloud(np.concatenate([cloud.points for cloud in clouds]), np.concatenate([cloud.mass for cloud in clouds]))


def even_shifts(rows: int, columns: int) -> np.ndarray:
    """Returns (rows, columns) numbers in [-0.5, 0.5), even along both; shifting points by them hides their grid."""
    both = np.arange(rows)[:, None] * np.sqrt(2) + np.arange(columns) * _GOLDEN
    return (both % 1 - 0.5).astype(np.float32)


@lru_cache(maxsize=32)
def _disc(count: int) -> np.ndarray:
    """Returns points that fill the unit disc evenly, (count, 2): a sunflower."""
    radius, angle = np.sqrt((np.arange(count) + 0.5) / count), 2 * np.pi * _GOLDEN * np.arange(count)
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1).astype(np.float32)


def tubes(paths: np.ndarray, radius: np.ndarray, attenuation: float, across: int = 14) -> Cloud:
    """Fills tubes around centre lines.

    Args:
        paths: (tubes, steps, 3) mm.
        radius: mm, broadcastable to (tubes, steps).
        attenuation: mm⁻¹ relative to the surroundings; negative for air.
        across: points in a cross-section; thin tubes need few.
    """
    disc = _disc(across)
    paths = paths.astype(np.float32)
    step = np.gradient(paths, axis=1)
    length = np.sqrt((step**2).sum(axis=-1)) + np.float32(1e-6)  # (tubes, steps)
    direction = step / length[..., None]
    # Two directions across a tube: one horizontal (or nearly, for an upright tube), one at right angles to it.
    east, north, up = direction[..., 0], direction[..., 1], direction[..., 2]
    flat = np.sqrt(east**2 + north**2) + np.float32(1e-3)
    first = np.stack((-north / flat, (east + np.float32(1e-3)) / flat, np.zeros_like(flat)), axis=-1)
    second = np.stack((-up * first[..., 1], up * first[..., 0], east * first[..., 1] - north * first[..., 0]), axis=-1)
    spin = np.arange(paths.shape[1], dtype=np.float32)[:, None]  # turns the disc from step to step
    first, second = np.cos(spin) * first + np.sin(spin) * second, np.cos(spin) * second - np.sin(spin) * first
    radius = np.broadcast_to(np.asarray(radius, np.float32), length.shape)
    points = paths[:, :, None] + disc[:, 0, None] * (first * radius[..., None])[:, :, None]
    points += disc[:, 1, None] * (second * radius[..., None])[:, :, None]
    points += even_shifts(paths.shape[1], across)[..., None] * step[:, :, None]
    mass = np.broadcast_to((attenuation * np.pi / across * radius**2 * length)[..., None], points.shape[:-1])
    return Cloud(points.reshape(-1, 3), mass.reshape(-1).astype(np.float32))


def curve(knots: Sequence[Sequence[float]], steps: int) -> np.ndarray:
    """Returns a smooth line through 3-D knots, (1, steps, 3) mm."""
    nodes = np.asarray(knots, dtype=np.float64)
    at = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(nodes, axis=0), axis=1))))
    fine = np.linspace(0, at[-1], steps)
    line = np.stack([np.interp(fine, at, nodes[:, axis]) for axis in range(3)], axis=1)
    return ndimage.gaussian_filter1d(line, steps / (4.0 * len(nodes)), axis=0, mode="nearest")[None]


def ball(
    generator: np.random.Generator,
    centre: Sequence[float] | np.ndarray,
    semi_axes: Sequence[float] | np.ndarray,
    count: int,
    softness: float,
) -> np.ndarray:
    """Returns points (count, 3) mm in an ellipsoid: evenly for softness 0, denser to the middle for more."""
    direction = generator.standard_normal((count, 3), dtype=np.float32)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = generator.random((count, 1), dtype=np.float32) ** ((1 + softness) / 3)
    return np.asarray(centre, np.float32) + direction * radius * np.asarray(semi_axes, np.float32)


def deposit(cloud: Cloud, column: np.ndarray, row: np.ndarray, size: int, pixel_mm: float) -> np.ndarray:
    """Sums the masses per pixel.

    Args:
        cloud: its mass is used.
        column: (n,) position in pixels, 0 at the left edge of the picture.
        row: (n,) position in pixels, 0 at its upper edge.
        size: pixels a side.
        pixel_mm: side of a pixel.

    Returns:
        line integral, (size, size) float32.
    """
    across, down = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    flat = down * size + across
    flat[(across < 0) | (across >= size) | (down < 0) | (down >= size)] = size * size  # one more bin for the outside
    total = np.bincount(flat, weights=cloud.mass, minlength=size * size + 1)[:-1]
    return (total * (1 / pixel_mm**2)).astype(np.float32).reshape(size, size)
