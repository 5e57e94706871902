"""Masked reports without pictures."""

from collections.abc import Sequence

import numpy as np
import torch

from flvlp.data.config import MaskingConfig
from flvlp.data.report_batches import ReportBatch, ReportBatches
from flvlp.data.sampler import EpochSampler, ShardSampler
from tests.builders import REPORTS, make_tokenizer

TOKENIZER = make_tokenizer()
ENCODED = [TOKENIZER.encode(report) for report in REPORTS]
RANDOM = MaskingConfig(kind="random", rate=0.5)


def batches(sampler: EpochSampler | ShardSampler, seed: int = 0, size: int = 2) -> Sequence[ReportBatch]:
    """Returns the batches of one epoch."""
    return list(ReportBatches(ENCODED, TOKENIZER, RANDOM, sampler, batch_size=size, seed=seed))


def everyone() -> ShardSampler:
    return ShardSampler(np.arange(len(ENCODED)))


def test_targets_are_the_pieces_that_were_masked() -> None:
    for number, batch in enumerate(batches(everyone())):
        reports = ENCODED[2 * number : 2 * number + 2]
        is_masked = torch.zeros(batch.masked_tokens.numel(), dtype=torch.bool)
        is_masked[batch.masked_positions] = True
        restored = batch.masked_tokens.flatten().clone()
        restored[batch.masked_positions] = batch.masked_targets
        for row, report in enumerate(reports):
            length = len(report.tokens)
            assert restored.view_as(batch.masked_tokens)[row, :length].tolist() == report.tokens.tolist()
            assert batch.is_token[row].tolist() == [True] * length + [False] * (batch.is_token.shape[1] - length)
        assert (batch.masked_tokens.flatten()[is_masked] == TOKENIZER.mask_id).all()
        assert 0 < len(batch.masked_positions) < int(batch.is_token.sum())


def test_batches_are_padded_to_their_own_longest() -> None:
    widths = [batch.masked_tokens.shape for batch in batches(everyone())]
    lengths = [len(report.tokens) for report in ENCODED]
    assert widths == [(2, max(lengths[:2])), (2, max(lengths[2:4])), (1, lengths[4])]


def test_masks_are_a_function_of_seed_epoch_and_report() -> None:
    sampler = EpochSampler(np.arange(4), batch_size=2, accumulate=1, seed=0)
    drawn: dict[tuple[int, int], dict[int, list[int]]] = {}
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0)):
        sampler.start(epoch)
        order = [position for _, position in sampler]
        masks = [row for batch in batches(sampler, seed) for row in (batch.masked_tokens == TOKENIZER.mask_id)]
        masked = {position: mask.nonzero().flatten().tolist() for position, mask in zip(order, masks, strict=True)}
        if (seed, epoch) in drawn:
            assert drawn[seed, epoch] == masked
        drawn[seed, epoch] = masked
    assert len({str(sorted(masked.items())) for masked in drawn.values()}) == 3, drawn


def test_a_batch_moves_to_a_device_whole() -> None:
    batch = batches(everyone())[0].to(torch.device("meta"))
    fields = (batch.masked_tokens, batch.is_token, batch.masked_positions, batch.masked_targets)
    assert {one.device.type for one in fields} == {"meta"}
