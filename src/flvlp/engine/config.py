"""Knobs of the training loop. Imports nothing heavy."""

from dataclasses import dataclass

from flvlp.checks import check_choice, check_fields, check_range

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass
class EngineConfig:
    """How training runs.

    Attributes that affect results:
        epochs: length of the schedule.
        max_steps: stop after this many optimiser steps without rescaling the schedule; null for no limit.
        batch_size: B, studies per rank and micro-batch.
        accumulate: micro-batches per optimiser step.
        gradient_caching: the terms that compare studies see all micro-batches of the step (of all ranks) at once, as if
            they were one batch, for one more forward pass of the encoders (`flvlp.engine.caching`).
        limit_studies: train on the first n training studies only; null for all.
        bucket_steps: steps whose studies are sorted by the length of their reports, so that a batch holds reports of
            like length and little padding; its studies are then compared with such ones only. 0 for none.
        lr: learning rate of pre-trained trunks; new_lr_scale: factor for everything else.
        warmup_epochs: linear from `warmup_start` * lr, then cosine to 0.
        weight_decay, betas, clip: AdamW and the gradient norm's bound.
        max_left_out: steps in a row whose gradient is not finite before training stops; single ones are left out.
        precision: `auto` takes bf16 where the processor has it, else fp16 on CUDA and fp32 on a CPU.
    and that should not (beyond rounding):
        timeout_minutes: how long a rank waits for the others before it ends with an error; longer than rank 0 takes to
            draw and to save.
        num_workers: processes that read data for one rank; 0 reads in the training process.
        log_every: steps between two log lines; checkpoint_every: steps between checkpoints besides the one at the end
            of every epoch (0 for none); keep_checkpoints: how many last ones stay.
        validate: run validation after every epoch.
        log_pictures: studies shown in TensorBoard, at the start and in the figures (docs/tensorboard.md).
        figures_every: epochs between two sets of figures of what the model looks at, the last of them at the end of
            training; 0 for none.
        projector: held-out studies in TensorBoard's embedding projector at the end; 0 for none.
        activation_checkpointing: recompute activations of the trunks in the backward pass.
        compile: torch.compile the model.
        profile: write a trace of a few steps, and where their time goes, into `profile/` (docs/speed.md).
    best_metric: validation figure (larger is better) that decides what `encoders/` holds.
    """

    epochs: int = 50
    max_steps: int | None = None
    batch_size: int = 32
    accumulate: int = 1
    gradient_caching: bool = False
    limit_studies: int | None = None
    bucket_steps: int = 0
    lr: float = 1e-5
    new_lr_scale: float = 5.0
    warmup_epochs: float = 5.0
    warmup_start: float = 0.1
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    max_left_out: int = 20
    precision: str = "auto"
    timeout_minutes: float = 30.0
    num_workers: int = 2
    log_every: int = 20
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    validate: bool = True
    log_pictures: int = 4
    figures_every: int = 1
    projector: int = 500
    activation_checkpointing: bool = False
    compile: bool = False
    profile: bool = False
    best_metric: str = "retrieval/fused/r1"

    def __post_init__(self) -> None:
        check_choice("engine.precision", self.precision, PRECISIONS)
        if self.gradient_caching and (self.accumulate == 1 or self.compile):
            raise ValueError(
                f"engine.gradient_caching: needs engine.accumulate above 1 (got {self.accumulate}) and "
                f"engine.compile=false (got {self.compile})"
            )
        counts = ("epochs", "max_steps", "batch_size", "accumulate", "limit_studies", "max_left_out", "log_every")
        check_fields(self, "engine", "[1, inf)", *counts, "keep_checkpoints")
        rest = ("bucket_steps", "num_workers", "checkpoint_every", "log_pictures", "figures_every", "projector")
        check_fields(self, "engine", "[0, inf)", *rest)
        check_fields(self, "engine", "(0, inf)", "new_lr_scale", "timeout_minutes")
        _check_optimisation(self, "engine")


@dataclass
class FitConfig:
    """How the model of a downstream task is trained.

    Attributes:
        epochs: length of the schedule (cosine to 0 after `warmup_epochs`).
        patience: stop after this many epochs without a better validation figure; 0 never stops early.
        batch_size: B, per rank and micro-batch; accumulate: micro-batches per optimiser step.
        lr: of what is new (head, decoder); the encoder's factor is in `task.model`.
        warmup_epochs, warmup_start, weight_decay, betas, clip, precision, num_workers: as in `EngineConfig`.
        min_steps: optimiser steps of the whole schedule at least; with few training studies an epoch sees them several
            times, or a small `label_fraction` would measure how few steps were taken.
        max_steps: stop after this many optimiser steps; null for no limit.
    """

    epochs: int = 50
    patience: int = 10
    batch_size: int = 48
    accumulate: int = 1
    lr: float = 5e-4
    warmup_epochs: float = 0.0
    warmup_start: float = 0.1
    weight_decay: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    precision: str = "auto"
    num_workers: int = 2
    min_steps: int = 0
    max_steps: int | None = None

    @property
    def min_steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch at least."""
        return -(-self.min_steps // self.epochs)

    def __post_init__(self) -> None:
        check_choice("task.fit.precision", self.precision, PRECISIONS)
        check_fields(self, "task.fit", "[1, inf)", "epochs", "batch_size", "accumulate", "max_steps")
        check_fields(self, "task.fit", "[0, inf)", "patience", "num_workers", "min_steps")
        _check_optimisation(self, "task.fit")


@dataclass
class EncodingConfig:
    """How studies are encoded by a task that trains nothing; no key moves a result beyond rounding.

    Attributes:
        batch_size: B, per rank.
        num_workers, precision: as in `EngineConfig`.
    """

    batch_size: int = 64
    num_workers: int = 2
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_choice("task.precision", self.precision, PRECISIONS)
        check_fields(self, "task", "[1, inf)", "batch_size")
        check_fields(self, "task", "[0, inf)", "num_workers")


def _check_optimisation(config: EngineConfig | FitConfig, section: str) -> None:
    check_fields(config, section, "(0, inf)", "lr")
    check_fields(config, section, "(0, inf]", "clip")  # infinity clips nothing
    check_fields(config, section, "[0, inf)", "warmup_epochs", "weight_decay")
    check_fields(config, section, "[0, 1]", "warmup_start")
    if len(config.betas) != 2:
        raise ValueError(f"{section}.betas: must be two numbers, got {list(config.betas)}")
    for beta in config.betas:
        check_range(f"{section}.betas", beta, "[0, 1)")
