"""Classification of studies: features of one or both views, and a linear head on them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from flvlp.models.config import HeadConfig
from flvlp.models.encoders import ViewEncoders
from flvlp.models.image_encoder import ImageEncoder
from flvlp.types import ParamGroup, Pictures, TrainableModel

Encode = Callable[[ImageEncoder, Tensor], Tensor]  # encoder and pixels (B, 1, H, W) -> (B, F)


def _trunk(encoder: ImageEncoder, pixels: Tensor) -> Tensor:
    return encoder.pooled_trunk(pixels)


def _projected(encoder: ImageEncoder, pixels: Tensor) -> Tensor:
    return encoder.encode_image(pixels).pooled


def _lateral(encoder: ImageEncoder, batch: Pictures, encode: Encode, absent: Tensor) -> Tensor:
    """Returns the lateral's features (B, F); rows without one hold `absent` (F,)."""
    present = len(batch.lateral_rows)
    # Some trunks fail on an empty batch, and DDP needs the graph: a blank picture goes in and is cut off. It must not
    # enter the statistics of synchronised BatchNorm, which takes empty batches.
    takes_empty = any(isinstance(module, nn.SyncBatchNorm) for module in encoder.modules())
    pixels = batch.lateral if present or takes_empty else torch.zeros_like(batch.frontal[:1])
    features = encode(encoder, pixels)[:present].float()
    return absent.expand(len(batch.frontal), -1).index_copy(0, batch.lateral_rows, features)


def frozen_features(encoders: ViewEncoders, batch: Pictures, config: HeadConfig) -> Tensor:
    """Computes the features that a linear probe sees.

    Args:
        encoders: in evaluation mode; call it under no_grad.
        batch: B studies.
        config: view and features.

    Returns:
        (B, F) float32; the part of a lateral that is not there is NaN.

    Raises:
        ValueError: a view that these encoders cannot give.
        FloatingPointError: features that are not finite.
    """

    def encode(encoder: ImageEncoder, pixels: Tensor) -> Tensor:
        features = (_trunk if config.features == "trunk" else _projected)(encoder, pixels)
        if not bool(features.isfinite().all()):  # NaN means absent here, and must not hide a broken encoder
            raise FloatingPointError("frozen_features: the encoder gives values that are not finite; it diverged")
        return features

    parts = []
    if config.view != "lateral":
        parts.append(encode(encoders.frontal, batch.frontal).float())
    if config.view != "frontal":
        encoder = encoders.lateral_encoder
        channels = encoder.channels if config.features == "trunk" else encoders.config.width
        parts.append(_lateral(encoder, batch, encode, torch.full((channels,), torch.nan, device=batch.frontal.device)))
    if config.view != "fused":
        return torch.cat(parts, dim=1)
    fuse = getattr(encoders, "fuse", None)
    if fuse is None:
        raise ValueError("task.head.view: these encoders have no fused feature; set task.head.view=both")
    return fuse(parts[0], parts[1].nan_to_num(), batch.has_lateral).float()


class Classifier(TrainableModel):
    """Encoders of the chosen view or views, an optional norm and a linear layer; all of it trained.

    Only what the view needs is part of the module, so that every parameter has a gradient in every batch. The features
    are the trunks' own, before the projection to the joint space. A lateral that is not there is a learned vector.
    """

    def __init__(self, encoders: ViewEncoders, classes: int, config: HeadConfig) -> None:
        """Builds the head.

        Args:
            encoders: trained in place.
            classes: C.
            config: knobs.

        Raises:
            ValueError: a view or norm that is for linear probes only, or a view that the encoders do not have.
        """
        super().__init__()
        if config.view == "fused" or config.norm == "standardise" or config.features == "projected":
            raise ValueError(
                f"task.head: view={config.view}, norm={config.norm}, features={config.features} is for linear probes; "
                "fine-tuning takes view frontal, lateral or both, norm none or layer, features trunk"
            )
        self.config = config
        self.frontal = encoders.frontal if config.view != "lateral" else None
        self.lateral = encoders.lateral_encoder if config.view != "frontal" else None
        used = [encoder for encoder in (self.frontal, self.lateral) if encoder is not None]
        for encoder in used:
            encoder.unfreeze()
            encoder.adapter.requires_grad_(False)  # not used here, and DDP would wait for its gradient
        width = sum(encoder.channels for encoder in used)
        # (F,) what stands for a lateral that is not there; without a frontal view there is always one.
        channels = self.lateral.channels if self.lateral else 0
        self.no_lateral = nn.Parameter(torch.zeros(channels)) if config.view == "both" else None
        self.norm = nn.LayerNorm(width) if config.norm == "layer" else nn.Identity()
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.head.weight, std=config.init_std)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Pictures) -> Tensor:
        """Returns the logits (B, C) float32 of a micro-batch."""
        parts = []
        if self.frontal is not None:
            parts.append(_trunk(self.frontal, batch.frontal).float())
        if self.lateral is not None:
            absent = torch.zeros(self.lateral.channels, device=batch.frontal.device)
            parts.append(_lateral(self.lateral, batch, _trunk, absent if self.no_lateral is None else self.no_lateral))
        with torch.autocast(batch.frontal.device.type, enabled=False):
            return self.head(self.norm(torch.cat(parts, dim=1)))

    def param_groups(self, new_lr_scale: float) -> list[ParamGroup]:
        """Returns the head's parameters and those of the encoders, layer by layer."""
        encoders = {id(one): (name, one) for name, one in self._used()}
        groups = []
        for name, encoder in encoders.values():
            for group in encoder.layer_groups(self.config.layer_decay, self.config.encoder_lr_scale):
                group.name = f"{name}.{group.name}"
                groups.append(group)
        inside = {id(parameter) for group in groups for parameter in group.parameters}
        new = [one for one in self.parameters() if one.requires_grad and id(one) not in inside]
        groups.append(ParamGroup("head", [one for one in new if one.ndim > 1], new_lr_scale, weight_decay=True))
        groups.append(
            ParamGroup("head.no_decay", [one for one in new if one.ndim < 2], new_lr_scale, weight_decay=False)
        )
        return groups

    def _used(self) -> list[tuple[str, ImageEncoder]]:
        named = (("frontal", self.frontal), ("lateral", self.lateral))
        return [(name, encoder) for name, encoder in named if encoder is not None]


class LinearProbe(TrainableModel):
    """A linear layer on frozen features (B, F)."""

    def __init__(self, width: int, classes: int, config: HeadConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if config.norm == "layer" else nn.Identity()
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.head.weight, std=config.init_std)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Returns the logits (B, C)."""
        with torch.autocast(features.device.type, enabled=False):
            return self.head(self.norm(features.float()))

    def param_groups(self, new_lr_scale: float) -> list[ParamGroup]:
        """Returns the weights, and what is not decayed."""
        parameters = list(self.parameters())
        return [
            ParamGroup("head", [one for one in parameters if one.ndim > 1], new_lr_scale, weight_decay=True),
            ParamGroup("head.no_decay", [one for one in parameters if one.ndim < 2], new_lr_scale, weight_decay=False),
        ]
