"""SIGTERM as clusters send it before they take a machine back: finish the step, save, and leave."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from flvlp import distributed

PREEMPTED = 75  # exit status; EX_TEMPFAIL of sysexits.h: try again


class StopRequest:
    """While inside, SIGTERM is taken down in place of ending the process."""

    def __init__(self) -> None:
        self._was_sent = False
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
        self._was_sent = True

    def is_asked(self) -> bool:
        """Returns whether any rank was asked to stop; every rank calls it after the same step and gets the same."""
        return distributed.any_rank(self._was_sent)
