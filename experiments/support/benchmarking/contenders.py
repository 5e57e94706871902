"""Things to time against each other, each in a process of its own, asked in turns.

A process has its own peak of memory and its own threads, so that one contender's does not count for another.
"""

import os
import socket
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

GIB = 2**30
Make = Callable[..., Callable[[], Any]]  # arguments -> what is timed; made in the contender's process


@dataclass(frozen=True)
class Timed:
    """What one contender took.

    Attributes:
        seconds: of each turn, in their order.
        peak_gib: most memory the process held up to the last turn: of the device with CUDA, resident otherwise.
        start_gib: what it held before the first turn, weights and libraries included.
        last: what the last turn returned.
    """

    seconds: list[float]
    peak_gib: float
    start_gib: float
    last: Any

    @property
    def median(self) -> float:
        """The middle of the turns, in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        """The turns' least and greatest, in seconds."""
        return f"{min(self.seconds):.3g}-{max(self.seconds):.3g}"


class Contender:
    """Processes that make something and run it whenever they are asked to; several of them are ranks of one group."""

    def __init__(self, make: Make, arguments: Sequence[Any], threads: int, ranks: int = 1) -> None:
        """Starts the processes; `make` and `arguments` must be importable and picklable.

        Args:
            make: makes what is timed, in each process.
            arguments: of `make`.
            threads: of each process.
            ranks: processes; several find themselves in the environment that torchrun gives its workers.
        """
        port, context = free_port(), get_context("spawn")
        self.connections: list[Connection] = []
        self.processes = []
        for rank in range(ranks):
            group = {} if ranks == 1 else {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
            connection, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, make, arguments, threads, group))
            process.start()
            theirs.close()
            self.connections.append(connection)
            self.processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection, process in zip(self.connections, self.processes, strict=True):
            if kind is None and process.is_alive():
                connection.send(None)
        for process in self.processes:
            process.join(timeout=10 if kind is None else 0)
            process.kill()
            process.join()

    def turn(self) -> dict[str, Any]:
        """Runs once; of several ranks the slowest tells the time, and the memory is that of all.

        Raises:
            RuntimeError: a process broke; what it said is on stderr.
        """
        try:
            for connection in self.connections:
                connection.send("turn")
            answers: list[dict[str, Any]] = [connection.recv() for connection in self.connections]
        except (EOFError, OSError) as error:
            raise RuntimeError("benchmark: the process of a contender broke; what it said is above") from error
        slowest = max(answers, key=lambda answer: answer["seconds"])
        return slowest | {key: sum(answer[key] for answer in answers) for key in ("peak_gib", "start_gib")}


def compete(contenders: Sequence[Contender], turns: int, warm_up: int = 1) -> list[Timed]:
    """Lets the contenders take turns, so that what else the machine does meets them alike.

    Args:
        contenders: started.
        turns: of each that count.
        warm_up: of each that do not.
    """
    answers: list[list[dict[str, Any]]] = [[] for _ in contenders]
    for number in range(warm_up + turns):
        for contender, own in zip(contenders, answers, strict=True):
            answer = contender.turn()
            if number >= warm_up:
                own.append(answer)
    return [
        Timed([one["seconds"] for one in own], own[-1]["peak_gib"], own[-1]["start_gib"], own[-1]["returned"])
        for own in answers
    ]


def _is_asked(connection: Connection) -> bool:
    try:
        return connection.recv() is not None
    except EOFError:  # the benchmark itself is gone
        return False


def free_port() -> int:
    """Returns a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _serve(
    connection: Connection, make: Make, arguments: Sequence[Any], threads: int, group: Mapping[str, int]
) -> None:
    if group:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", **{key: str(value) for key, value in group.items()}}
    import torch

    torch.set_num_threads(threads)
    run = make(*arguments)
    start_gib = torch.cuda.memory_allocated() / GIB if torch.cuda.is_available() else memory_gib("VmRSS")
    while _is_asked(connection):
        start = time.perf_counter()
        returned = run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated() / GIB if torch.cuda.is_available() else memory_gib("VmHWM")
        connection.send({"seconds": seconds, "peak_gib": peak, "start_gib": start_gib, "returned": returned})
    connection.close()


def memory_gib(kind: str) -> float:
    """Returns resident memory of this process in GiB: `VmRSS` now, `VmHWM` at most so far (Linux; NaN elsewhere)."""
    path = Path("/proc/self/status")
    if not path.exists():
        return float("nan")
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{kind}:"))
    return int(line.split()[1]) / 2**20
