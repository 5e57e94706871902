"""Pictures as PNG files, without loss."""

from io import BytesIO

import numpy as np
from PIL import Image


def png_bytes(picture: np.ndarray) -> bytes:
    """Returns a grey picture (H, W) or a coloured one (H, W, 3), uint8, as the content of a PNG file."""
    content = BytesIO()
    Image.fromarray(picture).save(content, format="PNG")
    return content.getvalue()
