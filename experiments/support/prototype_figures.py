"""Figures of prototypes: how many studies each one takes, and the studies that are nearest to the most used ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from support.canvas import BLUE, GAP, HEAD, ORANGE, Sheet, new_figure, pixels_of, view_panel

if TYPE_CHECKING:
    from torch import Tensor

ROWS, COLUMNS = 6, 8  # prototypes and studies of the sheet
THUMBNAIL, LINE = 112, 17  # pixels: a picture, a line of text
FINDINGS_SHOWN, LONGEST_NAME = 2, 16


@dataclass(frozen=True)
class Usage:
    """Which prototype each held-out study is nearest to.

    Attributes:
        similarity: (N, K) cosine of frontals and prototypes.
        frontal, report: (N,) int64, the nearest prototype of each.
    """

    similarity: np.ndarray
    frontal: np.ndarray
    report: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Studies by prototype, (2, K) of frontals and of reports."""
        count = self.similarity.shape[1]
        return np.stack([np.bincount(part, minlength=count) for part in (self.frontal, self.report)])

    def most_used(self, count: int) -> list[int]:
        """Returns the prototypes that most frontals are nearest to, at least one each."""
        counts = self.counts[0]
        return [int(one) for one in np.argsort(-counts, kind="stable")[:count] if counts[one]]

    def nearest(self, prototype: int, count: int) -> list[int]:
        """Returns the rows of the frontals that belong to a prototype, the nearest first."""
        members = np.flatnonzero(self.frontal == prototype)
        return members[np.argsort(-self.similarity[members, prototype], kind="stable")][:count].tolist()


def usage_of(features: "Tensor", prototypes: "Tensor") -> Usage:
    """Finds the nearest prototypes.

    Args:
        features: (N, 4, D) frontal, lateral, fused, report.
        prototypes: (K, D).
    """
    from flvlp.metrics.prototypes import prototype_similarity

    frontal, report = (prototype_similarity(features[:, part], prototypes).cpu().numpy() for part in (0, 3))
    return Usage(frontal, frontal.argmax(axis=1), report.argmax(axis=1))


def usage_histogram(usage: Usage) -> "Tensor":
    """Draws how many frontals (up) and reports (down) are nearest to each prototype, the most used on the left."""
    frontals, reports = usage.counts
    order = np.argsort(-frontals, kind="stable")
    figure = new_figure(8.8, 3.2)
    axes = figure.add_axes((0.07, 0.1, 0.91, 0.78))
    axes.bar(np.arange(len(order)), frontals[order], width=1.0, color=BLUE, label="frontals")
    axes.bar(np.arange(len(order)), -reports[order], width=1.0, color=ORANGE, label="reports")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlim(-0.5, len(order) - 0.5)
    axes.set_xticks([])
    axes.set_xlabel(f"{len(order)} prototypes, those of most frontals first", fontsize=8)
    axes.set_ylabel("held-out studies", fontsize=8)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    used, used_reports = (int((part > 0).sum()) for part in (frontals, reports))
    say = f"Nearest prototypes of {frontals.sum()} studies: {used} used by frontals, {used_reports} by reports"
    axes.set_title(say, fontsize=9, weight="bold", loc="left")
    return pixels_of(figure)


def nearest_studies(
    usage: Usage,
    pictures: dict[int, np.ndarray],
    names: Sequence[str],
    labels: tuple[Sequence[str], np.ndarray] | None,
) -> "Tensor":
    """Draws a sheet: a row for each of the most used prototypes, with the frontals that are nearest to it.

    Args:
        usage: of the held-out studies.
        pictures: row of a study -> its frontal (H, H) uint8, of all that the sheet shows (`sheet_rows`).
        names: of the N studies.
        labels: names of the classes and values (N, C) 0, 1 or NaN; None where there are none.
    """
    prototypes = usage.most_used(ROWS)
    step, tall = THUMBNAIL + GAP // 2, THUMBNAIL + round(2.6 * LINE)
    sheet = Sheet(COLUMNS * step + 2 * GAP, HEAD + len(prototypes) * tall)
    sheet.head("Nearest frontals of the most used prototypes, with their cosine")
    for number, prototype in enumerate(prototypes):
        top = HEAD + number * tall
        frontals, reports = usage.counts[:, prototype]
        findings = _typical(usage.frontal == prototype, labels)
        sheet.write(GAP, top, f"prototype {prototype}: {frontals} frontals, {reports} reports{findings}")
        for column, row in enumerate(usage.nearest(prototype, COLUMNS)):
            left = GAP + column * step
            sheet.lay(left, top + LINE, view_panel(pictures[row], THUMBNAIL))
            name = names[row] if len(names[row]) <= LONGEST_NAME else "…" + names[row][1 - LONGEST_NAME :]
            said = f"{name}  {usage.similarity[row, prototype]:.2f}"
            sheet.write(left, top + LINE + THUMBNAIL + 2, said, 6.5)
    return sheet.pixels()


def sheet_rows(usage: Usage) -> list[int]:
    """Returns the rows of the studies that the sheet shows."""
    return [row for prototype in usage.most_used(ROWS) for row in usage.nearest(prototype, COLUMNS)]


def _typical(is_member: np.ndarray, labels: tuple[Sequence[str], np.ndarray] | None) -> str:
    """Returns the findings that are more frequent among a prototype's studies than among all, the clearest first."""
    if labels is None:
        return ""
    names, values = labels
    known = ~np.isnan(values)
    positive = (values == 1) & known
    here, everywhere = (
        positive[rows].sum(axis=0) / np.maximum(known[rows].sum(axis=0), 1) for rows in (is_member, slice(None))
    )
    order = np.argsort(everywhere - here, kind="stable")[:FINDINGS_SHOWN]
    more = [one for one in order if here[one] > everywhere[one]]
    return "".join(f"; {names[one]} {here[one]:.0%} (of all {everywhere[one]:.0%})" for one in more)
