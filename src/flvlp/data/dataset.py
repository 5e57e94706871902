"""Studies to batches.

What is drawn at random is a function of (seed, epoch, study), so worker count and resume point change nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from flvlp.data.config import ImageConfig, MaskingConfig
from flvlp.data.images import ImageReadError
from flvlp.data.masking import mask_report
from flvlp.data.studies import StudySource
from flvlp.data.tokenizer import ReportTokenizer
from flvlp.data.transforms import crop_view
from flvlp.types import Batch

# Streams of chance of one (seed, epoch, study): a new use takes a new number, so that it moves no other.
_CROP_STREAM, _MASK_STREAM = 0, 1


@dataclass(frozen=True, slots=True)
class Sample:
    """One study as a worker hands it on. `frontal` is None where the pixels could not be read."""

    index: int
    frontal: np.ndarray | None
    lateral: np.ndarray | None
    tokens: np.ndarray
    masked_tokens: np.ndarray
    is_masked: np.ndarray
    report_key: int


def stable_hash(text: str) -> int:
    """Returns a 63-bit hash that is the same in every process and on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


class StudyDataset(Dataset[Sample]):
    """Reads, crops, tokenises and masks single studies; items are asked for by (epoch, position in the source)."""

    def __init__(
        self,
        source: StudySource,
        tokenizer: ReportTokenizer,
        masking: MaskingConfig,
        image: ImageConfig,
        *,
        seed: int,
        is_training: bool,
        on_error: str,
        with_lateral: bool = True,
        images_from: np.ndarray | None = None,
    ) -> None:
        """Args as named; see also:

        Args:
            is_training: random crops and masks; otherwise the centre crop and masks fixed by the study alone.
            on_error: `raise` or `skip` for an image that cannot be read.
            with_lateral: False hides every lateral (frontal-only training).
            images_from: (studies,) int64, take the pictures of another study: `images_from[i]` for study i.
        """
        self.source, self.tokenizer, self.masking, self.image = source, tokenizer, masking, image
        self.seed, self.is_training, self.on_error = seed, is_training, on_error
        self.with_lateral, self.images_from = with_lateral, images_from

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Returns study `index` as drawn in `epoch`."""
        epoch, index = key
        study = self.source.studies[index]
        study_key = stable_hash(study.study_id)

        def generator(stream: int) -> np.random.Generator:
            # Evaluation draws are the same for every training seed, so that runs can be compared.
            return np.random.default_rng(
                [self.seed, epoch, study_key, stream] if self.is_training else [study_key, stream]
            )

        report = self.tokenizer.encode(study.report)
        masked_tokens, is_masked = mask_report(report, self.tokenizer, self.masking, generator(_MASK_STREAM))
        pictures = index if self.images_from is None else int(self.images_from[index])
        try:
            frontal, lateral = self._views(pictures, generator(_CROP_STREAM) if self.is_training else None)
        except ImageReadError:
            if self.on_error == "raise":
                raise
            frontal, lateral = None, None
        return Sample(index, frontal, lateral, report.tokens, masked_tokens, is_masked, stable_hash(study.report))

    def _views(self, index: int, generator: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns both crops, each with a corner of its own."""
        frontal = crop_view(self.source.frontal(index), self.image, generator)
        if not (self.with_lateral and self.source.studies[index].has_lateral):
            return frontal, None
        return frontal, crop_view(self.source.lateral(index), self.image, generator)


class Collator:
    """Samples to a `Batch`: reports padded to the longest of the batch, absent laterals left out."""

    def __init__(self, pad_id: int, crop: int) -> None:
        self.pad_id, self.crop = pad_id, crop

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Returns the micro-batch of `samples`, in their order."""
        longest = max(len(sample.tokens) for sample in samples)
        shape = (len(samples), longest)
        tokens, masked = np.full(shape, self.pad_id, dtype=np.int64), np.full(shape, self.pad_id, dtype=np.int64)
        is_token, is_masked = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        is_word = np.zeros(shape, dtype=bool)
        for row, sample in enumerate(samples):
            length = len(sample.tokens)
            tokens[row, :length], masked[row, :length] = sample.tokens, sample.masked_tokens
            is_token[row, :length] = True
            is_word[row, 1 : length - 1] = True
            is_masked[row, :length] = sample.is_masked & (sample.frontal is not None)
        blank = np.zeros((self.crop, self.crop), dtype=np.uint8)
        laterals = [(row, sample.lateral) for row, sample in enumerate(samples) if sample.lateral is not None]
        lateral_rows = np.array([row for row, _ in laterals], dtype=np.int64)
        has_lateral = np.zeros(len(samples), dtype=bool)
        has_lateral[lateral_rows] = True
        positions = np.flatnonzero(is_masked)
        pictures = [view for _, view in laterals] or [blank]
        return Batch(
            frontal=_pixels([blank if sample.frontal is None else sample.frontal for sample in samples]),
            lateral=_pixels(pictures)[: len(laterals)],
            lateral_rows=torch.from_numpy(lateral_rows),
            has_lateral=torch.from_numpy(has_lateral),
            is_valid=torch.tensor([sample.frontal is not None for sample in samples]),
            tokens=torch.from_numpy(tokens),
            masked_tokens=torch.from_numpy(masked),
            is_token=torch.from_numpy(is_token),
            is_word=torch.from_numpy(is_word),
            masked_positions=torch.from_numpy(positions),
            masked_targets=torch.from_numpy(tokens.reshape(-1)[positions]),
            report_key=torch.tensor([sample.report_key for sample in samples]),
            study_index=torch.tensor([sample.index for sample in samples]),
        )


def _pixels(views: Sequence[np.ndarray]) -> torch.Tensor:
    """Stacks (H, W) pictures to (n, 1, H, W) uint8."""
    return torch.from_numpy(np.stack(views)[:, None])


def derange(studies_has_lateral: np.ndarray, positions: np.ndarray, seed: int = 0) -> np.ndarray:
    """Pairs every study with another one of equal `has_lateral`, for the shuffled-images figures of validation.

    Args:
        studies_has_lateral: (studies,) bool of the whole source.
        positions: (n,) int64 of the studies to shuffle among each other.
        seed: of the draw.

    Returns:
        (studies,) int64: position to take the pictures from; itself outside of `positions` and for a study that is the
        only one of its kind (such a study has no other to swap with).
    """
    images_from = np.arange(len(studies_has_lateral))
    generator = np.random.default_rng(seed)
    for kind in (True, False):
        order = generator.permutation(positions[studies_has_lateral[positions] == kind])
        images_from[order] = np.roll(order, 1)  # one cycle: nobody keeps its own pictures
    return images_from
