"""The feature pyramid on every kind of trunk."""

import math

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from flvlp.models.pyramid import STRIDES, Pyramid, build_pyramid, choose_maps
from tests.models.squares import TRUNKS, make_encoder, noise, without_gradient


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", TRUNKS)
def test_every_trunk_gives_maps_of_strides_4_to_32(name: str, count: int) -> None:
    pyramid = Pyramid(make_encoder(name))
    side = pyramid.encoder.side
    found = [tuple(each.shape) for each in pyramid(noise(count, side))]
    sizes = [math.ceil(side / stride) for stride in STRIDES]
    expected = [(count, channels, size, size) for channels, size in zip(pyramid.channels, sizes, strict=True)]
    assert found == expected, f"{name}: {found}, expected {expected}"


@pytest.mark.parametrize(
    ("network", "reductions", "expected"),
    [
        ("ResNet", [2, 4, 8, 16, 32], [1, 2, 3, 4]),
        ("ConvNeXt, Swin", [4, 8, 16, 32], [0, 1, 2, 3]),
        ("ConvNeXt at 112 px", [4, 8, 16, 112 / 3], [0, 1, 2, 3]),
        ("VGG", [1, 2, 4, 8, 16, 32], [2, 3, 4, 5]),
        ("two maps of a stride", [2, 4, 4, 8, 16, 32], [2, 3, 4, 5]),
        ("ResNet, output_stride 16", [2, 4, 8, 16, 16], [1, 2, 3, 4]),
        ("ResNet, output_stride 8", [2, 4, 8, 8, 8], [1, 2, 3, 4]),
        ("PiT", [224 / 27, 16, 32], [0, 0, 1, 2]),
        ("LeViT", [16, 32, 64], [0, 0, 0, 2]),
        ("nothing between 8 and 32", [4, 8, 32], [0, 1, 2, 2]),
    ],
)
def test_each_stride_has_the_map_that_suits_it(network: str, reductions: list[float], expected: list[int]) -> None:
    found = choose_maps(reductions)
    assert found == expected, f"{network}: maps {found}, expected {expected}"


def test_the_surplus_map_of_a_resnet_that_stopped_shrinking_is_pooled_to_stride_32() -> None:
    pyramid = Pyramid(make_encoder("tiny bundle"))
    pixels = noise(2, 112)
    maps, inside = pyramid(pixels), pyramid.encoder.feature_maps(pixels)
    assert pyramid.channels == [32, 64, 128, 256], f"{pyramid.channels}"
    for found, expected in zip(maps, [*inside[1:4], adaptive_avg_pool2d(inside[4], 4)], strict=True):
        assert torch.equal(found, expected)


def test_a_vit_gives_blocks_spread_over_its_depth_resized_to_the_strides() -> None:
    pyramid = Pyramid(make_encoder("vit"))  # 6 blocks on a grid of stride 8
    pixels = noise(2, 64)
    maps, inside = pyramid(pixels), pyramid.encoder.feature_maps(pixels)
    assert pyramid.blocks == [1, 2, 4, 5], f"{pyramid.blocks}"
    finest = interpolate(inside[1], size=(16, 16), mode="bilinear", align_corners=False)
    expected = [finest, inside[2], adaptive_avg_pool2d(inside[4], 4), adaptive_avg_pool2d(inside[5], 2)]
    for stride, one, other in zip(STRIDES, maps, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6), f"stride {stride} differs by {(one - other).abs().max()}"


def test_a_vit_of_two_blocks_gives_each_of_them_twice() -> None:
    pyramid = Pyramid(make_encoder("vit, stride 14"))
    assert pyramid.blocks == [0, 1]
    assert pyramid.sources == [0, 0, 1, 1], f"{pyramid.sources}"


@pytest.mark.parametrize("name", ["tiny bundle", "convnext", "swin", "vit"])
def test_maps_lie_as_the_picture_does(name: str) -> None:
    pyramid = Pyramid(make_encoder(name))
    side = pyramid.encoder.side
    blank = torch.full((1, 1, side, side), 100, dtype=torch.uint8)
    changed = blank.clone()
    changed[..., : side // 8, -side // 8 :] = 255  # above and to the right
    with torch.no_grad():
        pairs = list(zip(STRIDES, pyramid(changed), pyramid(blank), strict=True))
    for stride, one, other in pairs:
        moved = (one - other).norm(dim=1)[0]
        row, column = divmod(int(moved.argmax()), moved.shape[1])
        middle = (moved.shape[0] - 1) / 2
        assert row <= middle <= column, f"{name}, stride {stride}: cell ({row}, {column}) of {tuple(moved.shape)} moved"


@pytest.mark.parametrize("name", TRUNKS)
def test_it_adds_no_parameter_and_every_trained_one_has_a_gradient(name: str) -> None:
    pyramid = build_pyramid(make_encoder(name), "finetune").train()
    assert {id(p) for p in pyramid.parameters()} == {id(p) for p in pyramid.encoder.parameters()}
    sum(each.square().mean() for each in pyramid(noise(2, pyramid.encoder.side))).backward()
    assert not without_gradient(pyramid), f"{name}: no gradient, so DDP would hang: {without_gradient(pyramid)}"
    trained = sum(p.requires_grad for p in pyramid.encoder.trunk.parameters())
    assert trained > 0.9 * len(list(pyramid.encoder.trunk.parameters())), f"only {trained} tensors are trained"
    assert not any(p.requires_grad for p in pyramid.encoder.adapter.parameters())


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_a_frozen_encoder_has_no_gradient_and_stays_as_it_is_in_training_mode(name: str) -> None:
    pyramid = build_pyramid(make_encoder(name).train(), "frozen").train()
    before = {key: value.clone() for key, value in pyramid.state_dict().items()}
    maps = pyramid(noise(2, 64))
    assert not any(p.requires_grad for p in pyramid.parameters())
    assert not any(each.requires_grad for each in maps)
    awake = [key for key, module in pyramid.encoder.trunk.named_modules() if module.training]
    assert not awake, f"woken by .train(): {awake}"
    changed = [key for key, value in pyramid.state_dict().items() if not torch.equal(value, before[key])]
    assert not changed, f"changed by a forward pass: {changed}"


def test_an_encoder_that_pretraining_froze_is_trained_where_the_task_says_so() -> None:
    encoder = make_encoder("convnext")
    encoder.freeze()
    build_pyramid(encoder, "finetune")
    still = [key for key, p in encoder.trunk.named_parameters() if not p.requires_grad]
    assert still == ["head.norm.weight", "head.norm.bias"], f"without gradient: {still}; head.norm enters no map"


def test_bytes_and_floats_give_the_same_maps() -> None:
    pyramid, pixels = Pyramid(make_encoder("resnet")), noise(2, 64)
    for one, other in zip(pyramid(pixels), pyramid(pixels.float()), strict=True):
        assert torch.equal(one, other)


def test_another_input_size_gives_maps_of_that_size() -> None:
    encoder = make_encoder("vit")
    encoder.set_input_size(96)
    found = [each.shape[-1] for each in Pyramid(encoder)(noise(1, 96))]
    assert found == [24, 12, 6, 3], f"{found}"


def test_a_trunk_that_gives_no_maps_is_refused() -> None:
    encoder = make_encoder("resnet")
    encoder.trunk = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"resnet18 gives no maps from inside.*take a ViT, Swin"):
        Pyramid(encoder)
