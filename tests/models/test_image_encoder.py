"""One view's encoder on any timm backbone."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from flvlp.models.config import ImageEncoderConfig
from flvlp.models.image_encoder import ImageEncoder
from tests.builders import image_config

WIDTH, CROP = 12, 32
VIT = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
# name -> (arguments, grid, pooled by class token)
BACKBONES: dict[str, tuple[dict[str, Any], tuple[int, int], bool]] = {
    "vit_base_patch16_clip_224": (VIT, (4, 4), True),
    "vit_tiny_patch16_224": (VIT, (4, 4), True),
    "vit_base_patch16_siglip_224": (VIT, (4, 4), False),
    "swin_tiny_patch4_window7_224": (
        {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4},
        (4, 4),
        False,
    ),
    "convnext_atto": ({"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 16), "output_stride": 8}, (4, 4), False),
    "resnet10t": ({"channels": [8, 8, 8, 16], "output_stride": 8}, (4, 4), False),
    "resnet50": ({"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 16]}, (1, 1), False),
}
# Their BatchNorm also applies the activation.
NORM_WITH_ACTIVATION = ["mobilenetv3_small_050", "regnetx_002"]


def make(name: str, seed: int = 0, width: int = WIDTH, crop: int = CROP, **changes: object) -> ImageEncoder:
    torch.manual_seed(seed)
    arguments = BACKBONES[name][0] if name in BACKBONES else {}
    config = ImageEncoderConfig(backbone=name, backbone_args=arguments, weights="random")
    for key, value in changes.items():
        setattr(config, key, value)
    return ImageEncoder(config, width, crop)


def pictures(count: int = 2, seed: int = 0, crop: int = CROP) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 1, crop, crop), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_gives_its_grid_of_patches_and_one_pooled_feature(name: str, count: int) -> None:
    _, grid, _ = BACKBONES[name]
    encoder = make(name).eval()
    features = encoder(pictures(count))
    assert encoder.grid == features.grid == grid, f"grid {features.grid}, expected {grid}"
    expected = (count, grid[0] * grid[1], WIDTH)
    assert features.patches.shape == expected, f"{tuple(features.patches.shape)}, expected {expected}"
    assert features.pooled.shape == (count, WIDTH), f"{tuple(features.pooled.shape)}"


@pytest.mark.parametrize("name", BACKBONES)
def test_pooled_is_the_projected_class_token_or_the_mean_of_projected_patches(name: str) -> None:
    encoder = make(name).eval()
    features = encoder(pictures())
    mean = features.patches.mean(dim=1)
    is_mean = torch.allclose(features.pooled, mean, atol=1e-6)
    assert is_mean != BACKBONES[name][2], f"pooled {features.pooled[0, :3]}, mean of patches {mean[0, :3]}"


@pytest.mark.parametrize("name", ["vit_base_patch16_clip_224", "swin_tiny_patch4_window7_224", "resnet10t"])
def test_patches_are_in_the_order_of_the_picture(name: str) -> None:
    columns = BACKBONES[name][1][1]
    encoder = make(name).eval()
    blank = torch.full((1, 1, CROP, CROP), 100, dtype=torch.uint8)
    changed = blank.clone()
    changed[..., 2:6, CROP - 4 :] = 255  # the last patch of the first row
    moved = (encoder(changed).patches - encoder(blank).patches).norm(dim=-1)[0]
    found = int(moved.argmax())
    assert found == columns - 1, f"patch {found} moved most ({moved.tolist()}), expected {columns - 1}"


@pytest.mark.parametrize("name", [*BACKBONES, *NORM_WITH_ACTIVATION])
def test_every_trainable_parameter_gets_a_gradient(name: str) -> None:
    encoder = make(name)
    features = encoder(pictures())
    (features.patches.square().sum() + features.pooled.square().sum()).backward()
    missing = [key for key, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing, f"{name}: no gradient, so DDP would hang: {missing}"


@pytest.mark.parametrize("name", ["resnet10t", *NORM_WITH_ACTIVATION])
def test_frozen_batch_norm_computes_what_batch_norm_does_in_evaluation(name: str) -> None:
    plain, frozen = make(name, norm="as_is").eval(), make(name, norm="frozen_batch").train()
    for _ in range(2):  # a second time, because nothing may be updated
        one, other = plain(pictures()).patches, frozen(pictures()).patches
        assert torch.allclose(one, other, atol=1e-5), f"{name}: {one[0, 0, :3]} as it is, {other[0, 0, :3]} frozen"


@pytest.mark.parametrize("name", ["resnet10t", *NORM_WITH_ACTIVATION])
def test_group_norm_keeps_the_activations_of_the_trunk(name: str) -> None:
    made = make(name, norm="group")
    kinds = {type(module).__name__ for module in make(name, norm="as_is").modules()}
    kept = {type(module).__name__ for module in made.modules()}
    activations = {kind for kind in kinds if "elu" in kind.lower() or "swish" in kind.lower()}
    assert activations <= kept, f"{name}: {activations} before, {activations & kept} after"
    alone, together = made(pictures(1)).patches[0], made(pictures(1).expand(4, -1, -1, -1)).patches[2]
    assert torch.allclose(alone, together, atol=1e-5), "a picture depends on its batch"


CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(("name", "numbers"), [("vit_base_patch16_clip_224", CLIP), ("resnet10t", IMAGENET)])
def test_pictures_are_normalised_with_the_mean_and_deviation_of_the_backbone(
    name: str, numbers: tuple[tuple[float, ...], tuple[float, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make(name)
    seen: list[torch.Tensor] = []
    compute = encoder.trunk.forward_features

    def spy(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(pixels)
        features: torch.Tensor = compute(pixels)
        return features

    monkeypatch.setattr(encoder.trunk, "forward_features", spy)
    encoder(torch.full((1, 1, CROP, CROP), 51, dtype=torch.uint8))
    found = seen[0][0, :, 3, 5].tolist()
    expected = [(51 / 255 - mean) / deviation for mean, deviation in zip(*numbers, strict=True)]
    assert found == pytest.approx(expected, rel=1e-5), f"the trunk saw {found}, expected {expected}"


def test_the_lateral_adapter_is_linear_tanh_linear_norm_and_no_softmax() -> None:
    encoder = ImageEncoder(image_config(adapter="mlp"), WIDTH, CROP)
    kinds = [type(layer).__name__ for layer in encoder.adapter.children()]
    assert kinds == ["Linear", "Tanh", "Linear", "LayerNorm"], f"adapter {kinds}"


@pytest.mark.parametrize("name", BACKBONES)
def test_two_different_pictures_give_different_features_and_gradient_reaches_the_adapter(name: str) -> None:
    encoder = make(name, adapter="mlp")
    features = encoder(pictures())
    spread = float((features.pooled[0] - features.pooled[1]).detach().abs().max())
    assert spread > 1e-4, f"pooled features of two pictures differ by {spread}"
    features.pooled[0].square().mul(torch.arange(WIDTH)).sum().backward()
    first = next(encoder.adapter.parameters()).grad
    assert first is not None
    assert float(first.abs().max()) > 1e-6, f"largest gradient of the adapter {float(first.abs().max())}"


def test_a_frozen_trunk_stays_in_evaluation_mode_and_gets_no_gradient(tmp_path: Path) -> None:
    save_file(make("resnet10t").trunk.state_dict(), tmp_path / "trunk.safetensors")
    encoder = make("resnet10t", weights=str(tmp_path / "trunk.safetensors"), frozen=True)
    before = {key: value.clone() for key, value in encoder.trunk.state_dict().items()}
    first = encoder.train()(pictures())
    first.pooled.sum().backward()
    assert encoder.training
    awake = [name for name, module in encoder.trunk.named_modules() if module.training]
    assert not awake, f"woken by .train(): {awake}"
    assert all(p.grad is None and not p.requires_grad for p in encoder.trunk.parameters())
    assert all(p.grad is not None for p in encoder.adapter.parameters())
    changed = [key for key, value in encoder.trunk.state_dict().items() if not torch.equal(value, before[key])]
    assert not changed, f"changed by a forward pass: {changed}"


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("name", ["convnext_atto", "resnet10t", "vit_tiny_patch16_224"])
def test_a_file_with_a_classifier_is_loaded_whole_but_for_the_classifier(
    name: str, suffix: str, tmp_path: Path
) -> None:
    arguments = dict(BACKBONES[name][0]) | ({"img_size": CROP} if name.startswith("vit") else {})
    torch.manual_seed(5)
    donor = timm.create_model(name, num_classes=3, **arguments)
    path = tmp_path / f"weights.{suffix}"
    save_file(donor.state_dict(), path) if suffix == "safetensors" else torch.save(
        {"state_dict": donor.state_dict()}, path
    )
    encoder = make(name, weights=str(path))
    for key, value in encoder.trunk.state_dict().items():
        assert torch.equal(value, donor.state_dict()[key]), f"{key} differs from the file"


def test_an_unknown_backbone_is_refused_with_similar_names() -> None:
    with pytest.raises(ValueError, match=r"timm knows no 'resnet51'.*resnet"):
        make("resnet51")


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file.*absent\.pt"):
        make("resnet10t", weights=str(tmp_path / "absent.pt"))


def test_weights_of_another_backbone_are_refused_with_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "vit.safetensors"
    save_file(make("vit_tiny_patch16_224").trunk.state_dict(), path)
    with pytest.raises(ValueError, match=r"does not fit the backbone; missing \d+ keys .*unexpected \d+"):
        make("resnet10t", weights=str(path))


def test_a_frozen_trunk_with_random_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="random weights must be trained"):
        ImageEncoderConfig(weights="random", frozen=True)


@pytest.mark.parametrize(("weights", "expected"), [("random", False), ("pretrained", True), ("file.pt", True)])
def test_null_freezes_a_trunk_unless_its_weights_are_random(weights: str, expected: bool) -> None:
    found = ImageEncoderConfig(weights=weights, frozen=None).is_frozen
    assert found == expected, f"weights={weights}: frozen {found}, expected {expected}"
