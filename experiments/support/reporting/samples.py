"""Pictures that the runs left behind, to look at on the page: overlays, boxes, heat maps, figures."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support.reporting.configs import read_config
from support.reporting.folders import CONFIG, NO_RUN_INSIDE
from support.reporting.rows import Member, Row

LARGEST = 2**20  # bytes of a file that is put into the page
IN_ALL = 6 * 2**20
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture of a run: whose, and its bytes as PNG, `width` times `height` pixels."""

    caption: str
    content: bytes
    width: int
    height: int


def choose_samples(rows: Sequence[Row], count: int) -> list[Sample]:
    """Chooses pictures, from each row and folder of pictures in turn.

    Those of credentialed data stay out, whatever was allowed to lie in the run folder: a page is passed on.
    """
    queues = []
    for row in rows:
        for member in row.members.values():
            folders: dict[Path, list[Path]] = {}
            for path in _pictures(member):
                folders.setdefault(path.parent, []).append(path)
            queues += [[(row, member, path) for path in paths] for paths in folders.values()]
    chosen: list[Sample] = []
    total = 0
    longest = max(map(len, queues), default=0)
    for turn in range(longest):
        for row, member, path in [queue[turn] for queue in queues if turn < len(queue)]:
            content = path.read_bytes() if path.stat().st_size <= LARGEST else b""
            if len(chosen) == count or not content.startswith(SIGNATURE) or total + len(content) > IN_ALL:
                continue
            total += len(content)
            width, height = struct.unpack(">II", content[16:24])  # of the header that every PNG begins with
            place = next(path.relative_to(folder) for folder in member.folders if path.is_relative_to(folder))
            chosen.append(Sample(f"{row.name}, seed {member.seed}: {place.with_suffix('')}", content, width, height))
    return chosen


def _pictures(member: Member) -> list[Path]:
    """Returns the pictures of a member's runs that may be shown, in order."""
    return [
        path
        for folder in member.folders
        for path in sorted(folder.rglob("*.png"))
        if not (set(path.relative_to(folder).parts) & (NO_RUN_INSIDE - {"overlays", "boxes"}))
        and _is_public(path, folder)
    ]


def _is_public(path: Path, top: Path) -> bool:
    """Returns whether the run that a picture lies in, and those around it, say that their data are not credentialed.

    A picture of `explain` of one's own files is of data that no configuration speaks of.
    """
    said = []
    for folder in path.parents:
        if (folder / CONFIG).exists():
            said.append(_says_public(folder / CONFIG))
        if folder == top:
            break
    return bool(said) and all(said)


def _says_public(path: Path) -> bool:
    try:
        config = read_config(path)
    except (OSError, ValueError):  # a damaged one says nothing
        return False
    return config.get("dataset.credentialed") is False and not config.get("frontal")
