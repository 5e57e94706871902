"""Masks that are pictures of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flvlp.data.images import ImageReadError, read_image

_INSIDE = 127  # of a mask picture, values above are inside


@dataclass(frozen=True)
class FileMasks:
    """Masks in files; `flvlp.data.studies.Masks`.

    Attributes:
        paths: of each study's mask, "" where nothing is marked.
        rows: line of each study, for messages.
        hides_ids: True keeps paths out of messages.
    """

    paths: Sequence[str]
    rows: Sequence[int]
    hides_ids: bool = False

    def of(self, index: int) -> np.ndarray:
        """Returns the mask of study `index`, (H, W) bool; (1, 1) False where nothing is marked.

        Raises:
            ImageReadError: if the file cannot be read; names the row, and the path unless it is hidden.
        """
        if not self.paths[index]:
            return np.zeros((1, 1), dtype=bool)
        try:
            return read_image(self.paths[index]) > _INSIDE
        except ImageReadError as error:
            where = f"the mask of row {self.rows[index]}"
            if not self.hides_ids:
                raise ImageReadError(f"{where}: {error}", error.path, error.cause) from error
            # `from None`: the original message holds the path.
            raise ImageReadError(f"{where}: cannot be read as an image ({error.cause})", "", error.cause) from None
