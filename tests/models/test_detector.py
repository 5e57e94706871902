"""The detectors: losses with and without boxes, what detections look like, anchors, and that they learn."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from flvlp.models.detector import Detector, anchor_sizes
from flvlp.models.pyramid import STRIDES
from flvlp.models.task_config import DETECTORS, DetectorConfig
from tests.models.squares import make_encoder, noise, small_encoder, squares, without_gradient

NO_BOXES = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
TWO_BOXES = (torch.tensor([[5.0, 8, 30, 40], [20, 20, 60, 50]]), torch.tensor([0, 2]), torch.tensor([1, 0]))


def make(detector: str = "fcos", name: str | None = None, seed: int = 0, **knobs: Any) -> Detector:
    """Returns a detector of two classes on `small_encoder`, or on the trunk of that name."""
    encoder = small_encoder() if name is None else make_encoder(name)
    torch.manual_seed(seed)
    config = DetectorConfig(**{"detector": detector, "width": 32, "convolutions": 1, **knobs})
    return Detector(encoder, 2, config)


def total(losses: dict[str, Tensor]) -> Tensor:
    """Returns the sum of the terms."""
    return torch.stack(list(losses.values())).sum()


@pytest.mark.parametrize("targets", [TWO_BOXES, NO_BOXES], ids=["two boxes", "no boxes"])
@pytest.mark.parametrize("mode", ["frozen", "finetune"])
@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("name", ["vit", "efficientnet"])
def test_losses_are_finite_and_reach_every_trainable_parameter(
    name: str, detector: str, mode: str, targets: tuple[Tensor, ...]
) -> None:
    model = make(detector, name, encoder_mode=mode).train()
    losses = model(noise(3, 64), *targets)
    total(losses).backward()
    assert all(torch.isfinite(value) for value in losses.values()), f"{losses}"
    assert not without_gradient(model), f"no gradient, so DDP would hang: {without_gradient(model)}"
    is_trained = any(p.requires_grad for p in model.pyramid.parameters())
    assert is_trained == (mode == "finetune"), f"{mode}: encoder trained {is_trained}"


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_side_that_32_does_not_divide_works(detector: str) -> None:
    model = make(detector, "tiny bundle", score_threshold=0.0).train()
    losses = model(noise(1, 112), torch.tensor([[60.0, 70, 112, 112]]), torch.tensor([0]), torch.tensor([1]))
    assert torch.isfinite(total(losses))
    assert float(model.detect(noise(1, 112))[0].boxes.max()) <= 112


@pytest.mark.parametrize("detector", DETECTORS)
def test_detections_lie_in_the_picture_best_first_and_at_most_so_many(detector: str) -> None:
    model = make(detector, score_threshold=0.0, max_detections=7).train()
    found = model.detect(noise(3, 64))
    assert len(found) == 3
    for boxes, classes, scores in found:
        assert boxes.shape == (7, 4), f"{tuple(boxes.shape)}, of many candidates 7 are kept"
        assert classes.shape == scores.shape == (7,)
        assert float(boxes.min()) >= 0
        assert float(boxes.max()) <= 64
        assert set(classes.tolist()) <= {0, 1}, f"classes {classes}"
        assert torch.equal(scores, scores.sort(descending=True).values), f"{scores}"
        assert not scores.requires_grad


@pytest.mark.parametrize(("detector", "offset"), [("fcos", 0), ("retinanet", 0), ("faster_rcnn", 1)])
def test_the_background_class_of_faster_rcnn_stays_inside(
    detector: str, offset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(detector)
    seen: list[Tensor] = []
    boxes, rows, classes = TWO_BOXES

    def forward(pixels: Tensor, targets: list[dict[str, Tensor]] | None = None) -> Any:
        seen.extend(target["labels"] for target in targets or [])
        return {} if targets else [{"boxes": boxes, "labels": classes + offset, "scores": torch.ones(2)}] * len(pixels)

    monkeypatch.setattr(model.model, "forward", forward)
    model(noise(3, 64), boxes, rows, classes)
    found = [labels.tolist() for labels in seen]
    assert found == [[1 + offset], [], [0 + offset]], f"labels {found} of classes 1, none and 0"
    assert model.detect(noise(1, 64))[0].classes.tolist() == [1, 0]
    predictor = model.model.roi_heads.box_predictor.cls_score if offset else model.model.head.classification_head
    channels = predictor.out_features if offset else predictor.num_classes
    assert channels == 2 + offset, f"{channels} outputs for two classes"


@pytest.mark.parametrize("detector", DETECTORS)
def test_detecting_and_losses_do_not_depend_on_the_mode_and_leave_it(detector: str) -> None:
    model, pixels = make(detector, score_threshold=0.0).train(), noise(2, 64)
    found = []
    for is_training in (True, False):
        model.train(is_training)
        boxes = model.detect(pixels)[0].boxes
        torch.manual_seed(0)  # Faster R-CNN samples
        found.append((boxes, total(model(pixels, *NO_BOXES)).detach()))
        assert model.training == is_training
        assert model.pyramid.training == is_training
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other), f"{one} in training, {other} in evaluation"


def test_detecting_in_training_mode_uses_the_running_statistics_of_batch_norm() -> None:
    model, pixels = make("fcos", "resnet", encoder_mode="finetune", score_threshold=0.0).train(), noise(3, 64)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    alone, together = model.detect(pixels[:1])[0], model.detect(pixels)[0]
    assert torch.allclose(alone.scores, together.scores, atol=1e-5)
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert not changed, f"changed: {changed}"


@pytest.mark.parametrize("detector", DETECTORS)
def test_an_invalid_picture_takes_no_part(detector: str) -> None:
    model, pixels = make(detector).train(), noise(3, 64)
    boxes, rows, classes = TWO_BOXES
    losses = []
    for arguments, is_valid in (
        ((pixels, boxes, rows, classes), torch.tensor([True, False, True])),
        ((pixels[[0, 2]], boxes, torch.tensor([0, 1]), classes), None),
    ):
        torch.manual_seed(0)
        losses.append(model(*arguments, is_valid=is_valid))
    for name, expected in losses[1].items():
        assert torch.allclose(losses[0][name], expected), f"{name}: {losses[0][name]}, without the picture {expected}"


@pytest.mark.parametrize("detector", DETECTORS)
def test_without_a_valid_picture_the_loss_is_zero_and_every_gradient_is_there(detector: str) -> None:
    model = make(detector, encoder_mode="finetune").train()
    loss = total(model(noise(2, 64), *TWO_BOXES, is_valid=torch.tensor([False, False])))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not without_gradient(model)


@pytest.mark.parametrize("detector", ["fcos", "retinanet"])
def test_a_picture_depends_on_no_other(detector: str) -> None:
    model, pixels = make(detector, score_threshold=0.0), noise(3, 64)
    alone, together = model.detect(pixels[1:2])[0], model.detect(pixels)[1]
    assert torch.allclose(alone.scores, together.scores, atol=1e-5)
    kinds = {type(module).__name__ for module in model.model.modules()}
    assert not any("BatchNorm" in kind for kind in kinds), f"{kinds}"


@pytest.mark.parametrize("detector", DETECTORS)
def test_autocast_gives_losses_and_boxes_in_full_precision(detector: str) -> None:
    model, pixels = make(detector, score_threshold=0.0).train(), noise(2, 64)
    torch.manual_seed(0)
    expected = total(model(pixels, *NO_BOXES)).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(0)
        losses = model(pixels, *NO_BOXES)
        boxes = model.detect(pixels)[0].boxes
        maps = model.model.backbone(pixels)
    assert {each.dtype for each in maps.values()} == {torch.float32}, "anchors have the precision of the maps"
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert boxes.dtype == torch.float32
    assert float(total(losses).detach()) == pytest.approx(float(expected), rel=0.1), f"{losses}, in float32 {expected}"


@pytest.mark.parametrize(
    ("side", "expected"),
    [(64, [2, 4, 8, 16]), (112, [2, 4, 8, 16]), (224, [4, 8, 14, 28]), (256, [4, 8, 16, 32]), (512, [8, 16, 32, 64])],
)
def test_anchors_grow_with_the_picture(side: int, expected: list[int]) -> None:
    found = anchor_sizes(side)
    assert found == expected, f"{side} px: {found}, expected {expected}"


@pytest.mark.parametrize("side", [64, 112, 224, 512])
def test_fcos_learns_every_box_of_at_least_8_pixels_somewhere(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fcos = Detector(small_encoder(side), 1, DetectorConfig(width=32, convolutions=1)).model
    generator = torch.Generator().manual_seed(side)
    widths = 8 + torch.rand(400, 2, generator=generator) * (side - 8)
    widths = widths.clamp(min=widths.amax(dim=1, keepdim=True) / 4)  # thinner ones may lie between coarse locations
    corners = torch.rand(400, 2, generator=generator) * (side - widths)
    boxes = torch.cat([corners, corners + widths], dim=1)
    maps = [torch.zeros(1, 1, math.ceil(side / stride), math.ceil(side / stride)) for stride in STRIDES]
    anchors = fcos.anchor_generator(ImageList(torch.zeros(1, 1, side, side), [(side, side)]), maps)[0]
    monkeypatch.setattr(fcos.head, "compute_loss", lambda _targets, _outputs, _anchors, matched: matched)
    targets = [{"boxes": box[None]} for box in boxes]  # one box a picture
    matched = fcos.compute_loss(targets, None, [anchors] * 400, [each.numel() for each in maps])
    lost = [box.tolist() for box, own in zip(boxes, matched, strict=True) if not bool((own >= 0).any())]
    assert not lost, f"{len(lost)} of 400 boxes have no location, such as {lost[:3]}"


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
@pytest.mark.parametrize("detector", DETECTORS)
def test_groups_hold_every_trainable_parameter_once_with_its_rate(detector: str, mode: str) -> None:
    model = make(detector, "vit", encoder_mode=mode, encoder_lr_scale=0.2, layer_decay=0.5)
    groups = model.param_groups(3.0)
    found = [id(parameter) for group in groups for parameter in group.parameters]
    assert sorted(found) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    rate = {id(parameter): group.lr_scale for group in groups for parameter in group.parameters}
    encoder = {id(p) for p in model.pyramid.parameters()}
    assert {rate[id(p)] for p in model.parameters() if id(p) not in encoder} == {3.0}
    blocks = model.pyramid.encoder.trunk.blocks[-2:]
    rates = [rate.get(id(block.mlp.fc1.weight)) for block in blocks]
    assert rates == ([0.1, 0.2] if mode == "finetune" else [None, None]), f"{rates}"


@pytest.mark.parametrize(
    ("detector", "steps"),
    [("fcos", 25), ("retinanet", 25), pytest.param("faster_rcnn", 80, marks=pytest.mark.slow)],
)
def test_it_learns_a_batch_of_squares_and_their_class(detector: str, steps: int) -> None:
    pixels, _, boxes, rows = squares()
    classes = torch.tensor([1, 0, 1])
    pixels[rows[classes == 0]] //= 2  # class 0 is less bright
    model = make(detector, encoder_mode="finetune").train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(steps):
        loss = total(model(pixels, boxes, rows, classes))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2, f"loss {losses[0]} -> {losses[-1]}"
    found = model.detect(pixels)
    for row, (box, own) in enumerate(zip(boxes, classes, strict=True)):
        overlap = float(box_iou(found[row].boxes[:1], box[None]).max()) if len(found[row].boxes) else 0.0
        assert overlap > 0.5, f"picture {row}: best box {found[row].boxes[:1].tolist()}, truth {box.tolist()}"
        assert int(found[row].classes[0]) == int(own), f"picture {row}: class {found[row].classes[0]}, truth {own}"


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"detector": "yolo"}, "detector: unknown choice 'yolo'; choose one of: fcos, retinanet, faster_rcnn"),
        ({"width": 48}, "width: must be a multiple of 32"),
        ({"convolutions": 0}, "convolutions: must lie in"),
        ({"nms_iou": 1.5}, "nms_iou: must lie in"),
    ],
)
def test_a_wrong_knob_is_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetectorConfig(**knobs)
