"""Binary cross-entropy with missing labels: against a loop, in closed form, and where no gradient is due."""

import math

import pytest
import torch

from flvlp.losses.findings import findings_loss, known_labels

SEEDS = range(20)


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (1 + seed % 7, 1 + seed % 5)
    labels = torch.randint(0, 3, shape, generator=generator).float()
    labels[labels == 2] = float("nan")
    return 3 * torch.randn(shape, generator=generator), labels


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_the_sum_over_the_known_labels(seed: int) -> None:
    logits, labels = drawn(seed)
    terms = []
    for logit, label in zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True):
        if not math.isnan(label):
            probability = 1 / (1 + math.exp(-logit))
            terms.append(-math.log(probability if label == 1 else 1 - probability))
    assert float(findings_loss(logits, labels)) == pytest.approx(sum(terms), rel=1e-5)
    assert int(known_labels(labels)) == len(terms)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_sums_and_gradients_of_two_ranks_are_those_of_the_whole_batch(seed: int) -> None:
    logits, labels = drawn(seed)
    logits.requires_grad_()
    count = known_labels(labels).clamp_min(1)
    (whole,) = torch.autograd.grad(findings_loss(logits, labels) / count, logits)
    middle = len(labels) // 2
    halves = findings_loss(logits[:middle], labels[:middle]) + findings_loss(logits[middle:], labels[middle:])
    (parts,) = torch.autograd.grad(halves / count, logits)
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_missing_label_has_no_gradient_and_its_logit_no_say(seed: int) -> None:
    logits, labels = drawn(seed)
    logits.requires_grad_()
    loss = findings_loss(logits, labels)
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[torch.isnan(labels)] == 0).all()
    changed = torch.where(torch.isnan(labels), 1e4, logits.detach())
    assert float(findings_loss(changed, labels)) == float(loss.detach())


def test_untrained_logits_cost_the_logarithm_of_two_and_nothing_known_costs_nothing() -> None:
    assert float(findings_loss(torch.zeros(3, 2), torch.tensor([[1.0, 0], [0, 1], [1, 1]]))) == pytest.approx(
        6 * math.log(2)
    )
    logits = torch.ones(2, 2, requires_grad=True)
    loss = findings_loss(logits, torch.full((2, 2), float("nan")))
    loss.backward()
    assert float(loss.detach()) == 0


def test_a_weight_counts_the_positives_of_its_class_more() -> None:
    logits, labels = torch.zeros(2, 2), torch.tensor([[1.0, 1], [0, 0]])
    weighted = findings_loss(logits, labels, torch.tensor([3.0, 1]))
    assert float(weighted) == pytest.approx(math.log(2) * (3 + 1 + 1 + 1))


def test_large_logits_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = findings_loss(logits, torch.tensor([[0.0, 1.0]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
