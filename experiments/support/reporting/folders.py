"""Folders that may be runs, below the ones that were asked for."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

CONFIG, FAILED = "config.yaml", "failed.txt"  # one of them is in every folder of a run
NO_RUN_INSIDE = {"encoders", "encoders_last", "checkpoints", "tokenizer", "overlays", "boxes"}


def folders_below(wanted: Sequence[str]) -> Iterator[Path]:
    """Yields every folder that may be a run, each once, in the order of their names.

    Args:
        wanted: folders, patterns of the shell.

    Raises:
        FileNotFoundError: a folder that is not there.
    """
    seen = set[Path]()
    for pattern in wanted:
        starts = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207 (may be absolute)
        places = [Path(start) for start in starts]
        missing = [pattern] * (not places) + [str(place) for place in places if not place.is_dir()]
        if missing:
            raise FileNotFoundError(f"runs: no such folder: {', '.join(missing)}; give folders of runs or of sweeps")
        for place in places:
            for path, below, files in os.walk(place.resolve()):  # does not follow `latest`
                below[:] = sorted(set(below) - NO_RUN_INSIDE, key=_in_order)
                folder = Path(path)
                if folder not in seen and {CONFIG, FAILED} & set(files):
                    seen.add(folder)
                    yield folder


def _in_order(name: str) -> list[tuple[int, str]]:
    """Returns a key that sorts seed_2 before seed_10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
