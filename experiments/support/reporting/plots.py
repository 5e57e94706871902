"""Plots of a report as PNG and SVG: learning curves, figures by row, differences to the baseline row."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from support.reporting.differences import Cells
from support.reporting.figures import VALIDATION, Column
from support.reporting.rows import Row
from support.reporting.tables import MARK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = (
    ("train", "total"),
    ("train", "itc"),
    (VALIDATION, "retrieval/fused/r1"),
    (VALIDATION, "retrieval/frontal/r1"),
    (VALIDATION, "mlm_gap"),
    (VALIDATION, "view_alignment_gap"),
)
# Okabe and Ito's colours but yellow, which is lost on white; the baseline row is black. A second round is dashed.
BASELINE = "#000000"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", (0, (4, 1.5)), (0, (1, 1)))
WIDTH = 4.8  # inches
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.edgecolor": "#7c8794",
    "savefig.dpi": 150,
    "svg.hashsalt": "flvlp",  # the same drawing is the same file
    "svg.fonttype": "path",
}
LONGEST = 30  # letters of a row's name


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot that was written.

    Attributes:
        kind: `curves`, `bars`, `forest`.
        title: what it shows.
        path: of the SVG; the PNG lies beside it.
    """

    kind: str
    title: str
    path: Path


def draw_all(rows: Sequence[Row], columns: Sequence[Column], cells: Cells, folder: Path) -> list[Plot]:
    """Draws every plot into a folder.

    Args:
        rows: the baseline row first.
        columns, cells: of the table.
        folder: that is there.
    """
    import matplotlib as mpl

    plots: list[Plot] = []
    with mpl.rc_context(STYLE):
        for column in columns:
            plots.append(_save(_bars(rows, column, cells), "bars", column.name, folder))
            if any(cells[row.name, column].difference for row in rows):
                plots.append(_save(_forest(rows, column, cells), "forest", column.name, folder))
        for part, figure in CURVES:
            if drawn := _curves(rows, part, figure):
                plots.append(_save(drawn, "curves", f"{part}/{figure}", folder))
    return plots


def _save(drawn: "Figure", kind: str, title: str, folder: Path) -> Plot:
    stem = folder / f"{kind}_{re.sub(r'[^0-9a-zA-Z]+', '_', title).strip('_')}"
    path = stem.with_name(f"{stem.name}.svg")
    drawn.savefig(path, metadata={"Date": None})
    drawn.savefig(path.with_suffix(".png"))
    return Plot(kind, title, path)


def _new(height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(WIDTH, height), layout="constrained")
    return drawn, drawn.add_subplot()


def style_of(place: int) -> tuple[str, Any]:
    """Returns colour and line style of the row at a place, the same in every plot; the baseline row is at 0."""
    if not place:
        return BASELINE, STYLES[0]
    round_, colour = divmod(place - 1, len(COLOURS))
    return COLOURS[colour], STYLES[round_ % len(STYLES)]


def short(name: str) -> str:
    """Returns a name that fits beside a plot."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _rows_axis(axes: "Axes", rows: Sequence[Row]) -> None:
    """Names the rows on the vertical axis, the first at the top."""
    axes.set_yticks(range(len(rows)), [short(row.name) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _bars(rows: Sequence[Row], column: Column, cells: Cells) -> "Figure":
    """Draws the mean of each row with its standard deviation, and every seed as a dot."""
    drawn, axes = _new(0.9 + 0.3 * len(rows))
    for place, row in enumerate(rows):
        cell = cells[row.name, column]
        if not cell.values:
            axes.text(0, place, " not measured", va="center", color="#7c8794", fontsize=8)
            continue
        colour = style_of(place)[0]
        sd = None if np.isnan(cell.sd) else cell.sd
        axes.barh(
            place,
            cell.mean,
            xerr=sd,
            error_kw={"capsize": 3, "lw": 1.2, "ecolor": "#1c2229"},
            color=colour,
            alpha=0.55,
            height=0.66,
        )
        values = list(cell.values.values())
        axes.plot(values, [place] * len(values), "o", ms=3.5, mfc="white", mec="#1c2229", mew=0.8, ls="none")
    axes.axvline(0, color="#7c8794", lw=0.8)
    axes.locator_params(axis="x", nbins=6)  # small figures have long labels
    _rows_axis(axes, rows)
    axes.set_title(f"{column.name}\nmean ± sd, ○ each seed")
    return drawn


def _forest(rows: Sequence[Row], column: Column, cells: Cells) -> "Figure":
    """Draws the difference of each row to the baseline with its interval, hollow where it is the spread of seeds."""
    others = rows[1:]
    drawn, axes = _new(0.9 + 0.3 * len(rows))
    for place, row in enumerate(others):
        difference = cells[row.name, column].difference
        if difference is None:
            axes.text(0, place, " no seed in both", va="center", color="#7c8794", fontsize=8)
            continue
        mean = difference.mean
        ends = [[difference.sd], [difference.sd]]
        if not difference.why_not:
            ends = [[mean - difference.low], [difference.high - mean]]
        colour = style_of(place + 1)[0]
        face = "white" if difference.why_not else colour
        known = None if np.isnan(ends).any() else ends
        axes.errorbar(mean, place, xerr=known, fmt="o", ms=5.5, mfc=face, color=colour, capsize=3, lw=1.8)
    axes.axvline(0, color="#1c2229", lw=1)
    axes.locator_params(axis="x", nbins=5)
    _rows_axis(axes, others)
    left, right = axes.get_xlim()
    axes.set_xlim(min(left, -0.02 * right), max(right, -0.02 * left))
    has_mark = any(one.why_not for row in others if (one := cells[row.name, column].difference))
    what = f"± sd over seeds {MARK}" if has_mark else "95 % interval by patient"
    axes.set_title(f"{column.name}\ndifference to {short(rows[0].name)}, {what}")
    return drawn


def _curves(rows: Sequence[Row], part: str, figure: str) -> "Figure | None":
    """Draws a figure over the steps, mean and standard deviation over seeds; None where nobody has it."""
    drawn, axes = _new(3.3 + 0.2 * ((len(rows) + 1) // 2))
    for place, row in enumerate(rows):
        steps, values = curve(row, part, figure)
        if not len(steps):
            continue
        colour, line = style_of(place)
        mean = values.mean(axis=0)
        marker = "o" if len(steps) < 30 else ""
        axes.plot(steps, mean, color=colour, ls=line, lw=1.6, label=short(row.name), marker=marker, ms=3)
        if len(values) > 1:
            sd = values.std(axis=0, ddof=1)
            axes.fill_between(steps, mean - sd, mean + sd, color=colour, alpha=0.13, lw=0)
    if not axes.lines:
        return None
    axes.set_xlabel("step")
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.set_title(f"{part}/{figure}\nmean over seeds, band: ± sd")
    drawn.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return drawn


def curve(row: Row, part: str, figure: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps (n,) at which every seed of a row has a figure, and its values (seeds, n)."""
    of_seeds = [
        {int(one["step"]): float(one[figure]) for one in member.run.of_part(part) if figure in one}
        for member in row.members.values()
        if member.run
    ]
    of_seeds = [one for one in of_seeds if one]
    if not of_seeds:
        return np.zeros(0), np.zeros((0, 0))
    steps = sorted(set(of_seeds[0]).intersection(*of_seeds[1:]))
    return np.array(steps), np.array([[one[step] for step in steps] for one in of_seeds])
