"""SIGTERM is taken down while training, and only then."""

import os
import signal

import pytest

from flvlp.engine.stopping import PREEMPTED, StopRequest


def test_while_it_must_wait_a_signal_ends_nothing_and_then_it_does() -> None:
    with StopRequest() as stop:
        with stop.waits():
            assert not stop.was_sent
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.was_sent
            stop.leave_if_sent()
        with pytest.raises(SystemExit) as left:
            stop.leave_if_sent()
    assert left.value.code == PREEMPTED


def test_where_nothing_waits_to_be_saved_it_ends_the_process_at_once() -> None:
    with pytest.raises(SystemExit) as left, StopRequest():
        os.kill(os.getpid(), signal.SIGTERM)
    assert left.value.code == PREEMPTED


def test_the_death_of_a_child_waits_too() -> None:
    def interrupt(*_: object) -> None:
        raise RuntimeError("in the middle of a step")

    before = signal.signal(signal.SIGCHLD, interrupt)
    try:
        with StopRequest().waits():
            os.waitpid(os.spawnv(os.P_NOWAIT, "/bin/true", ["true"]), 0)
        os.kill(os.getpid(), signal.SIGCHLD)  # nor may it break into what is said of the death afterwards
    finally:
        signal.signal(signal.SIGCHLD, before)


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
