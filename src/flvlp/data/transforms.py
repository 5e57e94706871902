"""From a radiograph of any size to the square crop an encoder takes. No flips: they would swap left and right."""

import numpy as np

from flvlp.data.config import ImageConfig
from flvlp.data.scaling import scaled, scaled_size


def fit_square(image: np.ndarray, side: int) -> np.ndarray:
    """Scales the long side to `side` and zero-pads the short one evenly.

    Args:
        image: (H, W) uint8, 0-255.
        side: pixels.

    Returns:
        (side, side) uint8. A picture that already has this size comes back as it is.
    """
    resized = scaled(image, side)
    height, width = resized.shape
    if height == width == side:
        return resized
    square = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = resized
    return square


def fit_mask(mask: np.ndarray, side: int) -> np.ndarray:
    """Brings a mask to the square of its picture (`fit_square`); a pixel more than half inside is inside.

    A thin mask does not vanish: where no pixel is half inside, those that are most inside are.

    Args:
        mask: (H, W) bool that covers a picture of the same proportions, at any scale.
        side: pixels.

    Returns:
        (side, side) bool.
    """
    inside = fit_square(mask.astype(np.uint8) * 255, side)
    return inside >= min(128, max(1, int(inside.max())))


def fit_boxes(boxes: np.ndarray, height: int, width: int, side: int) -> np.ndarray:
    """Brings boxes to the square of their picture (`fit_square`).

    Args:
        boxes: (n, 4) left, top, width, height as shares of the picture's width and height (`Boxes.values`).
        height, width: of the picture in pixels, or of any copy with the same proportions.
        side: pixels.

    Returns:
        (n, 4) float32 left, top, right, bottom in pixels of the square.
    """
    new_height, new_width = scaled_size((height, width), side)
    size = np.array([new_width, new_height], dtype=np.float32)
    offset = np.array([(side - new_width) // 2, (side - new_height) // 2], dtype=np.float32)
    first, extent = boxes[:, :2] * size + offset, boxes[:, 2:] * size
    return np.concatenate([first, first + extent], axis=1).astype(np.float32)


def unfit_boxes(boxes: np.ndarray, height: int, width: int, side: int) -> np.ndarray:
    """Brings boxes back from the square of their picture, the inverse of `fit_boxes`.

    Args:
        boxes: (n, 4) left, top, right, bottom in pixels of the square; what reaches into the padding is cut.
        height, width: as given to `fit_boxes`.
        side: pixels.

    Returns:
        (n, 4) float32 left, top, width, height as shares of the picture's width and height, in [0, 1].
    """
    new_height, new_width = scaled_size((height, width), side)
    size = np.array([new_width, new_height], dtype=np.float32)
    offset = np.array([(side - new_width) // 2, (side - new_height) // 2], dtype=np.float32)
    first, last = (np.clip((corner - offset) / size, 0, 1) for corner in (boxes[:, :2], boxes[:, 2:]))
    return np.concatenate([first, last - first], axis=1).astype(np.float32)


def heat_on_picture(heat: np.ndarray, shape: tuple[int, int], config: ImageConfig) -> np.ndarray:
    """Brings a map over the patches of the centre crop (`crop_view`) back to the picture, linear between their centres.

    Outside the centres of the outermost patches their values go on, to the edge of the crop.

    Args:
        heat: (rows, columns) of the patches.
        shape: height and width in pixels of the picture, or of any copy with the same proportions.
        config: sizes that the crop was made with.

    Returns:
        (H, W) float32; NaN where the encoder saw nothing, outside the crop.
    """
    weights = [
        _patch_weights(length, scaled, patches, config)
        for length, scaled, patches in zip(shape, scaled_size(shape, config.resize), heat.shape, strict=True)
    ]
    return (weights[0] @ heat.astype(np.float64) @ weights[1].T).astype(np.float32)


def _patch_weights(length: int, scaled_length: int, patches: int, config: ImageConfig) -> np.ndarray:
    """Returns how much of each patch is in each pixel along one axis, (length, patches); rows of NaN outside the crop.

    Args:
        length: pixels of the picture.
        scaled_length: of the same axis in the square of `config.resize`.
        patches: along the axis.
        config: sizes.
    """
    padding, margin = (config.resize - scaled_length) // 2, (config.resize - config.crop) // 2
    crop_pixel = (np.arange(length) + 0.5) * scaled_length / length + padding - margin  # middle of the pixel
    place = np.clip(crop_pixel / config.crop * patches - 0.5, 0, patches - 1)
    first = np.minimum(place.astype(np.int64), max(patches - 2, 0))
    share = place - first
    weights = np.zeros((length, patches))
    np.put_along_axis(weights, first[:, None], 1 - share[:, None], axis=1)
    if patches > 1:
        np.put_along_axis(weights, first[:, None] + 1, share[:, None], axis=1)
    weights[(crop_pixel < 0) | (crop_pixel > config.crop)] = np.nan
    return weights


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
