"""Runs: what each was, and what it measured."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.reporting.configs import Flat

SEED_FOLDER = re.compile(r"seed_(\d+)")


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
        state: `broken`, `damaged`, `unfinished`, `left out`; of a row `seeds` or `code`.
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


def local(folder: Path) -> str:
    """Returns a folder relative to the working directory, or its last names where it lies elsewhere."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(Path(*folder.parts[-3:]))
