"""Whole checkpoint files with other content than a run writes: the one documented error, or a state that can go on."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from flvlp.engine.checkpoint import Checkpoints, TrainState, damage
from flvlp.engine.seed import random_state, restore_random_state

SCALER = torch.amp.GradScaler("cpu", enabled=False)
NAME = "step_00000001.pt"


def toy() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Returns a model and its optimiser, after a step, so that it has moments."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    return model, optimizer


def whole() -> dict[str, Any]:
    """Returns the content of a checkpoint that a run wrote."""
    with tempfile.TemporaryDirectory() as folder:
        Checkpoints(Path(folder), keep=1).save(*toy(), SCALER, TrainState(step=1))
        return torch.load(Path(folder) / NAME, weights_only=True)


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the way to every value inside."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


PLACES = list(places(whole()))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from([torch.zeros(0), torch.zeros(2, 3, dtype=torch.int8), torch.tensor(float("nan"))]),
)


@pytest.fixture(autouse=True)
def _generators() -> Iterator[None]:
    before = random_state()
    yield
    restore_random_state(before)


@settings(max_examples=300, deadline=2000)
@given(place=st.sampled_from(PLACES), value=VALUES, is_left_out=st.booleans())
def test_other_content_is_refused_by_name_or_can_go_on(place: tuple[Any, ...], value: Any, is_left_out: bool) -> None:
    content = whole()
    inside: Any = content
    for key in place[:-1]:
        inside = inside[key]
    if is_left_out:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    with tempfile.TemporaryDirectory() as folder:
        torch.save(content, Path(folder) / NAME)
        try:
            state = Checkpoints(Path(folder), keep=1).load(*toy(), SCALER)
        except ValueError as error:
            assert NAME in str(error) or "all 1 checkpoints" in str(error), repr(error)
        else:
            counts = (state.step, state.epoch, state.studies, state.skipped, state.left_out, state.left_out_in_a_row)
            assert all(type(count) is int and count >= 0 for count in counts), state


@pytest.mark.parametrize("content", [[], "text", 3, None, torch.zeros(3), {"model": 1}])
def test_what_is_no_checkpoint_at_all_is_damaged(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / NAME)
    assert damage(tmp_path / NAME)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save(whole() | {"state": Trap()}, tmp_path / NAME)
    assert damage(tmp_path / NAME)
    with pytest.raises(ValueError, match="all 1 checkpoints"):
        Checkpoints(tmp_path, keep=1).load(*toy(), SCALER)
    assert not (tmp_path / "sprung").exists()
    buffer = io.BytesIO()
    torch.save(Trap(), buffer)
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert (tmp_path / "sprung").exists(), "the trap must be one, or this test shows nothing"
