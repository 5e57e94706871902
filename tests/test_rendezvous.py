"""Ranks that do not find each other, and errors of exchanges: what they say."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import torch.distributed as dist

from flvlp import distributed, rendezvous
from flvlp.rendezvous import STORE, explained_timeouts

TEXT = "[/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 12000ms for recv operation"


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> Iterator[dist.TCPStore]:
    """Returns the store of torchrun's agents, where this process is one of two ranks."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    variables = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{store.port}"}
    for name, value in (variables | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, value)
    yield store
    distributed.stop()


@pytest.mark.parametrize("port", [None, 9], ids=["none was written", "of an earlier attempt"])
def test_a_rank_whose_rank_0_opened_no_store_says_what_to_do(
    agents: dist.TCPStore, monkeypatch: pytest.MonkeyPatch, port: int | None
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(rendezvous, "SHORT", timedelta(seconds=0.2))
    if port is not None:
        agents.set(STORE, str(port))
    found = "it wrote no port" if port is None else f"nobody listens at port {port}"
    told = rf"rank 0 on 127\.0\.0\.1 opened no store within 0:00:00\.9\S* \({found}\); .*engine\.timeout_minutes"
    with pytest.raises(TimeoutError, match=told):
        distributed.start(timeout_minutes=0.015)


def test_rank_0_that_stays_alone_says_what_to_do(agents: dist.TCPStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(TimeoutError, match=r"rank 0 got no answer from another rank in time .*engine\.timeout_minutes"):
        distributed.start(timeout_minutes=0.015)
    assert agents.get(STORE), "it never opened its store"


@pytest.mark.parametrize(
    "error",
    [RuntimeError(TEXT), dist.DistStoreError("wait timeout after 900ms, keys: /x"), dist.DistBackendError("timeout")],
)
def test_an_exchange_that_took_too_long_is_explained_and_its_own_error_kept(error: RuntimeError) -> None:
    with pytest.raises(TimeoutError, match=re.escape(str(error))) as caught, explained_timeouts():
        raise error
    assert caught.value.__cause__ is error
    assert "engine.timeout_minutes" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a data worker timed out"),
        RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:5] Connection closed by peer"),
        ValueError("gloo: timeout"),
        dist.DistNetworkError("Connection refused"),
    ],
)
def test_every_other_error_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explained_timeouts():
        raise error
    assert caught.value is error
