"""Masks that are pictures of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flvlp.data.images import read_image

_INSIDE = 127  # of a mask picture, values above are inside


@dataclass(frozen=True)
class FileMasks:
    """Masks in files; `flvlp.data.studies.Masks`.

    Attributes:
        paths: of each study's mask, "" where nothing is marked.
    """

    paths: Sequence[str]

    def of(self, index: int) -> np.ndarray:
        """Returns the mask of study `index`, (H, W) bool; (1, 1) False where nothing is marked.

        Raises:
            ImageReadError: if the file cannot be read.
        """
        if not self.paths[index]:
            return np.zeros((1, 1), dtype=bool)
        return read_image(self.paths[index]) > _INSIDE
