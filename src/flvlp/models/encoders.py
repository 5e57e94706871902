"""The three encoders and the fused image side: all that a downstream task needs, saved on its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from flvlp.models.config import NONE, SHARED, EncoderConfig
from flvlp.models.image_encoder import ImageEncoder
from flvlp.models.text_encoder import TextEncoder
from flvlp.types import Batch, ImageFeatures, ParamGroup, Pictures, TextFeatures


@dataclass(frozen=True, slots=True)
class Views:
    """Features of both views of a micro-batch; rows without a lateral hold zeros.

    Attributes:
        frontal_patches, frontal: (B, Pf, D), (B, D).
        lateral_patches, lateral: (B, Pl, D), (B, D); Pl = 0 in frontal-only training.
        has_lateral: (B,) bool.
        lateral_rows: (M,) int64, the rows where has_lateral is True.
    """

    frontal_patches: Tensor
    frontal: Tensor
    lateral_patches: Tensor
    lateral: Tensor
    has_lateral: Tensor
    lateral_rows: Tensor

    def patches(self) -> tuple[Tensor, Tensor]:
        """Returns the patches of both views (B, Pf + Pl, D) and which are valid (B, Pf + Pl) bool."""
        both = torch.cat([self.frontal_patches, self.lateral_patches.to(self.frontal_patches.dtype)], dim=1)
        has_frontal = torch.ones_like(self.has_lateral).unsqueeze(1).expand(-1, self.frontal_patches.shape[1])
        has_lateral = self.has_lateral.unsqueeze(1).expand(-1, self.lateral_patches.shape[1])
        return both, torch.cat([has_frontal, has_lateral], dim=1)


class Fusion(nn.Module):
    """One image feature of a study: Linear([norm(frontal); norm(lateral or the learned no-lateral embedding)])."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.no_lateral = nn.Parameter(torch.randn(width) / width**0.5)
        self.mix = nn.Linear(2 * width, width)

    def forward(self, frontal: Tensor, lateral: Tensor, has_lateral: Tensor) -> Tensor:
        """Maps frontal (B, D), lateral (B, D; any value where absent) and has_lateral (B,) bool to (B, D)."""
        chosen = torch.where(has_lateral.unsqueeze(1), lateral, self.no_lateral.to(lateral.dtype))
        parts = [functional.normalize(frontal.float(), dim=-1), functional.normalize(chosen.float(), dim=-1)]
        return self.mix(torch.cat(parts, dim=-1))


class ViewEncoders(nn.Module):
    """The encoders of both views: all that classification, segmentation and detection need."""

    def __init__(self, config: EncoderConfig, loads_weights: bool = True) -> None:
        """Builds both.

        Args:
            config: the bundle; its text encoder is not looked at.
            loads_weights: False for saved encoders, whose weights come later; then nothing pre-trained is fetched.
        """
        super().__init__()
        self.config = config
        self.frontal = ImageEncoder(config.frontal, config.width, config.crop, loads_weights)
        # `shared` and `none` register no second module, so nothing is saved or counted twice.
        self.lateral: ImageEncoder | None = None
        if config.lateral.backbone not in (SHARED, NONE):
            self.lateral = ImageEncoder(config.lateral, config.width, config.crop, loads_weights)

    @property
    def has_lateral_encoder(self) -> bool:
        """False in frontal-only training."""
        return self.config.lateral.backbone != NONE

    @property
    def grids(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Patch grids (rows, columns) of frontal and lateral; (0, 0) for a lateral that is not there."""
        if not self.has_lateral_encoder:
            return self.frontal.grid, (0, 0)
        return self.frontal.grid, self.lateral_encoder.grid

    @property
    def lateral_encoder(self) -> ImageEncoder:
        """The encoder of lateral views, which may be that of the frontal views.

        Raises:
            ValueError: these encoders were trained on frontal views only.
        """
        if not self.has_lateral_encoder:
            raise ValueError(
                "Encoders: no lateral encoder (encoder/lateral=none); encode frontal views, or train with one"
            )
        return self.lateral or self.frontal

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """Encodes frontal pictures (B, 1, H, W), 0-255."""
        return self.frontal(pixels)

    def encode_lateral(self, pixels: Tensor) -> ImageFeatures:
        """Encodes lateral pictures (B, 1, H, W), 0-255; without a lateral encoder, see `lateral_encoder`."""
        return self.lateral_encoder(pixels)

    def encode_views(self, batch: Pictures) -> Views:
        """Encodes both views of a micro-batch; absent laterals cost nothing and enter nothing."""
        rows, present = batch.lateral_rows, len(batch.lateral_rows)
        if self.config.lateral.backbone == SHARED:
            both = self.encode_image(torch.cat([batch.frontal, batch.lateral]))
            size = len(batch.frontal)
            frontal = ImageFeatures(both.patches[:size], both.pooled[:size], both.grid)
            lateral = ImageFeatures(both.patches[size:], both.pooled[size:], both.grid)
        elif self.has_lateral_encoder:
            frontal = self.encode_image(batch.frontal)
            # Some trunks fail on an empty batch, and DDP needs the graph: a blank picture goes in and is cut off. It
            # must not enter the statistics of synchronised BatchNorm, which takes empty batches.
            takes_empty = self.config.lateral.norm == "sync_batch"
            pixels = batch.lateral if present or takes_empty else torch.zeros_like(batch.frontal[:1])
            encoded = self.encode_lateral(pixels)
            lateral = ImageFeatures(encoded.patches[:present], encoded.pooled[:present], encoded.grid)
        else:
            frontal = self.encode_image(batch.frontal)
            empty = frontal.patches.new_zeros(len(rows), 0, frontal.patches.shape[-1])
            lateral = ImageFeatures(empty, frontal.pooled.new_zeros(len(rows), frontal.pooled.shape[-1]), (0, 0))
        return Views(
            frontal.patches,
            frontal.pooled,
            _scatter_rows(lateral.patches, rows, len(batch.frontal)),
            _scatter_rows(lateral.pooled, rows, len(batch.frontal)),
            batch.has_lateral,
            rows,
        )


class Encoders(ViewEncoders):
    """Frontal, lateral and text encoder with the fused image side."""

    def __init__(
        self,
        config: EncoderConfig,
        vocab_size: int | None = None,
        text_architecture: dict[str, Any] | None = None,
    ) -> None:
        """Builds all three.

        Args:
            config: the bundle.
            vocab_size: see `TextEncoder`.
            text_architecture: of saved encoders; their weights come later, so no weights of `config` are fetched.
        """
        super().__init__(config, text_architecture is None)
        self.text = TextEncoder(config.text, config.width, vocab_size, text_architecture)
        self.fusion = Fusion(config.width)

    def encode_text(self, tokens: Tensor, is_token: Tensor) -> TextFeatures:
        """Encodes reports: tokens (B, T), is_token (B, T) bool."""
        return self.text(tokens, is_token)

    def fuse(self, frontal: Tensor, lateral: Tensor, has_lateral: Tensor) -> Tensor:
        """Returns the image feature of whole studies (B, D); see `Fusion`."""
        return self.fusion(frontal, lateral, has_lateral)

    @torch.no_grad()
    def center(self, batches: Iterable[Batch]) -> None:
        """Shifts the new projections so that the pooled features of some studies have mean zero.

        Untrained, the pooled features of any two studies are nearly parallel and the contrastive gradient is nearly
        zero (docs/log.md). A data-dependent start, as in weight normalisation (Salimans & Kingma 2016), removes the
        common part; nothing else changes.
        """
        was_training = self.training
        self.eval()
        parts = []
        for batch in batches:
            views, report = self.encode_views(batch), self.encode_text(batch.tokens, batch.is_token).report
            kept = batch.is_valid
            parts.append([views.frontal[kept], views.lateral[kept], report[kept], batch.has_lateral[kept]])
        frontal, lateral, report, has_lateral = (torch.cat(part) for part in zip(*parts, strict=True))
        frontal, lateral, report = frontal.float(), lateral.float(), report.float()
        means = frontal.mean(dim=0), lateral[has_lateral].mean(dim=0), report.mean(dim=0)
        _last_bias(self.frontal.adapter).sub_(means[0])
        if self.lateral is None:  # shared with the frontal view, or none
            means = means[0], means[0], means[2]
        elif bool(has_lateral.any()):
            _last_bias(self.lateral.adapter).sub_(means[1])
        else:
            means = means[0], torch.zeros_like(means[0]), means[2]
        self.text.projection.bias.sub_(means[2])
        fused = self.fuse(frontal - means[0], lateral - means[1], has_lateral)
        self.fusion.mix.bias.sub_(fused.mean(dim=0))
        self.train(was_training)

    def checkpoint_activations(self) -> None:
        """Makes the trained trunks recompute their activations in the backward pass: slower, in less memory."""
        for encoder in (self.frontal, self.lateral):
            if encoder is not None and not encoder.is_frozen:
                encoder.trunk.set_grad_checkpointing(True)
        if not self.text.is_frozen:
            self.text.trunk.gradient_checkpointing_enable({"use_reentrant": False})

    def param_groups(self, new_lr_scale: float) -> list[ParamGroup]:
        """Returns the trainable parameters: pre-trained trunks at scale 1, everything else at `new_lr_scale`."""
        trunks = [encoder for encoder in (self.frontal, self.lateral, self.text) if encoder is not None]
        old = {id(p) for encoder in trunks if encoder.is_pretrained for p in encoder.trunk.parameters()}
        return split_param_groups(self, "encoders", old, new_lr_scale)


def _last_bias(adapter: Any) -> Any:
    """Returns the bias of an adapter's last layer, Linear or LayerNorm."""
    last = adapter[-1] if isinstance(adapter, nn.Sequential) else adapter
    bias: Any = last.bias
    return bias


def _scatter_rows(values: Tensor, rows: Tensor, size: int) -> Tensor:
    """Returns zeros (size, ...) with `values` (M, ...) in `rows` (M,)."""
    return values.new_zeros(size, *values.shape[1:]).index_copy(0, rows, values)


# Parameters that are no weight matrix of a linear map: never decayed (docs/paper.md section 6).
NO_DECAY_NAMES = ("pos_embed", "cls_token", "reg_token", "position_embeddings", "token_type_embeddings", "bias_table")


def split_param_groups(module: nn.Module, name: str, pretrained: set[int], new_lr_scale: float) -> list[ParamGroup]:
    """Splits the trainable parameters of a module by origin and decay.

    Args:
        module: whose parameters.
        name: prefix of the groups' names.
        pretrained: `id`s of parameters that come from a pre-trained trunk.
        new_lr_scale: learning-rate factor of the others.

    Returns:
        The groups that are not empty; every trainable parameter is in exactly one.
    """
    groups: dict[str, ParamGroup] = {}
    for key, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim > 1 and not any(part in key for part in NO_DECAY_NAMES)
        origin = "pretrained" if id(parameter) in pretrained else "new"
        label = f"{name}.{origin}" + ("" if decays else ".no_decay")
        scale = 1.0 if origin == "pretrained" else new_lr_scale
        groups.setdefault(label, ParamGroup(label, [], scale, decays)).parameters.append(parameter)
    return list(groups.values())
