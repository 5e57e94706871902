"""Worker processes that make data."""

import os
import signal
import threading
from multiprocessing import connection, parent_process
from types import FrameType


def end_with_parent() -> None:
    """Ends a worker whose parent was killed; it would wait for work for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def outlive_first_sigterm(worker: int) -> None:
    """Makes a data worker ignore SIGTERM once: one sent to all processes is for their parent, which needs its batch.

    The second ends it, which is how Python ends children that its own end finds alive. For `worker_init_fn`.
    """

    def ignore_once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, ignore_once)
