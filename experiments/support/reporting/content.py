"""What a report shows, and what is wrong with it: seeds that are missing, code that changed between runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from support.reporting.differences import Cells
from support.reporting.figures import Column
from support.reporting.rows import Row
from support.reporting.runs import Problem


@dataclass(frozen=True, slots=True)
class Report:
    """Rows, columns and what stands between them.

    Attributes:
        rows: the baseline row first.
        columns, cells: of the table.
        problems: runs that are not counted, and what else a reader must know.
        draws: of the bootstrap.
        title: what was asked for.
    """

    rows: list[Row]
    columns: list[Column]
    cells: Cells
    problems: list[Problem]
    draws: int
    title: str

    @property
    def baseline(self) -> Row:
        """The row that the others are compared with."""
        return self.rows[0]


def list_problems(rows: Sequence[Row], columns: Sequence[Column], cells: Cells) -> list[Problem]:
    """Returns what a reader must know of the rows before comparing them.

    Args:
        rows, columns, cells: of the table.
    """
    everyone = sorted({seed for row in rows for seed in row.seeds})
    problems = []
    for row in rows:
        if missing := [seed for seed in everyone if seed not in row.members]:
            problems.append(Problem(None, "seeds", f"no {_listed(missing)}, which other rows have", row.name))
        lacking: dict[str, list[str]] = {}
        for column in columns:
            cell = cells[row.name, column]
            if missing := [seed for seed in row.seeds if cell.values and seed not in cell.values]:
                lacking.setdefault(_listed(missing), []).append(column.name)
        problems += [Problem(None, "seeds", f"{', '.join(of)}: no {who}", row.name) for who, of in lacking.items()]
    starts = [(row, start) for row in rows for member in row.members.values() for start in member.starts]
    commits = sorted({str(start.get("git_commit"))[:7] for _, start in starts})
    if len(commits) > 1:
        problems.append(Problem(None, "code", f"runs of {len(commits)} commits: {', '.join(commits)}", "all rows"))
    if dirty := list(dict.fromkeys(row.name for row, start in starts if start.get("git_is_dirty"))):
        problems.append(Problem(None, "code", f"uncommitted changes when {', '.join(dirty)} ran", "all rows"))
    return problems


def _listed(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
