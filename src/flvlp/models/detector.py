"""Detection: a torchvision detector on the feature pyramid of any image encoder."""

from collections import OrderedDict
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork

from flvlp.models.encoders import split_param_groups
from flvlp.models.image_encoder import ImageEncoder
from flvlp.models.norms import group_norm
from flvlp.models.pyramid import STRIDES, Pyramid, build_pyramid
from flvlp.models.task_config import DetectorConfig
from flvlp.types import ParamGroup, TrainableModel

REFERENCE_SIDE = 256  # pixels, at which an FCOS anchor is as large as its stride, as torchvision's at 800 with 5 levels
ANCHOR_SCALE = 4  # anchors with a shape are this many FCOS anchors large; RetinaNet's and Faster R-CNN's default
RATIOS = (0.5, 1.0, 2.0)  # height / width
FCOS_DISTANCE = 4.0  # FCOS anchors to each side that the untrained head predicts
PROPOSALS, SAMPLED = 300, 128  # of Faster R-CNN, a picture; for some boxes, not for COCO's crowds (1000 to 2000, 512)


class Detections(NamedTuple):
    """What was found in one picture, best first.

    Attributes:
        boxes: (n, 4) float32 left, top, right, bottom in pixels.
        classes: (n,) int64.
        scores: (n,) in [0, 1].
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor


class Detector(TrainableModel):
    """Boxes with class and score.

    Encoder and heads run in the precision of autocast; the outputs of the heads are float32, and so are the losses and
    boxes made from them. All norms are GroupNorm, so that a picture's outputs depend on no other picture (unless the
    encoder has BatchNorm and is trained).

    torchvision spreads the anchors of a level evenly over the picture. Where 32 does not divide its side, the coarsest
    map of a convolutional trunk reaches beyond the picture, and its anchors lie up to a cell away from their features
    (at 112 px; not at 224 or 256, nor with the tiny trunk, whose maps are resized to the picture).
    """

    def __init__(self, encoder: ImageEncoder, classes: int, config: DetectorConfig) -> None:
        """Builds the detector; the encoder is used in place, frozen or trained as `config.encoder_mode` says.

        Args:
            encoder: whose input size the anchors are made for.
            classes: C, without background.
            config: which detector.
        """
        super().__init__()
        self.config = config
        self.class_offset = int(config.detector == "faster_rcnn")  # its class 0 is the background
        maps = _Maps(build_pyramid(encoder, config.encoder_mode), config.width)
        build = {"fcos": _build_fcos, "retinanet": _build_retinanet, "faster_rcnn": _build_faster_rcnn}
        self.model: Any = build[config.detector](maps, classes, encoder.side, config)
        self.model.transform = _NoTransform()

    @property
    def pyramid(self) -> Pyramid:
        """The pyramid with the encoder in it."""
        pyramid: Pyramid = self.model.backbone.pyramid
        return pyramid

    def forward(
        self,
        pixels: Tensor,
        boxes: Tensor,
        box_rows: Tensor,
        box_classes: Tensor,
        *,
        is_valid: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Computes the losses, in training and in evaluation mode alike.

        Args:
            pixels: (B, 1, S, S), 0-255, uint8 or float; S is the encoder's size.
            boxes: (K, 4) left, top, right, bottom in pixels, of all pictures together; width and height positive.
            box_rows: (K,) int64, the picture of each box. A picture without a box is a negative example.
            box_classes: (K,) int64 in [0, C).
            is_valid: (B,) bool, False for rows that take part in nothing; all count unless given.

        Returns:
            The terms by torchvision's names; their sum is the loss. `fcos` divides by the positive locations of the
            batch, `retinanet` by those of each picture, `faster_rcnn` by the sampled ones: means of this rank's batch,
            not additive over ranks. Without a valid row each is 0, with a graph.
        """
        rows = torch.arange(len(pixels), device=pixels.device) if is_valid is None else is_valid.nonzero().flatten()
        factor = 1.0 if len(rows) else 0.0
        targets = []
        for row in rows.tolist() or [0]:
            own = (box_rows == row) & bool(len(rows))
            targets.append({"boxes": boxes[own].float(), "labels": box_classes[own] + self.class_offset})
        self._set_mode(is_training=True)
        losses = self.model(pixels[rows] if len(rows) else pixels[:1], targets)
        return {name: factor * value.float() for name, value in losses.items()}

    @torch.no_grad()
    def detect(self, pixels: Tensor) -> list[Detections]:
        """Finds boxes, at most `max_detections` a picture; in evaluation mode whatever the mode is.

        Args:
            pixels: (B, 1, S, S), 0-255, uint8 or float.
        """
        was_training = self.training
        self.eval()
        self._set_mode(is_training=False)
        found = self.model(pixels)
        self.train(was_training)
        return [Detections(each["boxes"], each["labels"] - self.class_offset, each["scores"]) for each in found]

    def _set_mode(self, *, is_training: bool) -> None:
        """Makes torchvision give losses or boxes, and leaves the mode of all layers as it is."""
        for module in (self.model, getattr(self.model, "rpn", None), getattr(self.model, "roi_heads", None)):
            if module is not None:
                module.training = is_training

    def param_groups(self, new_lr_scale: float) -> list[ParamGroup]:
        """Returns the detector at `new_lr_scale`, and of a trained encoder the groups of `Pyramid.param_groups`."""
        old = self.pyramid.param_groups(self.config)
        encoder = {id(parameter) for group in old for parameter in group.parameters}
        groups = split_param_groups(self.model, "detector", encoder, new_lr_scale)
        return [group for group in groups if ".new" in group.name] + old


class _Maps(nn.Module):
    """The pyramid with a feature pyramid network on top (Lin et al. 2017): what torchvision calls a backbone."""

    def __init__(self, pyramid: Pyramid, width: int) -> None:
        super().__init__()
        self.pyramid, self.out_channels = pyramid, width
        self.network = FeaturePyramidNetwork(pyramid.channels, width, norm_layer=group_norm)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Returns maps (B, width, h, w) float32, because torchvision makes its anchors in the maps' precision."""
        maps = self.network(OrderedDict((str(level), each) for level, each in enumerate(self.pyramid(pixels))))
        return {name: each.float() for name, each in maps.items()}


class _NoTransform(nn.Module):
    """Takes the place of torchvision's resizing, normalisation and padding to multiples of 32.

    The pictures are squares of one size and the encoder normalises them itself.
    """

    def forward(self, pixels: Tensor, targets: list[dict[str, Tensor]] | None = None) -> tuple[ImageList, Any]:
        """Wraps pixels (B, 1, S, S)."""
        side = pixels.shape[-1]
        return ImageList(pixels, [(side, side)] * len(pixels)), targets

    def postprocess(self, result: list[dict[str, Tensor]], *_sizes: object) -> list[dict[str, Tensor]]:
        """Returns the result."""
        return result


def anchor_sizes(side: int) -> list[int]:
    """Returns the side of an FCOS anchor of each level, in pixels.

    torchvision takes it as the unit of distances: a level is responsible for boxes that reach 4 to 8 units from the
    location (the finest: 0 to 8, the coarsest: 4 and more), and for locations within 1.5 units of the box's centre. So
    it grows with the picture; but below half a stride the centre of a box could lie between all locations. Even,
    because torchvision rounds its half.
    """
    return [2 * max(stride // 4, round(stride * side / REFERENCE_SIDE / 2)) for stride in STRIDES]


def _build_fcos(maps: _Maps, classes: int, side: int, config: DetectorConfig) -> FCOS:
    head = FCOSHead(config.width, num_anchors=1, num_classes=classes, num_convs=config.convolutions)
    # torchvision's ReLU gives a side of the box that starts below 0 everywhere no gradient: start all well above.
    nn.init.constant_(head.regression_head.bbox_reg.bias, FCOS_DISTANCE)
    head.register_forward_hook(_to_float32)
    return FCOS(
        maps,
        classes,
        anchor_generator=AnchorGenerator(tuple((size,) for size in anchor_sizes(side)), ((1.0,),) * len(STRIDES)),
        head=head,
        score_thresh=config.score_threshold,
        nms_thresh=config.nms_iou,
        detections_per_img=config.max_detections,
    )


def _build_retinanet(maps: _Maps, classes: int, side: int, config: DetectorConfig) -> RetinaNet:
    sizes = tuple(tuple(ANCHOR_SCALE * size * 2 ** (third / 3) for third in range(3)) for size in anchor_sizes(side))
    head = RetinaNetHead(config.width, len(RATIOS) * 3, classes, norm_layer=partial(nn.GroupNorm, 32))
    head.register_forward_hook(_to_float32)
    return RetinaNet(
        maps,
        classes,
        anchor_generator=AnchorGenerator(sizes, (RATIOS,) * len(STRIDES)),
        head=head,
        score_thresh=config.score_threshold,
        nms_thresh=config.nms_iou,
        detections_per_img=config.max_detections,
    )


def _build_faster_rcnn(maps: _Maps, classes: int, side: int, config: DetectorConfig) -> FasterRCNN:
    sizes = tuple((ANCHOR_SCALE * size,) for size in anchor_sizes(side))
    hidden = 4 * config.width
    model = FasterRCNN(
        maps,
        rpn_anchor_generator=AnchorGenerator(sizes, (RATIOS,) * len(STRIDES)),
        rpn_post_nms_top_n_train=PROPOSALS,
        rpn_post_nms_top_n_test=PROPOSALS,
        box_batch_size_per_image=SAMPLED,
        box_head=TwoMLPHead(config.width * 7**2, hidden),  # torchvision pools boxes to 7 x 7
        box_predictor=FastRCNNPredictor(hidden, classes + 1),
        box_score_thresh=config.score_threshold,
        box_nms_thresh=config.nms_iou,
        box_detections_per_img=config.max_detections,
    )
    for head in (model.rpn.head, model.roi_heads.box_predictor):
        head.register_forward_hook(_to_float32)
    return model


def _to_float32(_module: nn.Module, _inputs: object, output: Any) -> Any:
    """Converts the tensors of a dict, list or tuple; a forward hook."""
    if isinstance(output, dict):
        return {key: value.float() for key, value in output.items()}
    if isinstance(output, list | tuple):
        return type(output)(_to_float32(_module, _inputs, value) for value in output)
    return output.float()
