"""Pictures as PNG files, without loss."""

from io import BytesIO

import numpy as np
from PIL import Image


def png_bytes(picture: np.ndarray, effort: int = 6) -> bytes:
    """Returns a grey picture (H, W) or a coloured one (H, W, 3), uint8, as the content of a PNG file.

    Args:
        picture: what is encoded.
        effort: of the compression, 0-9; 1 takes a fraction of the time for a somewhat larger file.
    """
    content = BytesIO()
    Image.fromarray(picture).save(content, format="PNG", compress_level=effort)
    return content.getvalue()
