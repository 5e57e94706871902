"""R@k of the own pair: against full sorts, by hand, and with ties."""

import numpy as np
import pytest
import torch
from torch import Tensor

from flvlp.metrics.retrieval import _similarities, recall_at, retrieval

SEEDS = range(20)


def recall_by_sorting(queries: Tensor, gallery: Tensor, k: int) -> list[float]:
    """Sorts the whole gallery for each query; without ties."""
    found = []
    for i in range(len(queries)):
        similarity = [float(torch.cosine_similarity(queries[i].double(), other.double(), dim=0)) for other in gallery]
        order = sorted(range(len(gallery)), key=lambda j: -similarity[j])
        found.append(float(i in order[:k]))
    return found


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("seed", SEEDS)
def test_recall_is_that_of_sorting_the_whole_gallery(seed: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    size = 3 * seed + 1
    gallery = torch.randn(size, 6, generator=generator)
    queries = (gallery + torch.randn(size, 6, generator=generator)) * 7
    found, expected = recall_at(queries, gallery, k).tolist(), recall_by_sorting(queries, gallery, k)
    assert found == expected, f"{found}, by sorting {expected}"


def test_recall_of_a_hand_made_matrix() -> None:
    # Row i: similarity of query i with the gallery, an orthonormal basis; its own match has rank 1, 2, 3, 4.
    queries = torch.tensor([[0.9, 0.1, 0.2, 0.3], [0.9, 0.5, 0.2, 0.1], [0.9, 0.8, 0.5, 0.1], [0.9, 0.8, 0.5, 0.1]])
    for k, expected in ((1, [1, 0, 0, 0]), (2, [1, 1, 0, 0]), (3, [1, 1, 1, 0]), (4, [1, 1, 1, 1])):
        found = recall_at(queries, torch.eye(4), k).tolist()
        assert found == expected, f"R@{k} {found}, by hand {expected}"


@pytest.mark.parametrize(("copies", "k", "expected"), [(2, 1, 1 / 2), (4, 1, 1 / 4), (4, 3, 3 / 4), (4, 9, 1.0)])
def test_exact_ties_are_broken_at_random_in_expectation(copies: int, k: int, expected: float) -> None:
    gallery = torch.cat([torch.tensor([[1.0, 0, 0]]).expand(copies, 3), torch.tensor([[0, 1.0, 0]])])
    found = recall_at(gallery, gallery, k)[:copies].tolist()
    assert found == pytest.approx([expected] * copies), f"R@{k} among {copies} equal reports {found}, {expected}"


def test_a_collapsed_model_scores_as_chance_does() -> None:
    same = torch.ones(50, 4)
    found = float(recall_at(same, same, 5).mean())
    assert found == pytest.approx(5 / 50), f"R@5 {found}, chance {5 / 50}"


def test_features_that_are_not_numbers_find_nothing() -> None:
    broken = torch.full((4, 3), torch.nan)
    found = recall_at(broken, torch.eye(4)[:, :3], 1).tolist()
    assert found == [0.0] * 4, f"R@1 of NaN features {found}, expected 0"


@pytest.mark.parametrize("chunk", [1, 7, 64, 10_000])
def test_the_chunk_size_changes_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(40, 6, generator=generator).repeat(3, 1)
    queries = gallery + torch.randn(120, 6, generator=generator)
    expected = retrieval(queries, gallery)
    monkeypatch.setattr("flvlp.metrics.retrieval.CHUNK", chunk)
    found = retrieval(queries, gallery)
    assert found == pytest.approx(expected, abs=1e-6), f"{found} in chunks of {chunk}, {expected}"


def test_retrieval_gives_both_directions_and_their_mean_over_the_whole_pool() -> None:
    generator = torch.Generator().manual_seed(1)
    images, reports = torch.randn(2, 30, 4, generator=generator)
    found = retrieval(images, reports)
    for k in (1, 5, 10):
        forth, back = (np.mean(recall_by_sorting(*pair, k)) for pair in ((images, reports), (reports, images)))
        assert found[f"image_to_text/r{k}"] == pytest.approx(forth), f"{found[f'image_to_text/r{k}']}, {forth}"
        assert found[f"text_to_image/r{k}"] == pytest.approx(back), f"{found[f'text_to_image/r{k}']}, {back}"
        assert found[f"r{k}"] == pytest.approx((forth + back) / 2), f"{found[f'r{k}']}, {(forth + back) / 2}"


def test_an_empty_pool_has_no_figures() -> None:
    assert retrieval(torch.zeros(0, 4), torch.zeros(0, 4)) == {}


def test_all_blocks_of_similarities_are_in_the_same_memory() -> None:
    queries, gallery = torch.randn(10, 4), torch.randn(7, 4)
    places, rows = set(), 0
    for _, block in _similarities(queries, gallery, 4):
        places.add(block.data_ptr())
        rows += len(block)
    assert rows == 10
    assert len(places) == 1, "memory would grow with the number of pairs"
