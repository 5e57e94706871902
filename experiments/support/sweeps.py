"""Jobs of a sweep: what each leaves behind, what becomes of it when the sweep is started again, and the last table."""

import atexit
import json
import logging
import os
import shutil
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from flvlp.launch import WorkerError, is_first_host
from support.chain import last_line
from support.entry import FREE_ON_RESUME, is_free, is_sweep, read_config, run_folder

log = logging.getLogger(__name__)

FINISHED_FILE, FAILED_FILE = "finished.json", "failed.txt"
NOTES = ".jobs"  # in the folder of the sweep: a folder for each start that is under way, a file for each job in it
START = "FLVLP_SWEEP_START"  # host and process of a start, in the environment of its jobs
FINISHED, SKIPPED, BROKEN, RUNNING = "finished", "skipped", "broken", "running"
KILLED = "ended without a word: killed, or out of time or memory"
# What two starts of a sweep may differ in. A job that has taken its `engine.max_steps` is finished, so that they count.
FREE = tuple(key for key in FREE_ON_RESUME if key not in ("engine.max_steps", "launch"))
FREE_OF_LAUNCH = ("name", "rdzv_endpoint", "partition", "account", "time", "nodes", "gpus", "cpus", "dry_run")


@dataclass
class Done:
    """What became of a job: its best figure (NaN without validation), and whether an earlier start had finished it."""

    value: float
    is_skipped: bool = False


class FolderTakenError(ValueError):
    """The folder of a job holds another run, or another process is at work in it."""


def attempt(job: Callable[[DictConfig], Done], cfg: DictConfig) -> float:
    """Runs a job of a sweep; returns its figure, or NaN where it broke, so that the sweep goes on with any launcher.

    A broken job leaves `failed.txt`, and `Summary` makes the exit status tell. A folder that is another job's is not
    touched.
    """
    stop_if_orphaned()
    folder, started = run_folder(), time.monotonic()
    note(RUNNING, folder)
    try:
        done = job(cfg)
    except (KeyboardInterrupt, SystemExit):
        note(BROKEN, folder, told="stopped")
        raise
    except FolderTakenError as error:
        log.error("%s", error)  # noqa: TRY400 - nothing is wrong with this program
        note(BROKEN, folder, told=one_line(error))
        return float("nan")
    except Exception as error:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILED_FILE).write_text(traceback.format_exc())
        log.exception("this job broke, the sweep goes on: %s", folder)
        note(BROKEN, folder, told=one_line(error))
        return float("nan")
    told = "" if done.is_skipped else f"{time.monotonic() - started:.0f} s"
    note(SKIPPED if done.is_skipped else FINISHED, folder, value=done.value, told=told)
    return done.value


def refuse_preset_of_sweep() -> None:
    """Stops a plain run with the preset of a sweep, which would be one job without a name.

    Raises:
        ValueError: with the way to start the sweep, and to run one job of it.
    """
    params = HydraConfig.get().sweeper.get("params")
    if params and not is_sweep():
        raise ValueError(
            f"experiment: this preset is a sweep over {', '.join(params)}; add -m to start it, or take "
            "experiment=short_job for one job"
        )


def stop_if_orphaned() -> None:
    """Ends a worker whose sweep was killed; it would go on with the jobs that were handed to it.

    Raises:
        SystemExit: the process that started the sweep was of this host and is gone.
    """
    host, _, process = os.environ.get(START, "").rpartition("-")
    if host != socket.gethostname():
        return
    try:
        os.kill(int(process), 0)  # signal 0 only asks
    except ProcessLookupError:
        raise SystemExit("the sweep that this job belongs to is gone") from None


def one_line(error: Exception) -> str:
    """Returns what went wrong, in one line."""
    if isinstance(error, WorkerError):
        return last_line(str(error))
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def note(status: str, folder: Path, *, value: float | None = None, told: str = "") -> None:
    """Writes down how a job stands, for the table at the end of the sweep."""
    if not is_first_host():
        return
    hydra = HydraConfig.get()
    notes = Path(hydra.sweep.dir).resolve() / NOTES / os.environ[START]
    notes.mkdir(parents=True, exist_ok=True)
    line = {"status": status, "folder": str(folder), "value": value, "told": told}
    (notes / f"{hydra.job.num}.json").write_text(json.dumps(line) + "\n")


def check_same_configuration(folder: Path, cfg: DictConfig) -> None:
    """Stops a job whose folder was filled by another one.

    Args:
        folder: of the job; a run's `config.yaml` may lie in it.
        cfg: of the job, resolved.

    Raises:
        FolderTakenError: with the keys that differ, and what to do.
        ValueError: the `config.yaml` there is damaged.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        return
    read = (read_config(path), OmegaConf.create(OmegaConf.to_yaml(cfg)))  # both have been YAML: 1e-4 is 0.0001
    held, asked = (_leaves(OmegaConf.to_container(one)) for one in read)
    keys = [key for key in sorted(held | asked) if held.get(key) != asked.get(key)]
    different = [key for key in keys if not _may_differ(key)]
    if different:
        shown = ", ".join(f"{key}={asked.get(key)} (there {held.get(key)})" for key in different[:5])
        raise FolderTakenError(
            f"hydra.sweep.dir: {folder} holds a run of another configuration: {shown}; choose another hydra.sweep.dir, "
            "name what differs in hydra.sweep.subdir, or delete that folder"
        )


def _may_differ(key: str) -> bool:
    launch = tuple(f"launch.{part}" for part in FREE_OF_LAUNCH)
    return key in launch or is_free(key, FREE)


def _leaves(node: Any, path: str = "") -> dict[str, Any]:
    """Returns the leaves of a plain configuration by their path."""
    if not isinstance(node, dict):
        return {path: node}
    found: dict[str, Any] = {}
    for name, part in node.items():
        found |= _leaves(part, f"{path}.{name}" if path else str(name))
    return found


class Summary(Callback):
    """Shows what became of the jobs of a sweep, whatever launcher ran them and however it ended."""

    def __init__(self) -> None:
        self.folder = Path()
        self.broken: int | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra before any job."""
        self.folder = Path(config.hydra.sweep.dir).resolve()
        os.environ[START] = f"{socket.gethostname()}-{os.getpid()}"
        atexit.register(self.show)  # a sweep that is stopped, or whose launcher raises, comes to no end of its own

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra after the last job; a broken one makes the exit status 1."""
        if self.show():
            raise SystemExit(1)

    def show(self) -> int:
        """Logs the table once, and returns how many jobs broke."""
        if self.broken is None:
            notes = self.folder / NOTES / os.environ[START]
            jobs = [
                json.loads(path.read_text()) for path in sorted(notes.glob("*.json"), key=lambda path: int(path.stem))
            ]
            for job in jobs:
                if job["status"] == RUNNING:
                    job |= {"status": BROKEN, "told": KILLED}
            if jobs:
                log.info("%s", format_jobs(self.folder, jobs))
            self.broken = sum(job["status"] == BROKEN for job in jobs)
            shutil.rmtree(notes, ignore_errors=True)
        return self.broken


def format_jobs(sweep: Path, jobs: list[dict[str, Any]]) -> str:
    """Returns the table of a sweep: a line a job, the broken ones last."""
    numbers = {status: sum(job["status"] == status for job in jobs) for status in (FINISHED, SKIPPED, BROKEN)}
    lines = [f"sweep {sweep}: " + ", ".join(f"{number} {status}" for status, number in numbers.items())]
    for job in sorted(jobs, key=lambda job: job["status"] == BROKEN):
        folder = Path(job["folder"])
        place = folder.relative_to(sweep) if folder.is_relative_to(sweep) else folder
        value = "" if job["value"] is None else f"{job['value']:.4f}".replace("nan", "n/a")
        lines.append(f"  {job['status']:8s}  {place!s:40s}  {value:>7s}  {job['told']}".rstrip())
    if numbers[BROKEN]:
        lines.append(
            f"  where a job failed its {FAILED_FILE} has the traceback; the same command goes on where the sweep stands"
        )
    return "\n".join(lines)
