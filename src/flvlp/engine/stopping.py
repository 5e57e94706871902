"""SIGTERM as clusters send it before they take a machine back: finish the step, save, and leave."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

PREEMPTED = 75  # exit status; EX_TEMPFAIL of sysexits.h: try again


class StopRequest:
    """While inside, SIGTERM ends the process with status `PREEMPTED`: at once, or inside `waits` after the step.

    Attributes:
        was_sent: SIGTERM came to this process.
    """

    def __init__(self) -> None:
        self.was_sent = False
        self._must_wait = False
        self._listens = threading.current_thread() is threading.main_thread()  # Python allows no other thread to
        self._before: Any = None

    def __enter__(self) -> Self:
        if self._listens:
            self._before = signal.signal(signal.SIGTERM, self._take_down)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._before)

    def _take_down(self, number: int, frame: FrameType | None) -> None:
        self.was_sent = True
        self.leave_if_sent()

    def leave_if_sent(self) -> None:
        """Ends the process where SIGTERM came and nothing waits to be saved."""
        if self.was_sent and not self._must_wait:
            raise SystemExit(PREEMPTED)

    @contextmanager
    def waits(self) -> Iterator[None]:
        """While inside, nothing breaks into a step: SIGTERM is only noted, and so is the death of a data worker.

        PyTorch raises the latter from a handler of SIGCHLD, wherever the program stands. Without that handler, which
        is not set again, it does so where a batch is waited for.
        """
        if self._listens:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._must_wait = True
        try:
            yield
        finally:
            self._must_wait = False
