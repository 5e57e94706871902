"""What downstream tasks ask of an image encoder: the trunk's own features, layer-wise rates, another input size."""

import pytest
import torch

from flvlp.models.config import ImageEncoderConfig
from flvlp.models.image_encoder import ImageEncoder
from tests.models.squares import TRUNKS, VIT, make_encoder, noise


@pytest.mark.parametrize("name", ["resnet", "swin", "vit", "vit, stride 14"])
def test_the_pooled_feature_of_the_trunk_is_what_the_linear_projection_projects(name: str) -> None:
    encoder = make_encoder(name)
    pixels = noise(2, encoder.side)
    with torch.no_grad():
        pooled, projected = encoder.pooled_trunk(pixels), encoder.encode_image(pixels).pooled
        assert pooled.shape == (2, encoder.channels), f"{tuple(pooled.shape)}, {encoder.channels} channels"
        again = encoder.adapter(pooled)
    assert torch.allclose(again, projected, atol=1e-5), f"{again[0, :3]}, {projected[0, :3]}"


@pytest.mark.parametrize("name", ["resnet", "swin", "vit", "vit, stride 14"])
def test_the_last_map_is_what_the_projection_sees(name: str) -> None:
    encoder = make_encoder(name)
    pixels = noise(2, encoder.side)
    with torch.no_grad():
        last = encoder.adapter(encoder.feature_maps(pixels)[-1].flatten(2).transpose(1, 2))
        patches = encoder.encode_image(pixels).patches
    assert torch.allclose(last, patches, atol=1e-5), f"{last[0, 0, :3]}, {patches[0, 0, :3]}"


def test_only_the_maps_that_are_asked_for_are_given() -> None:
    encoder, pixels = make_encoder("vit"), noise(1, 64)
    everything, some = encoder.feature_maps(pixels), encoder.feature_maps(pixels, [1, 5])
    assert len(everything) == 6
    assert len(some) == 2
    assert torch.equal(some[0], everything[1])


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
@pytest.mark.parametrize("name", TRUNKS)
def test_every_trained_parameter_is_in_one_group_and_early_layers_have_lower_rates(
    name: str, layer_decay: float
) -> None:
    encoder = make_encoder(name)
    groups = encoder.layer_groups(layer_decay, 0.2)
    trained = {id(parameter): key for key, parameter in encoder.named_parameters() if parameter.requires_grad}
    found = [id(parameter) for group in groups for parameter in group.parameters]
    assert sorted(found) == sorted(trained), f"{name}: {len(found)} in groups, {len(trained)} trained"
    assert len({group.name for group in groups}) == len(groups), f"{[group.name for group in groups]}"
    rates = {trained[id(p)]: group.lr_scale for group in groups for p in group.parameters}
    assert max(rates.values()) == rates["adapter.weight"] == 0.2
    keys = [key for key in rates if key.startswith("trunk.") and key.endswith("weight")]
    first, last = rates[keys[0]], max(rates[key] for key in keys)
    assert last == 0.2, f"{name}: the top layer has {last}"
    assert (first == last) if layer_decay == 1 else (first == min(rates.values()) < last), f"{first}, {last}"


def test_the_rate_halves_with_every_layer_of_a_vit_below_the_last() -> None:
    encoder = make_encoder("vit")
    rate = {id(parameter): group.lr_scale for group in encoder.layer_groups(0.5, 1.0) for parameter in group.parameters}
    trunk = encoder.trunk
    layers = {"stem": trunk.patch_embed.proj.weight, "position": trunk.pos_embed, "norm": trunk.norm.weight}
    layers |= {str(number): block.attn.qkv.weight for number, block in enumerate(trunk.blocks)}
    found = {name: rate[id(parameter)] for name, parameter in layers.items()}
    expected = {"stem": 0.5**6, "position": 0.5**6, "norm": 1.0}
    expected |= {str(number): 0.5 ** (5 - number) for number in range(6)}
    assert found == expected, f"{found}"


@pytest.mark.parametrize("name", ["vit", "swin", "convnext"])
def test_biases_norms_and_positions_are_not_decayed(name: str) -> None:
    encoder = make_encoder(name)
    keys = {id(parameter): key for key, parameter in encoder.named_parameters()}
    for group in encoder.layer_groups(0.5, 1.0):
        for parameter in group.parameters:
            key = keys[id(parameter)]
            is_weight = parameter.ndim > 1 and not any(part in key for part in ("pos_embed", "cls_token", "bias_table"))
            assert group.weight_decay == is_weight, f"{name}: {key} {tuple(parameter.shape)} in {group.name}"


def test_a_frozen_trunk_has_no_group() -> None:
    encoder = make_encoder("vit")
    encoder.freeze()
    found = {id(parameter) for group in encoder.layer_groups(0.5, 1.0) for parameter in group.parameters}
    assert found == {id(parameter) for parameter in encoder.adapter.parameters()}


@pytest.mark.parametrize(("name", "side", "grid"), [("vit", 96, 12), ("swin", 224, 7), ("resnet", 96, 3)])
def test_the_same_weights_take_another_input_size(name: str, side: int, grid: int) -> None:
    encoder = make_encoder(name)
    before = {key: value.clone() for key, value in encoder.state_dict().items() if "pos" not in key}
    encoder.set_input_size(side)
    features = encoder(noise(2, side))
    assert encoder.side == side
    assert encoder.grid == features.grid == (grid, grid), f"{encoder.grid}, expected {grid}"
    assert features.patches.shape[1] == grid**2
    after = encoder.state_dict()
    same = [key for key, value in before.items() if torch.equal(after[key], value)]
    assert len(same) > 0.9 * len(before), f"only {len(same)} of {len(before)} tensors are as before"
    assert all(parameter.requires_grad for parameter in encoder.parameters())


def test_its_own_input_size_changes_nothing() -> None:
    encoder = make_encoder("vit")
    position = encoder.trunk.pos_embed
    encoder.set_input_size(64)
    assert encoder.trunk.pos_embed is position


def test_a_trunk_that_is_made_for_one_size_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make_encoder("vit")
    monkeypatch.delattr(type(encoder.trunk), "set_input_size")  # as MLP-Mixer and XCiT
    with pytest.raises(ValueError, match=r"vit_tiny_patch16_224 cannot take 96 px; these weights are for 64 px only"):
        encoder.set_input_size(96)
    assert encoder.side == 64


def test_a_trunk_is_frozen_and_trained_again_in_the_mode_of_its_encoder() -> None:
    encoder = make_encoder("convnext").train()
    trained = [p.requires_grad for p in encoder.parameters()]
    encoder.freeze()
    assert not encoder.trunk.training
    assert not any(p.requires_grad for p in encoder.trunk.parameters())
    assert not encoder.pooled_trunk(noise(1, 112)).requires_grad
    encoder.unfreeze()
    assert encoder.trunk.training
    assert [p.requires_grad for p in encoder.parameters()] == trained
    assert encoder.pooled_trunk(noise(1, 112)).requires_grad


def test_patches_that_do_not_fill_a_side_are_refused_with_the_sides_they_fill() -> None:
    encoder = make_encoder("vit")
    with pytest.raises(ValueError, match=r"79 px are not filled by patches of 8 px .*take 72 or 80"):
        encoder.set_input_size(79)
    assert encoder.side == 64


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_a_trunk_that_was_trained_to_be_averaged_is_averaged_as_it_was_trained(pool: str) -> None:
    torch.manual_seed(0)
    arguments = {**VIT, "global_pool": pool}
    config = ImageEncoderConfig(backbone="vit_tiny_patch16_224", backbone_args=arguments, weights="random")
    encoder = ImageEncoder(config, 12, 64).eval()
    pixels = noise(2, 64)
    trunk = encoder.trunk
    own = trunk.forward_head(trunk.forward_features((pixels - encoder.mean) / encoder.std), pre_logits=True)
    torch.testing.assert_close(encoder.pooled_trunk(pixels), own)
