"""Folders that are made once: finished or not there, whoever is killed or races."""

import fcntl
import logging
import os
import secrets
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)


def make_once(folder: Path, needed: int, what: str, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary folder beside `folder` and renames it when it is finished.

    What an earlier process of this machine left half-written, because it was killed, is removed first. Of several
    processes that want the same folder at once, one makes it and the others wait; where the disk knows no locks, each
    makes it, the first to finish wins, and the others drop theirs.

    Args:
        folder: where the finished folder goes.
        needed: bytes that the disk must have room for.
        what: is made, for the message.
        write: fills the folder that it is given.

    Raises:
        OSError: the disk has no room.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f".{folder.name}.lock"
    with path.open("a") as lock:
        _take(lock, what)
        try:
            if not folder.is_dir():
                _make(folder, needed, what, write)
        finally:
            path.unlink(missing_ok=True)  # whoever waits holds the file still, and finds the folder


def _take(lock: IO[str], what: str) -> None:
    """Waits until this process holds the lock, which ends with it; does nothing where the disk knows no locks."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        log.info("waiting for another process, which makes %s", what)
        fcntl.lockf(lock, fcntl.LOCK_EX)
    except OSError as error:
        log.warning("%s cannot be locked (%s): processes side by side each make %s", lock.name, error, what)


def _make(folder: Path, needed: int, what: str, write: Callable[[Path], None]) -> None:
    _remove_left_over(folder)
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise OSError(
            f"{folder.parent}: has {free / 2**30:.1f} GiB free, {what} may need up to {needed / 2**30:.1f}; point "
            "dataset.root (of a stand-in: dataset.standin_root) to another disk, or lower the number of studies"
        )
    temporary = folder.with_name(f"{_prefix(folder)}{os.getpid()}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        write(temporary)
        try:
            temporary.rename(folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _prefix(folder: Path) -> str:
    return f".{folder.name}.{socket.gethostname()}."


def _remove_left_over(folder: Path) -> None:
    prefix = _prefix(folder)
    for path in folder.parent.iterdir():
        process = path.name.removeprefix(prefix).split(".")[0]
        if path.name.startswith(prefix) and process.isdecimal() and not _is_alive(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True
