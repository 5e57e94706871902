"""Any timm backbone as the encoder of one view: uint8 pixels in, projected patches and one pooled feature out."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from flvlp.hub import prefer_cache_without_network
from flvlp.models.config import ImageEncoderConfig
from flvlp.models.norms import replace_batch_norm
from flvlp.models.trunk import TrunkEncoder
from flvlp.models.trunk_weights import load_trunk
from flvlp.types import ImageFeatures, ParamGroup


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
        # A trunk that was trained to be averaged (BEiT, EVA) has a class token that says nothing.
        self.has_class_token = self.prefix_tokens > 0 and getattr(trunk, "global_pool", "token") in ("token", "")
        self.is_channel_last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"
        self.backbone, self.side = config.backbone, crop
        self.grid = self._find_grid()
        self.channels = channels = int(trunk.num_features)
        if config.adapter == "linear":
            self.adapter: nn.Module = nn.Linear(channels, width)
        else:
            self.adapter = nn.Sequential(
                nn.Linear(channels, channels), nn.Tanh(), nn.Linear(channels, width), nn.LayerNorm(width)
            )

    def _find_grid(self) -> tuple[int, int]:
        """Runs one blank picture through the trunk to learn its grid, and that its layout is one we know.

        Parameters that the features do not depend on, such as ConvNeXt's `head.norm`, are frozen: DDP would wait for
        their gradient.
        """
        trunk, was_training = self.trunk, self.trunk.training
        with torch.enable_grad():  # the caller may build encoders under no_grad
            features = trunk.eval().forward_features(self.mean.new_zeros(1, 3, self.side, self.side))
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
                f"encoder.<view>.backbone: {self.backbone} gives features of shape {tuple(features.shape)}; take a "
                "timm model that gives a feature map (B, C, H, W) or a square grid of tokens (B, P, C)"
            )
        return side, side

    def unfreeze(self) -> None:
        """Trains a frozen trunk again, but for what its features do not depend on."""
        if self.is_frozen:
            super().unfreeze()
            self._find_grid()

    def set_input_size(self, side: int) -> None:
        """Makes the encoder take squares of another size with the same weights; build the optimiser afterwards.

        Position embeddings (ViT) and the windows' position biases (Swin) are resampled; convolutions need nothing.

        Args:
            side: pixels.

        Raises:
            ValueError: a trunk whose parameters depend on its input size and that cannot change it, or a side that its
                patches do not fill.
        """
        if side == self.side:
            return
        patch = getattr(getattr(self.trunk, "patch_embed", None), "patch_size", (1, 1))[0]
        if side % patch:
            raise ValueError(
                f"ImageEncoder.set_input_size: {side} px are not filled by patches of {patch} px ({self.backbone}); "
                f"take {side - side % patch} or {side - side % patch + patch}"
            )
        if hasattr(self.trunk, "set_input_size"):
            self.trunk.set_input_size(img_size=(side, side))
        elif self.trunk.pretrained_cfg.get("fixed_input_size"):
            raise ValueError(
                f"ImageEncoder.set_input_size: {self.backbone} cannot take {side} px; these weights are for "
                f"{self.side} px only; give pictures of that size"
            )
        self.side = side
        self.grid = self._find_grid()

    def _normalise(self, pixels: Tensor) -> Tensor:
        """Maps pictures (B, 1, H, W), 0-255, to what the trunk takes, (B, 3, H, W)."""
        return (pixels.to(self.mean.dtype) - self.mean) / self.std

    def _encode_trunk(self, pixels: Tensor) -> Tensor:
        """Returns the trunk's own features (B, prefix + P, C)."""
        with self.trunk_context():
            features: Tensor = self.trunk.forward_features(self._normalise(pixels))
        if features.ndim == 4:
            features = features.flatten(1, 2) if self.is_channel_last else features.flatten(2).transpose(1, 2)
        return features

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """Encodes pictures.

        Args:
            pixels: (B, 1, H, W), 0-255, uint8 or float; grey is given to all three channels.

        Returns:
            patches (B, P, D), pooled (B, D): the projected class token, or the mean of the projected patches.
        """
        projected = self.adapter(self._encode_trunk(pixels))  # (B, prefix + P, D)
        patches = projected[:, self.prefix_tokens :]
        pooled = projected[:, 0] if self.has_class_token else patches.mean(dim=1)
        return ImageFeatures(patches, pooled, self.grid)

    forward = encode_image

    def pooled_trunk(self, pixels: Tensor) -> Tensor:
        """Returns the feature before the projection (B, C): the class token, or the mean over the patches.

        A norm that the trunk applies to its mean is applied.
        """
        features = self._encode_trunk(pixels)
        if self.has_class_token:
            return features[:, 0]
        with self.trunk_context():
            return getattr(self.trunk, "fc_norm", nn.Identity())(features[:, self.prefix_tokens :].mean(dim=1))

    def feature_maps(self, pixels: Tensor, blocks: Sequence[int] | None = None) -> list[Tensor]:
        """Returns feature maps from inside the trunk, shallow to deep, each (B, C_i, h_i, w_i).

        Where the trunk ends in a norm it is applied (a ViT's to every map), so a ViT's last map is what `encode_image`
        projects.

        Args:
            pixels: as in `encode_image`.
            blocks: which of them, counted from 0; all unless given.
        """
        with self.trunk_context():
            maps: list[Tensor] = self.trunk.forward_intermediates(
                self._normalise(pixels), indices=blocks, norm=True, output_fmt="NCHW", intermediates_only=True
            )
        return maps

    def layer_groups(self, layer_decay: float, lr_scale: float) -> list[ParamGroup]:
        """Returns the trainable parameters by depth, for layer-wise learning-rate decay.

        Args:
            layer_decay: the d-th layer below the top one has `lr_scale * layer_decay ** d`; 1 for one rate.
            lr_scale: of the top layer and of the projection.

        Source: Clark et al. 2020 (ELECTRA), Bao et al. 2021 (BEiT); the layers are timm's.
        """
        from flvlp.models.encoders import NO_DECAY_NAMES  # which imports this file

        layer_of = group_parameters(self.trunk, self.trunk.group_matcher(coarse=False), reverse=True)
        layers = {f"trunk.{key}": layer for key, layer in layer_of.items()}
        trained = {key: parameter for key, parameter in self.named_parameters() if parameter.requires_grad}
        top = max((layers[key] for key in trained if key in layers), default=0)
        groups: dict[str, ParamGroup] = {}
        for key, parameter in trained.items():
            depth = 0 if layer_decay == 1 else top - layers.get(key, top)
            decays = parameter.ndim > 1 and not any(part in key for part in NO_DECAY_NAMES)
            label = f"encoder.depth_{depth}" + ("" if decays else ".no_decay")
            group = ParamGroup(label, [], lr_scale * layer_decay**depth, decays)
            groups.setdefault(label, group).parameters.append(parameter)
        return list(groups.values())


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
    return replace_batch_norm(trunk, config.norm)
