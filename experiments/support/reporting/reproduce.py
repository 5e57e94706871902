"""How each row came about: the commands that make it again, and the runs it is made of."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from support.reporting.commands import Composer, overrides_of, relative_command
from support.reporting.rows import Member, Row
from support.reporting.runs import PretrainRun

PRETRAIN = "experiments/pretrain.py"


@dataclass(frozen=True, slots=True)
class MadeFrom:
    """One seed of a row.

    Attributes:
        seed: of it.
        links: (address relative to the page, what it leads to).
        facts: when, how long, with what code and versions.
    """

    seed: int
    links: list[tuple[str, str]]
    facts: str


def commands_of(row: Row, composer: Composer) -> list[tuple[str, str]]:
    """Returns commands with what each does: the row alone, how it was started, its tasks.

    Args:
        row: of the table.
        composer: of pre-training.
    """
    here = Path.cwd()
    commands = []
    runs = [member.run for member in row.members.values() if member.run]
    if runs:
        seeds = f"seed={','.join(map(str, row.seeds))}"
        launch = ["launch=torchrun", f"launch.nproc_per_node={runs[0].world_size}"] if runs[0].world_size > 1 else []
        many = ["-m"] if len(row.seeds) > 1 else []
        words = ["", PRETRAIN, *many, *launch, *overrides_of(runs[0].config, composer), seeds]
        commands.append(("this row, every seed", relative_command(words, here)))
        started = dict.fromkeys(_as_started(run, here) for run in runs if run.starts)
        commands += [("as it was started", command) for command in started if command != commands[0][1]]
    tasks: dict[str, str] = {}
    for member in row.members.values():
        for name, task in member.tasks.items():
            words = task.starts[0]["command"] if task.starts else []
            if words[1:] and Path(words[1]).name != Path(PRETRAIN).name:  # those were chained to pre-training
                tasks.setdefault(name, relative_command(words, here))
    return commands + [(f"{name}, one seed", command) for name, command in tasks.items()]


def _as_started(run: PretrainRun, here: Path) -> str:
    """Returns the command of a run; one of several processes that were not of its own was started by torchrun."""
    command = relative_command(run.starts[0]["command"], here)
    if run.world_size == 1 or run.config.get("launch.name", "local") != "local":
        return command
    return f"torchrun --nproc_per_node={run.world_size} {command.removeprefix('python ')}"


def made_from(member: Member, page: Path) -> MadeFrom:
    """Returns the runs of one seed, with links relative to the folder of the page."""
    links = [(_link(folder, page), folder.name) for folder in member.folders]
    if member.run:
        links += [
            (_link(task.folder, page), str(task.folder.relative_to(member.run.folder)))
            for task in member.tasks.values()
            if task.folder.is_relative_to(member.run.folder)
        ]
    start = member.starts[0] if member.starts else {}
    return MadeFrom(member.seed, links, ", ".join(_facts(start, _seconds(member))))


def _link(folder: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(folder, page)).as_posix()) + "/"


def _seconds(member: Member) -> float | None:
    """Returns how long a member took: pre-training, or its tasks where there is none."""
    if member.run:
        return member.run.seconds
    return sum(float(task.result.get("seconds", 0)) for task in member.tasks.values())


def _facts(start: Mapping[str, Any], seconds: float | None) -> list[str]:
    """Returns when a run was started and with what; no name of a machine."""
    facts = [str(start["started"])] if "started" in start else []
    if seconds is not None:
        facts.append(f"{seconds:,.0f} s")
    if "git_commit" in start:
        dirty = " with uncommitted changes" if start.get("git_is_dirty") else ""
        facts.append(f"commit {str(start['git_commit'])[:10]}{dirty}")
    facts += [f"{key.replace('_', ' ')} {start[key]}" for key in ("device", "world_size", "threads") if key in start]
    return facts


def versions(row: Row) -> str:
    """Returns the versions that the first run of a row was made with."""
    start = next((start for member in row.members.values() for start in member.starts), {})
    packages = start.get("packages", {})
    python = {"python": start["python"]} if "python" in start else {}
    return ", ".join(f"{name} {version}" for name, version in (python | packages).items())
