"""Heads on one or both views: features against a plain loop, gradients, parameter groups, frozen trunks."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flvlp.losses.findings import findings_loss
from flvlp.models.classifier import Classifier, frozen_features
from flvlp.models.config import EncoderConfig, HeadConfig
from flvlp.models.encoders import Encoders, ViewEncoders
from flvlp.models.image_encoder import ImageEncoder
from flvlp.types import LabelledPictures
from tests.builders import WIDTH, encoder_config, image_config
from tests.engine.small_tasks import pictures
from tests.models.test_encoders import LATERALS

CLASSES = 3
BATCHES = {
    "some": [True, False, True],
    "none": [False, False],
    "all": [True, True],
    "one": [True],
    "one frontal": [False],
}
VIEWS = ["frontal", "lateral", "both"]
CONVNEXT = {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 16), "output_stride": 8}
EveryBatch = pytest.mark.parametrize("has_lateral", BATCHES.values(), ids=BATCHES)
EveryLateral = pytest.mark.parametrize("lateral", ["own", "shared", "vit", "swin"])


def encoders(lateral: str = "own", kind: type[ViewEncoders] = ViewEncoders) -> Any:
    torch.manual_seed(0)
    return kind(encoder_config(lateral=LATERALS[lateral])).eval()


def classifier(lateral: str = "own", config: EncoderConfig | None = None, **head: Any) -> Classifier:
    torch.manual_seed(0)
    views = ViewEncoders(config or encoder_config(lateral=LATERALS[lateral]))
    return Classifier(views, CLASSES, HeadConfig(**dict[str, Any](view="both", init_std=0.1) | head))


def frozen_config(backbone: str = "resnet10t", **arguments: Any) -> EncoderConfig:
    """Returns encoders as they are loaded from a pre-training that kept the trunks."""
    frozen = image_config(weights="pretrained", frozen=True, backbone=backbone)
    frozen = replace(frozen, backbone_args=arguments or frozen.backbone_args)
    return encoder_config(frontal=frozen, lateral=frozen)


def trunk_of(encoder: ImageEncoder, picture: Tensor) -> Tensor:
    """Returns the trunk's feature of one picture (C,), before the projection."""
    features = encoder.trunk.forward_features((picture[None].float() - encoder.mean) / encoder.std)
    if features.ndim == 4:
        grid = (1, 2) if encoder.is_channel_last else (2, 3)
        return features.mean(dim=grid)[0]
    return features[0, 0] if encoder.has_class_token else features[0, encoder.prefix_tokens :].mean(dim=0)


def by_hand(views: ViewEncoders, batch: LabelledPictures, view: str, features: str) -> Tensor:
    """Returns the features study by study, NaN for a lateral that is not there."""

    def feature(encoder: ImageEncoder, picture: Tensor) -> Tensor:
        return trunk_of(encoder, picture) if features == "trunk" else encoder(picture[None]).pooled[0]

    rows = []
    number_of = {int(row): number for number, row in enumerate(batch.lateral_rows)}
    for row in range(len(batch.frontal)):
        parts = [feature(views.frontal, batch.frontal[row])] if view != "lateral" else []
        if view != "frontal":
            own = batch.lateral[number_of[row]] if row in number_of else batch.frontal[row]
            one = feature(views.lateral_encoder, own)
            parts.append(one if row in number_of else torch.full_like(one, torch.nan))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


@torch.no_grad()
@EveryBatch
@EveryLateral
@pytest.mark.parametrize("features", ["trunk", "projected"])
def test_frozen_features_are_those_of_a_plain_loop_and_nan_where_there_is_no_lateral(
    features: str, lateral: str, has_lateral: list[bool]
) -> None:
    views, batch = encoders(lateral), pictures(has_lateral)
    for view in VIEWS:
        found = frozen_features(views, batch, HeadConfig(view=view, features=features))
        assert found.dtype == torch.float32
        expected = by_hand(views, batch, view, features)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


@torch.no_grad()
@pytest.mark.parametrize("has_lateral", [BATCHES["some"], BATCHES["none"]])
@pytest.mark.parametrize("lateral", ["own", "shared"])
def test_the_fused_feature_is_that_of_pre_training_and_always_there(lateral: str, has_lateral: list[bool]) -> None:
    full, batch = encoders(lateral, Encoders), pictures(has_lateral)
    views = full.encode_views(batch)
    expected = full.fuse(views.frontal, views.lateral, batch.has_lateral)
    found = frozen_features(full, batch, HeadConfig(view="fused", features="projected"))
    assert found.shape == (len(has_lateral), WIDTH)
    torch.testing.assert_close(found, expected)


def test_a_view_that_the_encoders_do_not_have_is_refused() -> None:
    batch, fused = pictures([True]), HeadConfig(view="fused", features="projected")
    with pytest.raises(ValueError, match=r"no fused feature; set task\.head\.view=both"):
        frozen_features(encoders(), batch, fused)
    for view in ("lateral", "both"):
        with pytest.raises(ValueError, match="no lateral encoder"):
            frozen_features(encoders("none"), batch, HeadConfig(view=view))
        with pytest.raises(ValueError, match="no lateral encoder"):
            classifier("none", view=view)
    assert frozen_features(encoders("none"), batch, HeadConfig()).shape == (1, 16)


@EveryBatch
@EveryLateral
@pytest.mark.parametrize("view", VIEWS)
def test_a_gradient_reaches_every_trainable_parameter_in_every_batch(
    view: str, lateral: str, has_lateral: list[bool]
) -> None:
    model, batch = classifier(lateral, view=view, norm="layer").train(), pictures(has_lateral)
    logits = model(batch)
    assert logits.shape == (len(has_lateral), CLASSES)
    findings_loss(logits, torch.ones_like(logits)).backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing, f"no gradient, so DDP would hang: {missing}"
    idle = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert all(".adapter." in name for name in idle), f"not trained: {idle}"


@pytest.mark.parametrize("lateral", ["own", "shared"])
def test_the_lateral_counts_where_there_is_one_and_the_learned_vector_elsewhere(lateral: str) -> None:
    model, batch = classifier(lateral).eval(), pictures([True, False, True])
    assert model.no_lateral is not None
    nn.init.normal_(model.no_lateral)
    features = by_hand(encoders(lateral), batch, "both", "trunk")
    width = len(model.no_lateral)
    features[1, -width:] = model.no_lateral
    torch.testing.assert_close(model(batch), model.head(features), rtol=1e-4, atol=1e-5)
    (reached,) = torch.autograd.grad(model(batch)[1].sum(), model.no_lateral)
    (beside,) = torch.autograd.grad(model(batch)[0].sum(), model.no_lateral)
    assert float(reached.abs().max()) > 0
    assert float(beside.abs().max()) == 0


def test_a_study_has_the_same_logits_in_any_company() -> None:
    model = classifier().eval()
    has_lateral = [True, False, True, True, False]
    batch = pictures(has_lateral)
    whole = model(batch)
    for row in range(len(has_lateral)):
        number = sum(has_lateral[:row])
        alone = replace(
            batch,
            frontal=batch.frontal[row : row + 1],
            lateral=batch.lateral[number : number + 1] if has_lateral[row] else batch.lateral[:0],
            lateral_rows=torch.tensor([0] if has_lateral[row] else [], dtype=torch.int64),
            has_lateral=batch.has_lateral[row : row + 1],
        )
        torch.testing.assert_close(model(alone)[0], whole[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "config", [frozen_config(), frozen_config("convnext_atto", **CONVNEXT)], ids=["resnet", "convnext"]
)
def test_trunks_that_pre_training_kept_are_trained_again(config: EncoderConfig) -> None:
    torch.manual_seed(0)
    views = ViewEncoders(config, loads_weights=False).eval()
    assert views.frontal.is_frozen
    model = Classifier(views, CLASSES, HeadConfig(view="both", init_std=0.1)).train()
    assert model.frontal is not None
    assert model.frontal.trunk.training
    findings_loss(model(pictures([True, False])), torch.ones(2, CLASSES)).backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None
        assert reached == parameter.requires_grad, f"{name}: trainable {parameter.requires_grad}, gradient {reached}"
    trained = sum(p.numel() for p in model.frontal.trunk.parameters() if p.requires_grad)
    assert trained > 0.9 * sum(p.numel() for p in model.frontal.trunk.parameters())
    assert sum(len(group.parameters) for group in model.param_groups(1.0)) == len(
        [p for p in model.parameters() if p.requires_grad]
    )


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
@pytest.mark.parametrize("lateral", ["own", "shared", "vit"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_trainable_parameter_is_in_exactly_one_group(view: str, lateral: str, layer_decay: float) -> None:
    model = classifier(lateral, view=view, norm="layer", layer_decay=layer_decay)
    counts = Counter(id(p) for group in model.param_groups(2.0) for p in group.parameters)
    trainable = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    assert set(counts.values()) == {1}, "a parameter is in two groups"
    assert set(counts) == set(trainable), f"in no group: {[trainable[one] for one in set(trainable) - set(counts)]}"
    names = [group.name for group in model.param_groups(2.0)]
    assert len(names) == len(set(names)), f"groups share a name: {names}"


def test_the_head_has_the_full_rate_and_the_encoders_theirs_falling_with_depth() -> None:
    model = classifier("vit", encoder_lr_scale=0.1, layer_decay=0.5, norm="layer")
    scale_of = {id(p): group for group in model.param_groups(1.0) for p in group.parameters}
    assert model.lateral is not None
    assert model.no_lateral is not None
    for parameter in (model.head.weight, model.head.bias, model.no_lateral, *model.norm.parameters()):
        assert scale_of[id(parameter)].lr_scale == 1.0
        assert scale_of[id(parameter)].weight_decay == (parameter.ndim > 1)
    trunk = model.lateral.trunk
    deep, middle, stem = (
        scale_of[id(p)].lr_scale
        for p in (trunk.blocks[1].attn.qkv.weight, trunk.blocks[0].attn.qkv.weight, trunk.patch_embed.proj.weight)
    )
    assert deep > middle > stem
    assert middle / deep == pytest.approx(0.5)
    assert max(scale_of[id(p)].lr_scale for p in trunk.parameters()) == pytest.approx(0.1)
    assert not scale_of[id(trunk.pos_embed)].weight_decay


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({"view": "fused", "features": "projected"}, "view=fused"),
        ({"norm": "standardise"}, "norm=standardise"),
        ({"features": "projected"}, "features=projected"),
    ],
)
def test_what_is_for_linear_probes_only_is_refused_for_fine_tuning(head: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"{said}.*is for linear probes"):
        classifier(**head)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("view", "side"),
        ("features", "all"),
        ("norm", "batch"),
        ("init_std", 0.0),
        ("encoder_lr_scale", 0.0),
        ("layer_decay", 1.5),
    ],
)
def test_a_knob_of_the_head_out_of_range_is_refused_with_its_key(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"task\.head\.{key}"):
        HeadConfig(**{key: value})
