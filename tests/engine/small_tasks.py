"""Small downstream tasks to fit, with missing labels, and what stands for a loader and a run folder."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from flvlp.data.features import FeatureBatch
from flvlp.engine.config import FitConfig
from flvlp.engine.fit import Fit, Fitted
from flvlp.losses.findings import findings_loss, known_labels
from flvlp.models.classifier import Classifier
from flvlp.models.config import HeadConfig
from flvlp.models.encoders import ViewEncoders
from flvlp.types import LabelledPictures, ParamGroup, TrainableModel
from tests.builders import CROP, encoder_config, image_config

WIDTH, CLASSES = 6, 3
Gradients = dict[str, Tensor]


class Linear(TrainableModel):
    """A linear layer; with `has_spare` another that nothing uses."""

    def __init__(self, has_spare: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.spare = nn.Linear(2, 2) if has_spare else None

    def forward(self, features: Tensor) -> Tensor:
        """Returns the logits."""
        return self.head(features)

    def param_groups(self, new_lr_scale: float) -> list[ParamGroup]:
        """Returns all in one group."""
        return [ParamGroup("all", list(self.parameters()), new_lr_scale, weight_decay=True)]


def drawn(rows: int, seed: int = 0) -> FeatureBatch:
    """Returns features and labels, a third of which are not known."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (rows, CLASSES), generator=generator).float()
    labels[labels == 2] = float("nan")
    return FeatureBatch(torch.randn(rows, WIDTH, generator=generator), labels)


def cut(batch: FeatureBatch, sizes: Sequence[int]) -> list[FeatureBatch]:
    """Cuts a batch into parts of these sizes."""
    parts = zip(batch.features.split(list(sizes)), batch.labels.split(list(sizes)), strict=True)
    return [FeatureBatch(features, labels) for features, labels in parts]


def criterion(model: nn.Module, batch: FeatureBatch) -> tuple[Tensor, Tensor]:
    """Returns the sum of the known labels' losses, and their number."""
    return findings_loss(model(batch.features), batch.labels), known_labels(batch.labels)


def picture_criterion(model: nn.Module, batch: LabelledPictures) -> tuple[Tensor, Tensor]:
    """Does the same on pictures."""
    return findings_loss(model(batch), batch.labels), known_labels(batch.labels)


def classifier(lateral: str = "", **head: Any) -> Classifier:
    """Returns a small classifier of both views; `lateral` may be `shared`."""
    torch.manual_seed(0)
    config = encoder_config(lateral=image_config(backbone=lateral) if lateral else None)
    return Classifier(ViewEncoders(config), CLASSES, HeadConfig(**dict[str, Any](view="both", norm="layer") | head))


def pictures(has_lateral: Sequence[bool], seed: int = 0) -> LabelledPictures:
    """Returns noise with labels."""
    generator = torch.Generator().manual_seed(seed)
    size, present = len(has_lateral), torch.tensor(has_lateral)
    rows = torch.nonzero(present).flatten()
    shown = torch.randint(0, 256, (2, size, 1, CROP, CROP), generator=generator, dtype=torch.uint8)
    return LabelledPictures(
        frontal=shown[0],
        lateral=shown[1][rows],
        lateral_rows=rows,
        has_lateral=present,
        is_valid=torch.ones(size, dtype=torch.bool),
        study_index=torch.arange(size),
        labels=drawn(size, seed).labels,
    )


class Recorder(torch.optim.SGD):
    """Keeps the gradients that an optimiser would see, and moves nothing."""

    def __init__(self, model: nn.Module) -> None:
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        super().__init__(self.named.values(), lr=0.0)
        self.param_groups[0]["peak_lr"] = 0.0
        self.gradients: Gradients = {}

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.gradients = {name: p.grad.clone() for name, p in self.named.items() if p.grad is not None}


@dataclass
class Notes:
    """Stands for the log of a run folder."""

    lines: list[tuple[str, int, int, dict[str, float]]] = field(default_factory=list)

    def write(self, part: str, step: int, epoch: int, values: dict[str, float]) -> None:
        """Keeps a line."""
        self.lines.append((part, step, epoch, dict(values)))


@dataclass
class Batches:
    """A loader and its sampler: the same micro-batches in every epoch."""

    parts: Sequence[Any]
    accumulate: int = 1
    started: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.steps = len(self.parts) // self.accumulate

    def start(self, epoch: int, first_step: int = 0) -> None:
        """Keeps the epoch."""
        self.started.append(epoch + first_step)

    def __iter__(self) -> Iterator[Any]:
        """Yields the micro-batches."""
        return iter(self.parts)


def fit_config(**changes: Any) -> FitConfig:
    """Returns a training without clipping and early stopping."""
    common: dict[str, Any] = {"epochs": 3, "patience": 0, "clip": 1e9, "precision": "fp32", "lr": 0.05}
    return FitConfig(**common | changes)


def step_gradients(
    model: TrainableModel, parts: Sequence[Any], task: Callable[..., tuple[Tensor, Tensor]] = criterion
) -> Gradients:
    """Returns the gradients of the second of two steps, each of all `parts`, and the loss that is logged."""
    batches, notes = Batches([*parts] * 2, len(parts)), Notes()
    fit = Fit(model, task, fit_config(epochs=1, accumulate=len(parts)), batches.steps)
    recorder = Recorder(model)
    fit.optimizer = cast(Any, recorder)
    fit.run(batches, batches, None, metric="", run_log=cast(Any, notes))
    return {**recorder.gradients, "loss": torch.tensor(notes.lines[0][3]["loss"])}


@dataclass
class Course:
    """What a fit came to: its result, the model, its weights after every epoch, the log and the epochs started."""

    fitted: Fitted
    model: Linear
    weights: list[Tensor]
    notes: Notes
    started: list[int]


def fit_epochs(values: Sequence[float | None], **changes: Any) -> Course:
    """Fits `Linear`, as long as `values` last, with a judge that gives one of them an epoch (nothing for None)."""
    model, notes, weights = Linear(), Notes(), []
    batches = Batches(cut(drawn(6), [3, 3]))
    given = iter(values)

    def judge() -> dict[str, float]:
        weights.append(model.head.weight.detach().clone())
        value = next(given)
        return {"other": 1.0} if value is None else {"figure": value}

    fit = Fit(model, criterion, fit_config(**{"epochs": len(values)} | changes), batches.steps)
    fitted = fit.run(batches, batches, judge, metric="figure", run_log=cast(Any, notes))
    return Course(fitted, model, weights, notes, batches.started)
