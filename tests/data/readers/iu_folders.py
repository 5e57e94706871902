"""The Indiana collection on disk, in the forms that it is shipped in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flvlp.data.readers.config import IUXrayConfig
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.iu_xray import read_iu_xray


def write_views(root: Path, views: Sequence[tuple[str, str, str]]) -> None:
    lines = [",".join(row) for row in [("uid", "filename", "projection"), *views]]
    (root / "indiana_projections.csv").write_text("\n".join(lines) + "\n")


def write_pictures(folder: Path, names: Sequence[str]) -> None:
    """Pictures of one grey value each, their number in `names`."""
    for value, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), value, dtype=np.uint8)).save(folder / name)


def read(root: Path, **knobs: Any) -> FileSource:
    return read_iu_xray(IUXrayConfig(**{"name": "iu_xray", "root": str(root), "split": "iu_xray/patient", **knobs}))


def failure(root: Path, error: type[Exception] = ValueError, **knobs: Any) -> str:
    with pytest.raises(error) as caught:
        read(root, **knobs)
    return str(caught.value)
