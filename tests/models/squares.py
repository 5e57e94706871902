"""Small encoders of every kind of trunk, and pictures of bright squares, to try segmentation and detection on."""

from typing import Any

import torch
from torch import Tensor

from flvlp.models.config import ImageEncoderConfig
from flvlp.models.image_encoder import ImageEncoder

VIT = {"patch_size": 8, "embed_dim": 24, "depth": 6, "num_heads": 2}
SWIN = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 7}
# name -> (timm model, its arguments, norm, side in pixels)
TRUNKS: dict[str, tuple[str, dict[str, Any], str, int]] = {
    "tiny bundle": ("resnet10t", {"channels": [32, 64, 128, 256], "output_stride": 16}, "group", 112),
    "resnet": ("resnet18", {"channels": [8, 8, 16, 16]}, "as_is", 64),
    "resnet, odd size": ("resnet18", {"channels": [8, 8, 16, 16]}, "frozen_batch", 112),
    "convnext": ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}, "as_is", 112),
    "efficientnet": ("mobilenetv3_small_050", {}, "group", 64),
    "swin": ("swin_tiny_patch4_window7_224", SWIN, "as_is", 112),
    "vit": ("vit_tiny_patch16_224", VIT, "as_is", 64),
    "vit, stride 14": ("vit_base_patch16_clip_224", {**VIT, "patch_size": 14, "depth": 2}, "as_is", 112),
}


def make_encoder(name: str = "resnet") -> ImageEncoder:
    """Returns an encoder of D = 12 in evaluation mode, as it is loaded, with the same weights every time."""
    torch.manual_seed(0)
    backbone, arguments, norm, side = TRUNKS[name]
    config = ImageEncoderConfig(backbone=backbone, backbone_args=arguments, weights="random", norm=norm)
    return ImageEncoder(config, 12, side).eval()


def small_encoder(side: int = 64) -> ImageEncoder:
    """Returns a ResNet of few channels with GroupNorm and stride 16, with the same weights every time."""
    torch.manual_seed(0)
    arguments = {"channels": [16, 16, 32, 32], "output_stride": 16}
    config = ImageEncoderConfig(backbone="resnet10t", backbone_args=arguments, weights="random", norm="group")
    return ImageEncoder(config, 12, side).eval()


def noise(count: int, side: int, seed: int = 0) -> Tensor:
    """Returns pictures (count, 1, side, side) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8, generator=generator)


def squares(count: int = 4, side: int = 64, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns pictures of one bright square each on dark noise, and of none in the last.

    Returns:
        pixels (B, 1, S, S) uint8, masks (B, 1, S, S) bool, boxes (B - 1, 4) float32, their rows (B - 1,) int64.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = noise(count, side, seed) // 3
    masks = torch.zeros(count, 1, side, side, dtype=torch.bool)
    boxes = torch.zeros(count - 1, 4)
    for row in range(count - 1):
        width = int(torch.randint(side // 5, side // 2, (1,), generator=generator))
        left, top = torch.randint(0, side - width, (2,), generator=generator).tolist()
        masks[row, :, top : top + width, left : left + width] = True
        boxes[row] = torch.tensor([left, top, left + width, top + width])
    return pixels + 150 * masks.to(torch.uint8), masks, boxes, torch.arange(count - 1)


def without_gradient(module: torch.nn.Module) -> list[str]:
    """Returns the trainable parameters that the last backward pass left out; DDP would wait for them for ever."""
    return [key for key, parameter in module.named_parameters() if parameter.requires_grad and parameter.grad is None]
