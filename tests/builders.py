"""Small hand-made studies, batches and models; nothing is rendered and nothing is downloaded."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flvlp.data.images import ImageReadError
from flvlp.data.phantom.findings import Finding, draw_findings
from flvlp.data.phantom.reports import write_report
from flvlp.data.studies import Boxes, Labels, Masks, Study
from flvlp.data.tokenizer import ReportTokenizer, train_tokenizer
from flvlp.models.config import EncoderConfig, HeadsConfig, ImageEncoderConfig, TextEncoderConfig
from flvlp.models.flvlp import FLVLP
from flvlp.types import Batch, Counts

PAD, CLS, SEP, MASK, FIRST_PIECE, VOCABULARY = 0, 2, 3, 4, 5, 40
CROP, WIDTH = 16, 32
ALL_TERMS = frozenset({"itc", "mlm", "view_alignment", "prototype"})


def image_config(**changes: Any) -> ImageEncoderConfig:
    """Returns a ResNet of 8 channels a stage on a 2 x 2 grid, GroupNorm."""
    small = ImageEncoderConfig(
        backbone="resnet10t",
        backbone_args={"channels": [8, 8, 8, 16], "output_stride": 8},
        weights="random",
        norm="group",
    )
    return replace(small, **changes)


def text_config(**changes: Any) -> TextEncoderConfig:
    """Returns a two-layer BERT without dropout."""
    small = TextEncoderConfig(
        weights="random", vocab_size=VOCABULARY, hidden_size=16, layers=2, heads=2, intermediate_size=16, dropout=0.0
    )
    return replace(small, **changes)


def encoder_config(
    frontal: ImageEncoderConfig | None = None,
    lateral: ImageEncoderConfig | None = None,
    text: TextEncoderConfig | None = None,
) -> EncoderConfig:
    """Returns a bundle of D = 32 on 16 px pictures; the lateral has its own ResNet unless given."""
    return EncoderConfig(
        frontal=frontal or image_config(),
        lateral=lateral or image_config(adapter="mlp"),
        text=text or text_config(),
        width=WIDTH,
        resize=CROP + 4,
        crop=CROP,
    )


def heads_config(**changes: Any) -> HeadsConfig:
    """Returns narrow heads with 6 prototypes and no lateral negatives."""
    return replace(
        HeadsConfig(head_width=16, mlm_depth=1, alignment_depth=1, prototypes=6, lateral_negatives=0), **changes
    )


def make_model(
    terms: frozenset[str] = ALL_TERMS,
    encoder: EncoderConfig | None = None,
    heads: HeadsConfig | None = None,
    seed: int = 0,
) -> FLVLP:
    """Returns a small model whose weights depend on `seed` alone."""
    torch.manual_seed(seed)
    return FLVLP(encoder or encoder_config(), heads or heads_config(), terms, VOCABULARY)


def make_batch(
    has_lateral: Sequence[bool],
    lengths: Sequence[int] | None = None,
    is_valid: Sequence[bool] | None = None,
    seed: int = 0,
    crop: int = CROP,
) -> Batch:
    """Returns a random batch.

    Args:
        has_lateral: one a study.
        lengths: words of each report; 3, 4, 5, 3, ... unless given.
        is_valid: False makes a row as the collator makes one whose picture cannot be read.
        seed: of everything.
        crop: side of the pictures.
    """
    generator = torch.Generator().manual_seed(seed)
    size = len(has_lateral)
    lengths = lengths or [3 + row % 3 for row in range(size)]
    valid = torch.tensor(is_valid or [True] * size)
    lateral = torch.tensor(has_lateral) & valid
    shape = (size, max(lengths) + 2)
    tokens, masked = torch.full(shape, PAD), torch.full(shape, PAD)
    is_token, is_word, is_masked = (torch.zeros(shape, dtype=torch.bool) for _ in range(3))
    for row, words in enumerate(lengths):
        pieces = torch.randint(FIRST_PIECE, VOCABULARY, (words,), generator=generator)
        tokens[row, : words + 2] = torch.cat([torch.tensor([CLS]), pieces, torch.tensor([SEP])])
        is_token[row, : words + 2] = True
        is_word[row, 1 : words + 1] = True
        chosen = torch.rand(words, generator=generator) < 0.6
        chosen[0] |= not chosen.any()
        is_masked[row, 1 : words + 1] = chosen
    masked = torch.where(is_masked, MASK, tokens)
    positions = torch.nonzero((is_masked & valid[:, None]).flatten()).flatten()
    pictures = torch.randint(0, 256, (2, size, 1, crop, crop), generator=generator, dtype=torch.uint8)
    rows = torch.nonzero(lateral).flatten()
    return Batch(
        frontal=torch.where(valid[:, None, None, None], pictures[0], 0).to(torch.uint8),
        lateral=pictures[1][rows],
        lateral_rows=rows,
        has_lateral=lateral,
        is_valid=valid,
        tokens=tokens,
        masked_tokens=masked,
        is_token=is_token,
        is_word=is_word,
        masked_positions=positions,
        masked_targets=tokens.flatten()[positions],
        report_key=torch.arange(size) + 1000 * seed,
        study_index=torch.arange(size),
    )


def rows_of(batch: Batch, rows: Sequence[int]) -> Batch:
    """Returns the batch of some rows, in the order given; tokens keep their padding."""
    index = torch.tensor(rows, dtype=torch.int64)
    columns = batch.tokens.shape[1]
    of_row = {int(row): number for number, row in enumerate(batch.lateral_rows)}
    laterals = [of_row[row] for row in rows if row in of_row]
    is_masked = torch.zeros(batch.tokens.numel(), dtype=torch.bool)
    is_masked[batch.masked_positions] = True
    positions = torch.nonzero(is_masked.view(-1, columns)[index].flatten()).flatten()
    same = {field.name: getattr(batch, field.name)[index] for field in fields(Batch) if _is_by_row(field.name)}
    return Batch(
        lateral=batch.lateral[torch.tensor(laterals, dtype=torch.int64)],
        lateral_rows=torch.nonzero(batch.has_lateral[index]).flatten(),
        masked_positions=positions,
        masked_targets=batch.tokens[index].flatten()[positions],
        **same,
    )


def _is_by_row(name: str) -> bool:
    return name not in ("lateral", "lateral_rows", "masked_positions", "masked_targets")


def pad_columns(batch: Batch, more: int) -> Batch:
    """Returns the batch with `more` columns of padding behind its reports."""
    rows, columns = batch.tokens.shape

    def wider(values: Tensor) -> Tensor:
        return torch.cat([values, torch.zeros(rows, more, dtype=values.dtype)], dim=1)

    return replace(
        batch,
        tokens=wider(batch.tokens),
        masked_tokens=wider(batch.masked_tokens),
        is_token=wider(batch.is_token),
        is_word=wider(batch.is_word),
        masked_positions=batch.masked_positions + more * (batch.masked_positions // columns),
    )


def counts_of(*batches: Batch) -> Counts:
    """Returns the divisors of a step, counted study by study."""
    pieces, words = 0, 0
    for batch in batches:
        pieces += len(batch.masked_positions)
        for row in range(len(batch.tokens)):
            if batch.has_lateral[row] and batch.is_valid[row]:
                words += int(batch.is_word[row].sum())
    return Counts(torch.tensor(float(max(pieces, 1))), torch.tensor(float(max(words, 1))), len(batches))


REPORTS = (
    "No acute abnormality. The heart is normal.",
    "Small left pleural effusion. No pneumothorax.",
    "Patchy opacities in the right lower lobe, suspicious for pneumonia.",
    "The lungs are clear. No focal consolidation, effusion, or pneumothorax.",
    "Moderate cardiomegaly with mild edema.",
)


def make_tokenizer(max_tokens: int = 32, reports: Sequence[str] = REPORTS, vocab_size: int = 120) -> ReportTokenizer:
    """Returns a tokenizer learned from a few reports."""
    return train_tokenizer([*reports] * 3, vocab_size, max_tokens, credentialed=False)


def draw_reports(count: int, seed: int) -> list[tuple[tuple[Finding, ...], str]]:
    """Returns the findings of phantoms and their reports, one in three without a lateral view."""
    generator = np.random.default_rng(seed)
    studies = [draw_findings(generator) for _ in range(count)]
    return [(findings, write_report(findings, generator, index % 3 > 0)) for index, findings in enumerate(studies)]


class HandMadeSource:
    """Studies with noise for pictures; every third has no lateral, and the pictures of `unreadable` raise."""

    def __init__(self, size: int = 8, unreadable: Sequence[int] = ()) -> None:
        self.studies: Sequence[Study] = [
            Study(f"study {i}", f"patient {i // 2}", REPORTS[i % len(REPORTS)], has_lateral=i % 3 != 2)
            for i in range(size)
        ]
        self.splits = {"train": np.arange(size)}
        self.split_name = "hand-made"
        self.labels: Labels | None = None
        self.boxes: Boxes | None = None
        self.masks: Masks | None = None
        self.unreadable = unreadable

    def frontal(self, index: int) -> np.ndarray:
        """Returns noise of its own."""
        return self._picture(index, 0)

    def lateral(self, index: int) -> np.ndarray:
        """Returns noise of its own."""
        return self._picture(index, 1)

    def _picture(self, index: int, view: int) -> np.ndarray:
        if index in self.unreadable:
            raise ImageReadError(f"study {index}: damaged", f"{index}.png", "damaged")
        return np.random.default_rng([index, view]).integers(0, 256, (64, 64), dtype=np.uint8)
