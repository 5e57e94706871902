"""Locks that end with the process that holds them, however it ends."""

import fcntl
from pathlib import Path
from typing import IO


def take_lock(path: Path) -> IO[str] | None:
    """Returns the locked file, to be held open for as long as the lock is needed; None where another process holds it.

    Processes that are forked meanwhile do not hold it, so that a job that was killed can be started again at once.
    """
    file = path.open("a")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.close()
        return None
    return file
