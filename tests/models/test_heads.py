"""The linear heads themselves: where they start, what they do in half precision, and that they can learn a batch."""

from typing import Any

import pytest
import torch
from torch import nn

from flvlp.losses.findings import findings_loss
from flvlp.models.classifier import Classifier, LinearProbe
from flvlp.models.config import HeadConfig
from flvlp.types import TrainableModel
from tests.engine.small_tasks import CLASSES, classifier, pictures

FEATURES = 40


def probe(**head: Any) -> LinearProbe:
    torch.manual_seed(0)
    return LinearProbe(FEATURES, CLASSES, HeadConfig(**head))


@pytest.mark.parametrize("norm", ["none", "layer", "standardise"])
def test_a_probe_is_its_norm_and_a_linear_layer_with_every_parameter_in_one_group(norm: str) -> None:
    model, features = probe(norm=norm), 5 * torch.randn(4, FEATURES) + 3
    normed = nn.functional.layer_norm(features, (FEATURES,)) if norm == "layer" else features
    torch.testing.assert_close(model(features), normed @ model.head.weight.T + model.head.bias, rtol=1e-4, atol=1e-5)
    findings_loss(model(features[:1]), torch.ones(1, CLASSES)).backward()
    assert all(p.grad is not None for p in model.parameters())
    groups = model.param_groups(2.0)
    grouped = [id(p) for group in groups for p in group.parameters]
    assert sorted(grouped) == sorted(map(id, model.parameters()))
    assert {group.lr_scale for group in groups} == {2.0}
    assert all((p.ndim > 1) == group.weight_decay for group in groups for p in group.parameters)


@pytest.mark.parametrize("make", [probe, classifier])
def test_a_head_starts_from_the_deviation_that_is_asked_for_and_no_bias(make: Any) -> None:
    model: LinearProbe | Classifier = make(init_std=0.3)
    assert float(model.head.weight.detach().std()) == pytest.approx(0.3, rel=0.2)
    assert float(model.head.bias.detach().abs().max()) == 0


def test_logits_are_float32_in_half_precision() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for view in ("frontal", "lateral", "both"):
            for has_lateral in ([True, False], [False, False]):
                assert classifier(view=view)(pictures(has_lateral)).dtype == torch.float32
        assert probe()(torch.randn(2, FEATURES).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("lateral", ["", "shared"])
def test_one_batch_is_learned_by_heart(lateral: str) -> None:
    batch = pictures([True, False, True, True])
    model: TrainableModel = classifier(lateral).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(40):
        loss = findings_loss(model(batch), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0], f"loss {losses[0]} -> {losses[-1]}"
