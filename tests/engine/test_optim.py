"""AdamW over named groups and the schedule of docs/paper.md section 6."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from flvlp import distributed
from flvlp.engine.config import EngineConfig
from flvlp.engine.optim import build_optimizer, build_schedule, choose_attention
from flvlp.types import ParamGroup
from tests.builders import make_model

PAPER = EngineConfig()


def test_the_schedule_warms_up_from_a_tenth_over_5_epochs_and_falls_to_0_by_cosine_over_45() -> None:
    schedule = build_schedule(PAPER, steps_per_epoch=10)
    by_hand = {
        0: 0.1,
        25: 0.55,
        49: 0.1 + 0.9 * 49 / 50,
        50: 1.0,
        50 + 150: (1 + math.cos(math.pi / 3)) / 2,
        50 + 225: 0.5,
        500: 0.0,
        600: 0.0,
    }
    for step, expected in by_hand.items():
        found = schedule.factor(step)
        assert found == pytest.approx(expected, abs=1e-12), f"step {step}: {found}, by hand {expected}"


def test_the_schedule_rises_and_then_falls() -> None:
    factors = [build_schedule(PAPER, 7).factor(step) for step in range(351)]
    peak = factors.index(max(factors))
    assert peak == 35, f"peak at step {peak}, warm-up ends at 35"
    assert factors[:36] == sorted(factors[:36])
    assert factors[35:] == sorted(factors[35:], reverse=True)


def test_max_steps_does_not_rescale_the_schedule() -> None:
    short, whole = (build_schedule(EngineConfig(max_steps=limit), 10) for limit in (60, None))
    assert short == whole, f"{short} with max_steps, {whole} without"


@pytest.mark.parametrize(("epochs", "warmup"), [(2, 0.0), (1, 0.5), (1, 5.0)])
def test_short_runs_start_and_end_where_they_should(epochs: int, warmup: float) -> None:
    schedule = build_schedule(EngineConfig(epochs=epochs, warmup_epochs=warmup), 10)
    first = schedule.factor(0)
    assert first == (1.0 if warmup == 0 else 0.1), f"factor {first} at step 0 with a warm-up of {warmup} epochs"
    assert all(0 <= schedule.factor(step) <= 1 for step in range(10 * epochs + 1))
    assert schedule.warmup_steps <= schedule.total_steps


def test_pretrained_trunks_get_the_rate_and_everything_else_five_times_it() -> None:
    model = make_model()
    model.encoders.frontal.is_pretrained = True
    optimizer = build_optimizer(model.param_groups(PAPER.new_lr_scale), PAPER)
    schedule = build_schedule(PAPER, 10)
    old = {id(p) for p in model.encoders.frontal.trunk.parameters()}
    for step in (0, 50, 275):
        schedule.apply(optimizer, step)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                expected = 1e-5 * (1 if id(parameter) in old else 5) * schedule.factor(step)
                assert group["lr"] == pytest.approx(expected), f"{group['name']}: {group['lr']}, expected {expected}"


def test_biases_norms_and_scalars_do_not_decay_and_weights_decay_by_0_05() -> None:
    model = make_model()
    optimizer = build_optimizer(model.param_groups(5.0), PAPER)
    names = {id(p): name for name, p in model.named_parameters()}
    for group in optimizer.param_groups:
        assert group["betas"] == (0.9, 0.999), f"{group['betas']}"
        for parameter in group["params"]:
            name = names[id(parameter)]
            is_plain = parameter.ndim < 2 or "embeddings.position" in name or "token_type" in name
            expected = 0.0 if is_plain or name == "prototypes" else 0.05
            assert group["weight_decay"] == expected, f"{name}: decay {group['weight_decay']}, expected {expected}"


def test_the_fused_optimiser_takes_the_steps_of_adamw_written_out() -> None:
    torch.manual_seed(0)
    layer, config = nn.Linear(3, 2), EngineConfig(lr=0.1, weight_decay=0.05)
    parameters = list(layer.parameters())
    groups = [ParamGroup("weight", parameters[:1], 2.0, True), ParamGroup("bias", parameters[1:], 1.0, False)]
    optimizer = build_optimizer(groups, config)
    states = [(p.detach().double().clone(), torch.zeros(()), torch.zeros(())) for p in parameters]
    for step in range(1, 6):
        optimizer.zero_grad()
        layer(torch.randn(4, 3)).square().sum().backward()
        for index, (p, rate, decay) in enumerate(((layer.weight, 0.2, 0.05), (layer.bias, 0.1, 0.0))):
            assert p.grad is not None
            value, first, second = states[index]
            gradient = p.grad.double()
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            update = (first / (1 - 0.9**step)) / (torch.sqrt(second / (1 - 0.999**step)) + 1e-8)
            states[index] = (value * (1 - rate * decay) - rate * update, first, second)
        optimizer.step()
        for p, (value, _, _) in zip((layer.weight, layer.bias), states, strict=True):
            difference = float((p.detach() - value).abs().max())
            assert difference < 1e-5, f"step {step}: {p}, written out {value}, largest difference {difference}"


@pytest.mark.usefixtures("_attention_as_it_was")
@pytest.mark.parametrize(("dtype", "is_fused"), [(None, True), (torch.bfloat16, False)])
def test_attention_on_a_cpu_takes_the_kernel_that_is_faster_there(dtype: torch.dtype | None, is_fused: bool) -> None:
    choose_attention(dtype, torch.device("cpu"))
    assert torch.backends.cuda.flash_sdp_enabled() == is_fused
    distributed.stop()
    assert torch.backends.cuda.flash_sdp_enabled(), "the next run of this process starts with another kernel"


@pytest.mark.usefixtures("_attention_as_it_was")
def test_attention_in_bfloat16_keeps_nothing_in_float32() -> None:
    def kept_dtypes() -> set[torch.dtype]:
        query = torch.randn(2, 4, 7, 8, dtype=torch.bfloat16, requires_grad=True)
        is_memory = torch.arange(7) < torch.tensor([[7], [5]])
        found: set[torch.dtype] = set()

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            found.add(tensor.dtype)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            functional.scaled_dot_product_attention(query, query, query, attn_mask=is_memory[:, None, None, :])
        return found - {torch.bool}

    choose_attention(torch.bfloat16, torch.device("cpu"))
    assert kept_dtypes() == {torch.bfloat16}
    distributed.stop()
    assert not torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed(), "stop leaves the switch where it was put"


@pytest.mark.usefixtures("_attention_as_it_was")
def test_attention_in_bfloat16_is_that_of_float32_within_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 4, 50, 16, generator=generator) for _ in range(3))
    is_memory = (torch.arange(50) < torch.tensor([[50], [31]]))[:, None, None, :]
    exact = functional.scaled_dot_product_attention(query, key, value, attn_mask=is_memory)
    choose_attention(torch.bfloat16, torch.device("cpu"))
    rounded = functional.scaled_dot_product_attention(
        query.bfloat16(), key.bfloat16(), value.bfloat16(), attn_mask=is_memory
    )
    error = float((rounded.float() - exact).norm() / exact.norm())
    assert 0 < error < 2**-6, f"relative error {error:.2g} of attention in bfloat16, whose own step is 2^-8"
