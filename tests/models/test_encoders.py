"""Both views, the report and the fused side: absent laterals, freezing, sharing, parameter groups."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from flvlp.models.config import EncoderConfig
from flvlp.models.encoders import Encoders
from flvlp.models.text_encoder import TextEncoder
from flvlp.types import Batch
from tests.builders import WIDTH, encoder_config, image_config, make_batch, text_config
from tests.models.test_image_encoder import BACKBONES

BATCH = make_batch([True, False, True, False])
NO_LATERAL = make_batch([False, False, False])
LATERALS = {
    "own": image_config(adapter="mlp"),
    "shared": image_config(backbone="shared"),
    "none": image_config(backbone="none"),
    "vit": image_config(
        backbone="vit_base_patch16_clip_224",
        backbone_args={"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2},
        norm="as_is",
    ),
    "swin": image_config(
        backbone="swin_tiny_patch4_window7_224",
        backbone_args=dict(BACKBONES["swin_tiny_patch4_window7_224"][0]) | {"window_size": 2},
        norm="as_is",
        adapter="mlp",
    ),
}


def make(lateral: str = "own", seed: int = 0, config: EncoderConfig | None = None) -> Encoders:
    torch.manual_seed(seed)
    return Encoders(config or encoder_config(lateral=LATERALS[lateral]))


def everything(encoders: Encoders, batch: Batch) -> list[Tensor]:
    """Returns all features of a batch."""
    views = encoders.encode_views(batch)
    text = encoders.encode_text(batch.tokens, batch.is_token)
    fused = encoders.fuse(views.frontal, views.lateral, views.has_lateral)
    return [views.frontal_patches, views.frontal, views.lateral_patches, views.lateral, text.words, text.report, fused]


@pytest.mark.parametrize("batch", [BATCH, NO_LATERAL, make_batch([True])], ids=["some", "no lateral", "one study"])
@pytest.mark.parametrize("lateral", LATERALS)
def test_shapes_are_the_same_for_every_lateral_encoder_and_every_trainable_parameter_gets_a_gradient(
    lateral: str, batch: Batch
) -> None:
    encoders = make(lateral)
    features = everything(encoders, batch)
    size, grids = len(batch.tokens), encoders.grids
    patches = [rows * columns for rows, columns in grids]
    tokens = batch.tokens.shape[1]
    expected = [(size, patches[0], WIDTH), (size, WIDTH), (size, patches[1], WIDTH), (size, WIDTH)]
    expected += [(size, tokens, WIDTH), (size, WIDTH), (size, WIDTH)]
    assert [tuple(part.shape) for part in features] == expected
    sum(part.square().sum() for part in features).backward()  # type: ignore[union-attr]
    missing = [name for name, p in encoders.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing, f"no gradient, so DDP would hang: {missing}"


@pytest.mark.parametrize("lateral", ["own", "shared", "swin"])
def test_rows_without_a_lateral_are_zero_and_the_others_hold_their_own_picture(lateral: str) -> None:
    encoders = make(lateral).eval()
    views = encoders.encode_views(BATCH)
    absent = float(views.lateral[[1, 3]].detach().abs().sum() + views.lateral_patches[[1, 3]].detach().abs().sum())
    assert absent == 0, f"features of absent laterals sum to {absent}, expected 0"
    for number, row in enumerate([0, 2]):
        alone = encoders.encode_lateral(BATCH.lateral[number : number + 1])
        difference = float((views.lateral[row] - alone.pooled[0]).detach().abs().max())
        assert difference < 1e-5, f"lateral {row} differs by {difference} in a batch and alone"
    valid = views.patches()[1]
    frontal = views.frontal_patches.shape[1]
    assert valid[:, :frontal].all()
    assert torch.equal(valid[:, frontal:].any(dim=1), BATCH.has_lateral), f"{valid}, {BATCH.has_lateral}"


def test_two_different_laterals_give_different_pooled_features_and_gradient_reaches_the_adapter() -> None:
    encoders = make()
    views = encoders.encode_views(BATCH)
    spread = float((views.lateral[0] - views.lateral[2]).detach().abs().max())
    assert spread > 1e-3, f"two laterals differ by {spread}"
    (views.lateral[0] * torch.randn(WIDTH)).sum().backward()
    assert encoders.lateral is not None
    for name, parameter in encoders.lateral.adapter.named_parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) > 0, f"gradient of {name} is 0"


def test_the_blank_picture_that_stands_in_for_no_lateral_gives_no_gradient() -> None:
    encoders = make()
    sum(part.square().sum() for part in everything(encoders, NO_LATERAL)).backward()  # type: ignore[union-attr]
    assert encoders.lateral is not None
    largest = max(float(p.grad.abs().max()) for p in encoders.lateral.parameters() if p.grad is not None)
    assert largest == 0, f"largest gradient of the lateral encoder {largest}, expected 0"


def test_the_fused_feature_is_a_linear_map_of_both_normalised_views_or_the_learned_embedding() -> None:
    encoders = make()
    frontal, lateral = torch.randn(2, 4, WIDTH)
    has_lateral = torch.tensor([True, False, True, False])
    found = encoders.fuse(frontal, lateral, has_lateral)
    weight, bias = encoders.fusion.mix.weight, encoders.fusion.mix.bias
    for row in range(4):
        second = lateral[row] if has_lateral[row] else encoders.fusion.no_lateral
        expected = weight @ torch.cat([normalize(frontal[row], dim=0), normalize(second, dim=0)]) + bias
        difference = float((found[row] - expected).detach().abs().max())
        assert difference < 1e-5, f"study {row}: {found[row]}, expected {expected}"


@pytest.mark.parametrize("has_lateral", [True, False])
def test_both_sides_of_the_fusion_always_have_a_graph(has_lateral: bool) -> None:
    encoders = make()
    lateral = torch.randn(2, WIDTH, requires_grad=True)
    encoders.fuse(torch.randn(2, WIDTH), lateral, torch.tensor([has_lateral] * 2)).square().sum().backward()
    embedding = encoders.fusion.no_lateral.grad
    assert embedding is not None
    assert lateral.grad is not None
    sums = float(embedding.abs().sum()), float(lateral.grad.abs().sum())
    assert (sums[0] > 0, sums[1] > 0) == (not has_lateral, has_lateral), f"gradients {sums}, laterals {has_lateral}"


def test_a_shared_lateral_encoder_is_the_frontal_one_counted_and_saved_once() -> None:
    shared, alone = make("shared"), make("none")
    assert shared.lateral is None
    counts = [sum(p.numel() for p in encoders.parameters()) for encoders in (shared, alone)]
    assert counts[0] == counts[1], f"{counts[0]} parameters shared, {counts[1]} of one encoder"
    assert list(shared.state_dict()) == list(alone.state_dict())
    one, other = shared.encode_image(BATCH.frontal).pooled, shared.encode_lateral(BATCH.frontal).pooled
    assert torch.equal(one, other), "the shared encoder treats views differently"


def test_encoders_without_a_lateral_refuse_laterals() -> None:
    with pytest.raises(ValueError, match="no lateral encoder"):
        make("none").encode_lateral(BATCH.lateral)


@pytest.mark.parametrize("name", ["shared", "none"])
def test_the_frontal_encoder_cannot_be_shared_or_none(name: str) -> None:
    with pytest.raises(ValueError, match="for the lateral view only"):
        encoder_config(frontal=image_config(backbone=name))


@pytest.mark.parametrize("lateral", LATERALS)
def test_every_trainable_parameter_is_in_exactly_one_group_with_its_decay_and_scale(lateral: str) -> None:
    encoders = make(lateral)
    encoders.frontal.is_pretrained = True
    encoders.text.trunk.requires_grad_(False)
    groups = encoders.param_groups(5.0)
    placed = [id(p) for group in groups for p in group.parameters]
    wanted = {id(p): name for name, p in encoders.named_parameters() if p.requires_grad}
    assert len(placed) == len(set(placed)), "a parameter is in two groups"
    assert set(placed) == set(wanted), "a trainable parameter is in no group, or a frozen one is in some"
    for group in groups:
        assert group.lr_scale == (1.0 if "pretrained" in group.name else 5.0), f"{group.name}: {group.lr_scale}"
        for parameter in group.parameters:
            name = wanted[id(parameter)]
            old = name.startswith("frontal.trunk")
            assert ("pretrained" in group.name) == old, f"{name} is in {group.name}"
            is_plain = parameter.ndim <= 1 or any(
                part in name for part in ("pos_embed", "cls_token", "position_embeddings", "bias_table")
            )
            assert group.weight_decay != is_plain, f"{name}: decay {group.weight_decay} in {group.name}"


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_the_report_is_the_class_token_or_the_mean_over_real_tokens(pool: str) -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(text_config(pool=pool), WIDTH).eval()
    text = encoder(BATCH.tokens, BATCH.is_token)
    for row in range(len(BATCH.tokens)):
        real = [text.words[row, t] for t in range(BATCH.tokens.shape[1]) if BATCH.is_token[row, t]]
        expected = real[0] if pool == "cls" else torch.stack(real).sum(dim=0) / len(real)
        difference = float((text.report[row] - expected).detach().abs().max())
        assert difference < 1e-5, f"{pool}: {text.report[row]}, expected {expected}"


def test_what_stands_in_padding_does_not_reach_words_or_report() -> None:
    encoder = TextEncoder(text_config(pool="mean"), WIDTH).eval()
    one = encoder(BATCH.tokens, BATCH.is_token)
    other = encoder(BATCH.tokens.masked_fill(~BATCH.is_token, 7), BATCH.is_token)
    words = float((one.words - other.words)[BATCH.is_token].detach().abs().max())
    report = float((one.report - other.report).detach().abs().max())
    assert max(words, report) < 1e-5, f"words differ by {words}, reports by {report}"


def test_a_vocabulary_larger_than_the_embedding_is_refused() -> None:
    with pytest.raises(ValueError, match="holds 41 entries, the embedding 40 rows"):
        TextEncoder(text_config(), WIDTH, vocab_size=41)


def test_a_frozen_text_trunk_with_random_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="random weights must be trained"):
        replace(text_config(), frozen=True)


def test_a_missing_text_folder_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"no such folder \(/absent\)"):
        TextEncoder(text_config(weights="/absent"), WIDTH)
