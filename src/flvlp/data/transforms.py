"""From a radiograph of any size to the square crop an encoder takes. No flips: they would swap left and right."""

import numpy as np
from PIL import Image

from flvlp.data.config import ImageConfig


def fit_square(image: np.ndarray, side: int) -> np.ndarray:
    """Scales the long side to `side` and zero-pads the short one evenly.

    Args:
        image: (H, W) uint8, 0-255.
        side: pixels.

    Returns:
        (side, side) uint8. A picture that already has this size comes back as it is.
    """
    height, width = image.shape
    if (height, width) == (side, side):
        return image
    scale = side / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
    square = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - new_height) // 2, (side - new_width) // 2
    square[top : top + new_height, left : left + new_width] = np.asarray(resized)
    return square


def crop_view(image: np.ndarray, config: ImageConfig, generator: np.random.Generator | None) -> np.ndarray:
    """Returns the crop that the encoder sees.

    Args:
        image: (H, W) uint8.
        config: sizes.
        generator: draws the corner of the crop (training); None crops the centre (evaluation).

    Returns:
        (crop, crop) uint8.
    """
    square = fit_square(image, config.resize)
    room = config.resize - config.crop
    top, left = (room // 2, room // 2) if generator is None else generator.integers(0, room + 1, size=2)
    return square[top : top + config.crop, left : left + config.crop]
