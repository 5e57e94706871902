"""Locks that end with the process that holds them, however it ends."""

import errno
import fcntl
import logging
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)


def take_lock(path: Path) -> IO[str] | None:
    """Returns the locked file, to be held open for as long as the lock is needed; None where another process holds it.

    A file system without locks gives none: then nothing is looked at, with a warning.
    Processes that are forked meanwhile do not hold it, so that a job that was killed can be started again at once.
    """
    file = path.open("a")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.close()
        return None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            file.close()
            raise
        log.warning("no locks on the file system of %s: see yourself that no other process is at work there", path)
    return file
