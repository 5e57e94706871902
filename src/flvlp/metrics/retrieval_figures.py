"""All figures of a retrieval task with intervals by patient, as a flat dict for the result row."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from flvlp.metrics.bootstrap import DRAWS, bootstrap, interval
from flvlp.metrics.retrieval import CHUNK, RECALL_AT, FirstHits, first_hits, precision_at

DIRECTIONS = ("image_to_text", "text_to_image")


def hits_of(images: Tensor, reports: Tensor, groups: Tensor, chunk: int = CHUNK) -> dict[str, FirstHits]:
    """Returns where the first right answer of each query stands, by direction; arguments as in `retrieval_figures`."""
    pairs = zip(DIRECTIONS, ((images, reports), (reports, images)), strict=True)
    return {
        direction: first_hits(*pair, query_groups=groups, gallery_groups=groups, chunk=chunk)
        for direction, pair in pairs
    }


def retrieval_figures(
    images: Tensor,
    reports: Tensor,
    groups: Tensor,
    patients: Sequence[str],
    *,
    classes: Tensor | None = None,
    hits: Mapping[str, FirstHits] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    chunk: int = CHUNK,
) -> dict[str, float]:
    """Computes retrieval in both directions over the whole pool, whose size moves every figure.

    Intervals resample the queries by patient; the pool that they search stays whole, since a pool with repeated
    patients would be another, easier or harder task.

    Args:
        images, reports: (N, D), row by row the same study; any scale.
        groups: (N,) int64; a report (or image) is correct where its group is the query's. `arange(N)`: the own pair
            only; equal for studies with the same report: each of them.
        patients: N patient ids.
        classes: (N,) int64, one class a study, for the sets made of classes (5x200, 8x200); None leaves precision out.
        hits: `hits_of` of the same arguments, where it is there already.
        draws, seed: of the bootstrap.
        chunk: queries at a time; memory grows with chunk times N.

    Returns:
        For `image_to_text` and `text_to_image`: `<direction>/r1`, `r5`, `r10` in [0, 1], each with `_low` and `_high`;
        `<direction>/median_rank` and `mean_rank` from 1; with classes `<direction>/p1`, `p5`, `p10` likewise with
        intervals. `r1`, `r5`, `r10`: the means of both directions; `rsum`: the six recalls in percent, summed, in
        [0, 600]; these with intervals too. `pool`: N.

    Raises:
        ValueError: an empty pool, or lengths that differ.
    """
    if not len(images) == len(reports) == len(groups) == len(patients) or not len(images):
        raise ValueError(
            f"retrieval_figures: {len(images)} images, {len(reports)} reports, {len(groups)} groups and "
            f"{len(patients)} patient ids; as many of each, at least one"
        )
    figures: dict[str, float] = {}
    of_queries: dict[str, Tensor] = {}
    hits = hits or hits_of(images, reports, groups, chunk)
    for direction, pair in zip(DIRECTIONS, ((images, reports), (reports, images)), strict=True):
        ranks = hits[direction].rank().cpu().numpy()
        figures |= {f"{direction}/median_rank": float(np.median(ranks)), f"{direction}/mean_rank": float(ranks.mean())}
        of_queries |= {f"{direction}/r{k}": hits[direction].recall(k) for k in RECALL_AT}
        if classes is not None:
            of_queries |= {
                f"{direction}/p{k}": precision_at(*pair, k, query_classes=classes, gallery_classes=classes, chunk=chunk)
                for k in RECALL_AT
            }
    recalls = [values for name, values in of_queries.items() if "/r" in name]
    of_queries["rsum"] = 100 * torch.stack(recalls).sum(dim=0)
    table = torch.stack(list(of_queries.values()), dim=1).cpu().numpy()  # (N, figures)
    drawn = bootstrap(lambda weights: weights @ table / weights.sum(axis=1, keepdims=True), patients, draws, seed)
    for column, name in enumerate(of_queries):
        figures |= interval(float(table[:, column].mean()), drawn[:, column]).named(name)
    names = list(of_queries)
    for k in RECALL_AT:  # a mean of two figures is the mean of their draws
        both = [names.index(f"{direction}/r{k}") for direction in DIRECTIONS]
        figures |= interval(float(table[:, both].mean()), drawn[:, both].mean(axis=1)).named(f"r{k}")
    return figures | {"pool": float(len(images))}
