"""The benchmark's table, and what it ran on."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.benchmarking.rows import Figure, Row, Settings


def markdown(rows: Sequence[Row]) -> str:
    """Returns the table of all rows: figure, goal, whether it is met."""
    lines = ["| row | figure | value | spread | goal | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        for figure in row.figures:
            met = {None: "", True: "yes", False: "NO"}[figure.is_met]
            lines.append(f"| {row.name} | {figure.name} | {shown(figure)} | {figure.spread} | {figure.goal} | {met} |")
    return "\n".join([*lines, "", *(f"- {row.name}: {row.what}" for row in rows)]) + "\n"


def shown(figure: Figure) -> str:
    """Returns a value with the digits that mean something."""
    return f"{figure.value:.2g}" if abs(figure.value) < 0.1 else f"{figure.value:.2f}"


def as_json(rows: Sequence[Row], settings: Settings, seconds: float) -> dict[str, Any]:
    """Returns everything as plain values."""
    return {
        "machine": machine(),
        "seconds": round(seconds, 1),
        "threads": settings.all_threads,
        "turns": settings.turns,
        "rows": [
            {
                "name": row.name,
                "what": row.what,
                "figures": [vars(figure) | {"is_met": figure.is_met} for figure in row.figures],
                "detail": row.detail,
            }
            for row in rows
        ],
    }


def machine() -> dict[str, Any]:
    """Returns what the figures depend on besides the code."""
    import torch

    from flvlp.engine.optim import autocast_dtype

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "precision_auto": str(autocast_dtype("auto", device) or torch.float32).removeprefix("torch."),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    """Returns the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
