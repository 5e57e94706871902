"""Runs to the rows of a table: one row a configuration, one member a seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.reporting.configs import GROUPS, Flat, brief, differences, frozen, most_common, moving, short_hash, usual
from support.reporting.finding import Found
from support.reporting.runs import PretrainRun, Problem, TaskRun, local

TASK_GROUPS = ("task", "dataset", "prompts", "label_fraction", "limit_test", "allow_seen")
LONGEST_NAME = 60
NOT_SAVED = ("random", "imagenet", "timm:")  # names of encoders that no run has left


@dataclass(slots=True)
class Member:
    """One seed of a row.

    Attributes:
        seed: of it.
        run: of pre-training; None for encoders of which only the tasks are there.
        tasks: name of a task -> its run.
    """

    seed: int
    run: PretrainRun | None = None
    tasks: dict[str, TaskRun] = field(default_factory=dict)

    @property
    def folders(self) -> list[Path]:
        """The folders of its runs, pre-training first, without those that lie in it."""
        own = [self.run.folder] if self.run else []
        return own + [task.folder for task in self.tasks.values() if not own or not task.folder.is_relative_to(own[0])]

    @property
    def starts(self) -> list[dict[str, Any]]:
        """How it was started, and started again."""
        return self.run.starts if self.run else [start for task in self.tasks.values() for start in task.starts]


@dataclass(slots=True)
class Row:
    """Runs that differ in their seed alone.

    Attributes:
        name: what the row is called.
        config: what of the configuration moves its results.
        members: by seed, in order.
        changes: key -> (value, the usual one, that of the baseline row), where it is not the usual one.
    """

    name: str
    config: Flat
    members: dict[int, Member]
    changes: dict[str, tuple[Any, Any, Any]] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds, in order."""
        return tuple(self.members)

    @property
    def is_pretrained(self) -> bool:
        """True where its pre-training runs are there."""
        return any(member.run for member in self.members.values())


def make_rows(found: Found) -> tuple[list[Row], list[Problem]]:
    """Returns the rows in the order they were found, and what is left out of them because it is there twice."""
    rows: dict[tuple[tuple[str, str], ...], Row] = {}
    names: dict[tuple[tuple[str, str], ...], list[str]] = {}
    problems: list[Problem] = []
    of_tasks = task_names([*found.loose, *(task for run in found.pretraining for task in run.tasks)])
    for run in sorted(found.pretraining, key=_started, reverse=True):  # of two alike the later one counts
        config = moving(run.config, GROUPS) | {"world_size": run.world_size}
        config |= {"data": run.data} if run.data else {}
        key = frozen(config)
        row = rows.setdefault(key, Row("", config, {}))
        if run.seed in row.members:
            other = row.members[run.seed].run
            assert other is not None, "only pre-training runs are there yet"
            problems.append(Problem(run.folder, "left out", f"same configuration and seed as {local(other.folder)}"))
            if run.sha256 and run.sha256 == other.sha256:  # what was measured of these encoders stands for the other's
                elsewhere = [task for task in run.tasks if not task.folder.is_relative_to(run.folder)]
                problems += _add_tasks(row.members[run.seed], elsewhere, of_tasks)
            continue
        names.setdefault(key, []).append(run.name)
        row.members[run.seed] = Member(run.seed, run)
        problems += _add_tasks(row.members[run.seed], run.tasks, of_tasks)
    for task in sorted(found.loose, key=_started, reverse=True):
        config = _encoders(task)
        base, setting = of_tasks[task.folder]
        if setting:
            config |= {"task": setting}
        row = rows.setdefault(frozen(config), Row("", config, {}))
        member = row.members.setdefault(task.seed, Member(task.seed))
        problems += _add_tasks(member, [task], {task.folder: (base, "")})
    for key, row in rows.items():
        row.name = _given_name(names.get(key, ()))
        row.members = dict(sorted(row.members.items()))
    ordered = sorted(rows.values(), key=_first_folder)
    _name_rows(ordered)
    return ordered, problems


def _add_tasks(member: Member, tasks: Sequence[TaskRun], of_tasks: Mapping[Path, tuple[str, str]]) -> list[Problem]:
    """Adds tasks to a member, the later one of two alike; returns what is left out."""
    problems = []
    for task in sorted(tasks, key=_started, reverse=True):
        name = " ".join(filter(None, of_tasks[task.folder]))
        if name in member.tasks:
            other = member.tasks[name]
            but = "" if task.seed == other.seed else " but for its seed"
            reason = f"same task and encoders{but} as {local(other.folder)}"
            problems.append(Problem(task.folder, "left out", reason))
        else:
            member.tasks[name] = task
    member.tasks = dict(sorted(member.tasks.items(), key=lambda item: _started(item[1])))
    return problems


def task_names(tasks: Sequence[TaskRun]) -> dict[Path, tuple[str, str]]:
    """Names what each downstream run measured, as shortly as tells it apart from the others.

    Returns:
        Folder -> name, and what sets its configuration apart from the most common one of that name, "" for nothing.
    """
    named: dict[Path, str] = {}
    for kind in dict.fromkeys(task.result["task"] for task in tasks):
        alike = [task for task in tasks if task.result["task"] == kind]
        facts = {task.folder: _facts(task) for task in alike}
        telling = [key for key in _facts(alike[0]) if len({fact[key] for fact in facts.values()}) > 1]
        named |= {folder: " ".join([kind, *(fact[key] for key in telling)]) for folder, fact in facts.items()}
    settings: dict[Path, tuple[str, str]] = {}
    for name in dict.fromkeys(named.values()):
        configs = {
            task.folder: moving(task.config, TASK_GROUPS) | _studies(task)
            for task in tasks
            if named[task.folder] == name
        }
        usual = most_common(configs.values())
        settings |= {folder: (name, brief(config, usual)) for folder, config in configs.items()}
    return settings


def _facts(task: TaskRun) -> dict[str, str]:
    """Returns what tells the rows of a task apart before its settings do."""
    result = task.result
    fraction = f"{result['label_fraction']:g} of labels"
    return {
        "mode": str(result.get("mode", "")),
        "dataset": result["dataset"],
        "split": result["split"],
        "fraction": fraction,
        "prompts": str(result.get("prompts", "")),  # or the name would hold the hundred lists of words of a set
    }


def _studies(task: TaskRun) -> Flat:
    """Returns what tells the studies of a task apart; a fraction to train on is another draw for each seed."""
    is_drawn = task.result["label_fraction"] < 1
    parts = {
        part: digest for part, digest in task.result.get("split_sha256", {}).items() if part != "train" or not is_drawn
    }
    return {"data": short_hash(parts)} if parts else {}


def _encoders(task: TaskRun) -> Flat:
    """Returns what tells the encoders apart of a task without pre-training runs."""
    given, digest = str(task.result["encoders"]), str(task.result.get("encoders_sha256", ""))
    if not given.startswith(NOT_SAVED):
        return {"encoders": f"{given} ({digest[:8]})"}
    made = moving(task.config, ("encoder", "encoders_weights"))
    return {"encoders": given} | made


def _started(run: PretrainRun | TaskRun) -> tuple[str, str]:
    """Returns what sorts runs by when they were started last."""
    return (str(run.starts[-1].get("started", "")) if run.starts else "", str(run.folder))


def _first_folder(row: Row) -> tuple[bool, str]:
    """Returns what sorts rows as they lie on disk, those without pre-training last."""
    return not row.is_pretrained, min(str(folder) for member in row.members.values() for folder in member.folders)


def _given_name(names: Iterable[str]) -> str:
    return " = ".join(sorted({name for name in names if name}))


def _name_rows(rows: Sequence[Row]) -> None:
    """Names rows without a name by how they differ, and tells those of the same name apart."""
    for is_pretrained in (True, False):
        unnamed = [row for row in rows if not row.name and row.is_pretrained == is_pretrained]
        alike = [row for row in rows if row.is_pretrained == is_pretrained]
        for row in unnamed:
            row.name = _by_difference(row, alike)
    for name in dict.fromkeys(row.name for row in rows):
        same = [row for row in rows if row.name == name]
        usual = same[0].config
        for number, row in enumerate(same[1:], start=2):
            more = brief(row.config, usual)
            row.name = f"{name} ({more})" if len(more) <= LONGEST_NAME else f"{name} ({number})"


def _by_difference(row: Row, rows: Sequence[Row]) -> str:
    """Returns a name of a row from what sets it apart from the most common values."""
    if not row.is_pretrained:
        words = [str(row.config["encoders"]), str(row.config.get("task", ""))]
        return " ".join(filter(None, words))
    usual = most_common([one.config for one in rows for _ in one.members])
    name = brief(row.config, usual) or "default"
    return name if len(name) <= LONGEST_NAME else f"row {1 + [one is row for one in rows].index(True)}"


def sort_rows(rows: Sequence[Row], baseline: Row) -> list[Row]:
    """Returns the baseline and then the others by how many keys set them apart from what is usual.

    Usual is the value that most rows have: that of the baseline would be in every line of a sweep whose baseline is
    the row that lacks most. Fills in the `changes` of the rows.
    """
    first = [baseline, *(row for row in rows if row is not baseline)]
    for is_pretrained in (True, False):  # keys of pre-training and of a task do not compare
        alike = [row for row in first if row.is_pretrained == is_pretrained]
        common = usual([row.config for row in alike])
        for row in alike:
            row.changes = {
                key: (mine, other, baseline.config.get(key))
                for key, (mine, other) in differences(row.config, common).items()
            }
    return [baseline, *sorted(first[1:], key=lambda row: (not row.is_pretrained, len(row.changes)))]
