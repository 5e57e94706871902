"""The training loop of one epoch: plain PyTorch, one process or DDP, in one screen."""

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from flvlp import distributed
from flvlp.engine.caching import cached_backward
from flvlp.engine.checkpoint import Checkpoints
from flvlp.engine.config import EngineConfig
from flvlp.engine.left_out import (
    broken_where_not_finite,
    changing_buffers,
    left_out_where_broken,
    restore_where_broken,
)
from flvlp.engine.lines import append_line
from flvlp.engine.log import RunLog
from flvlp.engine.meter import Meter
from flvlp.engine.optim import Schedule
from flvlp.engine.profile import phase, profiled
from flvlp.engine.state import TrainState
from flvlp.engine.stopping import PREEMPTED, StopRequest
from flvlp.types import Batch, Counts, Output

log = logging.getLogger(__name__)

DATA_PROCESSES = ("DataLoader worker", "Pin memory thread")  # what PyTorch calls those that may die

Criterion = Callable[[Output, Counts], dict[str, Tensor]]


@dataclass(slots=True)
class Training:
    """Everything that one epoch of training touches.

    Attributes:
        model: the module, wrapped by DDP where there are several ranks.
        criterion: output and counts -> terms by name, with `total`.
        optimizer, schedule, scaler: as built by `engine.optim`; the scaler is disabled unless fp16.
        dtype: autocast dtype, None for float32.
        device: of this rank.
        config: knobs.
        state: where the run stands; changed by every step.
        run_log, checkpoints: writers of the run folder.
        skipped_path: where studies with unreadable images are listed.
        name_study: position in the source -> how the list may name it.
    """

    model: nn.Module
    criterion: Criterion
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: Any
    dtype: torch.dtype | None
    device: torch.device
    config: EngineConfig
    state: TrainState
    run_log: RunLog
    checkpoints: Checkpoints
    skipped_path: Path
    name_study: Callable[[int], str]

    @property
    def bare_model(self) -> Any:
        """The model without DDP around it."""
        return self.model.module if isinstance(self.model, DistributedDataParallel) else self.model

    def autocast(self) -> torch.autocast:
        """Returns the context that the model runs in."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def save(self) -> bool:
        """Writes a checkpoint of the current state; False on every rank where there is no room for it."""
        return self.checkpoints.save(self.bare_model, self.optimizer, self.scaler, self.state)


def count_step(micro_batches: list[Batch], device: torch.device, epoch: float) -> Counts:
    """Returns the global divisors of a step, known from the data before any forward pass.

    Args:
        micro_batches: this rank's, still on the host.
        device: where the losses are computed.
        epoch: epochs done, with fraction.
    """
    masked = sum(len(batch.masked_positions) for batch in micro_batches)
    words = sum(int(batch.is_word[batch.lateral_rows].sum()) for batch in micro_batches)
    host = torch.tensor([masked, words], dtype=torch.float32, pin_memory=device.type == "cuda")
    counts = distributed.sum_over_ranks(host.to(device, non_blocking=True)).clamp_min(1)
    return Counts(counts[0], counts[1], len(micro_batches), epoch)


def train_step(training: Training, micro_batches: list[Batch]) -> tuple[dict[str, Tensor], Tensor]:
    """Takes one optimiser step.

    Args:
        training: see `Training`.
        micro_batches: of this rank, on the host.

    Returns:
        the terms of this rank (averaged over ranks they are the step's), and the gradient norm before clipping; both
        still on the device, nothing waits for them.
    """
    optimizer, scaler = training.optimizer, training.scaler
    state = training.state
    counts = count_step(micro_batches, training.device, state.position / state.steps_per_epoch)
    training.schedule.apply(optimizer, state.position)
    backward = cached_backward if training.config.gradient_caching else backward_each
    buffers = changing_buffers(training.bare_model)
    terms = backward(training, micro_batches, counts)
    with phase("step/optimiser"):
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(training.bare_model.parameters(), training.config.clip)
        with left_out_where_broken(optimizer, scaler, norm):
            scaler.step(optimizer)
        restore_where_broken(buffers, norm)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.epoch_step += 1
    return terms, norm


def backward_each(training: Training, micro_batches: list[Batch], counts: Counts) -> dict[str, Tensor]:
    """Accumulates the gradient of one micro-batch after the other; returns the terms of this rank, detached."""
    model, terms = training.model, dict[str, Tensor]()
    for number, batch in enumerate(micro_batches, start=1):
        waits = isinstance(model, DistributedDataParallel) and number < len(micro_batches)
        with model.no_sync() if waits else nullcontext():  # type: ignore[operator]
            with phase("step/forward"), training.autocast():
                output = model(batch.to(training.device))
            with phase("step/loss"):
                losses = training.criterion(output, counts)
            with phase("step/backward"):
                training.scaler.scale(broken_where_not_finite(losses["total"])).backward()
        for name, value in losses.items():
            terms[name] = terms.get(name, 0) + value.detach()
    return terms


def train_epoch(training: Training, batches: Iterator[Batch], stop: StopRequest | None = None) -> None:
    """Runs an epoch from where the state stands to its end, or to `max_steps`; the state is saved at its end.

    Args:
        training: see `Training`.
        batches: this rank's micro-batches, from that step on.
        stop: tells of SIGTERM.

    Raises:
        FloatingPointError: `engine.max_left_out` steps in a row whose gradient is not finite; the state is saved.
        SystemExit: of status `PREEMPTED`, this or another rank got SIGTERM; the state is saved.
        RuntimeError: a data worker died, or another rank cannot read its data; the state is saved.
        Exception: whatever reading the data raises, such as `ImageReadError`; the state is saved.
    """
    config, state, stop = training.config, training.state, stop or StopRequest()
    training.model.train()
    meter = Meter(training)
    bar = tqdm(
        total=state.steps_per_epoch,
        initial=state.epoch_step,
        desc=f"epoch {state.epoch + 1}/{config.epochs}",
        unit="step",
        disable=None if distributed.is_main() else True,  # None: only on a terminal
        leave=False,
    )
    trace = profiled(training.run_log.path.parent if config.profile else None)
    with bar, logging_redirect_tqdm(), trace as profiler, stop.waits():
        while state.epoch_step < state.steps_per_epoch:
            if config.max_steps is not None and state.step >= config.max_steps:
                break
            with phase("step/data"):
                micro_batches, failure = _next_batches(training, batches)
            _leave_where_told(training, meter, stop, failure)
            meter.skipped += _list_skipped(training, micro_batches)
            terms, norm = train_step(training, micro_batches)
            meter.add(terms, norm, [index for batch in micro_batches for index in batch.study_index.tolist()])
            bar.update()
            profiler.step()
            if state.step % config.log_every == 0:
                bar.set_postfix(meter.report())
            if config.checkpoint_every and state.step % config.checkpoint_every == 0:
                meter.report()
                training.save()
        meter.report()
        training.save()  # a run killed in validation loses no step
    stop.leave_if_sent()


def _next_batches(training: Training, batches: Iterator[Batch]) -> tuple[list[Batch], Exception | None]:
    """Returns the micro-batches of the next step, and what kept them from coming, None where nothing did."""
    try:
        return [next(batches) for _ in range(training.config.accumulate)], None
    except Exception as error:
        return [], error


def _is_death(error: Exception, config: EngineConfig) -> bool:
    """Tells a data worker that died from data that cannot be read, which PyTorch hands on as "Caught ..."."""
    if not config.num_workers or str(error).startswith("Caught "):
        return False
    if isinstance(error, ConnectionError | EOFError | FileNotFoundError):  # its tensors were on their way
        return True
    return isinstance(error, RuntimeError) and any(name in str(error) for name in DATA_PROCESSES)


def _leave_where_told(training: Training, meter: Meter, stop: StopRequest, failure: Exception | None) -> None:
    """Saves and leaves where any rank got SIGTERM or no batch; every rank calls it before the same step."""
    if not distributed.any_rank(stop.was_sent or failure is not None):
        return
    meter.report()  # its counts go into the checkpoint
    is_saved = training.save()
    step = training.state.step
    how = "resume=<run folder> goes on there" if is_saved else "resume=<run folder> goes on at the last checkpoint"
    if distributed.any_rank(failure is not None):
        if failure is None:
            raise RuntimeError(f"train: after step {step} another rank got no data, see what it says; {how}")
        if not _is_death(failure, training.config):
            log.error("no data for step %d; %s", step + 1, how)
            raise failure
        raise RuntimeError(
            f"train: a data worker died after step {step} ({type(failure).__name__} {failure}); {how}, with more "
            "memory or a lower engine.num_workers"
        )
    log.warning("stopped by SIGTERM after step %d; %s", step, how)
    raise SystemExit(PREEMPTED)


def _list_skipped(training: Training, micro_batches: list[Batch]) -> int:
    """Lists this rank's studies whose image could not be read, and returns their number."""
    skipped = [index for batch in micro_batches for index in batch.study_index[~batch.is_valid].tolist()]
    for index in skipped:
        record = {"step": training.state.step + 1, "study": training.name_study(index)}
        append_line(training.skipped_path, record)
        log.warning("skipped study %s: an image cannot be read", record["study"])
    return len(skipped)
