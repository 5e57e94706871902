"""Retrieval over a whole pool, a block of queries at a time: the exact pair, any report alike, or any of the class."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

RECALL_AT = (1, 5, 10)
CHUNK = 256  # queries whose similarities are in memory at once; more of them leave the cache before they are counted


def recall_at(queries: Tensor, gallery: Tensor, k: int) -> Tensor:
    """Computes the probability that each query's own match is among the k most similar of the whole gallery.

    Exact ties are broken at random in expectation, so identical reports cost no more and no less than they should.

    Args:
        queries, gallery: (N, D), row i of one matches row i of the other; any scale.
        k: at least 1.

    Returns:
        (N,) float32 in [0, 1]; its mean is R@k.
    """
    return own_hits(queries, gallery).recall(k).float() if len(queries) else queries.new_zeros(0)


def retrieval(images: Tensor, reports: Tensor) -> dict[str, float]:
    """Returns R@1, 5, 10 of both directions and their mean, over the whole pool.

    Args:
        images, reports: (N, D), row by row the same study.

    Returns:
        `image_to_text/r1` ... `text_to_image/r10`, and `r1`, `r5`, `r10` averaged over directions, in [0, 1]; nothing
        for an empty pool.
    """
    if not len(images):
        return {}
    figures: dict[str, float] = {}
    there, back = own_hits(images, reports), own_hits(reports, images)
    for k in RECALL_AT:
        forth, reverse = (float(hits.recall(k).float().mean()) for hits in (there, back))
        figures |= {f"image_to_text/r{k}": forth, f"text_to_image/r{k}": reverse, f"r{k}": (forth + reverse) / 2}
    return figures


def own_hits(queries: Tensor, gallery: Tensor) -> "FirstHits":
    """Finds where the own match of each query stands: row i of (N, D) in row i of (N, D)."""
    own = torch.arange(len(queries), device=queries.device)
    return first_hits(queries, gallery, query_groups=own, gallery_groups=own, chunk=CHUNK)


@dataclass(frozen=True, slots=True)
class FirstHits:
    """Where the first correct item of each query stands among all, exact ties being broken at random.

    Attributes:
        better: (N,) int64, wrong items more similar than the most similar correct one.
        tied_wrong, tied_correct: (N,) int64, items exactly as similar as that one. `tied_correct` is 0 where nothing
            can be found: no item is correct, or a feature is no number.
        items: in the gallery.
    """

    better: Tensor
    tied_wrong: Tensor
    tied_correct: Tensor
    items: int

    def recall(self, k: int) -> Tensor:
        """Returns the probability (N,) float64 that a correct item is among the first k; its mean is R@k."""
        places = k - self.better  # of the first k, left for the tied items
        missed = torch.ones_like(places, dtype=torch.float64)
        for taken in range(min(k, self.items)):
            wrong = (self.tied_wrong - taken).clamp(min=0).double()
            missed = missed * (wrong / (wrong + self.tied_correct)).where(taken < places, 1.0)
        return (1 - missed).where(self.tied_correct > 0, 0.0)

    def rank(self) -> Tensor:
        """Returns the expected rank (N,) float64 of the first correct item, from 1; the last where nothing is found."""
        ties = (self.tied_wrong + self.tied_correct + 1) / (self.tied_correct + 1).double()
        return (self.better + ties).where(self.tied_correct > 0, float(self.items))


def first_hits(
    queries: Tensor, gallery: Tensor, *, query_groups: Tensor, gallery_groups: Tensor, chunk: int = CHUNK
) -> FirstHits:
    """Finds where the first correct item of each query stands; an item is correct where its group is the query's.

    With groups `arange(N)` on both sides only the own pair is correct (`own_hits`); with a hash of the report,
    every study with the same report is.

    Args:
        queries: (N, D), any scale.
        gallery: (M, D), any scale.
        query_groups, gallery_groups: (N,) and (M,) int64.
        chunk: queries at a time; memory grows with chunk times M.

    Raises:
        ValueError: groups that do not fit, or an empty gallery.
    """
    if len(queries) != len(query_groups) or len(gallery) != len(gallery_groups) or not len(gallery):
        raise ValueError(
            f"first_hits: {len(queries)} queries with {len(query_groups)} groups, {len(gallery)} items with "
            f"{len(gallery_groups)}; one group each, and at least one item"
        )
    sorted_groups, order = torch.sort(gallery_groups)
    firsts = torch.searchsorted(sorted_groups, query_groups)
    counts = torch.searchsorted(sorted_groups, query_groups, right=True) - firsts
    found = torch.zeros(3, len(queries), dtype=torch.int64, device=queries.device)
    for rows, similarity in _similarities(queries, gallery, chunk):
        row, item = _correct_pairs(firsts[rows], counts[rows], order)
        of_correct = similarity[row, item].nan_to_num(nan=-torch.inf)
        best = similarity.new_full([len(similarity)], -torch.inf).scatter_reduce(0, row, of_correct, "amax")
        is_best = (of_correct == best[row]) & (of_correct > -torch.inf)
        tied_correct = torch.zeros_like(counts[rows]).index_add(0, row, is_best.long())
        better = (similarity > best.unsqueeze(1)).sum(dim=1, dtype=torch.int32)  # no correct item is; int32 is faster
        tied = (similarity == best.unsqueeze(1)).sum(dim=1, dtype=torch.int32)
        found[:, rows] = torch.stack([better, tied - tied_correct, tied_correct])
    better, tied_wrong, tied_correct = found
    return FirstHits(better, tied_wrong, tied_correct, len(gallery))


def _correct_pairs(firsts: Tensor, counts: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Returns row and item, both (pairs,), of every query with every item of its group.

    Args:
        firsts, counts: (n,) of each query, where the items of its group start in `order`, and how many they are.
        order: (M,) items sorted by group.
    """
    row = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    number = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]  # within the group
    return row, order[firsts[row] + number]


def precision_at(
    queries: Tensor, gallery: Tensor, k: int, *, query_classes: Tensor, gallery_classes: Tensor, chunk: int = CHUNK
) -> Tensor:
    """Computes the share of the k most similar items of each query that are of its class.

    Exact ties at the border are broken at random in expectation. The own pair counts like any other of the class, so
    that P@1 is at least R@1, as in the published tables.

    Args:
        queries, gallery, chunk: as in `first_hits`.
        k: at least 1; of a smaller gallery all items are taken.
        query_classes, gallery_classes: (N,) and (M,) int64.

    Returns:
        (N,) float64 in [0, 1]; 0 for a feature that is no number. Its mean is P@k.

    Raises:
        ValueError: classes that do not fit, or an empty gallery.
    """
    if len(queries) != len(query_classes) or len(gallery) != len(gallery_classes) or not len(gallery):
        raise ValueError(
            f"precision_at: {len(queries)} queries with {len(query_classes)} classes, {len(gallery)} items with "
            f"{len(gallery_classes)}; one class each, and at least one item"
        )
    k = min(k, len(gallery))
    precision = torch.zeros(len(queries), dtype=torch.float64, device=queries.device)
    for rows, cosine in _similarities(queries, gallery, chunk):
        similarity = cosine.nan_to_num(nan=-torch.inf)
        border = similarity.topk(k, dim=1).values[:, -1:]
        is_same = query_classes[rows].unsqueeze(1) == gallery_classes
        is_above, is_tied = similarity > border, (similarity == border) & (border > -torch.inf)
        tied_share = (is_tied & is_same).sum(dim=1).double() / is_tied.sum(dim=1).clamp(min=1)
        found = (is_above & is_same).sum(dim=1) + (k - is_above.sum(dim=1)) * tied_share
        precision[rows] = found / k
    return precision


def _similarities(queries: Tensor, gallery: Tensor, chunk: int) -> Iterator[tuple[slice, Tensor]]:
    """Yields rows and their cosine similarities (at most chunk, M) float32 with the whole gallery.

    All blocks are written to the same memory. A new one each, beside results that stay, would leave holes that no block
    fits into: memory that grows with the number of pairs.
    """
    queries = functional.normalize(queries.detach().float(), dim=-1)
    gallery = functional.normalize(gallery.detach().float(), dim=-1)
    block = queries.new_empty(min(chunk, len(queries)), len(gallery))
    for start in range(0, len(queries), chunk):
        rows = slice(start, min(start + chunk, len(queries)))
        yield rows, torch.mm(queries[rows], gallery.T, out=block[: rows.stop - start])
