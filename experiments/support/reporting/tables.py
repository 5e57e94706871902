"""The table of a report as Markdown, CSV and LaTeX, and how a cell reads in words."""

import csv
import io
from collections.abc import Callable, Sequence

import numpy as np

from support.reporting.differences import Cells
from support.reporting.figures import Cell, Column, Difference, number
from support.reporting.rows import Row

CSV_COLUMNS = (
    *("row", "task", "figure", "mean", "sd", "n", "seeds", "is_best"),
    *("baseline", "diff", "low", "high", "diff_sd", "paired_seeds", "studies", "interval"),
)
MARK = "†"  # no interval by patient: the spread over seeds
EMPTY = "n/a"
TEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "†": r"$^\dagger$",
        "±": r"$\pm$",
    }
    | {letter: f"\\{letter}" for letter in "&%$#_{}"}
)


def mean_text(cell: Cell) -> str:
    """Returns mean, standard deviation and number of seeds: `0.712 ± 0.010 (3)`; without the second for one seed."""
    if not cell.values:
        return EMPTY
    sd = "" if np.isnan(cell.sd) else f" ± {number(cell.sd)}"
    return f"{number(cell.mean)}{sd} ({len(cell.values)})"


def difference_text(difference: Difference | None) -> str:
    """Returns `+0.021 [+0.010, +0.032] (3 seeds, sd 0.007)`, or `+0.021 ± 0.007 (3) †` without an interval."""
    if difference is None:
        return EMPTY
    mean, seeds = number(difference.mean, signed=True), len(difference.seeds)
    if not difference.why_not:
        interval = f"[{number(difference.low, signed=True)}, {number(difference.high, signed=True)}]"
        spread = "1 seed" if np.isnan(difference.sd) else f"{seeds} seeds, sd {number(difference.sd)}"
        return f"{mean} {interval} ({spread})"
    sd = "" if np.isnan(difference.sd) else f" ± {number(difference.sd)}"
    return f"{mean}{sd} ({seeds}) {MARK}"


def notes(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Returns what a reader must know to read the tables."""
    lower = [column.name for column in columns if column.better < 0]
    said = [
        "Mean ± standard deviation over seeds (n - 1), in brackets the number of seeds; the best mean of a column is "
        "bold" + (f", the lowest of {', '.join(lower)}." if lower else "."),
        f"Differences are those of the averages over the seeds that a row shares with {rows[0].name}, with a 95 % "
        "interval from bootstrap draws of test patients, the same draws for all seeds and both rows. They say nothing "
        "of other training runs: for that, look at sd, the standard deviation of the differences of the single seeds.",
        f"{MARK} without an interval by patient: mean ± standard deviation of the differences of the single seeds.",
        "Validation figures are those of the epoch that encoders/ holds, which was chosen by one of them.",
    ]
    if own := [column.name for column in columns if column.is_of_one_run]:
        said.append(
            f"{', '.join(own)}: measured with each row's own masking, negatives and temperatures; of two rows in which "
            "these differ the values do not compare, and none is bold."
        )
    return said + [f"{name}: {what}." for name, what in task_facts(rows).items()]


def task_facts(rows: Sequence[Row]) -> dict[str, str]:
    """Returns what each task measured on, from the first run of it, and which rows it judged by another view."""
    facts: dict[str, str] = {}
    views: dict[str, dict[str, list[str]]] = {}  # task -> view -> names of rows
    for row_name, task_name, task in (
        (row.name, name, task) for row in rows for one in row.members.values() for name, task in one.tasks.items()
    ):
        result = task.result
        mode = str(result.get("mode", ""))
        said = [mode * (mode != task_name), f"split {result['split']}"]
        if result["images"].get("trained") is not None:
            said.append(f"label fraction {result['label_fraction']:g}")
        said.append(f"{result['images']['tested']} test studies of {result['patients']} patients")
        facts.setdefault(task_name, ", ".join(filter(None, said)))
        judged = views.setdefault(task_name, {}).setdefault(str(result.get("view", "")), [])
        if row_name not in judged:
            judged.append(row_name)
    for task_name, by_view in views.items():
        if len(by_view) > 1:  # `auto` takes what the encoders have
            told = "; ".join(f"{view or 'unnamed'}: {', '.join(names)}" for view, names in by_view.items())
            facts[task_name] += f"; not by the same view ({told})"
    return facts


def markdown(rows: Sequence[Row], columns: Sequence[Column], cells: Cells) -> str:
    """Returns figures, differences and changed keys as Markdown."""
    names = [column.name for column in columns]

    def best(row: Row, column: Column) -> str:
        cell = cells[row.name, column]
        return f"**{mean_text(cell)}**" if cell.is_best else mean_text(cell)

    def gain(row: Row, column: Column) -> str:
        return difference_text(cells[row.name, column].difference)

    parts = [
        "## Figures",
        _markdown_table(["row", *names], [[row.name, *(best(row, column) for column in columns)] for row in rows]),
        f"## Differences to {rows[0].name}",
        _markdown_table(["row", *names], [[row.name, *(gain(row, column) for column in columns)] for row in rows[1:]]),
        *(f"- {note}" for note in notes(rows, columns)),
    ]
    changed = [[row.name, *change] for row in rows for change in change_texts(row)]
    if changed:
        header = ["row", "key", "value", "usual", rows[0].name]
        parts += ["## What sets the configurations apart", _markdown_table(header, changed)]
    return "\n".join(f"\n{part}\n" if part.startswith("## ") else part for part in parts).lstrip("\n") + "\n"


def change_texts(row: Row) -> list[tuple[str, ...]]:
    """Returns key, value, the usual value and that of the baseline row, as a command line would say them."""
    from support.reporting.configs import shown

    return [(key, *map(shown, values)) for key, values in row.changes.items()]


def _markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"

    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join([line(header), line(rule), *map(line, lines)])


def csv_text(rows: Sequence[Row], columns: Sequence[Column], cells: Cells) -> str:
    """Returns one line a row and figure, in full precision; `interval` is `patients`, `seeds`, or empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        for column in columns:
            cell = cells[row.name, column]
            line = {"row": row.name, "task": column.task, "figure": column.figure, "n": len(cell.values)}
            line |= {"mean": _full(cell.mean), "sd": _full(cell.sd), "is_best": int(cell.is_best)}
            line |= {"seeds": _joined(cell.values)}
            if difference := cell.difference:
                line |= {"baseline": rows[0].name, "diff": _full(difference.mean), "diff_sd": _full(difference.sd)}
                line |= {"low": _full(difference.low), "high": _full(difference.high), "studies": difference.studies}
                line |= {"paired_seeds": _joined(difference.seeds)}
                line |= {"interval": "seeds" if difference.why_not else "patients"}
            writer.writerow(line)
    return file.getvalue()


def _joined(seeds: Sequence[int] | dict[int, float]) -> str:
    return " ".join(map(str, seeds))


def _full(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))


def latex(rows: Sequence[Row], columns: Sequence[Column], cells: Cells) -> str:
    """Returns two tabulars of booktabs: figures, and differences to the baseline row."""

    def figure(row: Row, column: Column) -> str:
        cell = cells[row.name, column]
        text = mean_text(cell).translate(TEX)
        return rf"\textbf{{{text}}}" if cell.is_best else text

    def gain(row: Row, column: Column) -> str:
        return difference_text(cells[row.name, column].difference).translate(TEX)

    said = "\n".join(f"% {note}" for note in notes(rows, columns))
    figures, gains = (_tabular(some, columns, text) for some, text in ((rows, figure), (rows[1:], gain)))
    return f"% \\usepackage{{booktabs}}\n{said}\n\n% Figures\n{figures}\n% Differences to {rows[0].name}\n{gains}"


def _tabular(rows: Sequence[Row], columns: Sequence[Column], text: Callable[[Row, Column], str]) -> str:
    """Returns one tabular: tasks above their figures."""
    groups = task_groups(columns)
    above = " & ".join(["", *(rf"\multicolumn{{{count}}}{{c}}{{{task.translate(TEX)}}}" for task, count in groups)])
    rules, start = [], 2
    for _, count in groups:
        rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
        start += count
    below = " & ".join(["row", *(column.figure.translate(TEX) for column in columns)])
    lines = [" & ".join([row.name.translate(TEX), *(text(row, column) for column in columns)]) for row in rows]
    body = "".join(f"{line} \\\\\n" for line in lines)
    return (
        f"\\begin{{tabular}}{{l{'r' * len(columns)}}}\n\\toprule\n{above} \\\\\n{' '.join(rules)}\n{below} \\\\\n"
        f"\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
    )


def task_groups(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Returns the tasks with the number of columns each has, side by side."""
    groups: list[tuple[str, int]] = []
    for column in columns:
        if groups and groups[-1][0] == column.task:
            groups[-1] = column.task, groups[-1][1] + 1
        else:
            groups.append((column.task, 1))
    return groups
