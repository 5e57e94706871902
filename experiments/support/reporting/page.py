"""The report as one HTML page: everything inside, no script, nothing fetched from elsewhere."""

import re
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from support.document import document
from support.reporting.commands import Composer
from support.reporting.content import Report
from support.reporting.figures import Cell, Column, Difference, number
from support.reporting.page_style import STYLE
from support.reporting.plots import Plot
from support.reporting.reproduce import MadeFrom, commands_of, made_from, versions
from support.reporting.rows import Row
from support.reporting.samples import choose_samples
from support.reporting.tables import change_texts, difference_text, mean_text, notes, task_groups

NAME = "report.html"
WORDS = {"broken": "broken, not counted. ", "unfinished": "not finished, not counted: ", "left out": "left out: "}


def write_page(report: Report, plots: Sequence[Plot], folder: Path, *, composer: Composer, pictures: int) -> None:
    """Writes `report.html` into a folder.

    Args:
        report: what is shown.
        plots: that were drawn.
        folder: of the report; links are relative to it.
        composer: of pre-training.
        pictures: samples to show at most.
    """
    sections = [
        ("figures", "Figures", _figures(report)),
        ("differences", f"Differences to {report.baseline.name}", _differences(report)),
        ("plots", "Rows side by side", _side_by_side(report, plots)),
        ("curves", "Learning curves", _learning(plots)),
        ("changes", "What sets the configurations apart", _changes(report)),
        ("pictures", "Pictures", _samples(report.rows, pictures)),
        ("reproduce", "Runs, and how to make them again", _reproduce(report.rows, folder, composer)),
    ]
    sections = [one for one in sections if one[2]]
    title = f"Report: {report.title}"
    runs = sum(len(row.members) for row in report.rows)
    seeds = sorted({seed for row in report.rows for seed in row.seeds})
    facts = (
        f"{len(report.rows)} rows, {runs} runs, seeds {', '.join(map(str, seeds))}; compared with "
        f"{report.baseline.name}; intervals from {report.draws:,} draws of test patients."
    )
    links = " ".join(f'<a href="#{name}">{escape(heading)}</a>' for name, heading, _ in sections)
    body = [
        f'<h1>{escape(title)}</h1>\n<p class="facts">{escape(facts)}</p>',
        f"<nav>{links}</nav>",
        _cards(report),
        _problems(report),
        *(f'<h2 id="{name}">{escape(heading)}</h2>\n{content}' for name, heading, content in sections),
    ]
    (folder / NAME).write_text(document(title, STYLE, "\n".join(filter(None, body))), encoding="utf-8")


def _cards(report: Report) -> str:
    """Returns for each column its best row beside the baseline row."""
    cards = []
    for column in report.columns:
        best = next((row for row in report.rows if report.cells[row.name, column].is_best), None)
        if best is None:
            continue
        cell, baseline = report.cells[best.name, column], report.cells[report.baseline.name, column]
        said = f"{report.baseline.name} {mean_text(baseline)}"
        if best is report.baseline:
            said = "the baseline row is the best"
        gain = f'<p class="gain">{_gain(cell.difference, column)}</p>' if cell.difference else ""
        cards.append(
            f'<article class="card"><h3>{escape(column.task)}<br>{escape(column.figure)}</h3>'
            f'<p class="value">{number(cell.mean)}</p><p class="who">{escape(best.name)}</p>{gain}'
            f'<p class="facts">{escape(said)}</p></article>'
        )
    return f'<section class="cards" aria-label="best rows">{"".join(cards)}</section>' if cards else ""


def _gain(difference: Difference | None, column: Column) -> str:
    """Returns a difference, coloured where `verdict` says so."""
    kind = verdict(difference, column)
    mean, _, rest = difference_text(difference).partition(" ")
    said = f"{mean}<br><small>{escape(rest)}</small>" if rest else mean
    return f'<span class="{kind}">{said}</span>' if kind else said


def verdict(difference: Difference | None, column: Column) -> str:
    """Returns `better` or `worse` where the interval by patient leaves out 0 and all seeds agree, else ""."""
    if difference is None or difference.why_not or not column.better or np.isnan(difference.low):
        return ""
    low, high = sorted((column.better * difference.low, column.better * difference.high))
    agreed = column.better * difference.agreed
    return "better" if low > 0 and agreed > 0 else "worse" if high < 0 and agreed < 0 else ""


def _problems(report: Report) -> str:
    if not report.problems:
        return ""
    items = "".join(
        f"<li><strong>{escape(one.where)}</strong>: {WORDS.get(one.state, '')}{escape(one.reason)}</li>"
        for one in report.problems
    )
    return f'<aside class="notice"><h3>To know first</h3><ul>{items}</ul></aside>'


def _figures(report: Report) -> str:
    def text(cell: Cell) -> str:
        mean, _, rest = mean_text(cell).partition(" ")
        said = f"{mean}<br><small>{escape(rest)}</small>" if rest else mean
        return f"<strong>{said}</strong>" if cell.is_best else said

    said = "".join(f"<li>{escape(note)}</li>" for note in notes(report.rows, report.columns))
    rows = [(row, [text(report.cells[row.name, one]) for one in report.columns]) for row in report.rows]
    return f'{_table(report, rows)}\n<ul class="notes">{said}</ul>'


def _differences(report: Report) -> str:
    rows = [
        (row, [_gain(report.cells[row.name, one].difference, one) for one in report.columns]) for row in report.rows[1:]
    ]
    if not rows:
        return ""
    reasons: dict[str, list[str]] = {}
    for column in report.columns:
        for row in report.rows[1:]:
            difference = report.cells[row.name, column].difference
            if difference and difference.why_not:
                names = reasons.setdefault(difference.why_not, [])
                names += [column.name] * (column.name not in names)
    said = "".join(f"<li>† {escape(', '.join(names))}: {escape(why)}.</li>" for why, names in reasons.items())
    legend = (
        '<li><span class="better">better</span> and <span class="worse">worse</span>: the interval leaves out 0, and '
        "the difference of every seed has the same sign.</li>"
    )
    return f'{_table(report, rows)}\n<ul class="notes">{legend}{said}</ul>'


def _table(report: Report, rows: Sequence[tuple[Row, Sequence[str]]]) -> str:
    """Returns a table of cells that are HTML already; it scrolls below its first column where the screen is narrow."""
    groups = "".join(f'<th colspan="{count}">{escape(task)}</th>' for task, count in task_groups(report.columns))
    names = "".join(f"<th>{breakable(column.figure)}</th>" for column in report.columns)
    lines = "".join(
        f'<tr><th scope="row">{breakable(row.name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n'
        for row, cells in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="report">\n<thead><tr><th></th>{groups}</tr>'
        f"<tr><th>row</th>{names}</tr></thead>\n<tbody>{lines}</tbody></table></div>"
    )


def breakable(name: str) -> str:
    """Returns a name that may be broken after an underscore, a slash or a dot, where the screen is narrow."""
    return re.sub(r"(?<=[_/.=])(?=\w)", "<wbr>", escape(name))


def _side_by_side(report: Report, plots: Sequence[Plot]) -> str:
    """Returns the two plots of each column beside each other."""
    pairs = [
        [plot for plot in plots if plot.title == column.name and plot.kind != "curves"] for column in report.columns
    ]
    return "\n".join(map(_plots, pairs))


def _learning(plots: Sequence[Plot]) -> str:
    figures = _plots([plot for plot in plots if plot.kind == "curves"], "curves")
    said = "train/total sums the terms that a row has: compare its course, not its height."
    return f'<p class="facts">{said}</p>\n{figures}' if figures else ""


def _plots(plots: Sequence[Plot], kind: str = "") -> str:
    """Returns plots beside each other, or one below the other where the screen is narrow."""
    figures = "".join(
        f'<figure><img src="data:image/svg+xml;base64,{b64encode(plot.path.read_bytes()).decode()}" '
        f'alt="{escape(f"{plot.kind} of {plot.title}")}"></figure>\n'
        for plot in plots
    )
    return f'<div class="plots {kind}">{figures}</div>' if figures else ""


def _changes(report: Report) -> str:
    lines = "".join(
        f'<tr><th scope="row">{breakable(row.name) if not place else ""}</th><td>{breakable(key)}</td>'
        f"{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>\n"
        for row in report.rows
        for place, (key, *values) in enumerate(change_texts(row))
    )
    if not lines:
        return ""
    return (
        '<div class="scroll" tabindex="0"><table class="report changes"><thead><tr><th>row</th><th>key</th>'
        f"<th>value</th><th>usual</th><th>{escape(report.baseline.name)}</th></tr></thead>\n<tbody>{lines}</tbody></table></div>"
    )


def _samples(rows: Sequence[Row], count: int) -> str:
    figures = "".join(
        f'<figure><img src="data:image/png;base64,{b64encode(one.content).decode()}" width="{one.width}" '
        f'height="{one.height}" alt="{escape(one.caption)}"><figcaption>{escape(one.caption)}</figcaption></figure>\n'
        for one in choose_samples(rows, count)
    )
    return f'<div class="samples">{figures}</div>' if figures else ""


def _reproduce(rows: Sequence[Row], folder: Path, composer: Composer) -> str:
    """Returns for each row its commands and runs, folded up."""
    parts = []
    for row in rows:
        commands = "".join(
            f'<p class="facts">{escape(what)}</p><pre class="command">{escape(command)}</pre>'
            for what, command in commands_of(row, composer)
        )
        seeds = "".join(_made_from(made_from(member, folder.resolve())) for member in row.members.values())
        parts.append(
            f"<details><summary>{escape(row.name)}</summary>{commands}<ul>{seeds}</ul>"
            f'<p class="facts">{escape(versions(row))}</p></details>'
        )
    return "\n".join(parts)


def _made_from(one: MadeFrom) -> str:
    links = ", ".join(f'<a href="{escape(address)}">{escape(name)}</a>' for address, name in one.links)
    return f'<li>seed {one.seed}: {links}<br><span class="facts">{escape(one.facts)}</span></li>'
