"""A root folder of small pictures, read by one reader with its knobs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from flvlp.data.readers.build import READERS
from flvlp.data.readers.config import DATASET_CONFIGS
from flvlp.data.readers.files import FileSource


class Root:
    """A root in a publisher's layout.

    Attributes:
        name: of the data set.
        knobs: what every reading sets.
        step: between the greys of two pictures.
    """

    name: ClassVar[str]
    knobs: ClassVar[dict[str, Any]] = {}
    step: ClassVar[int] = 1

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, name: str, lines: Sequence[str]) -> None:
        (self.path / name).write_text("".join(f"{line}\n" for line in lines))

    def pictures(self, folder: str, names: Sequence[str], shape: tuple[int, int] = (8, 8)) -> None:
        """Writes a picture of its own grey for each file name."""
        (self.path / folder).mkdir(parents=True, exist_ok=True)
        for value, name in enumerate(names):
            kind = "JPEG" if name.lower().endswith(("jpg", "jpeg")) else "PNG"
            Image.fromarray(np.full(shape, self.step * value, dtype=np.uint8)).save(
                self.path / folder / name, format=kind
            )

    def read(self, **knobs: Any) -> FileSource:
        config = DATASET_CONFIGS[self.name](**{"name": self.name, "root": str(self.path), **self.knobs, **knobs})
        return READERS[self.name][0](config)

    def failure(self, error: type[Exception], **knobs: Any) -> str:
        with pytest.raises(error) as caught:
            self.read(**knobs)
        return str(caught.value)
