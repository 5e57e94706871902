"""Retrieval, intervals and the use of prototypes: against full sorts, by hand, and in closed form."""

import numpy as np
import pytest
import torch
from torch import Tensor

from flvlp import metrics

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
    found, expected = metrics.recall_at(queries, gallery, k).tolist(), recall_by_sorting(queries, gallery, k)
    assert found == expected, f"{found}, by sorting {expected}"


def test_recall_of_a_hand_made_matrix() -> None:
    # Row i: similarity of query i with the gallery, an orthonormal basis; its own match has rank 1, 2, 3, 4.
    queries = torch.tensor([[0.9, 0.1, 0.2, 0.3], [0.9, 0.5, 0.2, 0.1], [0.9, 0.8, 0.5, 0.1], [0.9, 0.8, 0.5, 0.1]])
    for k, expected in ((1, [1, 0, 0, 0]), (2, [1, 1, 0, 0]), (3, [1, 1, 1, 0]), (4, [1, 1, 1, 1])):
        found = metrics.recall_at(queries, torch.eye(4), k).tolist()
        assert found == expected, f"R@{k} {found}, by hand {expected}"


@pytest.mark.parametrize(("copies", "k", "expected"), [(2, 1, 1 / 2), (4, 1, 1 / 4), (4, 3, 3 / 4), (4, 9, 1.0)])
def test_exact_ties_are_broken_at_random_in_expectation(copies: int, k: int, expected: float) -> None:
    gallery = torch.cat([torch.tensor([[1.0, 0, 0]]).expand(copies, 3), torch.tensor([[0, 1.0, 0]])])
    found = metrics.recall_at(gallery, gallery, k)[:copies].tolist()
    assert found == pytest.approx([expected] * copies), f"R@{k} among {copies} equal reports {found}, {expected}"


def test_a_collapsed_model_scores_as_chance_does() -> None:
    same = torch.ones(50, 4)
    found = float(metrics.recall_at(same, same, 5).mean())
    assert found == pytest.approx(5 / 50), f"R@5 {found}, chance {5 / 50}"


def test_features_that_are_not_numbers_find_nothing() -> None:
    broken = torch.full((4, 3), torch.nan)
    found = metrics.recall_at(broken, torch.eye(4)[:, :3], 1).tolist()
    assert found == [0.0] * 4, f"R@1 of NaN features {found}, expected 0"


@pytest.mark.parametrize("chunk", [1, 7, 64, 10_000])
def test_the_chunk_size_changes_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(40, 6, generator=generator).repeat(3, 1)
    queries = gallery + torch.randn(120, 6, generator=generator)
    expected = metrics.retrieval(queries, gallery)
    monkeypatch.setattr(metrics, "CHUNK", chunk)
    found = metrics.retrieval(queries, gallery)
    assert found == pytest.approx(expected, abs=1e-6), f"{found} in chunks of {chunk}, {expected}"


def test_retrieval_gives_both_directions_and_their_mean_over_the_whole_pool() -> None:
    generator = torch.Generator().manual_seed(1)
    images, reports = torch.randn(2, 30, 4, generator=generator)
    found = metrics.retrieval(images, reports)
    for k in (1, 5, 10):
        forth, back = (np.mean(recall_by_sorting(*pair, k)) for pair in ((images, reports), (reports, images)))
        assert found[f"image_to_text/r{k}"] == pytest.approx(forth), f"{found[f'image_to_text/r{k}']}, {forth}"
        assert found[f"text_to_image/r{k}"] == pytest.approx(back), f"{found[f'text_to_image/r{k}']}, {back}"
        assert found[f"r{k}"] == pytest.approx((forth + back) / 2), f"{found[f'r{k}']}, {(forth + back) / 2}"


def test_an_empty_pool_has_no_figures() -> None:
    assert metrics.retrieval(torch.zeros(0, 4), torch.zeros(0, 4)) == {}


def test_the_bootstrap_interval_covers_the_true_mean_in_about_95_percent_of_samples() -> None:
    generator, covered, samples = np.random.default_rng(0), 0, 150
    for seed in range(samples):
        differences = generator.normal(0.3, 1.0, 80)
        interval = metrics.paired_bootstrap(differences, [str(i) for i in range(80)], seed)
        assert interval.mean == pytest.approx(differences.mean()), f"{interval.mean}, mean {differences.mean()}"
        covered += interval.low <= 0.3 <= interval.high
    assert 0.89 <= covered / samples <= 0.99, f"{covered / samples:.3f} of intervals hold the mean, expected 0.95"


def test_studies_of_one_patient_are_drawn_together_which_widens_the_interval() -> None:
    by_patient = np.repeat(np.random.default_rng(0).normal(size=30), 10)
    clustered = metrics.paired_bootstrap(by_patient, [f"p{i // 10}" for i in range(300)])
    apart = metrics.paired_bootstrap(by_patient, [f"p{i}" for i in range(300)])
    ratio = (clustered.high - clustered.low) / (apart.high - apart.low)
    assert clustered.mean == apart.mean == pytest.approx(by_patient.mean())
    assert ratio == pytest.approx(10**0.5, rel=0.25), f"interval {ratio:.2f} times as wide, expected about 3.16"


def test_the_bootstrap_is_fixed_by_its_seed_and_refuses_no_study() -> None:
    values, patients = np.arange(9.0), list("abcabcabc")
    assert metrics.paired_bootstrap(values, patients) == metrics.paired_bootstrap(values, patients)
    with pytest.raises(ValueError, match="no study to compare"):
        metrics.paired_bootstrap(np.zeros(0), [])


@pytest.mark.parametrize("used", [1, 2, 7])
def test_perplexity_is_the_number_of_equally_used_entries(used: int) -> None:
    found = metrics.perplexity((torch.arange(20) < used).float() * 3)
    assert found == pytest.approx(used), f"perplexity {found}, {used} entries used alike"


def test_perplexity_of_half_and_two_quarters_is_two_to_the_three_halves() -> None:
    found = metrics.perplexity(torch.tensor([2.0, 1.0, 1.0, 0.0]))
    assert found == pytest.approx(2**1.5), f"perplexity {found}, closed form {2**1.5}"


def test_purity_of_a_hand_made_example() -> None:
    clusters = np.array([0, 0, 0, 1, 1, 3])
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 0], [1, 1], [0, 1]])
    found = metrics.purity(clusters, labels)  # 2 of 3 in cluster 0, 1 of 2 in cluster 1, 1 of 1 in cluster 3
    assert found == pytest.approx(4 / 6), f"purity {found}, by hand {4 / 6}"


def test_purity_counts_whole_label_sets() -> None:
    labels = np.array([[1, 0], [1, 1], [1, 0], [1, 1]])
    for clusters, expected in (([0, 0, 0, 0], 0.5), ([0, 1, 0, 1], 1.0), ([0, 1, 2, 3], 1.0)):
        found = metrics.purity(np.array(clusters), labels)
        assert found == expected, f"clusters {clusters}: purity {found}, expected {expected}"


@pytest.mark.parametrize("seed", SEEDS)
def test_auroc_is_the_share_of_pairs_in_order_and_leaves_missing_labels_out(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.choice([0.0, 1.0, np.nan], size=(3 * seed + 2, 3))
    scores = np.round(generator.normal(size=labels.shape), 1)  # with ties
    for column, area in enumerate(metrics.auroc(labels, scores)):
        positive, negative = (scores[labels[:, column] == value, column] for value in (1, 0))
        if len(positive) and len(negative):
            difference = positive[:, None] - negative[None, :]
            assert area == pytest.approx(((difference > 0) + 0.5 * (difference == 0)).mean())
        else:
            assert np.isnan(area), "a class with one label only must be reported as such"


def test_auroc_refuses_scores_that_are_no_numbers_or_do_not_fit() -> None:
    with pytest.raises(ValueError, match="1 scores are not finite"):
        metrics.auroc(np.array([[1.0], [0.0]]), np.array([[np.nan], [0.0]]))
    with pytest.raises(ValueError, match=r"\(2, 1\), scores of shape \(2, 2\)"):
        metrics.auroc(np.zeros((2, 1)), np.zeros((2, 2)))
