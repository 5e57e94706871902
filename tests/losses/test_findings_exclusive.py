"""Cross-entropy of exclusive classes against a loop, and the weights against imbalance."""

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from flvlp.losses.findings import exclusive_loss, findings_loss, imbalance_weights, known_labels, known_studies

SEEDS = range(20)
NAN = float("nan")


def drawn(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns logits (B, C), labels (B, C) of which some rows, or one entry of a row, are NaN, and weights (C,)."""
    generator = torch.Generator().manual_seed(seed)
    rows, classes = 1 + seed % 7, 2 + seed % 4
    labels = torch.eye(classes)[torch.randint(classes, (rows,), generator=generator)]
    labels[torch.rand(rows, generator=generator) < 0.3] = NAN
    if seed % 5 == 0:
        labels[0, 0] = NAN
    logits = 3 * torch.randn(rows, classes, generator=generator)
    return logits, labels, torch.rand(classes, generator=generator) + 0.5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_it_is_the_sum_over_the_known_studies(seed: int, is_weighted: bool) -> None:
    logits, labels, weights = drawn(seed)
    terms = []
    for scores, row in zip(logits.tolist(), labels.tolist(), strict=True):
        if any(math.isnan(value) for value in row):
            continue
        own = row.index(1.0)
        probability = math.exp(scores[own]) / sum(math.exp(score) for score in scores)
        terms.append(-math.log(probability) * (float(weights[own]) if is_weighted else 1.0))
    found = float(exclusive_loss(logits, labels, weights if is_weighted else None))
    assert found == pytest.approx(sum(terms), rel=1e-5), f"{found}, loop {sum(terms)}"
    assert int(known_studies(labels)) == len(terms)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_study_that_is_not_known_has_no_gradient_and_its_logits_no_say(seed: int) -> None:
    logits, labels, weights = drawn(seed)
    logits.requires_grad_()
    loss = exclusive_loss(logits, labels, weights)
    loss.backward()
    is_unknown = labels.isnan().any(dim=1)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[is_unknown] == 0).all()
    assert (logits.grad[~is_unknown] != 0).all()
    changed = torch.where(is_unknown[:, None], 1e4, logits.detach())
    assert float(exclusive_loss(changed, labels, weights)) == float(loss.detach())


@pytest.mark.parametrize("seed", SEEDS)
def test_the_sums_of_two_parts_are_the_sum_of_the_whole_in_any_order(seed: int) -> None:
    logits, labels, weights = drawn(seed)
    whole = float(exclusive_loss(logits, labels, weights))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    halves = [float(exclusive_loss(logits[part], labels[part], weights)) for part in (first, second)]
    assert sum(halves) == pytest.approx(whole, rel=1e-5, abs=1e-6)


def test_untrained_logits_cost_the_logarithm_of_the_classes_and_nothing_known_costs_nothing() -> None:
    found = float(exclusive_loss(torch.zeros(4, 3), torch.eye(3)[[0, 2, 2, 1]]))
    assert found == pytest.approx(4 * math.log(3)), f"{found}, expected 4 ln 3"
    logits = torch.ones(2, 3, requires_grad=True)
    loss = exclusive_loss(logits, torch.full((2, 3), NAN))
    loss.backward()
    assert float(loss.detach()) == 0


def test_large_and_half_precision_logits_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    exclusive_loss(logits, torch.tensor([[0.0, 1.0]])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert exclusive_loss(logits.detach().bfloat16(), torch.tensor([[0.0, 1.0]])).dtype == torch.float32


def test_weights_of_exclusive_classes_are_scikit_learns_balanced_ones() -> None:
    classes = torch.tensor([0, 0, 0, 1, 2, 2])
    labels = torch.eye(3)[classes]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=classes.numpy())
    for given in (labels, torch.cat([labels, torch.full((4, 3), NAN)])):  # studies that are not known take no part
        found = imbalance_weights(given, is_exclusive=True)
        torch.testing.assert_close(found, torch.from_numpy(expected).float())
    counts = imbalance_weights(labels, is_exclusive=True) * labels.sum(dim=0)
    assert torch.allclose(counts, counts[0]), f"weight times studies of each class {counts}: not all alike"


def test_weights_of_findings_balance_the_known_positives_and_negatives() -> None:
    labels = torch.tensor([[1, 0, NAN, 0], [0, 0, 1, NAN], [0, 1, 1, 0], [NAN, 0, 0, 0]])
    assert imbalance_weights(labels, is_exclusive=False).tolist() == [2, 3, 0.5, 1]
    assert imbalance_weights(torch.full((3, 2), NAN), is_exclusive=False).tolist() == [1, 1]
    assert imbalance_weights(torch.ones(3, 1), is_exclusive=False).tolist() == [1], "or the class would not be trained"


def test_weighted_findings_have_no_pull_on_logits_of_zero() -> None:
    labels = torch.tensor([[1.0], [0], [0], [0], [NAN]])
    logits = torch.zeros(5, 1, requires_grad=True)
    findings_loss(logits, labels, imbalance_weights(labels, is_exclusive=False)).backward()
    assert logits.grad is not None
    assert float(logits.grad.sum()) == pytest.approx(0, abs=1e-6)
    assert int(known_labels(labels)) == 4
