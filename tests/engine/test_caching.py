"""Gradient caching: the micro-batches of a step give the gradient of one large batch."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flvlp.engine.caching import join_batches
from flvlp.engine.config import EngineConfig
from flvlp.engine.optim import Schedule
from flvlp.engine.setup import refuse_statistics
from flvlp.engine.state import TrainState
from flvlp.engine.train import Training, train_step
from flvlp.losses.config import LossConfig
from flvlp.losses.total import LossSum
from flvlp.types import Batch
from tests.builders import ALL_TERMS, encoder_config, heads_config, image_config, make_batch, make_model, text_config
from tests.losses.ranks import RANKS, Recorder, step_gradients

PARTS = [
    make_batch([True, False, True], lengths=[3, 7, 4], seed=1),
    make_batch([False, False], lengths=[2, 3], is_valid=[True, False], seed=2),
    make_batch([True, True], lengths=[9, 3], seed=3),
]


def step(batches: list[Batch], *, caching: bool, dropout: float = 0.0, **heads: bool) -> dict[str, Tensor]:
    """Returns the gradients of a step with lateral negatives and a queue, and the terms."""
    encoder = encoder_config(text=text_config(dropout=dropout))
    model = make_model(encoder=encoder, heads=heads_config(lateral_negatives=2, queue=9, **heads)).train()
    recorder = Recorder([p for p in model.parameters() if p.requires_grad], lr=0.0)
    recorder.param_groups[0]["peak_lr"] = 0.0
    nothing: Any = None
    training = Training(
        model=model,
        criterion=LossSum(LossConfig(), ALL_TERMS),
        optimizer=recorder,
        schedule=Schedule(10, 0, 1.0),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        dtype=None,
        device=torch.device("cpu"),
        config=EngineConfig(clip=1e9, accumulate=2, gradient_caching=caching),
        state=TrainState(steps_per_epoch=1),
        run_log=nothing,
        checkpoints=nothing,
        skipped_path=Path(os.devnull),
        name_study=str,
    )
    torch.manual_seed(5)
    terms, _ = train_step(training, batches)
    assert model.queue is not None
    after = {"queue": model.queue.features.clone(), "chance": torch.rand(())}
    return {**recorder.gradients, **terms, **after}


def differences(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Returns the largest difference of each entry, relative to its own scale."""
    assert set(found) == set(expected)
    return {
        name: float((found[name] - wanted).abs().max()) / (float(wanted.abs().max()) + 1e-4)
        for name, wanted in expected.items()
    }


@pytest.mark.parametrize("words", [True, False])
def test_micro_batches_with_caching_are_one_large_batch(words: bool) -> None:
    large = step([join_batches(PARTS)], caching=False, words_train_text=words)
    cached = step(PARTS, caching=True, words_train_text=words)
    worst = differences(cached, large)
    assert max(worst.values()) < 1e-4, {name: value for name, value in worst.items() if value >= 1e-4}
    plain = differences(step(PARTS, caching=False), large)
    assert max(plain[name] for name in ("itc", "prototype", "view_alignment")) > 1e-2, f"{plain}: caching shows nothing"


def test_what_the_encoders_draw_is_drawn_again() -> None:
    one, other = step(PARTS[:1], caching=False, dropout=0.3), step(PARTS[:1], caching=True, dropout=0.3)
    worst = differences(other, one)
    assert max(worst.values()) < 1e-4, {name: value for name, value in worst.items() if value >= 1e-4}


def test_one_process_sees_what_two_see() -> None:
    one, cached = (step_gradients(ALL_TERMS, range(RANKS), parts, gradient_caching=parts > 1) for parts in (1, 2))
    assert max(differences(cached, one).values()) < 1e-4


def test_joining_keeps_every_study() -> None:
    joined = join_batches(PARTS)
    first = 0
    for part in PARTS:
        rows = slice(first, first + len(part.tokens))
        width = part.tokens.shape[1]
        for name in ("tokens", "masked_tokens", "is_token", "is_word"):
            wide = getattr(joined, name)[rows]
            assert torch.equal(wide[:, :width], getattr(part, name)), name
            assert not wide[:, width:].any(), f"{name}: {wide[:, width:]} is no padding"
        assert torch.equal(joined.has_lateral[rows], part.has_lateral)
        first = rows.stop
    is_masked = torch.zeros(joined.tokens.numel(), dtype=torch.bool)
    is_masked[joined.masked_positions] = True
    assert torch.equal(joined.tokens.flatten()[joined.masked_positions], joined.masked_targets)
    assert torch.equal(joined.lateral_rows, joined.has_lateral.nonzero().flatten())
    assert len(joined.lateral) == int(joined.has_lateral.sum())


def test_a_batch_norm_that_would_count_twice_is_refused() -> None:
    model = make_model(encoder=encoder_config(frontal=image_config(norm="as_is"))).train()
    with pytest.raises(ValueError, match=r"engine.gradient_caching: encoders\.frontal.*norm=group"):
        refuse_statistics(model)
    refuse_statistics(make_model().train())


@pytest.mark.parametrize("changes", [{"accumulate": 1}, {"accumulate": 2, "compile": True}])
def test_caching_without_micro_batches_or_compiled_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"engine.gradient_caching: needs engine.accumulate above 1"):
        EngineConfig(gradient_caching=True, **changes)
