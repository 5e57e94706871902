"""Any timm backbone as the encoder of one view: uint8 pixels in, projected patches and one pooled feature out."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn import functional

from flvlp.hub import prefer_cache_without_network
from flvlp.models.config import ImageEncoderConfig
from flvlp.models.trunk import TrunkEncoder
from flvlp.types import ImageFeatures

GROUPS = 8  # of GroupNorm that replaces BatchNorm
CLASSIFIER_PREFIXES = ("head.", "head_drop.", "fc.", "classifier.")  # of a checkpoint; the trunk has none


class ImageEncoder(TrunkEncoder):
    """timm trunk + projection to the joint width; offers `encode_image`, the interface of every downstream task."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ImageEncoderConfig, width: int, crop: int, loads_weights: bool = True) -> None:
        """Builds the trunk.

        Args:
            config: which trunk, its weights, norm and adapter.
            width: D.
            crop: side of the square input in pixels.
            loads_weights: False for saved encoders, whose weights come later; then nothing pre-trained is fetched.

        Raises:
            ValueError: unknown backbone, or a layout other than a token grid or a feature map.
            FileNotFoundError: weights that cannot be loaded, with what to set.
        """
        trunk = _build_trunk(config, config.weights if loads_weights else "random", crop)
        super().__init__(trunk, config.is_frozen, is_pretrained=config.weights != "random" or not loads_weights)
        data = trunk.pretrained_cfg
        self.register_buffer("mean", torch.tensor(data["mean"]).view(1, -1, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(data["std"]).view(1, -1, 1, 1) * 255, persistent=False)
        self.prefix_tokens = int(getattr(trunk, "num_prefix_tokens", 0))
        self.has_class_token = bool(getattr(trunk, "has_class_token", self.prefix_tokens > 0))
        self.is_channel_last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"
        self.grid = self._find_grid(trunk, crop, config.backbone)
        channels = int(trunk.num_features)
        if config.adapter == "linear":
            self.adapter: nn.Module = nn.Linear(channels, width)
        else:
            self.adapter = nn.Sequential(
                nn.Linear(channels, channels), nn.Tanh(), nn.Linear(channels, width), nn.LayerNorm(width)
            )

    def _find_grid(self, trunk: Any, crop: int, name: str) -> tuple[int, int]:
        """Runs one blank picture through the trunk to learn its grid, and that its layout is one we know.

        Parameters that the features do not depend on, such as ConvNeXt's `head.norm`, are frozen: DDP would wait for
        their gradient.
        """
        was_training = trunk.training
        with torch.enable_grad():  # the caller may build encoders under no_grad
            features = trunk.eval().forward_features(torch.zeros(1, 3, crop, crop))
            trained = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
            reached = torch.autograd.grad(features.sum(), trained, allow_unused=True) if trained else ()
        trunk.train(was_training)
        for parameter, gradient in zip(trained, reached, strict=True):
            parameter.requires_grad_(gradient is not None)
        if features.ndim == 4:
            rows, columns = features.shape[1:3] if self.is_channel_last else features.shape[2:]
            return int(rows), int(columns)
        side = math.isqrt(features.shape[1] - self.prefix_tokens) if features.ndim == 3 else 0
        if features.ndim != 3 or side * side != features.shape[1] - self.prefix_tokens:
            raise ValueError(
                f"encoder.<view>.backbone: {name} gives features of shape {tuple(features.shape)}; take a timm "
                "model that gives a feature map (B, C, H, W) or a square grid of tokens (B, P, C)"
            )
        return side, side

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """Encodes pictures.

        Args:
            pixels: (B, 1, H, W), 0-255, uint8 or float; grey is given to all three channels.

        Returns:
            patches (B, P, D), pooled (B, D): the projected class token, or the mean of the projected patches.
        """
        normalised = (pixels.to(self.mean.dtype) - self.mean) / self.std  # (B, 3, H, W)
        with self.trunk_context():
            features = self.trunk.forward_features(normalised)
        if features.ndim == 4:
            features = features.flatten(1, 2) if self.is_channel_last else features.flatten(2).transpose(1, 2)
        projected = self.adapter(features)  # (B, prefix + P, D)
        patches = projected[:, self.prefix_tokens :]
        pooled = projected[:, 0] if self.has_class_token else patches.mean(dim=1)
        return ImageFeatures(patches, pooled, self.grid)

    forward = encode_image


def _build_trunk(config: ImageEncoderConfig, weights: str, crop: int) -> Any:
    """Makes the timm model with its weights and norm."""
    name = config.backbone
    if not timm.is_model(name):
        similar = timm.list_models(f"*{name.split('_')[0]}*")[:8]
        raise ValueError(f"encoder.<view>.backbone: timm knows no {name!r}; similar: {', '.join(similar) or 'none'}")
    arguments = dict(config.backbone_args)
    default = timm.get_pretrained_cfg(name)
    if default is not None and default.fixed_input_size:  # parameters depend on the input size (ViT, Swin)
        arguments.setdefault("img_size", crop)
    try:
        if weights == "pretrained":
            prefer_cache_without_network()
        trunk = timm.create_model(name, pretrained=weights == "pretrained", num_classes=0, **arguments)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"encoder.<view>.weights=pretrained: cannot load the weights of {name} ({type(error).__name__}); without a "
            "network set encoder.<view>.weights to a file (.safetensors or a state dict .pt), or to random"
        ) from error
    if weights not in ("pretrained", "random"):
        load_trunk(trunk, Path(weights))
    return _replace_batch_norm(trunk, config.norm)


def load_trunk(trunk: nn.Module, path: Path) -> None:
    """Loads a state dict into a trunk, strictly but for a classifier head that the file may bring along.

    Raises:
        FileNotFoundError: no such file.
        ValueError: keys are missing or left over; the message lists some.
    """
    if not path.is_file():
        raise FileNotFoundError(f"encoder.<view>.weights: no such file ({path}); valid: pretrained, random, or a file")
    loaded: Any = (
        load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    )
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and wrapper in loaded:
            loaded = loaded[wrapper]
    own = trunk.state_dict().keys()  # ConvNeXt keeps `head.norm` without a classifier
    state = {key: value for key, value in loaded.items() if key in own or not key.startswith(CLASSIFIER_PREFIXES)}
    missing, unexpected = trunk.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ValueError(
            f"encoder.<view>.weights: {path} does not fit the backbone; missing {len(missing)} keys (such as "
            f"{missing[:3]}), unexpected {len(unexpected)} (such as {unexpected[:3]}); give this model's state dict"
        )


def _replace_batch_norm(module: nn.Module, norm: str) -> Any:
    """Returns the module with its BatchNorm replaced as `norm` says; weights and statistics are kept where they fit."""
    if norm == "as_is":
        return module
    if norm == "sync_batch":
        return convert_sync_batchnorm(module)  # timm's: it knows BatchNormAct2d
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            channels = child.num_features
            replacement: nn.Module = (
                nn.GroupNorm(math.gcd(GROUPS, channels), channels) if norm == "group" else FrozenBatchNorm2d(child)
            )
            if isinstance(child, BatchNormAct2d):  # of EfficientNet, MobileNet, RegNet, DenseNet: holds the activation
                replacement = nn.Sequential(replacement, child.drop, child.act)
            setattr(module, name, replacement)
        else:
            _replace_batch_norm(child, norm)
    return module


class FrozenBatchNorm2d(nn.Module):
    """BatchNorm2d with the running statistics it was made with: no batch enters, scale and shift are still trained."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)

    def forward(self, features: Tensor) -> Tensor:
        """Normalises features (B, C, H, W)."""
        return functional.batch_norm(
            features, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )
