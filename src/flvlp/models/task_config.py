"""Knobs of the models of downstream tasks. Imports nothing heavy, so that a misspelt key answers at once."""

from dataclasses import dataclass

from flvlp.checks import check_choice, check_fields

ENCODER_MODES = ("frozen", "finetune")
DECODERS = ("unet", "upernet")
DETECTORS = ("fcos", "retinanet", "faster_rcnn")


@dataclass
class PyramidConfig:
    """What segmentation and detection share.

    Attributes:
        encoder_mode: `frozen` keeps the encoder as it is, whatever it was in pre-training; `finetune` trains it.
        encoder_lr_scale: factor on the learning rate of the encoder's top layer.
        layer_decay: factor on it for every layer below; 1 gives the whole encoder one rate.
    """

    encoder_mode: str = "frozen"
    encoder_lr_scale: float = 0.1
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        check_choice("task.model.encoder_mode", self.encoder_mode, ENCODER_MODES)
        check_fields(self, "task.model", "(0, inf)", "encoder_lr_scale")
        check_fields(self, "task.model", "(0, 1]", "layer_decay")


@dataclass
class SegmenterConfig(PyramidConfig):
    """Decoder of segmentation.

    Attributes:
        decoder: `unet`, or `upernet`.
        width: channels of the decoder, a multiple of 8; 64 suits the tiny encoder, 256 a large one.
        prior: share of positive pixels that the untrained model predicts.
    """

    decoder: str = "unet"
    width: int = 64
    prior: float = 0.01

    def __post_init__(self) -> None:
        PyramidConfig.__post_init__(self)
        check_choice("task.model.decoder", self.decoder, DECODERS)
        if self.width < 8 or self.width % 8:
            raise ValueError(f"task.model.width: must be a multiple of 8, got {self.width}")
        check_fields(self, "task.model", "(0, 1)", "prior")


@dataclass
class DetectorConfig(PyramidConfig):
    """Detector.

    Attributes:
        detector: `fcos`, `retinanet` or `faster_rcnn`.
        width: channels of the feature pyramid network and the heads, a multiple of 32 (torchvision's number of groups);
            64 suits the tiny encoder, 256 a large one.
        convolutions: of each tower of the `fcos` head; torchvision fixes those of the others.
        score_threshold: detections below it are dropped; low, because average precision wants the whole list.
        nms_iou: of two detections of a class that overlap more, the one with the lower score is dropped.
        max_detections: kept per picture.
    """

    detector: str = "fcos"
    width: int = 64
    convolutions: int = 4
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100

    def __post_init__(self) -> None:
        PyramidConfig.__post_init__(self)
        check_choice("task.model.detector", self.detector, DETECTORS)
        if self.width < 32 or self.width % 32:
            raise ValueError(f"task.model.width: must be a multiple of 32, got {self.width}")
        check_fields(self, "task.model", "[1, inf)", "convolutions", "max_detections")
        check_fields(self, "task.model", "[0, 1]", "score_threshold", "nms_iou")
