"""Where the time of a training step goes: a trace for TensorBoard or Perfetto, and a table."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function, schedule, tensorboard_trace_handler

from flvlp import distributed

log = logging.getLogger(__name__)

FOLDER, TABLE = "profile", "table.txt"
SKIPPED, WARM_UP, TRACED = 3, 1, 4  # steps; the first ones allocate what later ones use again
PREFIX = "step/"
OPERATORS = 15  # that are listed


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Makes what happens inside one line of the table: `with phase("step/forward")`.

    While a profile is taken on a device, each phase waits for it at its end: its time would else be that of handing
    over the work.
    """
    with record_function(name):
        yield
        if torch.autograd._profiler_enabled() and torch.cuda.is_available():
            torch.cuda.synchronize()


@contextmanager
def profiled(folder: Path | None) -> Iterator[Any]:
    """Gives a profiler whose `step()` is called after every training step, or one that does nothing.

    Args:
        folder: of the run; `profile/` in it gets a trace for each rank, and rank 0's table. None profiles nothing, nor
            does a folder that has them.
    """
    if folder is None or (folder / FOLDER).exists():
        yield _Nothing()
        return
    place, written = folder / FOLDER, []
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    write_trace = tensorboard_trace_handler(str(place), worker_name=f"rank{distributed.rank()}")

    def finish(profiler: Any) -> None:
        traced = profiler.step_num - SKIPPED - WARM_UP  # fewer where training ended before
        if traced < 1:
            return
        write_trace(profiler)
        written.append(place)
        if distributed.is_main():
            text = table_of(profiler, traced)
            (place / TABLE).write_text(text)
            log.info("profile of %d steps: %s\n%s", traced, place, text)

    steps = schedule(skip_first=SKIPPED, wait=0, warmup=WARM_UP, active=TRACED, repeat=1)
    with profile(activities=activities, schedule=steps, on_trace_ready=finish) as profiler:
        yield profiler
    if not written:
        log.warning("engine.profile: nothing is written before step %d; train longer", SKIPPED + WARM_UP + 1)


class _Nothing:
    def step(self) -> None:
        """Does nothing."""


def table_of(profiler: Any, steps: int) -> str:
    """Returns milliseconds of each phase in one of `steps` steps, and of the operators that take most of it.

    Phases are timed on the host, which waits at their ends. Operators are those of the host's threads, with the time of
    the kernels that each has started where there is a device.
    """
    events = [event for event in profiler.key_averages() if event.device_type == DeviceType.CPU]
    own_time = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"

    def milliseconds(event: Any, kind: str) -> float:
        return float(getattr(event, kind)) / 1e3 / steps

    phases = [event for event in events if event.key.startswith(PREFIX)]
    phases.sort(key=lambda event: -event.cpu_time_total)
    whole = sum(milliseconds(event, "cpu_time_total") for event in phases)
    lines = [f"{'phase':<42}{'ms a step':>12}{'share':>8}"]
    for event in phases:
        taken = milliseconds(event, "cpu_time_total")
        lines.append(f"{event.key.removeprefix(PREFIX):<42}{taken:>12.1f}{taken / whole:>8.1%}")
    operators = [event for event in events if not event.key.startswith((PREFIX, "ProfilerStep"))]
    operators.sort(key=lambda event: -milliseconds(event, own_time))
    total = sum(milliseconds(event, own_time) for event in operators)
    lines += ["", f"{'operator, itself':<42}{'ms a step':>12}{'share':>8}{'calls':>8}"]
    for event in operators[:OPERATORS]:
        own = milliseconds(event, own_time)
        lines.append(f"{event.key[:40]:<42}{own:>12.1f}{own / total:>8.1%}{event.count // steps:>8}")
    return "\n".join(lines) + "\n"
