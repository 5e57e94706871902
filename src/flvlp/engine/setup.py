"""Builds what a training loop needs around a model, and restores the last checkpoint of a resumed run."""

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from flvlp import distributed
from flvlp.engine import optim
from flvlp.engine.checkpoint import Checkpoints
from flvlp.engine.config import EngineConfig
from flvlp.engine.lines import cut_lines
from flvlp.engine.log import RunLog
from flvlp.engine.state import TrainState
from flvlp.engine.train import Criterion, Training
from flvlp.types import TrainableModel

log = logging.getLogger(__name__)


def set_up_training(
    model: TrainableModel,
    criterion: Criterion,
    config: EngineConfig,
    *,
    seed: int,
    folder: Path,
    is_resumed: bool,
    steps_per_epoch: int,
    studies_per_step: int,
    name_study: Callable[[int], str],
) -> Training:
    """Returns the training of `model`, which stands on its device already.

    Args:
        model: names its parameter groups.
        criterion: output and counts -> terms by name, with `total`.
        config: knobs of the loop.
        seed: weights are equal on all ranks; what is drawn from here on (dropout) is not.
        folder: run folder.
        is_resumed: go on from its last checkpoint.
        steps_per_epoch: optimiser steps.
        studies_per_step: of all ranks.
        name_study: position in the source -> how logs may name the study.

    Raises:
        FileNotFoundError: a resumed run without a checkpoint.
        ValueError: gradient caching with a BatchNorm that would count every batch twice; checkpoints that are damaged
            or of another run.
    """
    if config.gradient_caching:
        refuse_statistics(model)
    device = next(model.parameters()).device
    torch.manual_seed(seed + 1 + distributed.rank())
    optimizer = optim.build_optimizer(model.param_groups(config.new_lr_scale), config)
    dtype = optim.autocast_dtype(config.precision, device)
    optim.choose_attention(dtype, device)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    checkpoints = Checkpoints(folder / "checkpoints", config.keep_checkpoints)
    state = checkpoints.load(model, optimizer, scaler) if is_resumed else TrainState()
    state.count_by(steps_per_epoch, studies_per_step, has_buckets=config.bucket_steps > 0)
    skipped_path = cut_skipped(folder, state.step)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
    log.info(
        "%.1f M trained parameters, %s", trained, "float32" if dtype is None else str(dtype).removeprefix("torch.")
    )
    return Training(
        model=distributed.wrap(model, averages=not config.gradient_caching),
        criterion=criterion,
        optimizer=optimizer,
        schedule=optim.build_schedule(config, steps_per_epoch),
        scaler=scaler,
        dtype=dtype,
        device=device,
        config=config,
        state=state,
        run_log=RunLog(folder, state.step, redone="" if state.is_judged else "validation"),
        checkpoints=checkpoints,
        skipped_path=skipped_path,
        name_study=name_study,
    )


def cut_skipped(folder: Path, last_step: int) -> Path:
    """Returns this rank's list of skipped studies, cut to `last_step`; rank 0 cuts those of ranks that are no more."""
    ranks = [distributed.rank()]
    if distributed.is_main():
        listed = (path.stem.removeprefix("skipped-rank") for path in folder.glob("skipped-rank*.jsonl"))
        ranks += [int(rank) for rank in listed if rank.isdecimal() and int(rank) >= distributed.world_size()]
    paths = [folder / f"skipped-rank{rank}.jsonl" for rank in ranks]
    for path in paths:
        cut_lines(path, last_step)
    return paths[0]


def refuse_statistics(model: torch.nn.Module) -> None:
    """Raises `ValueError` for a norm that keeps statistics of batches: caching runs the encoders twice, in parts."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.training and module.track_running_stats:
            raise ValueError(
                f"engine.gradient_caching: {name} is a BatchNorm with statistics of its own batches; set "
                "encoder.<view>.norm=group or frozen_batch, or freeze the encoder"
            )
