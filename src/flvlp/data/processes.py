"""Worker processes that make data."""

import os
import signal
import threading
from functools import cache
from multiprocessing import active_children, connection, parent_process
from multiprocessing.util import Finalize


def end_with_parent() -> None:
    """Ends a worker whose parent was killed; it would wait for work for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def outlive_sigterm(worker: int) -> None:
    """Makes a data worker ignore SIGTERM: one sent to all processes is for its parent, which still needs the batch.

    It ends when its parent is gone, as every data worker does. For `worker_init_fn`; see also `kill_workers_at_exit`.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def kill_workers_at_exit() -> None:
    """Makes this process kill its workers when it ends; Python would send them SIGTERM and wait for ever.

    They live that long where an error ends the process, whose traceback holds the iterator over the batches.
    """
    _kill_at_exit_of(os.getpid())


@cache
def _kill_at_exit_of(process: int) -> None:
    # Of multiprocessing, which runs it before it waits: at the exit of a main process, and at the end of one that it
    # started itself, such as a rank of `launch=torchrun`, where atexit comes too late.
    Finalize(None, _kill_workers, exitpriority=100)


def _kill_workers() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or PyTorch would raise the death of the first one in between
    for child in active_children():
        if child.daemon:
            child.kill()
