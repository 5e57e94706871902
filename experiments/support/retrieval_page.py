"""The page of a retrieval run: which queries it shows, and what of them may be shown."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from support.downstream import Job
from support.pages import Answer, Query, Section, Shown, Table, render
from support.results import named
from support.retrieved import DIRECTIONS, Judged, Pool

log = logging.getLogger(__name__)

NAME = "retrieval.html"
ANSWERS = 5
THUMBNAIL = 112  # pixels of a retrieved picture


@dataclass(frozen=True, slots=True)
class Showing:
    """What the page is made from.

    Attributes:
        job, pool: of the run.
        side: the image side whose ranks choose the queries.
        shows_text: whether reports may be left behind.
    """

    job: Job
    pool: Pool
    side: str
    shows_text: bool

    def query(self, row: int, rank: float, direction: str) -> Query:
        """Returns the query of one row with the first that it retrieves."""
        from torch.nn.functional import normalize

        images, reports = (normalize(self.pool.features[name], dim=-1) for name in (self.side, "report"))
        queries, gallery = (images, reports) if direction == DIRECTIONS[0] else (reports, images)
        similarity = gallery @ queries[row]
        first = similarity.topk(min(ANSWERS, len(self.pool)))
        is_right = self.pool.groups == self.pool.groups[row]
        answers = [
            Answer(self.study(other, THUMBNAIL), value, bool(is_right[other]))
            for value, other in zip(first.values.tolist(), first.indices.tolist(), strict=True)
        ]
        return Query(self.study(row), rank, int(is_right.sum()), float(similarity[row]), answers)

    def study(self, row: int, side: int | None = None) -> Shown:
        """Returns a study with its pictures as the encoders see them, scaled to `side` pixels where given."""
        from flvlp.data.scaling import scaled
        from flvlp.data.transforms import crop_view

        position = int(self.pool.positions[row])
        study = self.job.source.studies[position]
        pictures = []
        if self.job.shows_images:
            pictures.append(("frontal", self.job.source.frontal(position)))
            if self.side == "fused" and bool(self.pool.has_lateral[row]):
                pictures.append(("lateral", self.job.source.lateral(position)))
        crops = [(view, crop_view(picture, self.job.given.image, None)) for view, picture in pictures]
        if side:
            crops = [(view, scaled(crop, side)) for view, crop in crops]
        return Shown(named(self.job, [position])[0], study.report if self.shows_text else None, crops)


def write_page(job: Job, pool: Pool, judged: Mapping[str, Judged], said: Sequence[str], shown: Sequence[Table]) -> None:
    """Writes `retrieval.html`: the best and the worst queries of both directions.

    Of a credentialed data set it holds text and pictures only as `log_text` and `log_images` allow; without either it
    is left out.
    """
    config = job.args.dataset
    shows_text = not config.credentialed or config.log_text
    if not (shows_text or job.shows_images):
        log.info(
            "no %s: %s is credentialed; dataset.log_images=true and dataset.log_text=true allow it", NAME, config.name
        )
        return
    showing = Showing(job, pool, "fused" if "fused" in judged else "frontal", shows_text)
    sections = []
    for direction in DIRECTIONS:
        ranks = judged[showing.side].hits[direction].rank().numpy()
        # One text does not fill the page, whatever counts as right.
        chosen = choose(ranks, pool.reports.numpy(), max(1, job.args.pictures // 2))
        for what, rows in zip(("best", "worst"), chosen, strict=True):
            title = f"{direction.replace('_', ' ').capitalize()}, {showing.side} side: the {what} queries"
            queries = [showing.query(row, float(ranks[row]), direction) for row in rows]
            sections.append(Section(title, direction == DIRECTIONS[0], len(pool), queries))
    parts = (("Text is", "log_text", shows_text), ("Pictures are", "log_images", job.shows_images))
    left_out = [
        f"{what} not shown: {config.name} is credentialed and dataset.{key} is false."
        for what, key, is_shown in parts
        if not is_shown
    ]
    page = render(f"Retrieval: {config.name}", [*said, *left_out], shown, sections)
    (job.folder / NAME).write_text(page, encoding="utf-8")
    log.info("the best and the worst queries: %s", job.folder / NAME)


def choose(ranks: np.ndarray, groups: np.ndarray, count: int) -> tuple[list[int], list[int]]:
    """Chooses the queries whose right answer stands first and last, at most one of a group in all.

    Args:
        ranks: (N,) of the right answer.
        groups: (N,) int64; studies with the same report would fill the page with one text.
        count: of each, fewer where there are not so many groups.

    Returns:
        Positions of the best, and of the worst, which come from the worst up.
    """
    order = np.argsort(ranks, kind="stable")
    half = min(count, (len(np.unique(groups)) + 1) // 2)
    best = _one_a_group(order, groups, half, ())
    return best, _one_a_group(order[::-1], groups, count, groups[best])


def _one_a_group(order: np.ndarray, groups: np.ndarray, count: int, taken: Iterable[int]) -> list[int]:
    """Returns the first `count` positions whose groups differ from each other and from those taken."""
    seen, chosen = set(taken), list[int]()
    for position in order.tolist():
        if len(chosen) < count and groups[position] not in seen:
            seen.add(groups[position])
            chosen.append(position)
    return chosen
