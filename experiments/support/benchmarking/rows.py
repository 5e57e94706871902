"""What a row of the benchmark is, and the rows about a training step."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.benchmarking.contenders import Contender, Timed, compete
from support.benchmarking.steps import Workload, compare_losses, make_batch, make_training, our_step, plain_step

if TYPE_CHECKING:
    from flvlp.engine.train import Training
    from flvlp.types import Batch

FP32_LOSS, FP32_GRADIENT = 1e-5, 1e-5  # relative
BF16_LOSS, BF16_GRADIENT = 5e-3, 5e-2  # relative; a bfloat16 holds 8 bits, so that one rounding is up to 4e-3
COMPARED = 4  # studies on which losses and gradients are compared


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        paper, small: what is trained, at the paper's size and at that of `encoder=tiny`.
        turns: of each contender that count.
        threads: of a process alone.
        studies: times 4 and 16 are encoded; pool: of retrieval; files: of a data set that is listed.
        picture: height and width in pixels of a picture as it is published.
    """

    paper: Workload
    small: Workload
    turns: int = 3
    threads: int = 0
    studies: int = 64
    pool: int = 20_000
    files: int = 400_000
    picture: tuple[int, int] = (3056, 2544)

    @property
    def all_threads(self) -> int:
        """Threads of a process alone; 0 in the configuration takes one a core."""
        return self.threads or len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Figure:
    """One figure of a row.

    Attributes:
        name: what it is.
        value: the figure.
        goal: what it should be, as a bound: `>= 3.2`, `<= 0.65`; "" for none.
        spread: least and greatest over the turns, as text; "" for none.
    """

    name: str
    value: float
    goal: str = ""
    spread: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return self.value >= float(bound) if sign == ">=" else self.value <= float(bound)


@dataclass(frozen=True)
class Row:
    """What one comparison found.

    Attributes:
        name: as in `benchmark.rows`.
        what: in words, what was put beside what.
        figures: the first one is the row's own.
        detail: for the JSON file.
    """

    name: str
    what: str
    figures: list[Figure]
    detail: dict[str, Any] = field(default_factory=dict)


def duel(
    plain: tuple[Callable[..., Any], list[Any]], ours: tuple[Callable[..., Any], list[Any]], settings: Settings
) -> tuple[Timed, Timed]:
    """Times ours beside the plain one, each with all threads, in turns."""
    with (
        Contender(*plain, settings.all_threads) as one,
        Contender(*ours, settings.all_threads) as other,
    ):
        first, second = compete([one, other], settings.turns)
    return first, second


def ratio(plain: Timed, ours: Timed, name: str, goal: str) -> Figure:
    """Returns how many times faster ours is; the spread is that of the turns in pairs."""
    return Figure(name, plain.median / ours.median, goal, spread_of(plain, ours))


def spread_of(above: Timed, below: Timed, by: float = 1) -> str:
    """Returns least and greatest ratio of two contenders over the turns in pairs, divided by a number."""
    pairs = [one / other / by for one, other in zip(above.seconds, below.seconds, strict=True)]
    return f"{min(pairs):.2f}-{max(pairs):.2f}"


def step_row(settings: Settings, precision: str) -> Row:
    """The training step against the plain float32 step, and whether both compute the same."""
    workload = settings.paper
    plain, ours = duel((plain_step, [workload]), (our_step, [workload, precision]), settings)
    compared = compare_losses(workload.sized(COMPARED), precision)
    difference = max(one["difference"] for name, one in compared.items() if name != "gradient")
    is_exact = precision == "fp32"
    figures = [
        ratio(plain, ours, "speed, plain / ours", ">= 1.55" if is_exact else ">= 3.2"),
        Figure("peak memory, ours / plain", ours.peak_gib / plain.peak_gib, "" if is_exact else "<= 0.65"),
        Figure("largest difference of a loss", difference, f"<= {FP32_LOSS if is_exact else BF16_LOSS}"),
        Figure(
            "difference of the gradient",
            compared["gradient"]["difference"],
            f"<= {FP32_GRADIENT if is_exact else BF16_GRADIENT}",
        ),
    ]
    size = workload.batch_size
    what = (
        f"training step in {precision} ({size / ours.median:.2f} studies/s, {ours.peak_gib:.2f} GiB) beside the plain "
        f"float32 one ({size / plain.median:.2f}, {plain.peak_gib:.2f}), batch {size}"
    )
    return Row(f"step_{precision}", what, figures, {"plain": vars(plain), "ours": vars(ours), "compared": compared})


def matmul_row(settings: Settings, precision: str) -> Row:
    """The rate of the step's arithmetic against that of its matrix products run on their own."""
    with Contender(measure_matmuls, [settings.paper, precision, settings.turns], settings.all_threads) as contender:
        found: dict[str, float] = contender.turn()["returned"]
    rates = found["flop"] / found["step_seconds"] / 1e9, found["product_flop"] / found["product_seconds"] / 1e9
    what = (
        f"{found['flop'] / 1e9 / settings.paper.batch_size:.0f} GFLOP a study: {rates[0]:.0f} GFLOP/s in the "
        f"step ({precision}); its own matrix products alone {rates[1]:.0f}"
    )
    return Row("matmul_share", what, [Figure("share of the matmul rate", rates[0] / rates[1], ">= 0.70")], found)


def measure_matmuls(workload: Workload, precision: str, turns: int) -> Callable[[], dict[str, float]]:
    """Makes the measurement of `matmul_row`; runs in a contender's process."""
    import statistics
    import time

    from flvlp.engine.train import train_step
    from support.benchmarking.matmuls import Recorder

    training, batch = make_training(workload, precision), make_batch(workload, is_padded=False)

    def step() -> float:
        start = time.perf_counter()
        terms, _ = train_step(training, [batch])
        float(terms["total"])
        return time.perf_counter() - start

    def run() -> dict[str, float]:
        with Recorder() as recorder:
            step()
        step_seconds = statistics.median(step() for _ in range(turns))
        training.optimizer.zero_grad(set_to_none=True)
        product_seconds, product_flop = recorder.replay(training.device, turns)
        return {
            "flop": recorder.flop,
            "step_seconds": step_seconds,
            "product_seconds": product_seconds,
            "product_flop": product_flop,
        }

    return run


def ranks_row(settings: Settings, size: str) -> Row:
    """Two ranks of one thread beside one process of two, on the same studies together."""
    import torch

    workload: Workload = getattr(settings, size)
    if torch.cuda.device_count() == 1:
        return Row(f"ranks_{size}", "not measured: two ranks need two devices, and there is one", [])
    half = workload.sized(half_of(workload))
    with (
        Contender(our_step, [workload, "auto"], threads=2) as one,
        Contender(our_step, [half, "auto"], threads=1, ranks=2) as two,
    ):
        alone, together = compete([one, two], settings.turns)
    goal = ">= 0.8" if size == "paper" else ">= 0.9"
    studies = workload.batch_size
    what = (
        f"two ranks of one thread ({studies / together.median:.3g} studies/s) beside one process of two threads "
        f"({studies / alone.median:.3g}), {studies} studies a step, encoders of size {size}"
    )
    detail = {"one process": vars(alone), "two ranks": vars(together)}
    return Row(f"ranks_{size}", what, [ratio(alone, together, "two ranks / one process", goal)], detail)


def batch_row(settings: Settings) -> Row:
    """Whether the cost of a step is linear in the batch."""
    small, large = settings.small.sized(half_of(settings.small)), settings.small.sized(2 * settings.small.batch_size)
    first, second = duel((our_step, [small, "auto"]), (our_step, [large, "auto"]), settings)
    times = second.median / first.median
    what = f"step of {large.batch_size} studies beside one of {small.batch_size}, {times:.2f} times the time"
    cost = Figure("cost of a study, large / small batch", times / 4, "<= 1.1", spread_of(second, first, 4))
    return Row("batch", what, [cost], {"small": vars(first), "large": vars(second)})


def half_of(workload: Workload) -> int:
    """Returns half of the studies of a batch.

    Raises:
        ValueError: their number is odd.
    """
    if workload.batch_size % 2:
        raise ValueError(f"benchmark: a batch of {workload.batch_size} studies cannot be halved; take an even number")
    return workload.batch_size // 2


def timed_step(training: "Training", batch: "Batch") -> float:
    """Takes one step and waits for it; returns the loss."""
    from flvlp.engine.train import train_step

    terms, _ = train_step(training, [batch])
    return float(terms["total"])
