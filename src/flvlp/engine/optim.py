"""AdamW over the model's named groups, the learning-rate schedule, and mixed precision."""

import math
from dataclasses import dataclass

import torch

from flvlp.engine.config import EngineConfig, FitConfig
from flvlp.types import ParamGroup


def build_optimizer(groups: list[ParamGroup], config: EngineConfig | FitConfig) -> torch.optim.AdamW:
    """Returns fused AdamW; each group keeps its `name` and its peak learning rate as `peak_lr`."""
    options = [
        {
            "name": group.name,
            "params": group.parameters,
            "lr": config.lr * group.lr_scale,
            "peak_lr": config.lr * group.lr_scale,
            "weight_decay": config.weight_decay if group.weight_decay else 0.0,
        }
        for group in groups
    ]
    return torch.optim.AdamW(options, betas=config.betas, fused=True)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up from `start`, then cosine to 0; a function of the optimiser step, so there is no state to save.

    Attributes:
        total_steps, warmup_steps: optimiser steps.
        start: factor at step 0.
    """

    total_steps: int
    warmup_steps: int
    start: float

    def factor(self, step: int) -> float:
        """Returns the factor in [0, 1] on every peak learning rate for the step numbered `step` from 0."""
        if step < self.warmup_steps:
            return self.start + (1 - self.start) * step / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Sets the learning rates for the step numbered `step`."""
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * self.factor(step)


def build_schedule(config: EngineConfig | FitConfig, steps_per_epoch: int) -> Schedule:
    """Returns the schedule of `config.epochs` epochs; `max_steps` stops early and does not rescale it."""
    return Schedule(
        total_steps=config.epochs * steps_per_epoch,
        warmup_steps=min(round(config.warmup_epochs * steps_per_epoch), config.epochs * steps_per_epoch),
        start=config.warmup_start,
    )


def choose_attention(dtype: torch.dtype | None, device: torch.device) -> None:
    """Makes attention on a CPU take its fastest kernel: the fused one in float32, the plain one in bfloat16.

    The plain kernel computes in bfloat16 then, as autocast asks of every other product, and not in float32 copies of
    its inputs, which it would keep for the backward pass: about 0.6 of the time and half of the memory. On masked
    reports the fused kernel needs about 0.75 of the plain one's time in float32, and more in bfloat16 (docs/log.md).
    PyTorch's switches say CUDA, and rule the CPU too.
    """
    if device.type == "cpu":
        torch.backends.cuda.enable_flash_sdp(dtype is None)
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(dtype is not None)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Returns the autocast dtype, None for float32.

    `auto` takes bf16 where the processor computes it natively; on a CPU without it bf16 is emulated and slower.
    """
    if precision == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else None  # no public query exists
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
