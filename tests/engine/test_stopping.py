"""SIGTERM is taken down while training, and only then."""

import os
import signal

import pytest

from flvlp.engine.stopping import StopRequest


def test_a_signal_is_taken_down_and_ends_nothing() -> None:
    with StopRequest() as stop:
        assert not stop.is_asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_asked()
        assert stop.is_asked(), "it was asked once, and that holds"


def test_afterwards_a_signal_does_what_it_did_before() -> None:
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("mine"))
    try:
        with pytest.raises(ValueError, match="broke"), StopRequest():
            raise ValueError("broke")
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == ["mine"]
    finally:
        signal.signal(signal.SIGTERM, before)
