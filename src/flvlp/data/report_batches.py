"""Reports without pictures, masked and batched: what a text encoder is pre-trained on before it sees a picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from flvlp.data.config import MaskingConfig
from flvlp.data.masking import mask_report
from flvlp.data.sampler import EpochSampler, ShardSampler
from flvlp.data.tokenizer import EncodedReport, ReportTokenizer


@dataclass(frozen=True, slots=True)
class ReportBatch:
    """Masked reports of one micro-batch.

    Attributes:
        masked_tokens: (B, T) int64.
        is_token: (B, T) bool, everything but padding.
        masked_positions: (N,) int64, positions of the masked pieces in the flattened (B * T).
        masked_targets: (N,) int64, their vocabulary ids.
    """

    masked_tokens: Tensor
    is_token: Tensor
    masked_positions: Tensor
    masked_targets: Tensor

    def to(self, device: torch.device) -> Self:
        """Returns the batch on `device`."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


class ReportBatches:
    """A loader of masked reports: iterates over the epoch that its sampler has started.

    The masks of a report are a function of (seed, epoch, position), so that they are new in every epoch and the same in
    every run.
    """

    def __init__(
        self,
        reports: Sequence[EncodedReport],
        tokenizer: ReportTokenizer,
        masking: MaskingConfig,
        sampler: EpochSampler | ShardSampler,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        """`sampler` gives positions in `reports`; batches have `batch_size` of them."""
        self.reports, self.tokenizer, self.masking, self.sampler = reports, tokenizer, masking, sampler
        self.batch_size, self.seed = batch_size, seed

    def __iter__(self) -> Iterator[ReportBatch]:
        """Yields the batches, each padded to its longest report."""
        keys = list(self.sampler)
        for start in range(0, len(keys), self.batch_size):
            yield self._batch(keys[start : start + self.batch_size])

    def _batch(self, keys: Sequence[tuple[int, int]]) -> ReportBatch:
        longest = max(len(self.reports[position].tokens) for _, position in keys)
        shape = len(keys), longest
        tokens, masked = (np.full(shape, self.tokenizer.pad_id, dtype=np.int64) for _ in range(2))
        is_token, is_masked = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        for row, (epoch, position) in enumerate(keys):
            report = self.reports[position]
            length, generator = len(report.tokens), np.random.default_rng([self.seed, epoch, position])
            tokens[row, :length], is_token[row, :length] = report.tokens, True
            masked[row, :length], is_masked[row, :length] = mask_report(report, self.tokenizer, self.masking, generator)
        positions = np.flatnonzero(is_masked)
        return ReportBatch(
            masked_tokens=torch.from_numpy(masked),
            is_token=torch.from_numpy(is_token),
            masked_positions=torch.from_numpy(positions),
            masked_targets=torch.from_numpy(tokens.reshape(-1)[positions]),
        )
