"""From the stored values of a picture to 8-bit grey: DICOM's own transformations, and the stretch of deep pictures."""

from typing import Any

import numpy as np
import pydicom
from pydicom.multival import MultiValue
from pydicom.pixels import apply_modality_lut, apply_voi

# Of the pixels of a picture with more than 8 bits, this share at either end may be clipped: lead markers, dead pixels.
CLIPPED_SHARE = 0.001


def displayed(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Applies the modality and VOI transformations to stored values, (H, W) -> (H, W) uint8."""
    values = stored
    rescale = tuple(_first(dataset.get(key)) for key in ("RescaleSlope", "RescaleIntercept"))
    if dataset.get("ModalityLUTSequence") or (None not in rescale and rescale != (1, 0)):
        values = apply_modality_lut(stored, dataset)
    lut = dataset.get("VOILUTSequence")
    if lut:
        top = 2.0 ** int(lut[0].LUTDescriptor[2]) - 1
        return _to_uint8(apply_voi(np.rint(values).astype(np.int64), dataset), 0.0, top)
    window = _windowed(values, dataset)
    if window is not None:
        return window
    if values is stored and stored.dtype == np.uint8 and int(dataset.BitsStored) == 8:
        return stored
    return stretched(values, _is_padding(stored, dataset))


def _windowed(values: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray | None:
    """Applies the first window (DICOM PS3.3 C.11.2.1), (H, W) uint8; None when there is none of use."""
    center, width = (_first(dataset.get(key)) for key in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if center is None or width is None or width < 1:
        return None
    distance = values.astype(np.float32) - center
    if function == "SIGMOID":
        grey = 255 / (1 + np.exp(np.clip(-4 * distance / width, -80, 80)))
    elif function == "LINEAR_EXACT":
        grey = (distance / width + 0.5) * 255
    else:
        grey = ((distance + 0.5) / max(width - 1, 1e-6) + 0.5) * 255
    windowed = _to_uint8(grey, 0.0, 255.0)
    return windowed if windowed.min() < windowed.max() else None


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0]) if isinstance(value, MultiValue) else float(value)


def _is_padding(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray | None:
    padding = dataset.get("PixelPaddingValue")
    if padding is None:
        return None
    low, high = sorted((int(padding), int(dataset.get("PixelPaddingRangeLimit", padding))))
    return (stored >= low) & (stored <= high)


def stretched(values: np.ndarray, is_padding: np.ndarray | None = None) -> np.ndarray:
    """Maps the range of the picture, less `CLIPPED_SHARE` at either end, to 0-255; (H, W) -> (H, W) uint8."""
    counted = values.ravel() if is_padding is None or is_padding.all() else values[~is_padding]
    ordered = np.sort(counted[:: max(1, counted.size // 1_000_000)])  # a million pixels tell the range
    skipped = int(CLIPPED_SHARE * ordered.size)
    low, high = float(ordered[skipped]), float(ordered[-1 - skipped])
    if low == high:
        low, high = float(counted.min()), float(counted.max())
    return _to_uint8(values, low, high)


def _to_uint8(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if low == high:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = (values.astype(np.float32) - low) * (255 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
