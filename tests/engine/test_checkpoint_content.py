"""Whole checkpoint files with other content than a run writes: the one documented error, or a state that can go on."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from flvlp.engine.checkpoint import Checkpoints, damage
from flvlp.engine.config import EngineConfig
from flvlp.engine.optim import Schedule, build_optimizer
from flvlp.engine.seed import random_state, restore_random_state
from flvlp.engine.state import TrainState
from flvlp.types import ParamGroup

SCALER = torch.amp.GradScaler("cpu", enabled=False)
NAME = "step_00000001.pt"


def toy() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Returns a model and the optimiser of a run, after a step, so that it has moments."""
    model = nn.Linear(3, 2)
    optimizer = build_optimizer([ParamGroup("all", list(model.parameters()), 1.0, weight_decay=True)], EngineConfig())
    take_step(model, optimizer)
    return model, optimizer


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    Schedule(total_steps=10, warmup_steps=0, start=0.1).apply(optimizer, 1)
    model(torch.tensor([1.0, -2.0, 3.0])).square().sum().backward()  # no two elements of the weight alike
    optimizer.step()


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


@settings(max_examples=200, deadline=None)
@given(place=st.sampled_from(PLACES), value=VALUES, is_left_out=st.booleans())
@example(place=("rng", 0, "numpy", 1), value=torch.tensor(float("nan")), is_left_out=False)
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
        model, optimizer = toy()
        try:
            state = Checkpoints(Path(folder), keep=1).load(model, optimizer, SCALER)
        except ValueError as error:
            assert NAME in str(error) or "all 1 checkpoints" in str(error), repr(error)
        else:
            counts = (state.step, state.epoch, state.studies, state.skipped, state.left_out, state.left_out_in_a_row)
            assert all(type(count) is int and count >= 0 for count in counts), state
            take_step(model, optimizer)


@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (6,), ()])
def test_moments_of_another_shape_are_refused_before_a_fused_step_writes_beyond_them(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    content = whole()
    content["optimizer"]["state"][0]["exp_avg"] = torch.zeros(shape)
    torch.save(content, tmp_path / NAME)
    with pytest.raises(ValueError, match=r"does not fit this run .*exp_avg is not a tensor of \(2, 3\)"):
        Checkpoints(tmp_path, keep=1).load(*toy(), SCALER)


def test_moments_that_lie_otherwise_in_memory_lead_to_the_same_next_step(tmp_path: Path) -> None:
    model, optimizer = toy()
    Checkpoints(tmp_path, keep=1).save(model, optimizer, SCALER, TrainState(step=1))
    content = torch.load(tmp_path / NAME, weights_only=True)
    for name in ("exp_avg", "exp_avg_sq"):
        content["optimizer"]["state"][0][name] = content["optimizer"]["state"][0][name].t().contiguous().t()
    torch.save(content, tmp_path / NAME)
    resumed, its_optimizer = toy()
    Checkpoints(tmp_path, keep=1).load(resumed, its_optimizer, SCALER)
    for one, of in ((model, optimizer), (resumed, its_optimizer)):
        of.zero_grad()
        take_step(one, of)
    for mine, other in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize(
    ("name", "value"), [("step", -1), ("step", 1.5), ("epoch", True), ("studies", None), ("best", "x"), ("best", [0.5])]
)
def test_a_state_that_no_run_writes_is_refused_by_the_name_of_its_field(tmp_path: Path, name: str, value: Any) -> None:
    content = whole()
    content["state"][name] = value
    torch.save(content, tmp_path / NAME)
    with pytest.raises(ValueError, match=rf"does not fit this run .*: {name} is "):
        Checkpoints(tmp_path, keep=1).load(*toy(), SCALER)


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
