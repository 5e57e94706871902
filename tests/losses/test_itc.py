"""Global image-text contrast: against loops written from docs/paper.md section 5, closed forms, properties."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from flvlp.losses.config import ITCConfig
from flvlp.losses.itc import ITCLoss, itc_loss, itc_total
from flvlp.types import Output

SEEDS = range(20)


def draw(seed: int, width: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Returns images, reports (n, D) of 1 to 7 studies and who is present."""
    generator = torch.Generator().manual_seed(seed)
    size = seed % 7 + 1
    images, reports = torch.randn(2, size, width, generator=generator) * 3
    is_present = torch.rand(size, generator=generator) < 0.7
    is_present[int(torch.randint(size, (1,), generator=generator))] = True
    return images, reports, is_present


def itc_by_loops(images: Tensor, reports: Tensor, is_present: Tensor, temperature: float) -> float:
    """InfoNCE, mean over present studies and both directions, study by study in double precision."""

    def cosine(one: Tensor, other: Tensor) -> float:
        one, other = one.double(), other.double()
        return float((one @ other) / (one.norm() * other.norm()))

    present = [i for i in range(len(images)) if is_present[i]]
    total = 0.0
    for i in present:
        own = math.exp(cosine(images[i], reports[i]) / temperature)
        all_reports = sum(math.exp(cosine(images[i], reports[j]) / temperature) for j in present)
        all_images = sum(math.exp(cosine(images[j], reports[i]) / temperature) for j in present)
        total -= math.log(own / all_reports) + math.log(own / all_images)
    return total / (2 * len(present)) if present else 0.0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_loss_is_that_of_plain_loops(seed: int) -> None:
    images, reports, is_present = draw(seed)
    expected = itc_by_loops(images, reports, is_present, 0.1)
    found = float(itc_loss(images, reports, is_present, 0.1))
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6), f"loss {found}, loops {expected}"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_three_parts_are_weighted_half_half_one(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    size = seed % 7 + 1
    features = torch.randn(size, 4, 5, generator=generator)
    is_valid = torch.rand(size, generator=generator) < 0.8
    has_lateral = is_valid & (torch.rand(size, generator=generator) < 0.5)
    frontal, lateral, fused, report = features.unbind(1)
    views = itc_by_loops(frontal, report, is_valid, 0.1) + itc_by_loops(lateral, report, has_lateral, 0.1)
    expected = views / 2 + itc_by_loops(fused, report, is_valid, 0.1)
    found = float(itc_total(features, torch.stack([is_valid, has_lateral]), 0.1))
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6), f"loss {found}, loops {expected}"


def test_the_half_of_the_frontal_stays_when_no_study_has_a_lateral() -> None:
    features = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0))
    everyone = torch.ones(5, dtype=torch.bool)
    found = float(itc_total(features, torch.stack([everyone, ~everyone]), 0.1))
    frontal, _, fused, report = features.unbind(1)
    expected = itc_by_loops(frontal, report, everyone, 0.1) / 2 + itc_by_loops(fused, report, everyone, 0.1)
    assert found == pytest.approx(expected, rel=1e-5), f"loss {found}, half frontal + fused {expected}"


@pytest.mark.parametrize("size", range(1, 8))
def test_equal_features_everywhere_give_the_logarithm_of_the_number_of_studies(size: int) -> None:
    same = torch.ones(size, 4)
    found = float(itc_loss(same, same, torch.ones(size, dtype=torch.bool), 0.1))
    assert found == pytest.approx(math.log(size), abs=1e-6), f"loss {found}, ln {size} = {math.log(size)}"


@pytest.mark.parametrize("size", range(2, 8))
def test_matched_orthonormal_features_give_their_closed_form(size: int) -> None:
    rows = torch.eye(8)[:size]
    found = float(itc_loss(rows, rows, torch.ones(size, dtype=torch.bool), 0.5))
    expected = math.log(1 + (size - 1) * math.exp(-1 / 0.5))
    assert found == pytest.approx(expected, rel=1e-5), f"loss {found}, closed form {expected}"


def test_a_single_present_study_gives_zero() -> None:
    images, reports, _ = draw(6)
    present = torch.arange(len(images)) == 2
    found = float(itc_loss(images, reports, present, 0.1))
    assert found == pytest.approx(0.0, abs=1e-7), f"loss {found}, expected 0"


def test_no_present_study_gives_zero_with_a_graph_and_no_gradient() -> None:
    images, reports, _ = draw(6)
    images.requires_grad_()
    loss = itc_loss(images, reports, torch.zeros(len(images), dtype=torch.bool), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0, f"loss {float(loss.detach())}, expected 0"
    assert images.grad is not None
    assert float(images.grad.abs().max()) == 0, f"gradient {images.grad.abs().max()}, expected 0"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_studies_does_not_matter(seed: int) -> None:
    images, reports, is_present = draw(seed)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed + 1))
    one = float(itc_loss(images, reports, is_present, 0.1))
    other = float(itc_loss(images[order], reports[order], is_present[order], 0.1))
    assert one == pytest.approx(other, rel=1e-5, abs=1e-6), f"{one} in order, {other} permuted"


@pytest.mark.parametrize("seed", SEEDS)
def test_absent_studies_change_nothing_and_get_no_gradient(seed: int) -> None:
    images, reports, is_present = draw(seed)
    alone = float(itc_loss(images[is_present], reports[is_present], torch.ones(int(is_present.sum())) > 0, 0.1))
    images[~is_present], reports[~is_present] = 1e4, reports[is_present][0]
    images.requires_grad_(), reports.requires_grad_()
    loss = itc_loss(images, reports, is_present, 0.1)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(alone, rel=1e-5, abs=1e-6), (
        f"{float(loss.detach())} with absent rows, {alone} without"
    )
    for values in (images, reports):
        assert values.grad is not None
        leaked = values.grad[~is_present].abs().sum()
        assert float(leaked) == 0, f"gradient {leaked} of absent rows, expected 0"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_scale_of_features_does_not_matter(seed: int) -> None:
    images, reports, is_present = draw(seed)
    one = float(itc_loss(images, reports, is_present, 0.1))
    other = float(itc_loss(images * 1e3, reports * 1e-3, is_present, 0.1))
    assert one == pytest.approx(other, rel=1e-4, abs=1e-6), f"{one} at scale 1, {other} at scales 1e3 and 1e-3"


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 1e4])
def test_loss_and_gradient_are_finite_at_any_scale(scale: float) -> None:
    for seed in SEEDS:
        images, reports, is_present = draw(seed)
        images = (images * scale).requires_grad_()
        loss = itc_loss(images, reports, is_present, 0.01)
        loss.backward()
        assert torch.isfinite(loss), f"loss {loss} at scale {scale}, seed {seed}"
        assert images.grad is not None
        assert torch.isfinite(images.grad).all(), f"gradient {images.grad} at scale {scale}, seed {seed}"


def test_half_precision_features_are_contrasted_in_single_precision() -> None:
    images, reports, is_present = (value.half() if value.is_floating_point() else value for value in draw(6))
    found = itc_loss(images, reports, is_present, 0.01)
    expected = itc_by_loops(normalize(images.float(), dim=1), reports, is_present, 0.01)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(expected, rel=1e-4), f"loss {float(found)}, loops {expected}"


def test_invalid_rows_and_absent_laterals_of_an_output_take_no_part() -> None:
    generator = torch.Generator().manual_seed(3)
    frontal, lateral, fused, report = torch.randn(4, 6, 5, generator=generator)
    is_valid = torch.tensor([True, True, False, True, True, True])
    has_lateral = torch.tensor([True, False, True, True, False, True])
    output = Output(frontal, lateral, report, has_lateral, is_valid, fused=fused)
    found = float(ITCLoss(ITCConfig(temperature=0.2))(output))
    views = itc_by_loops(frontal, report, is_valid, 0.2) + itc_by_loops(lateral, report, is_valid & has_lateral, 0.2)
    expected = views / 2 + itc_by_loops(fused, report, is_valid, 0.2)
    assert found == pytest.approx(expected, rel=1e-5), f"loss {found}, loops {expected}"


def test_a_model_without_fused_features_is_told_so() -> None:
    rows, mask = torch.ones(2, 3), torch.ones(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="no fused features"):
        ITCLoss(ITCConfig())(Output(rows, rows, rows, mask, mask))
