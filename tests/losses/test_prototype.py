"""Prototype alignment: against loops written from docs/paper.md section 5, closed forms, properties."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from flvlp.losses.config import PrototypeConfig
from flvlp.losses.prototype import PrototypeLoss, prototype_loss
from flvlp.models.queue import FeatureQueue
from flvlp.types import Output, QueueState
from tests.losses.prototype_oracle import draw, loss_by_loops

SEEDS = range(20)
CONFIG = PrototypeConfig()


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("with_queue", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_loss_is_that_of_plain_loops(seed: int, with_queue: bool, bidirectional: bool) -> None:
    features, is_present, prototypes, queue = draw(seed)
    config = replace(CONFIG, bidirectional=bidirectional)
    used = queue if with_queue else None
    found = float(prototype_loss(features, is_present, prototypes, config, used))
    expected = loss_by_loops(features, is_present, prototypes, bidirectional, used)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6), f"loss {found}, loops {expected}"


def test_one_prototype_gives_zero() -> None:
    features, is_present, prototypes, _ = draw(6)
    found = float(prototype_loss(features, is_present, prototypes[:1], CONFIG))
    assert found == pytest.approx(0.0, abs=1e-6), f"loss {found}, expected 0"


@pytest.mark.parametrize("count", [2, 5, 500])
def test_equal_prototypes_give_the_logarithm_of_their_number(count: int) -> None:
    features, is_present, prototypes, _ = draw(6)
    is_present[:] = True
    found = float(prototype_loss(features, is_present, prototypes[:1].expand(count, -1), CONFIG))
    assert found == pytest.approx(math.log(count), rel=1e-5), f"loss {found}, ln K = {math.log(count)}"


@pytest.mark.parametrize("seed", SEEDS)
def test_scales_of_features_and_prototypes_do_not_matter(seed: int) -> None:
    features, is_present, prototypes, queue = draw(seed)
    one = float(prototype_loss(features, is_present, prototypes, CONFIG, queue))
    other = float(prototype_loss(features * 1e3, is_present, prototypes * 1e-3, CONFIG, queue))
    assert one == pytest.approx(other, rel=1e-4, abs=1e-6), f"{one} as drawn, {other} scaled"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_studies_and_of_prototypes_does_not_matter(seed: int) -> None:
    features, is_present, prototypes, _ = draw(seed)
    generator = torch.Generator().manual_seed(seed)
    studies = torch.randperm(features.shape[1], generator=generator)
    rows = torch.randperm(len(prototypes), generator=generator)
    one = float(prototype_loss(features, is_present, prototypes, CONFIG))
    other = float(prototype_loss(features[:, studies], is_present[:, studies], prototypes[rows], CONFIG))
    assert one == pytest.approx(other, rel=1e-5, abs=1e-6), f"{one} in order, {other} permuted"


@pytest.mark.parametrize("seed", SEEDS)
def test_absent_studies_change_nothing_and_get_no_gradient(seed: int) -> None:
    features, is_present, prototypes, _ = draw(seed)
    one = float(prototype_loss(features, is_present, prototypes, CONFIG))
    changed = features.masked_fill(~is_present[..., None], 1e4).requires_grad_()
    loss = prototype_loss(changed, is_present, prototypes, CONFIG)
    loss.backward()
    assert float(loss) == pytest.approx(one, rel=1e-6), f"{float(loss)} after changing absent studies, {one} before"
    assert changed.grad is not None
    leaked = float(changed.grad[~is_present].abs().sum())
    assert leaked == 0, f"gradient {leaked} of absent studies, expected 0"


def test_prototypes_and_features_are_not_modified_in_place() -> None:
    features, is_present, prototypes, queue = draw(6)
    before = features.clone(), prototypes.clone(), queue.features.clone()
    prototype_loss(features, is_present, prototypes.requires_grad_(), CONFIG, queue).backward()
    for name, old, new in zip(
        ("features", "prototypes", "queue"), before, (features, prototypes, queue.features), strict=True
    ):
        assert torch.equal(old, new), f"{name}: {old} became {new}"


def test_a_report_gets_gradient_only_where_its_image_is_the_code() -> None:
    features, is_present, prototypes, _ = draw(6)
    for bidirectional in (True, False):
        wanted = features.clone().requires_grad_()
        prototype_loss(wanted, is_present, prototypes, replace(CONFIG, bidirectional=bidirectional)).backward()
        assert wanted.grad is not None
        report, image = float(wanted.grad[2].abs().sum()), float(wanted.grad[0].abs().sum())
        assert image > 0, f"gradient {image} of frontals"
        assert (report > 0) == bidirectional, f"gradient {report} of reports with bidirectional={bidirectional}"


def test_unfilled_rows_of_the_queue_are_masked() -> None:
    features, is_present, prototypes, queue = draw(6)
    nothing = replace(queue, is_filled=torch.zeros_like(queue.is_filled))
    one = float(prototype_loss(features, is_present, prototypes, CONFIG))
    other = float(prototype_loss(features, is_present, prototypes, CONFIG, nothing))
    assert one == pytest.approx(other, rel=1e-6), f"{one} without a queue, {other} with an empty one"


def test_a_study_in_the_queue_counts_for_the_codes_as_one_in_the_batch_does() -> None:
    features, is_present, prototypes, _ = draw(6)
    is_present[:] = True
    cut = 4
    queue = QueueState(torch.nn.functional.normalize(features[:, cut:], dim=-1), is_present[:, cut:])
    found = float(prototype_loss(features[:, :cut], is_present[:, :cut], prototypes, CONFIG, queue))
    expected = loss_by_loops(features[:, :cut], is_present[:, :cut], prototypes, True, queue)
    without = float(prototype_loss(features[:, :cut], is_present[:, :cut], prototypes, CONFIG))
    assert found == pytest.approx(expected, rel=1e-5), f"loss {found}, loops {expected}"
    assert abs(found - without) > 1e-4, f"{found} with a queue, {without} without: the queue plays no part"


def test_no_lateral_leaves_the_frontal_and_gives_the_lateral_a_zero_gradient() -> None:
    features, is_present, prototypes, _ = draw(6)
    is_present[1] = False
    features = features.masked_fill(~is_present[..., None], 0).requires_grad_()
    loss = prototype_loss(features, is_present, prototypes, CONFIG)
    loss.backward()
    assert torch.isfinite(loss)
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert float(features.grad[1].abs().sum()) == 0, f"gradient {features.grad[1]} of absent laterals"


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1e4])
def test_loss_and_gradient_are_finite_at_any_scale(scale: float) -> None:
    for seed in SEEDS:
        features, is_present, prototypes, queue = draw(seed)
        features = (features * scale).requires_grad_()
        rows = (prototypes * scale).requires_grad_()
        loss = prototype_loss(features, is_present, rows, CONFIG, queue)
        loss.backward()
        assert torch.isfinite(loss), f"loss {loss} at scale {scale}, seed {seed}"
        for name, values in (("features", features), ("prototypes", rows)):
            assert values.grad is not None
            assert torch.isfinite(values.grad).all(), f"gradient of {name} at scale {scale}, seed {seed}"


def output_of(features: Tensor, is_present: Tensor, prototypes: Tensor, queue: FeatureQueue) -> Output:
    frontal, lateral, report = features
    return Output(frontal, lateral, report, is_present[1], is_present[0], prototypes=prototypes, queue=queue)


def test_the_term_codes_with_earlier_batches_and_then_appends_its_own() -> None:
    queue = FeatureQueue(5, 5)
    term = PrototypeLoss(CONFIG)
    first, present, prototypes, _ = draw(3)
    second, present_later, _, _ = draw(13)
    present[2], present_later[2] = present[0], present_later[0]
    present[1] &= present[0]
    present_later[1] &= present_later[0]
    alone = float(term(output_of(first, present, prototypes, queue)))
    expected = loss_by_loops(first, present, prototypes, True, None)
    assert alone == pytest.approx(expected, rel=1e-5), f"first batch {alone}, loops without a queue {expected}"
    seen = QueueState(torch.nn.functional.normalize(first, dim=-1), present)
    later = float(term(output_of(second, present_later, prototypes, queue)))
    expected = loss_by_loops(second, present_later, prototypes, True, seen)
    assert later == pytest.approx(expected, rel=1e-5), f"second batch {later}, loops with the first queued {expected}"


@pytest.mark.parametrize("size", [1, 4, 9])
def test_the_queue_holds_the_last_studies_of_all_batches(size: int) -> None:
    queue = FeatureQueue(size, 2)
    generator = torch.Generator().manual_seed(size)
    batches = [torch.randn(3, studies, 2, generator=generator) for studies in (3, 1, 5, 2)]
    masks = [torch.rand(3, batch.shape[1], generator=generator) < 0.6 for batch in batches]
    for number, (batch, mask) in enumerate(zip(batches, masks, strict=True), start=1):
        queue.push(batch, mask)
        all_features, all_masks = torch.cat(batches[:number], dim=1), torch.cat(masks[:number], dim=1)
        filled = min(size, all_features.shape[1])
        state = queue.state()
        assert torch.equal(state.features[:, -filled:], all_features[:, -filled:]), f"{state.features}, {all_features}"
        assert torch.equal(state.is_filled[:, -filled:], all_masks[:, -filled:]), f"{state.is_filled}, {all_masks}"
        assert not state.is_filled[:, : size - filled].any(), f"{state.is_filled}: rows never written must be unfilled"


def test_the_queue_is_part_of_the_checkpoint() -> None:
    queue = FeatureQueue(4, 2)
    queue.push(torch.ones(3, 2, 2), torch.ones(3, 2, dtype=torch.bool))
    other = FeatureQueue(4, 2)
    other.load_state_dict(queue.state_dict())
    assert torch.equal(other.features, queue.features), f"{other.features}, {queue.features}"
    assert torch.equal(other.is_filled, queue.is_filled), f"{other.is_filled}, {queue.is_filled}"


def test_a_model_without_prototypes_is_told_so() -> None:
    rows, mask = torch.ones(2, 3), torch.ones(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="no prototypes"):
        PrototypeLoss(CONFIG)(Output(rows, rows, rows, mask, mask))
