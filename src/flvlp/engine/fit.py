"""The training loop of downstream tasks: early stopping on validation, the best epoch kept, one process or DDP.

Pre-training has a loop of its own (`engine/train.py`), which resumes bit for bit; this one runs minutes to hours.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from flvlp import distributed
from flvlp.engine.config import FitConfig
from flvlp.engine.log import RunLog
from flvlp.engine.optim import autocast_dtype, build_optimizer, build_schedule, choose_attention
from flvlp.types import Pictures, TrainableModel

log = logging.getLogger(__name__)

# Model (maybe inside DDP) and batch on its device -> loss *summed* over what counts, and how much counts, on this rank.
# The loop divides by the count of all ranks and micro-batches, so that neither batch size nor world size enters.
Criterion = Callable[[nn.Module, Any], tuple[Tensor, Tensor]]
Judge = Callable[[], dict[str, float]]


class Order(Protocol):
    """What the loop asks of the sampler."""

    def start(self, epoch: int, first_step: int = 0) -> None:
        """Sets the epoch that the next iteration gives."""
        ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training came to; the model holds the weights of the best epoch.

    Attributes:
        best_epoch: from 1.
        epochs: how many were run.
        steps: optimiser steps taken.
        best: validation figure of the best epoch, NaN without validation.
    """

    best_epoch: int
    epochs: int
    steps: int
    best: float


def _refuse_own_statistics(model: nn.Module) -> None:
    """Raises `ValueError` where ranks would train different models: statistics of BatchNorm are not sent."""
    if distributed.world_size() == 1:
        return
    for name, module in model.named_modules():
        is_batch_norm = isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
        if is_batch_norm and module.training and module.track_running_stats:
            raise ValueError(
                f"fit: {name} is a BatchNorm that every process would give statistics of its own; pre-train with "
                "encoder.<view>.norm=group, frozen_batch or sync_batch, freeze the encoder, or use one process"
            )


class Fit:
    """Trains one model; `run` does it all."""

    def __init__(self, model: TrainableModel, criterion: Criterion, config: FitConfig, steps_per_epoch: int) -> None:
        """Args as named; the model stands on its device and names its parameter groups."""
        _refuse_own_statistics(model.train())
        self.bare_model, self.model = model, distributed.wrap(model)
        self.criterion, self.config = criterion, config
        self.device = next(model.parameters()).device
        self.dtype = autocast_dtype(config.precision, self.device)
        choose_attention(self.dtype, self.device)
        self.optimizer = build_optimizer(model.param_groups(1.0), config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.schedule = build_schedule(config, steps_per_epoch)
        self.steps_per_epoch, self.step, self.unreadable = steps_per_epoch, 0, 0

    @property
    def is_over(self) -> bool:
        """True when `max_steps` is reached."""
        return self.config.max_steps is not None and self.step >= self.config.max_steps

    def run(
        self, batches: Iterable[Any], order: Order, judge: Judge | None, *, metric: str, run_log: RunLog, seed: int = 0
    ) -> Fitted:
        """Trains, and leaves the model in evaluation mode with the weights of its best epoch.

        Args:
            batches: loader of this rank, `config.accumulate` micro-batches a step.
            order: its sampler.
            judge: validation figures of the bare model, called by every rank after every epoch; None keeps the last
                epoch.
            metric: the figure that decides, larger is better.
            run_log: of the run folder.
            seed: of what the model draws (dropout), on every rank its own.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        torch.manual_seed(seed + 1 + distributed.rank())
        best, best_epoch, kept, epoch = -math.inf, 0, None, 0
        bar = tqdm(total=self.config.epochs, unit="epoch", disable=None if distributed.is_main() else True, leave=False)
        with bar, logging_redirect_tqdm():
            while epoch < self.config.epochs and not self.is_over:
                order.start(epoch)
                loss = self._epoch(iter(batches))
                if self.unreadable and not epoch:
                    log.warning("%d pictures of an epoch cannot be read and train nothing", self.unreadable)
                epoch += 1
                run_log.write("train", self.step, epoch, {"loss": loss})
                figures = judge() if judge else {}
                # One rank decides for all: ranks that disagree on when to stop would wait for each other for ever.
                value = distributed.broadcast_object(figures.get(metric, math.nan))
                if figures:
                    run_log.write("validation", self.step, epoch, figures)
                log.info("epoch %d/%d  loss %.4f  validation %s %.4f", epoch, self.config.epochs, loss, metric, value)
                bar.update()
                if judge is None:
                    continue
                if value >= best:  # of equal epochs the last: a figure that still lies at its floor says nothing yet
                    best, best_epoch = value, epoch
                    kept = {key: tensor.detach().clone() for key, tensor in self.bare_model.state_dict().items()}
                elif best_epoch and self.config.patience and epoch - best_epoch >= self.config.patience:
                    log.info("stopped early: no better %s for %d epochs", metric, self.config.patience)
                    break
        if kept is not None:
            self.bare_model.load_state_dict(kept)
        elif judge is not None:
            log.warning("validation gave no %s in any epoch; the weights of the last epoch are kept", metric)
        self.bare_model.eval()
        return Fitted(best_epoch or epoch, epoch, self.step, best if best_epoch else math.nan)

    def _epoch(self, batches: Iterator[Any]) -> float:
        """Trains an epoch and returns its mean loss over all ranks."""
        self.model.train()
        sums = torch.zeros(2, device=self.device)
        for _ in range(self.steps_per_epoch):
            if self.is_over:
                break
            sums += self._train_step([next(batches) for _ in range(self.config.accumulate)])
        loss, count = distributed.sum_over_ranks(sums).tolist()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"fit: the loss is not finite ({loss}) at step {self.step}; lower task.fit.lr or set "
                "task.fit.precision=fp32"
            )
        return float(loss / max(count, 1))

    def _train_step(self, micro_batches: list[Any]) -> Tensor:
        """Takes one optimiser step and returns this rank's summed loss and count (2,), still on the device."""
        self.schedule.apply(self.optimizer, self.step)
        sums = torch.zeros(2, device=self.device)
        for number, batch in enumerate(micro_batches, start=1):
            if isinstance(batch, Pictures):
                self.unreadable += int((~batch.is_valid).sum())
            waits = isinstance(self.model, DistributedDataParallel) and number < len(micro_batches)
            with self.model.no_sync() if waits else nullcontext():  # type: ignore[operator]
                with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
                    loss, count = self.criterion(self.model, batch.to(self.device))
                self.scaler.scale(loss).backward()
            sums += torch.stack([loss.detach().float(), count.float()])
        self.scaler.unscale_(self.optimizer)
        # DDP has averaged over ranks; the mean over what counts is W * that / count.
        factor = distributed.world_size() / distributed.sum_over_ranks(sums[1]).clamp_min(1)
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:  # not used by this step; in one process it just rests
                    parameter.grad.mul_(factor)
        nn.utils.clip_grad_norm_(self.bare_model.parameters(), self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return sums
