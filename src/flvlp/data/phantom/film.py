"""From line integrals to the displayed picture: scatter, quantum noise, film curve, collimation."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_SCATTER_CELLS = 14  # scatter is computed on this many cells a side
_SMOOTHING = 1.4  # cells
_LUNG_SHARE = 0.5
_OPEN_LIGHT = 0.25  # light beside the patient scatters no more than this
# The film curve is a sigmoid of the level (0 in free lung, 1 in the abdomen).
_SLOPE, _MIDDLE, _TOE = 1.75, -0.26, 0.19
_GLARE = np.float32(0.07)  # share of the grey nearby that lightens black
_BACKGROUND_BLACK = 2.0  # grey levels behind the collimator


@dataclass(frozen=True, slots=True)
class Exposure:
    """How a picture is exposed and displayed.

    Attributes:
        dark, bright: attenuation displayed as dark grey and light grey.
        gamma: contrast of the film curve.
        scatter: scattered share of the light behind the patient.
        noise: standard deviation of the attenuation behind nothing.
        enhancement: strength of edge enhancement.
        veil: grey levels of the air beside the patient.
        margins: share of the picture that the collimator hides: left, top, right, bottom.
    """

    dark: float
    bright: float
    gamma: float
    scatter: float
    noise: float
    enhancement: float
    veil: float
    margins: tuple[float, float, float, float]


def draw_exposure(generator: np.random.Generator, dark: float, bright: float) -> Exposure:
    """Draws exposure and display around the attenuations of a patient's lung (`dark`) and abdomen (`bright`)."""
    scatter = float(generator.uniform(0.2, 0.45))
    # Scatter from the lung, which fills about this share of its neighbourhood, brightens the film behind the abdomen.
    stray = scatter * _LUNG_SHARE * np.exp(-dark)
    dark, bright = float(-np.log(np.exp(-dark) + stray)), float(-np.log(np.exp(-bright) + stray))
    span = bright - dark
    shift = generator.normal(0, 0.06) * span
    is_collimated = generator.random() < 0.3
    margins = generator.uniform(0.0, 0.06, 4) * (generator.random(4) < 0.6) * is_collimated
    return Exposure(
        dark=dark + shift - generator.uniform(0.0, 0.1) * span,
        bright=bright + shift + generator.uniform(0.02, 0.25) * span,
        gamma=float(generator.uniform(0.75, 1.2)),
        scatter=scatter,
        noise=float(generator.uniform(0.0015, 0.006)),
        enhancement=float(generator.uniform(0.0, 0.35)),
        veil=float(generator.uniform(0.0, 14.0)),
        margins=(float(margins[0]), float(margins[1]), float(margins[2]), float(margins[3])),
    )


def _smoothed(image: np.ndarray, cells: int) -> np.ndarray:
    """Returns the image blurred over about a cell, `cells` a side; without BLAS, whose sums vary with the threads."""
    size = image.shape[0]
    starts = np.arange(cells) * size // cells
    pooled = np.add.reduceat(np.add.reduceat(image, starts, axis=0), starts, axis=1)
    width = np.diff(starts, append=size).astype(np.float32)
    pooled = ndimage.gaussian_filter(pooled / (width[:, None] * width), _SMOOTHING, mode="nearest")
    place = np.clip((np.arange(size) + 0.5) * (cells / size) - 0.5, 0, cells - 1.001)
    low = place.astype(np.int32)
    part = (place - low).astype(np.float32)
    tall = pooled[low] * (1 - part)[:, None] + pooled[low + 1] * part[:, None]  # (size, cells)
    return tall[:, low] * (1 - part) + tall[:, low + 1] * part


def develop(attenuation: np.ndarray, exposure: Exposure, generator: np.random.Generator) -> np.ndarray:
    """Makes the displayed picture, (size, size) uint8, air dark.

    Args:
        attenuation: line integrals, (size, size) float32.
        exposure: how it is exposed.
        generator: of the noise.
    """
    size = attenuation.shape[0]
    light = np.exp(-attenuation)
    light += np.float32(exposure.scatter) * _smoothed(np.minimum(light, np.float32(_OPEN_LIGHT)), _SCATTER_CELLS)
    noise = generator.standard_normal((size, size), dtype=np.float32)
    seen = -np.log(light)
    seen += noise * (np.float32(exposure.noise) / np.sqrt(light))
    if exposure.enhancement:
        seen += np.float32(exposure.enhancement) * (seen - _smoothed(seen, size // 8))
    level = (seen - np.float32(exposure.dark)) * np.float32(1 / (exposure.bright - exposure.dark))
    slope = -np.float32(exposure.gamma * _SLOPE)
    grey = 1 / (1 + np.exp(slope * (level - np.float32(_MIDDLE))))
    picture = np.clip((grey - _TOE) * (255 / (1 - _TOE)), 0, 255)
    picture += (exposure.veil + _GLARE * _smoothed(picture, _SCATTER_CELLS)) * (1 - picture * np.float32(1 / 255))
    left, top, right, bottom = (round(margin * size) for margin in exposure.margins)
    shown = np.full_like(picture, _BACKGROUND_BLACK)
    inside = (slice(top, size - bottom), slice(left, size - right))
    shown[inside] = picture[inside]
    return shown.astype(np.uint8)
