"""Feature maps of strides 4, 8, 16 and 32 from inside any image encoder."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from flvlp.models.image_encoder import ImageEncoder
from flvlp.models.task_config import PyramidConfig
from flvlp.types import ParamGroup

STRIDES = (4, 8, 16, 32)


class Pyramid(nn.Module):
    """Maps of four strides, without parameters of its own.

    A trunk that shrinks its maps step by step (ResNet, ConvNeXt, Swin) gives the last map of each stride. One that
    stopped shrinking (`output_stride`) has surplus deep maps: each goes one level up, as in the network it was made
    from. A stride that no map has is resampled from the nearest that one has.

    A plain ViT has one grid for all blocks. Its deepest features alone suffice for objects (ViTDet, Li et al. 2022),
    but thin outlines are in the early blocks (SETR, Zheng et al. 2021): four blocks spread over the depth, the last
    included, are resized, early ones to the fine strides. Learned up- and down-sampling is left to the decoder, so
    that the pyramid of a frozen encoder is a fixed function of the picture.

    Attributes:
        encoder: in which everything that the maps do not depend on (projection, class token head) is frozen: DDP would
            wait for its gradient.
        channels: C of each map, fine to coarse.
        strides: 4, 8, 16, 32 pixels.
    """

    strides = STRIDES

    def __init__(self, encoder: ImageEncoder) -> None:
        """Learns from a blank picture of the encoder's size which maps there are.

        Raises:
            ValueError: a trunk that gives no maps.
        """
        super().__init__()
        if not hasattr(encoder.trunk, "forward_intermediates"):
            raise ValueError(
                f"Pyramid: the timm model {encoder.backbone} gives no maps from inside (it has no "
                "forward_intermediates); take a ViT, Swin, ResNet, ConvNeXt or EfficientNet"
            )
        self.encoder = encoder
        blank = encoder.mean.new_zeros(1, 1, encoder.side, encoder.side)
        was_training = encoder.training
        encoder.eval()  # a blank picture must not enter the statistics of BatchNorm
        with torch.no_grad():
            sizes = [features.shape[-1] for features in encoder.feature_maps(blank)]
        encoder.train(was_training)
        self.blocks: list[int] | None = None
        if len(sizes) > 1 and len(set(sizes)) == 1:
            wanted = [math.ceil(len(sizes) * quarter / 4) - 1 for quarter in (1, 2, 3, 4)]
            self.blocks = sorted(set(wanted))  # fewer than four of a trunk with fewer blocks
            self.sources = [self.blocks.index(block) for block in wanted]
        else:
            self.sources = choose_maps([encoder.side / size for size in sizes])
        self.channels = self._probe(blank)

    def _probe(self, blank: Tensor) -> list[int]:
        """Returns the channels of the maps, and freezes what the maps do not depend on."""
        was_training = self.encoder.training
        trained = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        with torch.enable_grad():
            maps = self.eval()(blank)
            total = sum((features.sum() for features in maps), blank.new_zeros(()))
            reached = (
                torch.autograd.grad(total, trained, allow_unused=True) if total.requires_grad else [None] * len(trained)
            )
        self.train(was_training)
        for parameter, gradient in zip(trained, reached, strict=True):
            parameter.requires_grad_(gradient is not None)
        return [features.shape[1] for features in maps]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Computes the maps.

        Args:
            pixels: (B, 1, S, S), 0-255, uint8 or float; S is the encoder's size.

        Returns:
            For each stride s a map (B, C, ceil(S / s), ceil(S / s)), fine to coarse.
        """
        maps = self.encoder.feature_maps(pixels, self.blocks)
        side = pixels.shape[-1]
        return [
            _resize(maps[source], math.ceil(side / stride))
            for source, stride in zip(self.sources, STRIDES, strict=True)
        ]

    def param_groups(self, config: PyramidConfig) -> list[ParamGroup]:
        """Returns the encoder's trainable parameters by depth; none for a frozen one."""
        return self.encoder.layer_groups(config.layer_decay, config.encoder_lr_scale)


def build_pyramid(encoder: ImageEncoder, encoder_mode: str) -> Pyramid:
    """Returns the pyramid of an encoder that is frozen or trained as `encoder_mode` says, whatever it was before."""
    if encoder_mode == "frozen":
        encoder.freeze()
    else:
        encoder.unfreeze()
    return Pyramid(encoder)


def choose_maps(reductions: list[float]) -> list[int]:
    """Returns which map each of the four strides is made from.

    Args:
        reductions: picture size over map size, shallow to deep; need not be a power of 2.
    """
    has_stopped = 2 ** round(math.log2(reductions[-1])) < STRIDES[-1]
    at: dict[int, int] = {}
    previous = 0
    for index, reduction in enumerate(reductions):
        stride = min(2 ** round(math.log2(reduction)), STRIDES[-1])
        if has_stopped and stride <= previous:
            stride = min(2 * previous, STRIDES[-1])
        at[stride] = index  # of several, the last
        previous = stride
    # The nearest stride; of two equally near the coarser, whose features say more.
    nearest = [min(at, key=lambda have: (abs(math.log2(have / stride)), -have)) for stride in STRIDES]
    return [at[stride] for stride in nearest]


def _resize(features: Tensor, size: int) -> Tensor:
    """Resizes square maps (B, C, h, h) to (B, C, size, size): the mean over areas down, bilinear up."""
    if features.shape[-1] == size:
        return features
    if features.shape[-1] > size:
        return functional.adaptive_avg_pool2d(features, size)
    return functional.interpolate(features, size=(size, size), mode="bilinear", align_corners=False)
