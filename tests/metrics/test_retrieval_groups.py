"""Several correct answers, classes, and all figures of retrieval: against full sorts, by hand, and in blocks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from flvlp.metrics.retrieval import FirstHits, first_hits, precision_at, recall_at, retrieval
from flvlp.metrics.retrieval_figures import retrieval_figures
from tests.metrics.draws import patient_weights

SIDES = ("image_to_text", "text_to_image")


def pool(seed: int, size: int = 23) -> tuple[Tensor, Tensor, Tensor]:
    """Returns images, reports and groups; some reports are the same in words and features."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randint(0, size // 2, (size,), generator=generator)
    reports = torch.randn(size, 5, generator=generator)[groups]
    return reports + torch.randn(size, 5, generator=generator), reports, groups


def hits_of(queries: Tensor, gallery: Tensor, groups: Tensor, chunk: int = 1024) -> FirstHits:
    return first_hits(queries, gallery, query_groups=groups, gallery_groups=groups, chunk=chunk)


@pytest.mark.parametrize("seed", range(6))
def test_recall_of_own_pairs_is_that_of_recall_at_also_with_ties(seed: int) -> None:
    images, reports, _ = pool(seed)
    for pair in ((images, reports), (reports, images)):
        hits = hits_of(*pair, torch.arange(23))
        for k in (1, 2, 5, 10, 30):
            found, expected = hits.recall(k).tolist(), recall_at(*pair, k).tolist()
            assert found == pytest.approx(expected, abs=1e-6), f"R@{k} {found}, recall_at {expected}"


@pytest.mark.parametrize("seed", range(6))
def test_the_first_hit_is_that_of_sorting_the_gallery(seed: int) -> None:
    images, _, groups = pool(seed)
    gallery = images + torch.randn(23, 5, generator=torch.Generator().manual_seed(99))  # no ties
    hits = hits_of(images, gallery, groups)
    for i, rank in enumerate(hits.rank().tolist()):
        similarity = [float(torch.cosine_similarity(images[i].double(), row.double(), dim=0)) for row in gallery]
        order = sorted(range(23), key=lambda j: -similarity[j])
        expected = next(place for place, j in enumerate(order, start=1) if groups[j] == groups[i])
        assert rank == expected, f"rank {rank}, by sorting {expected}"
        for k in (1, 5, 10):
            assert hits.recall(k)[i] == float(expected <= k), f"R@{k} {hits.recall(k)[i]}, rank {expected}"


@pytest.mark.parametrize(("better", "wrong", "correct"), [(0, 3, 1), (2, 3, 2), (1, 0, 2), (4, 5, 3), (0, 1, 4)])
def test_ties_count_as_in_all_orders_on_average(better: int, wrong: int, correct: int) -> None:
    counts = [torch.tensor([count]) for count in (better, wrong, correct)]
    hits = FirstHits(counts[0], counts[1], counts[2], better + wrong + correct)
    generator = np.random.default_rng(0)
    tied = np.repeat([False, True], [wrong, correct])
    first = np.array([better + 1 + generator.permutation(tied).argmax() for _ in range(4000)])
    assert float(hits.rank()) == pytest.approx(first.mean(), abs=0.1), f"{hits.rank()}, of orders {first.mean()}"
    for k in range(1, 13):
        found, expected = float(hits.recall(k)), (first <= k).mean()
        assert found == pytest.approx(expected, abs=0.04), f"R@{k} {found}, share of orders {expected}"


def test_what_is_no_number_or_has_no_correct_item_is_never_found() -> None:
    queries = torch.eye(3)
    queries[0] = torch.nan
    hits = first_hits(
        queries, torch.eye(3), query_groups=torch.tensor([0, 1, 7]), gallery_groups=torch.tensor([0, 1, 2])
    )
    assert hits.recall(3).tolist() == [0, 1, 0], f"{hits.recall(3)}: NaN, found, and no correct item"
    assert hits.rank().tolist() == [3, 1, 3], f"{hits.rank()}: last, first, last"
    classes = torch.arange(3)
    precision = precision_at(queries, torch.eye(3), 1, query_classes=classes, gallery_classes=classes)
    assert precision.tolist() == [0, 1, 1], f"{precision}: the query that is no number finds nothing"


def test_a_correct_item_that_is_no_number_does_not_hide_another() -> None:
    gallery = torch.tensor([[torch.nan, 0], [0.6, 0.8], [1.0, 0]])
    hits = first_hits(
        torch.tensor([[1.0, 0]]), gallery, query_groups=torch.zeros(1), gallery_groups=torch.tensor([0, 0, 1])
    )
    assert hits.rank().tolist() == [2], f"{hits.rank()}: the wrong item, then the other correct one"


def test_precision_of_a_hand_made_case_with_ties_at_the_border() -> None:
    gallery = torch.tensor([[1.0, 0], [0.6, 0.8], [0.6, 0.8], [0.6, 0.8], [0, 1.0]])
    query, classes = torch.tensor([[2.0, 0]]), torch.tensor([0, 0, 1, 1, 0])
    # By similarity: class 0; then 0, 1, 1 tied; then 0.
    expected = {1: 1, 2: (1 + 1 / 3) / 2, 3: (1 + 2 / 3) / 3, 4: 2 / 4, 5: 3 / 5, 9: 3 / 5}
    found = {
        k: float(precision_at(query, gallery, k, query_classes=classes[:1], gallery_classes=classes)) for k in expected
    }
    assert found == pytest.approx(expected), f"{found}, by hand {expected}"


@pytest.mark.parametrize("seed", range(4))
def test_precision_is_that_of_sorting_the_gallery(seed: int) -> None:
    queries, _, classes = pool(seed)
    gallery = torch.randn(23, 5, generator=torch.Generator().manual_seed(seed))
    order = torch.nn.functional.cosine_similarity(queries[:, None], gallery[None], dim=2).argsort(
        dim=1, descending=True
    )
    for k in (1, 5, 10):
        found = precision_at(queries, gallery, k, query_classes=classes, gallery_classes=classes)
        expected = (classes[order[:, :k]] == classes[:, None]).double().mean(dim=1)
        assert torch.allclose(found, expected), f"P@{k} {found}, by sorting {expected}"


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_blocks_of_any_size_give_the_figures_of_the_full_matrix(chunk: int) -> None:
    images, reports, groups = pool(3)
    patients = [str(i // 2) for i in range(23)]
    expected = retrieval_figures(images, reports, groups, patients, classes=groups % 3, draws=20)
    found = retrieval_figures(images, reports, groups, patients, classes=groups % 3, draws=20, chunk=chunk)
    assert found == pytest.approx(expected, abs=1e-6), f"{found} in blocks of {chunk}, {expected}"


class Largest(TorchFunctionMode):
    """Remembers how many numbers the largest tensor had that any operation returned."""

    numbers = 0

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


@pytest.mark.parametrize("chunk", [4, 16])
def test_no_tensor_outgrows_one_block_of_queries(chunk: int) -> None:
    images, reports = torch.randn(2, 300, 3, generator=torch.Generator().manual_seed(0))
    with Largest() as largest:
        retrieval_figures(
            images, reports, torch.arange(300), ["a"] * 300, classes=torch.arange(300) % 5, draws=2, chunk=chunk
        )
    assert largest.numbers == max(chunk * 300, 300 * 13), f"{largest.numbers} numbers, a block has {chunk * 300}"


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_means_over_queries_with_intervals_that_resample_them_by_patient(seed: int) -> None:
    images, reports, groups = pool(seed)
    patients = [str(i // 2) for i in range(23)]
    figures = retrieval_figures(images, reports, groups, patients, draws=50, seed=seed)
    weights, rsum = patient_weights(patients, 50, seed), np.zeros(23)
    for side, pair in zip(SIDES, ((images, reports), (reports, images)), strict=True):
        hits = hits_of(*pair, groups)
        for k in (1, 5, 10):
            values = hits.recall(k).numpy()
            rsum += 100 * values
            draws = [np.repeat(values, weight).mean() for weight in weights]
            expected = [values.mean(), *np.percentile(draws, (2.5, 97.5))]
            found = [figures[f"{side}/r{k}{end}"] for end in ("", "_low", "_high")]
            assert found == pytest.approx(expected), f"{side} R@{k} {found}, one by one {expected}"
        ranks = [figures[f"{side}/median_rank"], figures[f"{side}/mean_rank"]]
        assert ranks == [np.median(hits.rank()), hits.rank().mean()], f"{ranks}"
    assert figures["rsum"] == pytest.approx(rsum.mean()), f"{figures['rsum']}, sum of the recalls {rsum.mean()}"
    assert figures["pool"] == 23 and not any("/p" in name for name in figures)


def test_figures_of_own_pairs_are_those_of_validation() -> None:
    images, reports, _ = pool(1)
    expected = retrieval(images, reports)
    figures = retrieval_figures(images, reports, torch.arange(23), ["p"] * 23, draws=2)
    for side in SIDES:
        for k in (1, 5, 10):
            name = f"{side}/r{k}"
            assert figures[name] == pytest.approx(expected[name], abs=1e-6), f"{figures[name]}, {expected[name]}"


def test_perfect_and_collapsed_features_have_known_figures() -> None:
    same, patients = torch.eye(20), [str(i) for i in range(20)]
    perfect = retrieval_figures(same, same, torch.arange(20), patients, draws=5)
    assert (perfect["rsum"], perfect["image_to_text/mean_rank"], perfect["rsum_low"]) == (600, 1, 600)
    collapsed = retrieval_figures(torch.ones(20, 2), torch.ones(20, 2), torch.arange(20), patients, draws=5)
    assert collapsed["rsum"] == pytest.approx(200 * 16 / 20), f"rsum {collapsed['rsum']}, chance {200 * 16 / 20}"
    assert collapsed["text_to_image/median_rank"] == 10.5, f"{collapsed['text_to_image/median_rank']}, chance 10.5"


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_studies_changes_nothing(seed: int) -> None:
    images, reports, groups = pool(seed)
    patients, order = (
        [str(i // 2) for i in range(23)],
        torch.randperm(23, generator=torch.Generator().manual_seed(seed)),
    )
    expected = retrieval_figures(images, reports, groups, patients, draws=20)
    found = retrieval_figures(images[order], reports[order], groups[order], [patients[i] for i in order], draws=20)
    assert found == pytest.approx(expected, abs=1e-6), f"{found}, in order {expected}"


def test_lengths_that_differ_and_an_empty_pool_are_refused() -> None:
    some, none = torch.zeros(2, 3), torch.zeros(0, 3)
    with pytest.raises(ValueError, match="2 images, 2 reports, 3 groups and 2 patient ids"):
        retrieval_figures(some, some, torch.arange(3), ["a", "b"])
    with pytest.raises(ValueError, match="0 images"):
        retrieval_figures(none, none, torch.arange(0), [])
    with pytest.raises(ValueError, match="first_hits: 2 queries with 1 groups"):
        first_hits(some, some, query_groups=torch.arange(1), gallery_groups=torch.arange(2))
    with pytest.raises(ValueError, match="0 items with 0; one group each, and at least one item"):
        first_hits(some, none, query_groups=torch.arange(2), gallery_groups=torch.arange(0))
    with pytest.raises(ValueError, match="0 items with 0; one class each, and at least one item"):
        precision_at(some, none, 1, query_classes=torch.arange(2), gallery_classes=torch.arange(0))
