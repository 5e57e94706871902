"""Tasks on the encoders of a pre-training (`then`), each in a process and a folder of its own."""

import hashlib
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flvlp.engine.lines import replace_text
from support.entry import typed

log = logging.getLogger(__name__)

EXPERIMENTS = Path(__file__).parents[1]
TASKS = ("classify", "segment", "detect", "retrieve", "zeroshot", "explain")
CHAINED = "chained.json"  # what a result was made with
RESULTS = ("result.json", "explain.png")  # a study that is only looked at has no figures
TAIL = 40  # lines of a broken task that are kept
# What torchrun says to its workers: a task is none of them.
OF_WORKERS = ("RANK", "LOCAL_", "WORLD_SIZE", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_")

Then = Mapping[str, Sequence[str]]


def check_then(then: Then) -> None:
    """Checks the names of tasks and entry points.

    Raises:
        ValueError: one that cannot be run.
    """
    for name, (entry, *_) in ((name, line or [""]) for name, line in then.items()):
        if entry not in TASKS:
            raise ValueError(
                f"then.{name}: no task {entry!r}; give a list whose first item is one of: {', '.join(TASKS)}"
            )
        if Path(name).name != name:
            raise ValueError(f"then: {name!r} is no name of a folder; leave out slashes")


def check_overrides(then: Then) -> None:
    """Composes each task, so that a misspelt key does not wait for the end of the pre-training.

    Raises:
        ValueError: with the name of the task, and what is wrong.
    """
    for name, (entry, *overrides) in then.items():
        try:
            cfg = GlobalHydra.instance().config_loader().load_configuration(entry, overrides, RunMode.RUN)
            cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
            typed(importlib.import_module(entry).Args, cfg)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ValueError(f"then.{name}: {str(error).strip().partition(chr(10))[0]}; mend its overrides") from error


def pending(then: Then, folder: Path) -> list[str]:
    """Returns the tasks that have no result of these encoders and these overrides."""
    return [name for name, line in then.items() if not _is_done(folder / "tasks" / name, _made_with(line, folder))]


def run_chain(then: Then, folder: Path, seed: int) -> None:
    """Runs the pending tasks on `encoders/`, the best epoch by validation, of a run folder. One that breaks stops none.

    Args:
        then: folder name -> entry point and overrides.
        folder: of the pre-training; a task's is `tasks/<name>` in it.
        seed: of the tasks.

    Raises:
        RuntimeError: a task broke; with its last line.
    """
    broken = []
    for name in pending(then, folder):
        entry, *overrides = then[name]
        place = folder / "tasks" / name
        if place.exists():  # of a broken start, or of other encoders
            shutil.rmtree(place)
        command = [sys.executable, str(EXPERIMENTS / f"{entry}.py"), f"encoders={quoted(folder / 'encoders')}"]
        command += [f"hydra.run.dir={quoted(place)}", f"seed={seed}", *overrides]
        log.info("task %s: %s", name, " ".join([entry, *overrides]))
        status, tail = run_visibly(command)
        if status == 0 and _has_result(place):
            replace_text(place / CHAINED, json.dumps(_made_with(then[name], folder)) + "\n")
            continue
        log.error("task %s broke (exit status %d); its folder: %s", name, status, place)
        broken.append(f"{name}: {last_line(tail) or f'exit status {status}, no {RESULTS[0]}'}")
    (folder / "tasks" / "latest").unlink(missing_ok=True)  # a link that plain runs leave beside them: one task too many
    if broken:
        raise RuntimeError(f"then: {len(broken)} of {len(then)} tasks broke ({'; '.join(broken)})")


def run_visibly(command: Sequence[str]) -> tuple[int, str]:
    """Runs a command, shows what it prints on stderr, and returns its exit status and its last lines."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(OF_WORKERS)}
    tail: deque[str] = deque(maxlen=TAIL)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                sys.stderr.write(line)
                tail.append(line)
        except BaseException:
            process.kill()
            raise
    return process.returncode, "".join(tail)


def last_line(text: str) -> str:
    """Returns the last line that says what went wrong: Hydra ends with a hint of its own."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "HYDRA_FULL_ERROR" not in line), "")


def quoted(path: Path) -> str:
    """Returns a path as the value of an override, whatever its characters."""
    escaped = str(path).replace("'", "\\'")
    return f"'{escaped}'"


def _made_with(line: Sequence[str], folder: Path) -> dict[str, Any]:
    """Returns what the result of a task depends on: its command, and the weights of the encoders."""
    weights = (folder / "encoders" / "encoders.safetensors").read_bytes()
    return {"command": list(line), "encoders_sha256": hashlib.sha256(weights).hexdigest()}


def _is_done(place: Path, made_with: dict[str, Any]) -> bool:
    path = place / CHAINED
    return _has_result(place) and path.is_file() and json.loads(path.read_text()) == made_with


def _has_result(place: Path) -> bool:
    return any((place / name).is_file() for name in RESULTS)
