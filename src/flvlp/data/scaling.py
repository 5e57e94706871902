"""Scales a picture's long side. What a pixel cache keeps is made by this file, `images.py` and `grey.py` alone."""

import numpy as np
from PIL import Image


def scaled_size(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Returns height and width in pixels of a picture of `shape` (H, W) whose long side is scaled to `side`."""
    height, width = shape
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def scaled(image: np.ndarray, side: int) -> np.ndarray:
    """Scales the long side to `side`, (H, W) -> (h, w) uint8; a picture that has this size comes back as it is."""
    height, width = scaled_size(image.shape, side)
    if image.shape == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """Scales the long side down to `side`; a picture that is no larger comes back as it is.

    What a pixel cache keeps: `scaled(shrunk(image, side), side)` is `scaled(image, side)`, bit by bit.

    Args:
        image: (H, W) uint8, 0-255.
        side: pixels.

    Returns:
        (h, w) uint8, max(h, w) <= side.
    """
    return scaled(image, side) if max(image.shape) > side else image
