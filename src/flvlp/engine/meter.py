"""What a training says of itself between two log lines, and when its numbers are past saving."""

import logging
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flvlp import distributed
from flvlp.engine.log import peak_memory_gib

if TYPE_CHECKING:
    from flvlp.engine.train import Training

log = logging.getLogger(__name__)

SHOWN = 16  # studies that a message names


class Meter:
    """Averages between two log lines; figures stay on the device until they are printed.

    A step whose gradient is not finite was left out by the optimiser. It is counted, and enters no average.
    """

    def __init__(self, training: "Training") -> None:
        self.training = training
        self.sums: dict[str, Tensor] = {}
        self.broken: dict[str, Tensor] = {}  # terms of the last step that was left out
        self.flags: list[Tensor] = []
        self.studies: list[Sequence[int]] = []
        self.in_a_row = torch.tensor(float(training.state.left_out_in_a_row), device=training.device)
        self.most_in_a_row = torch.zeros_like(self.in_a_row)
        self.skipped, self.started = 0, time.perf_counter()

    @property
    def steps(self) -> int:
        """Steps since the last log line."""
        return len(self.flags)

    def add(self, terms: dict[str, Tensor], norm: Tensor, studies: Sequence[int]) -> None:
        """Adds one step's terms, its gradient norm, and this rank's studies (positions in the source)."""
        is_left_out = ~torch.isfinite(norm)
        for name, value in {**terms, "gradient_norm": norm}.items():
            measured = value.float()
            self.sums[name] = self.sums.get(name, 0) + torch.where(is_left_out, 0.0, measured)
            self.broken[name] = torch.where(is_left_out, measured, self.broken.get(name, measured))
        self.in_a_row = torch.where(is_left_out, self.in_a_row + 1, 0)
        self.most_in_a_row = torch.maximum(self.most_in_a_row, self.in_a_row)
        self.flags.append(is_left_out)
        self.studies.append(studies)
        self.training.state.studies += len(studies) * distributed.world_size()

    def report(self) -> dict[str, str]:
        """Logs the averages since the last call and returns what the progress bar shows, nothing without a step since.

        Raises:
            FloatingPointError: `engine.max_left_out` steps in a row were left out; a checkpoint is written before.
        """
        training, state = self.training, self.training.state
        if not self.steps:
            return {}
        names, left_out = list(self.sums), torch.stack(self.flags)
        counted = torch.stack([*(self.sums[name] for name in names), (~left_out).sum().float()])
        *sums, taken = (distributed.sum_over_ranks(counted) / distributed.world_size()).tolist()
        values = {name: total / taken if taken else math.nan for name, total in zip(names, sums, strict=True)}
        state.skipped += int(distributed.sum_over_ranks(torch.tensor(self.skipped, device=left_out.device)).item())
        missed = self.steps - round(taken)
        state.left_out += missed
        state.left_out_in_a_row = int(self.in_a_row.item())
        seconds, studies = time.perf_counter() - self.started, sum(map(len, self.studies))
        rate = studies * distributed.world_size() / seconds
        values |= {f"lr/{group['name']}": group["lr"] for group in training.optimizer.param_groups}
        values |= {"studies_per_second": rate, "memory_gib": peak_memory_gib()}
        values |= {"skipped": state.skipped, "left_out": state.left_out}
        training.run_log.write("train", state.step, state.epoch, values)
        terms = "  ".join(f"{name} {values[name]:.3f}" for name in names)
        last = state.step + training.schedule.total_steps - state.position
        last = min(last, training.config.max_steps or last)
        eta = format_seconds((last - state.step) * seconds / self.steps)
        log.info("step %d/%d  %s  %.3g studies/s  ETA %s", state.step, last, terms, rate, eta)
        if missed:
            self._tell(left_out.nonzero().flatten().tolist())
        self.sums, self.flags, self.studies, self.skipped = {}, [], [], 0
        self.most_in_a_row, self.started = torch.zeros_like(self.in_a_row), time.perf_counter()
        return {"loss": f"{values['total']:.3f}", "studies/s": f"{rate:.0f}", "ETA": eta}

    def _tell(self, places: list[int]) -> None:
        """Says which steps since the last log line were left out, and stops a training that only leaves out."""
        training, state = self.training, self.training.state
        first = state.step - self.steps + 1
        limit, reached = training.config.max_left_out, int(self.most_in_a_row.item())
        names = [training.name_study(index) for index in self.studies[places[-1]]]
        studies = _listed(names) if reached < limit else ", ".join(names)
        steps = _listed([str(first + place) for place in places])
        table = ", ".join(f"{name} {value.item():.4g}" for name, value in self.broken.items())
        said = (
            f"the gradient is not finite at {len(places)} of the last {self.steps} steps ({steps}); the last of them: "
            f"{table}; its studies on this rank: {studies}"
        )
        if reached < limit:
            log.warning("%s; these steps are left out", said)
            return
        saved = "are saved" if training.save() else "are NOT saved, the last checkpoint is older"
        raise FloatingPointError(
            f"train: {said}. {reached} in a row (engine.max_left_out={limit}): stopped, the weights before them "
            f"{saved}; look at these studies, and start a new run with a lower engine.lr or engine.precision=fp32 "
            "(init_from=<run folder>/encoders_last has the encoders of the last epoch)"
        )


def _listed(names: Sequence[str]) -> str:
    """Returns the first of many names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def format_seconds(seconds: float) -> str:
    """Returns a duration as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
