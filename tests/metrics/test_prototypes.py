"""Perplexity and purity: in closed form and by hand."""

import numpy as np
import pytest
import torch

from flvlp.metrics.prototypes import perplexity, purity


@pytest.mark.parametrize("used", [1, 2, 7])
def test_perplexity_is_the_number_of_equally_used_entries(used: int) -> None:
    found = perplexity((torch.arange(20) < used).float() * 3)
    assert found == pytest.approx(used), f"perplexity {found}, {used} entries used alike"


def test_perplexity_of_half_and_two_quarters_is_two_to_the_three_halves() -> None:
    found = perplexity(torch.tensor([2.0, 1.0, 1.0, 0.0]))
    assert found == pytest.approx(2**1.5), f"perplexity {found}, closed form {2**1.5}"


def test_purity_of_a_hand_made_example() -> None:
    clusters = np.array([0, 0, 0, 1, 1, 3])
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 0], [1, 1], [0, 1]])
    found = purity(clusters, labels)  # 2 of 3 in cluster 0, 1 of 2 in cluster 1, 1 of 1 in cluster 3
    assert found == pytest.approx(4 / 6), f"purity {found}, by hand {4 / 6}"


def test_purity_counts_whole_label_sets() -> None:
    labels = np.array([[1, 0], [1, 1], [1, 0], [1, 1]])
    for clusters, expected in (([0, 0, 0, 0], 0.5), ([0, 1, 0, 1], 1.0), ([0, 1, 2, 3], 1.0)):
        found = purity(np.array(clusters), labels)
        assert found == expected, f"clusters {clusters}: purity {found}, expected {expected}"
