"""Lateral negatives: word i asked of k other studies' views (docs/paper.md section 4)."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from flvlp.models.flvlp import FLVLP
from flvlp.types import AlignmentOutput, Batch
from tests.builders import heads_config, make_batch, make_model

HAS_LATERAL = [True, False, True, True, True]


def aligned(batch: Batch, negatives: int, training: bool = True) -> tuple[FLVLP, AlignmentOutput]:
    """Returns the model and what it asked."""
    model = make_model(frozenset({"view_alignment"}), heads=heads_config(lateral_negatives=negatives))
    output = model.train(training)(batch).alignment
    return model, output


@pytest.mark.parametrize("negatives", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("laterals", range(6))
def test_there_are_min_of_k_and_the_other_studies_with_a_lateral(laterals: int, negatives: int) -> None:
    batch = make_batch([True] * laterals + [False])
    _, output = aligned(batch, negatives)
    expected = min(negatives, max(laterals - 1, 0))
    found = output.lateral_negatives.shape[1]
    assert found == expected, f"{found} negatives of {laterals} laterals with k = {negatives}, expected {expected}"


@pytest.mark.parametrize("training", [True, False])
def test_attention_is_never_asked_for_an_empty_batch(monkeypatch: pytest.MonkeyPatch, training: bool) -> None:
    asked: list[int] = []

    def attention(query: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        asked.append(len(query))
        return original(query, *args, **kwargs)

    original = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    model, output = aligned(make_batch([False, False]), 2, training)
    assert len(asked) > 2 and min(asked) > 0, f"batches of {asked}: kernels on CUDA refuse 0"
    assert (len(output.frontal), len(output.lateral_negatives), len(output.is_word)) == (0, 0, 0)
    (output.frontal.sum() + output.lateral.sum()).backward()
    gradients = [p.grad for p in model.alignment_decoder.parameters()]
    assert all(one is not None and not one.any() for one in gradients), "every parameter has a graph, and gets nothing"


@pytest.mark.parametrize("negatives", [1, 2, 3])
def test_a_negative_is_the_same_word_asked_of_another_study_and_never_of_the_own(negatives: int) -> None:
    batch = make_batch(HAS_LATERAL)
    model, output = aligned(batch, negatives)
    views = model.encoders.encode_views(batch)
    text, _ = model.encode_reports(batch)
    rows = batch.lateral_rows.tolist()
    for number, row in enumerate(rows):
        sources = []
        for k in range(negatives):
            for other in rows:
                memory = views.lateral_patches[other : other + 1], views.frontal_patches[other : other + 1]
                words = text.words[row : row + 1], batch.is_word[row : row + 1]
                asked = [
                    model.alignment_decoder(*words, part, torch.ones(part.shape[:2], dtype=torch.bool))[0]
                    for part in memory
                ]
                pairs = (output.lateral_negatives[number, k], asked[0]), (output.frontal_negatives[number, k], asked[1])
                if all(torch.allclose(one, two, atol=1e-5) for one, two in pairs):
                    sources.append(other)
        assert len(set(sources)) == negatives, f"study {row} has negatives of {sources}, expected {negatives} others"
        assert row not in sources, f"study {row} is its own negative"


def test_studies_with_an_identical_report_are_left_out() -> None:
    batch = make_batch(HAS_LATERAL)
    keys = batch.report_key.clone()
    keys[2] = keys[0]
    _, output = aligned(replace(batch, report_key=keys), 3)
    found = output.is_negative.sum(dim=1).tolist()
    assert found == [2, 2, 3, 3], f"negatives of each study {found}, expected [2, 2, 3, 3]"


def test_evaluation_has_no_negatives() -> None:
    _, output = aligned(make_batch(HAS_LATERAL), 2, training=False)
    assert output.lateral_negatives.shape[1] == 0, f"{output.lateral_negatives.shape[1]} negatives, expected 0"


def test_words_are_aligned_in_studies_with_a_lateral_only_and_padding_is_no_word() -> None:
    batch = make_batch(HAS_LATERAL)
    _, output = aligned(batch, 0)
    expected = batch.is_word[torch.tensor(HAS_LATERAL)]
    assert torch.equal(output.is_word, expected), f"{output.is_word}, expected {expected}"
