"""Figures of a retrieval pool, and the tables that show them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from support.downstream import Job
from support.pages import Table

if TYPE_CHECKING:
    from torch import Tensor

    from flvlp.metrics.retrieval import FirstHits

# Row of the table -> feature, and whether its pool holds only the studies with a lateral. Figures of one pool compare.
SIDES = {
    "frontal": ("frontal", False),
    "fused": ("fused", False),
    "lateral": ("lateral", True),
    "frontal_with_lateral": ("frontal", True),
    "fused_with_lateral": ("fused", True),
}
DIRECTIONS = ("image_to_text", "text_to_image")
RECALL_AT = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Pool:
    """The N encoded studies of a pool.

    Attributes:
        positions: (N,) int64 in the source.
        patients: N ids.
        features: `frontal`, `lateral`, `fused`, `report`: (N, D); zeros for a lateral that is not there.
        has_lateral: (N,) bool.
        reports: (N,) int64, equal for the same words.
        groups: (N,) int64, equal where the answer of one is right for the other.
        classes: (N,) int64; None for a set that is not made of classes.
    """

    positions: np.ndarray
    patients: list[str]
    features: "dict[str, Tensor]"
    has_lateral: "Tensor"
    reports: "Tensor"
    groups: "Tensor"
    classes: "Tensor | None" = None

    def __len__(self) -> int:
        return len(self.positions)

    def rows(self, side: str) -> "Tensor":
        """Returns the rows (n,) int64 of the studies that an image side is judged on."""
        import torch

        return torch.nonzero(self.has_lateral | (not SIDES[side][1])).flatten()


@dataclass(frozen=True, slots=True)
class Judged:
    """One row of the table: rows (n,) of the pool, figures, hits by direction, right answers (n,) of each query."""

    rows: "Tensor"
    figures: dict[str, float]
    hits: "dict[str, FirstHits]"
    group_sizes: "Tensor"


def judge(pool: Pool, *, has_fusion: bool, draws: int, chunk: int) -> dict[str, Judged]:
    """Judges every image side that there is: fused ones need a trained head, lateral ones studies with a lateral."""
    sides = [side for side, (feature, _) in SIDES.items() if has_fusion or feature != "fused"]
    return {side: judge_side(pool, side, draws, chunk) for side in sides if len(pool.rows(side))}


def judge_side(pool: Pool, side: str, draws: int, chunk: int) -> Judged:
    """Returns figures and hits of one image side over its pool.

    Beside those of `retrieval_figures`: `chance_r1`, ...: what a random order would score, k / pool where no two
    reports are the same; with classes `chance_p`, the share of the class.
    """
    import torch

    from flvlp.metrics.retrieval import FirstHits
    from flvlp.metrics.retrieval_figures import hits_of, retrieval_figures

    rows = pool.rows(side)
    images, reports, groups = pool.features[SIDES[side][0]][rows], pool.features["report"][rows], pool.groups[rows]
    patients = [pool.patients[row] for row in rows.tolist()]
    classes = None if pool.classes is None else pool.classes[rows]
    hits = hits_of(images, reports, groups, chunk)
    figures = retrieval_figures(images, reports, groups, patients, classes=classes, hits=hits, draws=draws, chunk=chunk)
    sizes = _sizes(groups)
    by_chance = FirstHits(torch.zeros_like(sizes), len(rows) - sizes, sizes, len(rows))
    figures |= {f"chance_r{k}": float(by_chance.recall(k).mean()) for k in RECALL_AT}
    if classes is not None:
        figures["chance_p"] = float((_sizes(classes) / len(rows)).mean())
    return Judged(rows, figures, hits, sizes)


def _sizes(groups: "Tensor") -> "Tensor":
    """Returns how many of (N,) groups equal each, (N,) int64."""
    _, of_group, counts = groups.unique(return_inverse=True, return_counts=True)
    return counts[of_group]


def combined(pool: Pool, judged: Mapping[str, Judged]) -> dict[str, float]:
    """Returns all figures under the names of their sides, NaN for a side that is not there.

    And `fused_minus_frontal/r1`: what the lateral adds to R@1, on the studies that have one, paired by query.
    """
    from flvlp.metrics.bootstrap import paired_bootstrap

    names = judged["frontal"].figures
    figures = {
        f"{side}/{name}": judged[side].figures[name] if side in judged else np.nan for side in SIDES for name in names
    }
    if "fused_with_lateral" in judged:
        fused, frontal = judged["fused_with_lateral"], judged["frontal_with_lateral"]
        gains = [fused.hits[direction].recall(1) - frontal.hits[direction].recall(1) for direction in DIRECTIONS]
        patients = [pool.patients[row] for row in fused.rows.tolist()]
        figures |= paired_bootstrap(((gains[0] + gains[1]) / 2).numpy(), patients).named("fused_minus_frontal/r1")
    return figures


def facts(job: Job, pool: Pool, figures: Mapping[str, float], *, is_dedupe: bool) -> list[str]:
    """Returns what a reader must know beside the tables."""
    count = len(pool.reports.unique())
    correct = "a report in the same words is a right answer" if is_dedupe else "the own pair alone is the right answer"
    said = [
        f"{job.args.dataset.name}, split {job.source.split_name}: a pool of {len(pool)} studies of "
        f"{len(set(pool.patients))} patients, {int(pool.has_lateral.sum())} with a lateral, {count} different reports; "
        f"{correct}.",
        f"Encoders {job.given.name}, sha256 {job.given.sha256[:12]}, seed {job.args.seed}.",
    ]
    if "fused_minus_frontal/r1" in figures:
        mean, low, high = (figures[f"fused_minus_frontal/r1{end}"] for end in ("", "_low", "_high"))
        said.append(
            f"The lateral adds {mean:+.3f} [{low:+.3f}, {high:+.3f}] to R@1 (fused minus frontal, on the studies that "
            "have one)."
        )
    if not job.given.with_text.has_fusion:
        said.append("No fused side: nothing trained it (itc.weight=0).")
    return said


def tables(judged: Mapping[str, Judged]) -> list[Table]:
    """Returns the table of R@K, and for a set made of classes that of P@K; the pool stands in every row."""
    first, directions = ("", 2), [direction.replace("_", " ") for direction in DIRECTIONS]
    ranks = [*(f"R@{k}" for k in RECALL_AT), "MedR", "MeanR"]
    made = [
        Table(
            "Recall at K, median and mean rank of the first right answer; * on the studies with a lateral",
            [first, *((direction, len(ranks)) for direction in directions), ("mean of both", 2)],
            ["image side", "pool", *ranks, *ranks, "R@1 [95 % interval]", "rsum"],
            list(_rows(judged, _recalls)),
        )
    ]
    if "chance_p" in judged["frontal"].figures:
        precisions = [f"P@{k}" for k in RECALL_AT]
        made.append(
            Table(
                "Precision at K by class; * on the studies with a lateral",
                [first, *((direction, len(precisions)) for direction in directions)],
                ["image side", "pool", *precisions, *precisions],
                list(_rows(judged, _precisions)),
            )
        )
    return made


def _rows(
    judged: Mapping[str, Judged], cells: Callable[[Mapping[str, float], bool], list[str]]
) -> Iterator[Sequence[str]]:
    """Yields the rows of a table: the sides of each pool, then what chance gives there."""
    for is_restricted in (False, True):
        of_pool = [side for side, (_, has_lateral) in SIDES.items() if has_lateral == is_restricted]
        mark = " *" * is_restricted
        for side in of_pool:
            name = SIDES[side][0] + mark
            if side in judged:
                yield name, str(len(judged[side].rows)), *cells(judged[side].figures, False)
            else:
                yield name, *["n/a"] * (1 + len(cells(judged["frontal"].figures, False)))
        known = next((judged[side] for side in of_pool if side in judged), None)
        if known:
            yield f"by chance{mark}", str(len(known.rows)), *cells(known.figures, True)


def _recalls(figures: Mapping[str, float], is_chance: bool) -> list[str]:
    if is_chance:
        recalls = [figures[f"chance_r{k}"] for k in RECALL_AT]
        cells = [*(f"{recall:.3f}" for recall in recalls), "", ""]
        return [*cells, *cells, f"{recalls[0]:.3f}", f"{200 * sum(recalls):.1f}"]
    cells = []
    for direction in DIRECTIONS:
        cells += [f"{figures[f'{direction}/r{k}']:.3f}" for k in RECALL_AT]
        cells += [f"{figures[f'{direction}/{rank}_rank']:.1f}" for rank in ("median", "mean")]
    interval = f"[{figures['r1_low']:.3f}, {figures['r1_high']:.3f}]"
    return [*cells, f"{figures['r1']:.3f} {interval}", f"{figures['rsum']:.1f}"]


def _precisions(figures: Mapping[str, float], is_chance: bool) -> list[str]:
    names = [f"{direction}/p{k}" for direction in DIRECTIONS for k in RECALL_AT]
    return [f"{figures['chance_p' if is_chance else name]:.3f}" for name in names]
