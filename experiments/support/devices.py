"""Shares a machine's CUDA devices among jobs that run side by side."""

import logging
import os
import tempfile
from pathlib import Path
from typing import IO

from support.locks import take_lock

log = logging.getLogger(__name__)

_HELD: list[IO[str]] = []  # CUDA cannot change its devices within a process: it keeps them, and their locks, to its end


def claim_devices(count: int, job: int) -> None:
    """Gives this process CUDA devices of its own (CUDA_VISIBLE_DEVICES); without any, nothing is done.

    Args:
        count: devices of a job.
        job: number in the sweep. Where too few devices are free, jobs share them in turn.
    """
    import torch

    visible = torch.cuda.device_count()
    if _HELD or not visible:
        return
    names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(visible)))).split(",")
    found: dict[str, IO[str]] = {}
    for name in names:
        lock = take_lock(Path(tempfile.gettempdir()) / f"flvlp-{os.getuid()}-device-{name.strip()}.lock")
        if lock is not None:
            found[name] = lock
        if len(found) == count:
            break
    _HELD.extend(found.values())
    mine = list(found)
    if len(found) < count:
        mine = [names[(job * count + number) % len(names)] for number in range(min(count, len(names)))]
        log.warning("devices: %d of %d are free, and a job takes %d; this one shares", len(found), len(names), count)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
