"""What one of two processes computes for `test_two_processes.py`, and the full batch it is compared with."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from flvlp import distributed
from flvlp.engine.config import EngineConfig
from flvlp.engine.optim import Schedule
from flvlp.engine.state import TrainState
from flvlp.engine.train import Training, train_step
from flvlp.losses.config import LossConfig, ViewAlignmentConfig
from flvlp.losses.total import LossSum
from flvlp.models.flvlp import FLVLP
from flvlp.models.queue import FeatureQueue
from flvlp.types import AlignmentOutput, Batch, Counts, MLMOutput, Output
from tests.builders import ALL_TERMS, heads_config, make_batch, make_model, rows_of

RANKS, STUDIES, STEPS = 2, 4, 2
INPUT, WIDTH, VOCABULARY, TOKENS = 6, 5, 7, 4
CONFIG = LossConfig(view_alignment=ViewAlignmentConfig(negatives="words"))
# Who has a lateral and which row is valid, rank by rank: unequal numbers, and a rank with no lateral at all.
LAYOUTS = {
    "unequal": ([[1, 1, 0, 1], [1, 0, 0, 0]], [[1, 1, 1, 1], [1, 1, 0, 1]]),
    "no lateral on rank 1": ([[1, 1, 0, 1], [0, 0, 0, 0]], [[1, 0, 1, 1], [1, 1, 1, 1]]),
    "no lateral on rank 0": ([[0, 0, 0, 0], [0, 1, 1, 1]], [[1, 1, 1, 1], [0, 1, 1, 1]]),
}
PIECES = (5, 1)  # masked pieces of the two ranks
Gradients = dict[str, Tensor]


@dataclass
class Inputs:
    """Inputs of the linear model for some ranks: pooled (4, B, I), words (N, I), asked (2, M, T, I)."""

    pooled: Tensor
    words: Tensor
    targets: Tensor
    asked: Tensor
    is_word: Tensor
    has_lateral: Tensor
    is_valid: Tensor


def linear_inputs(layout: str, step: int, ranks: Sequence[int]) -> Inputs:
    """Returns what `ranks` see at a step, in rank order."""
    parts = []
    for rank in ranks:
        generator = torch.Generator().manual_seed(100 * step + rank)
        laterals, valid = (torch.tensor(rows[rank], dtype=torch.bool) for rows in LAYOUTS[layout])
        laterals &= valid
        studies = int(laterals.sum())
        lengths = torch.randint(1, TOKENS + 1, (studies, 1), generator=generator)
        parts.append(
            Inputs(
                torch.randn(4, STUDIES, INPUT, generator=generator),
                torch.randn(PIECES[rank], INPUT, generator=generator),
                torch.randint(VOCABULARY, (PIECES[rank],), generator=generator),
                torch.randn(2, studies, TOKENS, INPUT, generator=generator),
                torch.arange(TOKENS) < lengths,
                laterals,
                valid,
            )
        )
    join = {
        name: torch.cat([getattr(part, name) for part in parts], dim=1 if name in ("pooled", "asked") else 0)
        for name in Inputs.__dataclass_fields__
    }
    return Inputs(**join)


class LinearModel(nn.Module):
    """One linear map from inputs to every feature; only what `term` needs has parameters."""

    def __init__(self, term: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(INPUT, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY) if term == "mlm" else None
        self.prototypes = nn.Parameter(torch.randn(3, WIDTH)) if term == "prototype" else None
        self.queue = FeatureQueue(11, WIDTH)

    def forward(self, inputs: Inputs) -> Output:
        """Returns the features of all studies; absent laterals are zero rows."""
        frontal, lateral, fused, report = self.linear(inputs.pooled)
        a, b = self.linear(inputs.asked)
        nothing = a.new_zeros(len(a), 0, TOKENS, WIDTH)
        return Output(
            frontal,
            torch.where(inputs.has_lateral[:, None], lateral, 0.0),
            report,
            inputs.has_lateral,
            inputs.is_valid,
            fused,
            None if self.head is None else MLMOutput(self.head(self.linear(inputs.words)), inputs.targets),
            AlignmentOutput(a, b, inputs.is_word, nothing, nothing, inputs.is_word[:, :0]),
            self.prototypes,
            self.queue,
        )


def linear_gradients(term: str, layout: str, ranks: Sequence[int]) -> list[Gradients]:
    """Returns the gradients and the value of a term at two consecutive steps; the queue is full by the second."""
    model = LinearModel(term)
    wrapped = distributed.wrap(model)
    criterion = LossSum(CONFIG, frozenset({term}))
    found = []
    for step in range(STEPS):
        inputs = linear_inputs(layout, step, ranks)
        local = torch.tensor([len(inputs.targets), int(inputs.is_word.sum())], dtype=torch.float32)
        pieces, words = distributed.sum_over_ranks(local)
        model.zero_grad()
        loss = criterion(wrapped(inputs), Counts(pieces, words.clamp_min(1)))["total"]
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append({**gradients, "loss": distributed.sum_over_ranks(loss) / distributed.world_size()})
    return found


def global_batch() -> Batch:
    """Returns 8 studies; of rank 1's four none has a lateral and one cannot be read."""
    return make_batch([True, True, False, True] + [False] * 4, is_valid=[True] * 5 + [False, True, True], seed=7)


def parts_of(batch: Batch, ranks: Sequence[int], micro_batches: int) -> list[Batch]:
    """Returns the micro-batches of one rank, or of all ranks joined, as the sampler would cut them."""
    size = STUDIES // micro_batches
    return [
        rows_of(batch, [rank * STUDIES + m * size + i for rank in ranks for i in range(size)])
        for m in range(micro_batches)
    ]


class Recorder(torch.optim.SGD):
    """Keeps the gradients that an optimiser would see, and moves nothing."""

    gradients: Gradients

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.gradients = {str(i): p.grad.clone() for i, p in enumerate(self.param_groups[0]["params"])}


def step_gradients(
    terms: frozenset[str], ranks: Sequence[int], micro_batches: int, *, gradient_caching: bool = False
) -> Gradients:
    """Returns the gradients of the real model after one `train_step`."""
    model = make_model(terms, heads=heads_config(queue=6)).train()
    recorder = Recorder([p for p in model.parameters() if p.requires_grad], lr=0.0)
    recorder.param_groups[0]["peak_lr"] = 0.0
    nothing: Any = None
    training = Training(
        model=distributed.wrap(model, averages=not gradient_caching),
        criterion=LossSum(CONFIG, terms),
        optimizer=recorder,
        schedule=Schedule(10, 0, 1.0),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        dtype=None,
        device=torch.device("cpu"),
        config=EngineConfig(clip=1e9, accumulate=micro_batches, gradient_caching=gradient_caching),
        state=TrainState(steps_per_epoch=1),
        run_log=nothing,
        checkpoints=nothing,
        skipped_path=Path(os.devnull),
        name_study=str,
    )
    values, _ = train_step(training, parts_of(global_batch(), ranks, micro_batches))
    return {**recorder.gradients, "loss": distributed.sum_over_ranks(values["total"]) / distributed.world_size()}


def negatives_model() -> FLVLP:
    """Returns a model whose words also ask the laterals of other studies."""
    return make_model(frozenset({"view_alignment"}), heads=heads_config(lateral_negatives=2)).train()


def negatives_batch(rank: int) -> Batch:
    """Returns 3 laterals for rank 0 (two reports are identical) and 2 for rank 1."""
    batch = make_batch([True, True, True, False] if rank == 0 else [False, True, False, True], seed=20 + rank)
    if rank == 0:
        batch.report_key[1] = batch.report_key[0]
    return batch


def negatives_gradients(rank: int) -> Gradients:
    """Returns the gradients of the view alignment with lateral negatives under DDP."""
    model, batch = negatives_model(), negatives_batch(rank)
    words = distributed.sum_over_ranks(batch.is_word[batch.lateral_rows].sum().float())
    criterion = LossSum(LossConfig(), frozenset({"view_alignment"}))
    wrapped = distributed.wrap(model)  # must outlive the backward pass
    criterion(wrapped(batch), Counts(torch.tensor(1.0), words))["total"].backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def gathered(rank: int) -> dict[str, Any]:
    """Returns what the collectives of `distributed` give."""
    rows = torch.arange(6.0).view(3, 2)[: 3 * (1 - rank)]  # 3 rows on rank 0, none on rank 1
    leaf, beside = torch.ones(2, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    coefficients = (rank + 1) * torch.arange(12.0).view(4, 3)
    doubled = beside * 2
    both = distributed.gather_with_grad(leaf * (rank + 1)) + doubled
    (both * coefficients).sum().backward()
    local = torch.tensor([rank + 1.0])
    own = nn.Linear(2, 1, bias=False)
    nn.init.constant_(own.weight, rank + 3.0)
    shared = distributed.wrap(own, averages=False)
    return {
        "shared weights": own.weight.detach(),
        "is in no DDP": shared is own,
        "float rows": distributed.gather_rows(rows),
        "integer rows": distributed.gather_rows(torch.full((rank + 1,), rank)),
        "masks": distributed.gather_masks([torch.tensor([True, rank == 1]), torch.tensor([rank == 0, False])]),
        "gathered": both.detach() - 2,
        "own gradient": leaf.grad,
        "gradient beside": beside.grad,
        "sum": distributed.sum_over_ranks(local),
        "summand": local,
        "objects": distributed.gather_objects({"rank": rank}),
        "broadcast": distributed.broadcast_object(f"from rank {rank}"),
    }


def work(rank: int, folder: str) -> None:
    """Runs everything on one of the two ranks and leaves the results in `folder`."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    try:
        results: dict[str, Any] = {"gathered": gathered(rank), "negatives": negatives_gradients(rank)}
        for term in sorted(ALL_TERMS):
            for layout in LAYOUTS:
                results[f"{term}, {layout}"] = linear_gradients(term, layout, [rank])
        results["all terms"] = step_gradients(ALL_TERMS, [rank], 1)
        results["accumulated"] = step_gradients(frozenset({"mlm", "view_alignment"}), [rank], 2)
        results["cached"] = step_gradients(ALL_TERMS, [rank], 2, gradient_caching=True)
        torch.save(results, Path(folder) / f"rank{rank}.pt")
    finally:
        dist.destroy_process_group()


def read(folder: Path) -> list[dict[str, Any]]:
    """Returns the results of both ranks."""
    return [cast(dict[str, Any], torch.load(folder / f"rank{rank}.pt", weights_only=True)) for rank in range(RANKS)]
