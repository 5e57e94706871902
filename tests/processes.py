"""What tests ask of processes that they start."""

import logging
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conftest import environment

Reaction = Callable[[int], None]


def group_lives(group: int) -> bool:
    """Returns whether any process of a group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def children_of(pid: int) -> list[int]:
    """Returns what a process started and is still there."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def ranks_of(agent: int) -> list[int]:
    """Returns the ranks of pre-training that torchrun has started, in their order."""
    return [one for one in children_of(agent) if "pretrain.py" in Path(f"/proc/{one}/cmdline").read_text()]


def kill_all(pid: int) -> None:
    """Kills a process and all that it started; torchrun's ranks are in sessions of their own, and outlive it."""
    children = children_of(pid)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_all(child)


@contextmanager
def root_logging() -> Iterator[None]:
    """Leaves the root logger as it was; log files that a run has opened in this process are closed."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for one in [one for one in root.handlers if one not in handlers]:
            one.close()
        root.handlers[:], root.level = handlers, level


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets no file of this process grow beyond so many bytes: what writes meets is what a full disk is to them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def time_limit(pid: int, seconds: float) -> Iterator[None]:
    """Kills a process and all that it started after so many seconds, so that what waits for it goes on."""
    timer = threading.Timer(seconds, kill_all, [pid])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def watch(command: list[str], cwd: Path, reactions: Mapping[str, Reaction], seconds: float) -> tuple[int, str]:
    """Starts a command and does what belongs to the first line that holds a text.

    Args:
        command: what is started.
        cwd: where.
        reactions: text -> what is done once, with the process id, when stderr has said it.
        seconds: after which it is killed, with all that it started; the exit status is -9 then.

    Returns:
        exit status, and what it said on stderr.
    """
    left, said = dict(reactions), ""
    with subprocess.Popen(
        command, env=environment(), cwd=cwd, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        with time_limit(process.pid, seconds):
            for line in process.stderr:
                said += line
                for text in [text for text in left if text in line]:
                    left.pop(text)(process.pid)
            process.wait()
    assert not left, f"never said: {sorted(left)}\n{said[-3000:]}"
    return process.returncode, said
