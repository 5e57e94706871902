"""Every shape that goes from the data to the model, the losses and the loop, in one file.

Letters: B studies per rank, M of them with a lateral view, P patches, T tokens, D joint width, K prototypes,
H W pixels, N masked pieces of the micro-batch, k lateral negatives.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Protocol, Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Pictures:
    """Both views of one micro-batch of a rank. Absent laterals take no memory: `lateral` holds the present ones only.

    Attributes:
        frontal: (B, 1, H, W) uint8, 0-255.
        lateral: (M, 1, H, W) uint8, 0-255, the present laterals in the order of their rows.
        lateral_rows: (M,) int64, the row of each lateral.
        has_lateral: (B,) bool.
        is_valid: (B,) bool, False for a row whose image could not be read; it takes part in nothing.
        study_index: (B,) int64, position of each study in its source.
    """

    frontal: Tensor
    lateral: Tensor
    lateral_rows: Tensor
    has_lateral: Tensor
    is_valid: Tensor
    study_index: Tensor

    def to(self, device: torch.device) -> Self:
        """Returns the batch on `device`, without waiting for the copy."""
        return replace(self, **{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})

    def pin_memory(self) -> Self:
        """Returns the batch in page-locked memory; the data loader calls it."""
        return replace(self, **{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})


@dataclass(frozen=True, slots=True)
class Batch(Pictures):
    """One micro-batch of pre-training: pictures with their reports.

    Attributes:
        tokens: (B, T) int64, the unmasked report.
        masked_tokens: (B, T) int64, the report with masked words.
        is_token: (B, T) bool, everything but padding.
        is_word: (B, T) bool, real tokens without [CLS], [SEP] and padding.
        masked_positions: (N,) int64, positions of the masked pieces of valid rows in the flattened (B * T).
        masked_targets: (N,) int64, their vocabulary ids.
        report_key: (B,) int64, equal for identical reports.
    """

    tokens: Tensor
    masked_tokens: Tensor
    is_token: Tensor
    is_word: Tensor
    masked_positions: Tensor
    masked_targets: Tensor
    report_key: Tensor


@dataclass(frozen=True, slots=True)
class LabelledPictures(Pictures):
    """A micro-batch of classification.

    Attributes:
        labels: (B, C) float32 1, 0, or NaN where it is not known; all NaN in rows that are not valid.
    """

    labels: Tensor


@dataclass(frozen=True, slots=True)
class MaskedPictures(Pictures):
    """A micro-batch of segmentation; no laterals.

    Attributes:
        masks: (B, 1, H, W) bool, True inside.
    """

    masks: Tensor


@dataclass(frozen=True, slots=True)
class BoxedPictures(Pictures):
    """A micro-batch of detection; no laterals.

    Attributes:
        boxes: (K, 4) float32 left, top, right, bottom in pixels of the picture, of all rows together.
        box_rows: (K,) int64, the row of each box, ascending.
        box_classes: (K,) int64.
        sizes: (B, 2) int64, height and width in pixels of each picture before it was fitted to the square; 0 in rows
            that are not valid.
    """

    boxes: Tensor
    box_rows: Tensor
    box_classes: Tensor
    sizes: Tensor


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What an image encoder returns.

    Attributes:
        patches: (B, P, D) projected patch features, row-major over the grid.
        pooled: (B, D) projected class token, or the mean of the projected patches.
        grid: rows and columns of the patches, P = rows * columns.
    """

    patches: Tensor
    pooled: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TextFeatures:
    """What a text encoder returns.

    Attributes:
        words: (B, T, D) projected token features.
        report: (B, D) projected [CLS], or the mean over real tokens.
    """

    words: Tensor
    report: Tensor


@dataclass(frozen=True, slots=True)
class MLMOutput:
    """Logits (N, V) of the masked pieces and their targets (N,)."""

    logits: Tensor
    targets: Tensor


@dataclass(frozen=True, slots=True)
class AlignmentOutput:
    """Word features asked of each view, for the M studies that have both.

    Attributes:
        frontal: (M, T, D) word i asked of the own frontal patches.
        lateral: (M, T, D) word i asked of the own lateral patches.
        is_word: (M, T) bool.
        frontal_negatives, lateral_negatives: (M, k, T, D) word i asked of k other studies' frontals or laterals.
        is_negative: (M, k) bool, False where the other study has the identical report.
    """

    frontal: Tensor
    lateral: Tensor
    is_word: Tensor
    frontal_negatives: Tensor
    lateral_negatives: Tensor
    is_negative: Tensor


@dataclass(frozen=True, slots=True)
class QueueState:
    """Features of earlier global batches, L2-normalised, oldest overwritten first.

    Attributes:
        features: (3, n, D) frontal, lateral, report.
        is_filled: (3, n) bool, False for rows never written and for studies without that part.
    """

    features: Tensor
    is_filled: Tensor


class Queue(Protocol):
    """What the prototype loss asks of the model's queue."""

    def state(self) -> QueueState:
        """Returns the queue as it is now."""
        ...

    def push(self, features: Tensor, is_present: Tensor) -> None:
        """Appends features (3, N, D) with is_present (3, N) bool and forgets the oldest."""
        ...


@dataclass(frozen=True, slots=True)
class Output:
    """All that the losses need from one forward pass; a part that a switched-off term would need is None.

    Attributes:
        frontal, lateral, fused, report: (B, D) pooled features; `lateral` rows without a view are zero.
        has_lateral, is_valid: (B,) bool, as in the batch.
        prototypes: (K, D) raw rows; the loss normalises.
        queue: earlier features for the prototype codes; the loss appends the batch.
    """

    frontal: Tensor
    lateral: Tensor
    report: Tensor
    has_lateral: Tensor
    is_valid: Tensor
    fused: Tensor | None = None
    mlm: MLMOutput | None = None
    alignment: AlignmentOutput | None = None
    prototypes: Tensor | None = None
    queue: Queue | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Global divisors of one optimiser step: summed over all ranks and micro-batches.

    Attributes:
        masked_pieces: (), masked word pieces of valid studies, at least 1.
        aligned_words: (), words of valid studies that have a lateral, at least 1.
        micro_batches: micro-batches of the step on one rank (terms that see a whole batch are averaged over them).
        epoch: epochs of training done before the step, with fraction.
    """

    masked_pieces: Tensor
    aligned_words: Tensor
    micro_batches: int = 1
    epoch: float = 0.0


@dataclass(slots=True)
class ParamGroup:
    """Parameters that share a learning-rate factor and a decay rule; named by the model."""

    name: str
    parameters: list[torch.nn.Parameter]
    lr_scale: float
    weight_decay: bool


class TrainableModel(torch.nn.Module, ABC):
    """What the training loop asks of a model besides its forward pass."""

    @abstractmethod
    def param_groups(self, new_lr_scale: float) -> list[ParamGroup]:
        """Returns every trainable parameter in exactly one group; `new_lr_scale` is for what is not pre-trained."""
