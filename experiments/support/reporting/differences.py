"""Every cell of a table, and what each row gains over the baseline row: by seed, and by patient where that is known."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from support.reporting.figures import VALIDATION, Cell, Column, Difference, spread
from support.reporting.predictions import Tested, read_tested
from support.reporting.rows import Row
from support.reporting.runs import TaskRun, local

if TYPE_CHECKING:
    from flvlp.metrics.bootstrap import Interval

NO_STUDIES = "validation leaves no figure of each study"
OTHER_STUDIES = "the runs were tested on other studies"

Cells = dict[tuple[str, Column], Cell]


def make_cells(rows: Sequence[Row], columns: Sequence[Column], draws: int, seed: int) -> Cells:
    """Returns the figure of every row and column, under (name of the row, column).

    Args:
        rows: the baseline row first.
        columns: of the table.
        draws, seed: of the bootstrap.
    """
    cells: Cells = {}
    baseline = rows[0]
    for column in columns:
        drawn = Drawn(column, draws, seed)
        for row in rows:
            values = {one: column.of(member) for one, member in row.members.items()}
            cell = Cell({one: value for one, value in values.items() if value is not None})
            if row is not baseline:
                cell = replace(cell, difference=drawn.difference(row, baseline, cell, cells[baseline.name, column]))
            cells[row.name, column] = cell
        means = [cells[row.name, column].mean for row in rows]
        known = [column.better * mean for mean in means if not np.isnan(mean)]
        for row, mean in zip(rows, means, strict=True):
            if column.better and len(known) > 1 and column.better * mean == max(known):
                cells[row.name, column] = replace(cells[row.name, column], is_best=True)
    return cells


@dataclass(slots=True)
class Drawn:
    """The draws of one column; what was read and drawn once is kept.

    Attributes:
        column: of the table.
        draws, seed: of the bootstrap.
    """

    column: Column
    draws: int
    seed: int
    _read: dict[Path, Tested | str] = field(default_factory=dict)
    _values: dict[tuple[Path, tuple[str, ...]], np.ndarray] = field(default_factory=dict)

    def difference(self, row: Row, baseline: Row, ours: Cell, theirs: Cell) -> Difference | None:
        """Returns what a row gains over the baseline row; None where no seed is in both."""
        seeds = tuple(one for one in ours.values if one in theirs.values)
        if not seeds:
            return None
        gains = [ours.values[one] - theirs.values[one] for one in seeds]
        agreed = int(all(gain > 0 for gain in gains)) - int(all(gain < 0 for gain in gains))
        by_seed = Difference(float(np.mean(gains)), np.nan, np.nan, spread(gains), seeds, 0, agreed=agreed)
        if self.column.task == VALIDATION:
            return replace(by_seed, why_not=NO_STUDIES)
        sides = [[self.column.task_run(one.members[each]) for each in seeds] for one in (row, baseline)]
        tasks = [[task for task in side if task] for side in sides]
        read = [self._tested(task) for side in tasks for task in side]
        tested = [one for one in read if isinstance(one, Tested)]
        if len(tested) < len(read):
            return replace(by_seed, why_not=next(one for one in read if isinstance(one, str)))
        ids = common_studies(tested)
        if not ids:
            return replace(by_seed, why_not=OTHER_STUDIES)
        found = self._pooled(tasks[0], tasks[1], ids)
        return replace(by_seed, mean=found.mean, low=found.low, high=found.high, studies=len(ids))

    def _tested(self, task: TaskRun) -> Tested | str:
        """Reads a run once."""
        if task.folder not in self._read:
            try:
                self._read[task.folder] = read_tested(task, self.column.figure)
            except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
                # Without its text, which may be an id, a path or a cell: a page is passed on.
                what = f"{local(task.folder)} is damaged ({type(error).__name__})"
                self._read[task.folder] = f"predictions.csv or tested.csv of {what}"
        return self._read[task.folder]

    def _pooled(self, ours: Sequence[TaskRun], theirs: Sequence[TaskRun], ids: tuple[str, ...]) -> "Interval":
        """Returns the difference on the studies of `ids`, with the same patients drawn for every run."""
        from flvlp.metrics.paired import point_and_draws, pooled_difference

        for task in (*ours, *theirs):
            if (task.folder, ids) not in self._values:
                tested = self._tested(task)
                assert isinstance(tested, Tested), "checked by difference"
                place = {study: position for position, study in enumerate(tested.ids)}
                positions = [place[study] for study in ids]
                patients = [tested.patients[position] for position in positions]
                figure = tested.figure.take(np.array(positions))
                self._values[task.folder, ids] = point_and_draws(figure, patients, self.draws, self.seed)
        stacked = [np.stack([self._values[task.folder, ids] for task in side]) for side in (ours, theirs)]
        return pooled_difference(*stacked)


def common_studies(tested: Sequence[Tested]) -> tuple[str, ...]:
    """Returns the studies that all runs were tested on, in the order of the first; none where they mean other data."""
    shared = set(tested[0].ids).intersection(*(one.ids for one in tested[1:]))
    facts = [dict(zip(one.ids, one.truth, strict=True)) for one in tested]
    if any(fact[study] != facts[0][study] for fact in facts for study in shared):
        return ()
    return tuple(study for study in tested[0].ids if study in shared)
