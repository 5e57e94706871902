"""Run folders as they lie on disk: which are there, what they measured, and which of them cannot be counted."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.reporting.configs import Flat, read_config, short_hash
from support.reporting.folders import CONFIG, FAILED, folders_below

RESULT, METRICS, FINISHED, DATA = "result.json", "metrics.jsonl", "finished.json", "data.json"
SEED_FOLDER = re.compile(r"seed_(\d+)")
_FINISHED_AT = re.compile(r"finished at step (\d+)")


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A downstream run that ended.

    Attributes:
        folder: of the run.
        config: its configuration.
        result: the row of `result.json`.
        starts: of `run.json`.
    """

    folder: Path
    config: Flat
    result: dict[str, Any]
    starts: list[dict[str, Any]]

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.config.get("seed", 0))

    @property
    def figures(self) -> dict[str, float]:
        """The figures that have a value."""
        return {name: float(value) for name, value in self.result["figures"].items() if value is not None}


@dataclass(frozen=True, slots=True)
class PretrainRun:
    """A pre-training run that ended.

    Attributes:
        folder: of the run.
        config: its configuration.
        records: lines of `metrics.jsonl`.
        starts: of `run.json`, one each time it was started.
        seconds: it took; None where that is not known.
        sha256: of its encoders' weights; None where there are none.
        data: split and a short hash of its studies, "" where that is not known.
        tasks: downstream runs on its encoders.
    """

    folder: Path
    config: Flat
    records: list[dict[str, Any]]
    starts: list[dict[str, Any]]
    seconds: float | None
    sha256: str | None
    data: str
    tasks: list[TaskRun] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.config.get("seed", 0))

    @property
    def name(self) -> str:
        """The name of its row, "" where it has none."""
        named = self.config.get("name") or ""
        return str(named) or (self.folder.parent.name if SEED_FOLDER.fullmatch(self.folder.name) else "")

    @property
    def world_size(self) -> int:
        """Processes that it was trained by: a batch size is that of each."""
        return int(self.starts[-1].get("world_size", 1)) if self.starts else 1

    def of_part(self, part: str) -> list[dict[str, Any]]:
        """Returns the records of `train` or `validation`."""
        return [record for record in self.records if record["part"] == part]

    def validation(self) -> dict[str, float]:
        """Returns the validation figures of the epoch that `encoders/` holds."""
        metric, best = str(self.config.get("engine.best_metric")), dict[str, Any]()
        for record in self.of_part("validation"):
            value = record.get(metric)
            if value is None or best.get(metric) is None or value > best[metric]:
                best = record
        return {key: float(value) for key, value in best.items() if key not in ("part", "step", "epoch")}


@dataclass(frozen=True, slots=True)
class Problem:
    """A run that is not counted, or something about one that a reader must know.

    Attributes:
        folder: of the run; None where a row is meant.
        state: `broken`, `unfinished`, `left out`; of a row `seeds` or `code`.
        reason: of it.
        row: its name, "" where a run is meant.
    """

    folder: Path | None
    state: str
    reason: str
    row: str = ""

    @property
    def where(self) -> str:
        """The row, or the folder relative to the working directory."""
        return self.row or (local(self.folder) if self.folder else "")


@dataclass(frozen=True, slots=True)
class Found:
    """What lies below the folders that were asked for: downstream runs of no pre-training run are `loose`."""

    pretraining: list[PretrainRun]
    loose: list[TaskRun]
    problems: list[Problem]


def find_runs(wanted: Sequence[str]) -> Found:
    """Reads every run below some folders.

    Args:
        wanted: run folders, folders above them, patterns of the shell.

    Raises:
        FileNotFoundError: a folder that is not there, or no run below any of them.
    """
    pretraining, loose, problems = list[PretrainRun](), list[TaskRun](), list[Problem]()
    for folder in folders_below(wanted):
        if any(problem.folder and folder.is_relative_to(problem.folder) for problem in problems):
            continue  # what lies below a run that is not counted is not counted either
        found = _read(folder)
        if isinstance(found, Problem):
            problems.append(found)
        elif isinstance(found, PretrainRun):
            pretraining.append(found)
        elif found is not None:
            loose.append(found)
    if not pretraining and not loose:
        states = "".join(f"; {one.where} is {one.state} ({one.reason})" for one in problems[:5])
        raise FileNotFoundError(
            f"runs: no finished run below {', '.join(wanted) or 'nothing'}{states}; give folders of runs or of sweeps, "
            "such as the one that `make ablation` leaves"
        )
    by_encoders = {run.sha256: run for run in pretraining if run.sha256}
    unclaimed: list[TaskRun] = []
    for task in loose:
        own = next((run for run in pretraining if task.folder.is_relative_to(run.folder)), None)
        digest = task.result.get("encoders_sha256")
        if own and own.sha256 and digest and own.sha256 != digest:  # such as those before the run was resumed
            problems.append(Problem(task.folder, "left out", "of other encoders than the run that it lies in now has"))
            continue
        run = own or by_encoders.get(str(digest))
        (unclaimed if run is None else run.tasks).append(task)
    return Found(pretraining, unclaimed, problems)


def local(folder: Path) -> str:
    """Returns a folder relative to the working directory, or its last names where it lies elsewhere."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(Path(*folder.parts[-3:]))


def _read(folder: Path) -> PretrainRun | TaskRun | Problem | None:
    """Returns a run, or why it is none that can be counted; None for a folder of something else."""
    if _is_broken(folder):
        lines = (folder / FAILED).read_text().strip().splitlines() or ["no reason given"]
        return Problem(folder, "broken", lines[-1].replace(f"{Path.cwd()}/", ""))
    config = read_config(folder / CONFIG)
    groups = {key.partition(".")[0] for key in config}
    if {"encoders", "task"} <= groups:
        if not (folder / RESULT).exists():
            return Problem(folder, "unfinished", f"no {RESULT}")
        return TaskRun(folder, config, json.loads((folder / RESULT).read_text()), _starts(folder))
    if not {"loss", "engine"} <= groups:
        return None
    records = list(_records(folder / METRICS))
    if reason := _why_unfinished(folder, records):
        return Problem(folder, "unfinished", reason)
    weights = folder / "encoders" / "encoders.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None
    return PretrainRun(folder, config, records, _starts(folder), _seconds(folder), digest, _data(folder))


def _data(folder: Path) -> str:
    """Returns what `data.json` knows the data by, as `mimic_cxr/official (0a1b2c3d)`; "" without it."""
    path = folder / DATA
    if not path.exists():
        return ""
    known = json.loads(path.read_text())
    return f"{known.pop('split')} ({short_hash(known)})"


def _is_broken(folder: Path) -> bool:
    """Returns whether a run broke, and did not end when it was started again."""
    failed, finished = folder / FAILED, folder / FINISHED
    if not failed.exists():
        return False
    return not finished.exists() or finished.stat().st_mtime_ns < failed.stat().st_mtime_ns


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the lines of `metrics.jsonl` up to one that was never finished."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def _why_unfinished(folder: Path, records: list[dict[str, Any]]) -> str:
    """Returns why a pre-training run counts as unfinished, "" for one that ended."""
    if (folder / FINISHED).exists():
        return ""
    step = max((int(record["step"]) for record in records), default=0)
    log = folder / "log.txt"
    ends = _FINISHED_AT.findall(log.read_text()) if log.exists() else []
    if not ends:
        return f"stopped at step {step}"
    return f"went on after step {ends[-1]} and stopped at step {step}" if step > int(ends[-1]) else ""


def _starts(folder: Path) -> list[dict[str, Any]]:
    path = folder / "run.json"
    starts: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return starts


def _seconds(folder: Path) -> float | None:
    path = folder / FINISHED
    seconds = json.loads(path.read_text()).get("seconds") if path.exists() else None
    return None if seconds is None else float(seconds)
