"""The columns of a table: which figures are shown, which direction is better, and their values by row and seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from support.reporting.rows import Member, Row
from support.reporting.runs import TaskRun

VALIDATION = "validation"
SHOWN_OF_VALIDATION = ("retrieval/fused/r1", "retrieval/frontal/r1", "mlm_gap", "view_alignment_gap")
LOWER_ENDS = ("_rank", "_loss", "seconds")  # of figures that are better the lower they are
# Losses, and what they lose with another study's images, are measured with each run's own masking, negatives and
# temperatures: they tell of one run, and which of two is better they do not say.
OF_ONE_RUN = ("itc", "mlm", "view_alignment", "prototype", "total")
OF_ONE_RUN_ENDS = ("_shuffled", "_gap")
# Neither are counts, thresholds, spreads, what tells of collapse, and what chance gives.
NEITHER = (
    *("images", "pool", "boxes", "predictions", "queries", "studies", "classes_averaged", "classes_with_threshold"),
    *("positives", "known", "threshold", "perplexity", "nearest_perplexity", "purity_by_chance", "images_in_rsna_map"),
    *("phrases", "negatives_left_empty"),
)
NEITHER_ENDS = ("threshold", "_sd")
CHANCE = "chance_"
NO_COLUMN = ("_low", "_high")  # the ends of an interval


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of one task, or of validation.

    Attributes:
        task: its name, or `validation`.
        figure: its name in `result.json` or `metrics.jsonl`.
    """

    task: str
    figure: str

    @property
    def name(self) -> str:
        """Task and figure in one word."""
        return f"{self.task}/{self.figure}"

    @property
    def better(self) -> int:
        """1 where higher is better, -1 where lower is, 0 where it is neither."""
        parts = self.figure.split("/")
        if (
            self.is_of_one_run
            or CHANCE in self.figure
            or any(one in NEITHER or one.endswith(NEITHER_ENDS) for one in parts)
        ):
            return 0
        return -1 if parts[-1].endswith(LOWER_ENDS) else 1

    @property
    def is_of_one_run(self) -> bool:
        """True for a loss of validation and what is made of it."""
        return self.task == VALIDATION and (self.figure in OF_ONE_RUN or self.figure.endswith(OF_ONE_RUN_ENDS))

    def of(self, member: Member) -> float | None:
        """Returns the value of one seed of a row, None where it was not measured."""
        if self.task == VALIDATION:
            return member.run.validation().get(self.figure) if member.run else None
        task = self.task_run(member)
        return task.figures.get(self.figure) if task else None

    def task_run(self, member: Member) -> TaskRun | None:
        """Returns the downstream run that measured it, None for validation and where there is none."""
        return member.tasks.get(self.task)


@dataclass(frozen=True, slots=True)
class Difference:
    """What a row gains over the baseline row on the seeds that both have.

    Attributes:
        mean: difference of the averages over seeds.
        low, high: of its 95 % interval over test patients; NaN where there are no predictions to draw from.
        sd: standard deviation of the differences of the single seeds; NaN for one seed.
        seeds: that were paired.
        studies: that were drawn from, 0 where there were none.
        why_not: why there is no interval, "" where there is one.
        agreed: 1 where every seed gains, -1 where every seed loses, else 0.
    """

    mean: float
    low: float
    high: float
    sd: float
    seeds: tuple[int, ...]
    studies: int
    why_not: str = ""
    agreed: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of a row.

    Attributes:
        values: by seed.
        difference: to the baseline row; None for that row itself, and where no seed is in both.
        is_best: whether its mean is the best of its column.
    """

    values: dict[int, float]
    difference: Difference | None = None
    is_best: bool = False

    @property
    def mean(self) -> float:
        """Mean over seeds, NaN without one."""
        return float(np.mean(list(self.values.values()))) if self.values else np.nan

    @property
    def sd(self) -> float:
        """Standard deviation over seeds (of the sample, n - 1); NaN for fewer than two."""
        return spread(list(self.values.values()))


def spread(values: Sequence[float]) -> float:
    """Returns the standard deviation of a sample (n - 1), NaN for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def choose_columns(rows: Sequence[Row], patterns: Sequence[str] | None) -> list[Column]:
    """Returns the columns of a table, those of the tasks first.

    Args:
        rows: of the table.
        patterns: of figures (`macro_auroc`, `auroc/*`), or of tasks and figures (`zeroshot/*`, `validation/itc`), as a
            shell has them. None: the headline of each task and a few of validation.

    Raises:
        ValueError: a pattern that nothing matches.
    """
    members = [member for row in rows for member in row.members.values()]
    if patterns is None:
        headlines = [
            Column(name, str(task.result["headline"])) for member in members for name, task in member.tasks.items()
        ]
        # A task names its columns together, in the order of its runs.
        headlines.sort(key=lambda column: _place(column.task, members))
        validation = [Column(VALIDATION, figure) for figure in SHOWN_OF_VALIDATION]
        columns = list(dict.fromkeys([*headlines, *validation]))
    else:
        known = list(dict.fromkeys(_measured(members)))
        columns = []
        for pattern in patterns:
            matching = [one for one in known if fnmatchcase(one.figure, pattern) or fnmatchcase(one.name, pattern)]
            if not matching:
                raise ValueError(f"figures: nothing matches {pattern!r}; known: {', '.join(one.name for one in known)}")
            columns += matching
        columns = list(dict.fromkeys(columns))
    return [column for column in columns if any(column.of(member) is not None for member in members)]


def _measured(members: Sequence[Member]) -> list[Column]:
    """Returns every figure of every run."""
    found = []
    for member in members:
        for name, task in member.tasks.items():
            found += [Column(name, figure) for figure in task.figures if not figure.endswith(NO_COLUMN)]
    for member in members:
        figures = member.run.validation() if member.run else {}
        found += [Column(VALIDATION, figure) for figure in figures if not figure.endswith(NO_COLUMN)]
    return sorted(found, key=lambda column: _place(column.task, members))


def _place(task: str, members: Sequence[Member]) -> int:
    """Returns where the columns of a task stand: in the order in which the runs name their tasks, validation last."""
    order = list(dict.fromkeys(name for member in members for name in member.tasks))
    return order.index(task) if task in order else len(order)


def number(value: float, *, signed: bool = False) -> str:
    """Returns a figure as a table shows it: three decimals, one for what is larger than 10, n/a without a value."""
    if np.isnan(value):
        return "n/a"
    decimals = 3 if abs(value) < 10 else 1
    return f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
