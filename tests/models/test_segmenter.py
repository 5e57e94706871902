"""The segmenter: shapes, who is trained, independence of pictures, and that it learns."""

import pytest
import torch

from flvlp.losses.segmentation import segmentation_loss
from flvlp.models.segmenter import Segmenter
from flvlp.models.task_config import DECODERS, SegmenterConfig
from tests.models.squares import make_encoder, noise, small_encoder, squares, without_gradient


def make(name: str | None = None, **knobs: object) -> Segmenter:
    """Returns a segmenter on `small_encoder`, or on the trunk of that name."""
    encoder = small_encoder() if name is None else make_encoder(name)
    config = SegmenterConfig(**{"width": 16, **knobs})  # type: ignore[arg-type]
    return Segmenter(encoder, config)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["tiny bundle", "swin", "vit"])
def test_it_gives_one_logit_a_pixel(name: str, decoder: str, count: int) -> None:
    segmenter = make(name, decoder=decoder).eval()
    side = segmenter.pyramid.encoder.side
    logits = segmenter(noise(count, side))
    assert logits.shape == (count, 1, side, side), f"{tuple(logits.shape)}"
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["convnext", "efficientnet", "vit"])
def test_every_trainable_parameter_gets_a_gradient_without_a_positive_too(name: str, decoder: str, mode: str) -> None:
    segmenter = make(name, decoder=decoder, encoder_mode=mode).train()
    logits = segmenter(noise(2, segmenter.pyramid.encoder.side))
    segmentation_loss(logits, torch.zeros_like(logits), torch.ones(2, dtype=torch.bool)).backward()
    assert not without_gradient(segmenter), f"no gradient, so DDP would hang: {without_gradient(segmenter)}"
    is_trained = any(p.requires_grad for p in segmenter.pyramid.parameters())
    assert is_trained == (mode == "finetune"), f"{mode}: encoder trained {is_trained}"


def test_a_frozen_encoder_is_not_changed_by_training() -> None:
    segmenter = make("resnet", encoder_mode="frozen").train()
    before = {key: value.clone() for key, value in segmenter.pyramid.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in segmenter.parameters() if p.requires_grad], lr=0.1)
    segmenter(noise(2, 64)).square().mean().backward()
    optimizer.step()
    segmenter(noise(2, 64))
    changed = [key for key, value in segmenter.pyramid.state_dict().items() if not torch.equal(value, before[key])]
    assert not changed, f"changed: {changed}"
    assert not any(module.training for module in segmenter.pyramid.encoder.trunk.modules())


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_picture_depends_on_no_other_in_training(decoder: str) -> None:
    segmenter, pixels = make(decoder=decoder, encoder_mode="finetune").train(), noise(3, 64)
    alone, together = segmenter(pixels[1:2])[0], segmenter(pixels)[1]
    assert torch.allclose(alone, together, atol=1e-5), f"differ by {(alone - together).abs().max()}"
    kinds = {type(module).__name__ for module in segmenter.decoder.modules()}
    assert not any("BatchNorm" in kind for kind in kinds), f"{kinds}"


@pytest.mark.parametrize("prior", [0.01, 0.2])
@pytest.mark.parametrize("decoder", DECODERS)
def test_it_starts_from_the_prior(decoder: str, prior: float) -> None:
    found = float(make(decoder=decoder, prior=prior)(noise(4, 64)).detach().sigmoid().mean())
    assert prior / 3 < found < 3 * prior, f"mean probability {found}, prior {prior}"


def test_autocast_gives_logits_in_full_precision() -> None:
    segmenter, pixels = make().eval().requires_grad_(False), noise(2, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = segmenter(pixels)
    assert found.dtype == torch.float32
    assert float((found - segmenter(pixels)).abs().max()) < 0.3


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_groups_hold_every_trainable_parameter_once_with_its_rate(mode: str) -> None:
    segmenter = make("vit", encoder_mode=mode, encoder_lr_scale=0.2, layer_decay=0.5)
    groups = segmenter.param_groups(3.0)
    found = [id(parameter) for group in groups for parameter in group.parameters]
    assert sorted(found) == sorted(id(p) for p in segmenter.parameters() if p.requires_grad)
    rate = {id(parameter): group.lr_scale for group in groups for parameter in group.parameters}
    assert {rate[id(p)] for part in (segmenter.decoder, segmenter.head) for p in part.parameters()} == {3.0}
    trunk = segmenter.pyramid.encoder.trunk
    rates = [rate.get(id(block.mlp.fc1.weight)) for block in trunk.blocks[-2:]]
    assert rates == ([0.1, 0.2] if mode == "finetune" else [None, None]), f"{rates}"


@pytest.mark.parametrize("decoder", DECODERS)
def test_it_learns_a_batch_of_squares(decoder: str) -> None:
    pixels, masks, *_ = squares()
    segmenter = make(decoder=decoder, width=32, encoder_mode="finetune", encoder_lr_scale=1.0).train()
    optimizer = torch.optim.AdamW([p for p in segmenter.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(30):
        loss = segmentation_loss(segmenter(pixels), masks, torch.ones(4, dtype=torch.bool)) / 4
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    predicted = segmenter(pixels) > 0
    dice = float(2 * (predicted & masks).sum() / (predicted.sum() + masks.sum()))
    assert losses[-1] < losses[0] / 4, f"loss {losses[0]} -> {losses[-1]}"
    assert dice > 0.8, f"Dice {dice}"


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"decoder": "fpn"}, "decoder: unknown choice 'fpn'; choose one of: unet, upernet"),
        ({"encoder_mode": "train"}, "encoder_mode: unknown choice 'train'; choose one of: frozen, finetune"),
        ({"width": 12}, "width: must be a multiple of 8"),
        ({"prior": 0.0}, "prior: must lie in"),
        ({"layer_decay": 1.5}, "layer_decay: must lie in"),
        ({"encoder_lr_scale": 0.0}, "encoder_lr_scale: must lie in"),
    ],
)
def test_a_wrong_knob_is_refused(knobs: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmenterConfig(**knobs)  # type: ignore[arg-type]
