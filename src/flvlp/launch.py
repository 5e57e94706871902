"""Starts the workers of one job through PyTorch's elastic agent, on one host or several. Imports nothing heavy."""

import logging
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from flvlp.checks import check_choice, check_fields

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

T = TypeVar("T")

LOCAL, LAUNCHES = "local", ("local", "torchrun", "slurm")
JOIN_SECONDS = 7200  # that a host waits for the others: the first one may still be at the tasks of the last job
AGENT = "torch.distributed.elastic.multiprocessing.api"
FIRST_PORT, PORTS = 15000, 15000  # below the ports that Linux hands out on its own


@dataclass
class LaunchConfig:
    """How the processes of a job are started.

    Attributes:
        name: `local` (this process is the job), `torchrun` (an elastic agent in this process starts workers), or
            `slurm` (each job is a SLURM job with an agent on each of its nodes).
        nproc_per_node, nnodes: workers on each host, and hosts.
        rdzv_endpoint: host:port where several hosts meet; SLURM's environment says it. Job n of a sweep takes port + n.
        partition, account, time, nodes, gpus, cpus, dry_run: of `slurm`, see conf/launch/slurm.yaml.
    """

    name: str = LOCAL
    nproc_per_node: int = 1
    nnodes: int = 1
    rdzv_endpoint: str = ""
    partition: str | None = None
    account: str | None = None
    time: int = 1440
    nodes: int = 1
    gpus: int = 1
    cpus: int = 8
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_choice("launch.name", self.name, LAUNCHES)
        check_fields(self, "launch", "[1, inf)", "nproc_per_node", "nnodes", advice="give a number")
        check_fields(self, "launch", "[1, inf)", "time", "nodes", "cpus")
        check_fields(self, "launch", "[0, inf)", "gpus")
        if self.name == LOCAL and self.nproc_per_node * self.nnodes > 1:
            raise ValueError(
                f"launch.nproc_per_node: {self.nproc_per_node} on {self.nnodes} hosts with launch=local, which is one "
                "process; set launch=torchrun"
            )
        if self.name == "torchrun" and self.nnodes > 1 and ":" not in self.rdzv_endpoint:
            raise ValueError(
                f"launch.rdzv_endpoint: {self.rdzv_endpoint!r} is no host:port, and {self.nnodes} hosts must meet; "
                "name a port of one of them, such as launch.rdzv_endpoint=node1:29500"
            )


class WorkerError(RuntimeError):
    """A worker failed; the message ends with its traceback."""


def is_first_host() -> bool:
    """False on the further nodes of a SLURM job."""
    return os.environ.get("SLURM_NODEID", "0") == "0"


def run_workers(config: LaunchConfig, job: int, worker: Callable[..., T], *arguments: Any) -> dict[int, T]:
    """Runs `worker(*arguments)` in each worker of a job, and returns what those of this host returned, by rank.

    Args:
        config: how many, and where hosts meet.
        job: number in the sweep.
        worker: function of an importable module.
        arguments: whatever can be pickled.

    Raises:
        ValueError: more workers than devices.
        WorkerError: a worker failed.
    """
    import torch
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig as ElasticConfig
    from torch.distributed.launcher.api import elastic_launch

    devices = torch.cuda.device_count()
    if 0 < devices < config.nproc_per_node:
        raise ValueError(
            f"launch.nproc_per_node: {config.nproc_per_node} workers, and this host has {devices} devices; "
            f"give at most {devices}"
        )
    elastic = ElasticConfig(
        min_nodes=config.nnodes,
        max_nodes=config.nnodes,
        nproc_per_node=config.nproc_per_node,
        rdzv_backend="c10d",
        max_restarts=0,
        **meeting(config, job),
    )
    logging.getLogger(AGENT).setLevel(logging.CRITICAL)  # it would tell the same traceback again, in a longer form
    with shared_threads(config.nproc_per_node), kept_signals():
        try:
            returned: dict[int, T] = elastic_launch(elastic, worker)(*arguments)
        except ChildFailedError as error:
            raise WorkerError(describe_failure(error)) from None
        except SignalException as stop:  # an Exception to PyTorch: a broken job, were it not for these lines
            if stop.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + stop.sigval) from None
    return returned


def meeting(config: LaunchConfig, job: int) -> dict[str, Any]:
    """Returns where and under which name the agents of a job find each other; one host takes any free port."""
    if config.nnodes == 1:
        return {"rdzv_endpoint": "localhost:0", "run_id": uuid.uuid4().hex}
    waits: dict[str, Any] = {"join_timeout": JOIN_SECONDS, "read_timeout": JOIN_SECONDS}
    if config.name == "slurm":
        number = int(os.environ["SLURM_JOB_ID"])
        address = f"{os.environ['SLURM_LAUNCH_NODE_IPADDR']}:{FIRST_PORT + number % PORTS}"
        return {
            "rdzv_endpoint": address,
            "run_id": str(number),
            "rdzv_configs": {**waits, "is_host": is_first_host()},
        }
    host, port = config.rdzv_endpoint.rsplit(":", 1)
    return {"rdzv_endpoint": f"{host}:{int(port) + job}", "run_id": f"job-{job}", "rdzv_configs": waits}


def threads_of_worker(workers: int) -> int:
    """Returns the share of this job's threads (OMP_NUM_THREADS, or all cores) that each of its workers gets."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    return max(1, threads // workers)


@contextmanager
def shared_threads(workers: int) -> Iterator[None]:
    """Lets processes that are started inside take their share of this job's threads."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads_of_worker(workers))
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def kept_signals() -> Iterator[None]:
    """Sets back the handlers of signals that an agent leaves behind."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def describe_failure(error: "ChildFailedError") -> str:
    """Returns which worker failed first, and its traceback."""
    rank, failure = error.get_first_failure()
    message: Any = failure.error_file_data["message"]
    told = message["extraInfo"]["py_callstack"] if isinstance(message, dict) else failure.message
    return f"launch: worker {rank} failed (exit status {failure.exitcode})\n{told}"
