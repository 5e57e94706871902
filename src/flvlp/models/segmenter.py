"""Segmentation: a decoder of segmentation-models-pytorch on the feature pyramid of any image encoder."""

import math
from typing import Any

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import Tensor, nn
from torch.nn import functional

from flvlp.models.encoders import split_param_groups
from flvlp.models.image_encoder import ImageEncoder
from flvlp.models.norms import replace_batch_norm
from flvlp.models.pyramid import build_pyramid
from flvlp.models.task_config import SegmenterConfig
from flvlp.types import ParamGroup, TrainableModel


class Segmenter(TrainableModel):
    """One logit a pixel.

    The decoders have GroupNorm in the place of their BatchNorm, so that a picture's logits depend on no other picture
    (unless the encoder has BatchNorm and is trained): batch size and number of ranks change nothing.
    """

    def __init__(self, encoder: ImageEncoder, config: SegmenterConfig) -> None:
        """Builds the decoder; the encoder is used in place, frozen or trained as `config.encoder_mode` says."""
        super().__init__()
        self.config = config
        self.pyramid = build_pyramid(encoder, config.encoder_mode)
        decoder = _build_decoder(self.pyramid.channels, config)
        self.decoder = replace_batch_norm(decoder, "group")  # `use_norm` of the library offers no GroupNorm
        self.head = nn.Conv2d(config.width, 1, kernel_size=1)
        # Start from the rate of positives (Lin et al. 2017, focal loss), else the many negatives rule the first steps.
        self.head.bias = nn.Parameter(torch.tensor([math.log(config.prior / (1 - config.prior))]))

    def forward(self, pixels: Tensor) -> Tensor:
        """Computes the logits of pictures.

        Args:
            pixels: (B, 1, S, S), 0-255, uint8 or float; S is the encoder's size.

        Returns:
            (B, 1, S, S) float32; the probability of a pixel is the sigmoid.
        """
        maps = self.pyramid(pixels)
        side = pixels.shape[-1]
        # The decoders expect maps of stride 1 and 2 as well. U-Net asks the first one for its size alone, and upsamples
        # to it without a skip at the end: given stride 2 in its place, all maps move up by one. UPerNet drops both.
        half = maps[0].new_empty(()).expand(1, 1, math.ceil(side / 2), math.ceil(side / 2))
        leading = [half] if self.config.decoder == "unet" else [half, half]
        logits = self.head(self.decoder([*leading, *maps]))
        return functional.interpolate(logits.float(), size=(side, side), mode="bilinear", align_corners=False)

    def param_groups(self, new_lr_scale: float) -> list[ParamGroup]:
        """Returns decoder and head at `new_lr_scale`, and of a trained encoder the groups of `Pyramid.param_groups`."""
        new = nn.ModuleDict({"decoder": self.decoder, "head": self.head})
        return split_param_groups(new, "segmenter", set(), new_lr_scale) + self.pyramid.param_groups(self.config)


def _build_decoder(channels: list[int], config: SegmenterConfig) -> Any:
    """Returns the decoder for maps of these channels; it gives `config.width` channels."""
    if config.decoder == "unet":
        # One width for all levels: with the usual halving the last has so few channels that, at the same learning rate,
        # the logits take three times as many steps to come away from the prior.
        return UnetDecoder((0, *channels), [config.width] * len(channels), n_blocks=len(channels))
    return UPerNetDecoder((0, 0, *channels), len(channels) + 1, config.width)
