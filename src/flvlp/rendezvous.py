"""How the ranks of one attempt find each other, and what is said where one of them does not answer."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist

STORE = "flvlp/store"  # where the agents' store keeps the port of the ranks' own
SHORT = timedelta(seconds=5)  # to find out that nobody listens at an address
_TIMEOUT = re.compile(r"time(d )?out", re.IGNORECASE)  # in the backends' own errors
REMEDY = (
    "a rank waits engine.timeout_minutes of pre-training (30 in tasks) for the others: set more where one is only "
    "slow; where one hangs, is stopped or is gone, its own last lines say why, and the same command with resume=<run> "
    "goes on from the last checkpoint, torchrun --max-restarts by itself"
)


@contextmanager
def explained_timeouts() -> Iterator[None]:
    """Says what to do where another rank did not answer in time; the backends' own errors name no setting.

    Raises:
        TimeoutError: from the error of gloo, nccl or a store.
    """
    try:
        yield
    except RuntimeError as error:
        told = str(error).strip().partition("\n")[0]
        is_of_exchange = isinstance(error, dist.DistError) or "gloo" in told
        if not (is_of_exchange and _TIMEOUT.search(told)):
            raise
        rank = os.environ.get("RANK", "0")
        raise TimeoutError(
            f"distributed: rank {rank} got no answer from another rank in time ({told}); {REMEDY}"
        ) from error


def join_group(backend: str, timeout: timedelta) -> None:
    """Joins the ranks of this attempt, which meet in a store that its rank 0 opens.

    torchrun's own store outlives a restart and holds addresses of dead ranks, and its agents on several hosts do not
    count restarts alike. An old address of the new store leads nowhere, so that whoever read it asks again.

    Raises:
        TimeoutError: rank 0 opened no store in time, or another rank did not join.
    """
    with explained_timeouts():
        agents, number, size = next(dist.rendezvous("env://", timeout=timeout))
        if number == 0:
            store = dist.TCPStore(
                os.environ["MASTER_ADDR"], 0, size, is_master=True, wait_for_workers=False, timeout=timeout
            )
            agents.set(STORE, f"{store.port}")
        else:
            store = _store_of_rank_0(agents, size, timeout)
        dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=timeout)


def _store_of_rank_0(agents: dist.Store, size: int, timeout: timedelta) -> dist.TCPStore:
    """Returns a connection to the store of this attempt's rank 0."""
    deadline = time.monotonic() + timeout.total_seconds()
    host, found = os.environ["MASTER_ADDR"], "it wrote no port"
    while (left := deadline - time.monotonic()) > 0:
        try:
            agents.wait([STORE], timedelta(seconds=left))
        except dist.DistStoreError:
            break
        port = int(agents.get(STORE).decode())
        try:
            store = dist.TCPStore(host, port, size, is_master=False, timeout=SHORT)
        except RuntimeError:  # that of an earlier attempt
            found = f"nobody listens at port {port}"
            time.sleep(0.5)
            continue
        store.set_timeout(timeout)
        return store
    raise TimeoutError(f"distributed: rank 0 on {host} opened no store within {timeout} ({found}); {REMEDY}")
