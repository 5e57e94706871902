"""Segment findings with saved encoders: a decoder on their feature pyramid.

python experiments/segment.py                                         # SIIM's stand-in, the last pre-training
python experiments/segment.py dataset.root=/data/siim encoders=runs/pretrain/latest label_fraction=0.01 task.side=224
python experiments/segment.py dataset=rsna dataset.root=/data/rsna task.model.encoder_mode=finetune
python experiments/segment.py task.model.decoder=upernet task.threshold=auto
python experiments/segment.py encoders=random                         # the baseline; also imagenet, timm:<name>
python experiments/segment.py dataset=phantom dataset.test_fraction=0.2
torchrun --nproc-per-node 4 experiments/segment.py dataset.root=/data/siim
python experiments/segment.py -m label_fraction=0.01,0.1,1.0 seed=0,1,2
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf

from flvlp.checks import check_fields
from flvlp.data.config import AugmentConfig
from flvlp.engine.config import FitConfig
from flvlp.losses.task_config import SegmentationLossConfig
from flvlp.models.task_config import SegmenterConfig
from support.downstream import CommonArgs, Job, open_job
from support.entry import CONF, run_folder, run_main, typed
from support.results import close_job
from support.segmented import (
    HEADLINE,
    SELECTED_ON,
    THRESHOLDS,
    Counted,
    balanced,
    choose_examples,
    draw_overlays,
    figures_of,
    pixel_counts,
    selection,
    write_pixels,
)
from support.workers import start

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flvlp.data.loaders import PictureLoaders
    from flvlp.data.pictures import MaskDataset
    from flvlp.models.segmenter import Segmenter
    from flvlp.types import MaskedPictures

AUTO = "auto"


@dataclass
class SegmentConfig:
    """How it is segmented.

    Attributes:
        name: `segmentation`.
        side: the whole picture is fitted to a square of this side in pixels, at which Dice is counted too; null takes
            the encoders' own.
        threshold: probability from which on a pixel is predicted: a number in (0, 1), or `auto`, the one that is best
            on validation.
        negatives_per_positive: training pictures without a mask for each with one; null takes all.
        model, loss, fit, augment: as their classes say.
    """

    name: str = "segmentation"
    side: int | None = None
    threshold: Any = 0.5
    negatives_per_positive: float | None = None
    model: SegmenterConfig = field(default_factory=SegmenterConfig)
    loss: SegmentationLossConfig = field(default_factory=SegmentationLossConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_fields(self, "task", "[1, inf)", "side")
        check_fields(self, "task", "[0, inf)", "negatives_per_positive")
        given = self.threshold
        if given != AUTO and (not isinstance(given, int | float) or not 0 < given < 1):
            raise ValueError(f"task.threshold: must be {AUTO} or lie between 0 and 1, got {given!r}")

    @property
    def thresholds(self) -> Sequence[float]:
        """What is tried on validation."""
        return THRESHOLDS if self.threshold == AUTO else (float(self.threshold),)


@dataclass
class Args(CommonArgs):
    """Everything that can be set."""

    task: SegmentConfig = field(default_factory=SegmentConfig)


@hydra.main(version_base="1.3", config_path=CONF, config_name="segment")
def main(cfg: DictConfig) -> float:
    """Composes the configuration; returns the headline figure, for sweepers."""
    return start(segment, typed(Args, cfg), run_folder(), OmegaConf.to_yaml(cfg))


def segment(args: Args, folder: Path, config_yaml: str) -> float:
    """Trains on the training part, selects on validation, tests once; returns the headline figure."""
    task = args.task
    job = open_job("segment", args, folder, config_yaml, long_side=lambda given: task.side or given.image.crop)
    work = set_up(job, args)
    work.train()
    threshold = work.judge()["threshold"] if task.threshold == AUTO else task.thresholds[0]
    counted = work.count("test", (threshold,))
    figures = figures_of(counted, job.patients(counted.positions), args.draws) | {"threshold": threshold}
    write_pixels(job, counted)
    examples = choose_examples(counted, args.pictures) if job.shows_images else []
    if examples:
        positions = counted.positions[[row for _, row in examples]]
        draw_overlays(job, counted, examples, work.masks(positions, threshold))
    mode = {"mode": task.model.encoder_mode, "decoder": task.model.decoder, "side": work.side}
    close_job(job, mode, HEADLINE, figures, len(counted.positions))
    return figures[HEADLINE]


def set_up(job: Job, args: Args) -> "Work":
    """Returns the untrained model and its loaders.

    Raises:
        ValueError: a threshold that there is no validation part to choose on, and what `set_input_size` raises.
    """
    import torch

    from flvlp.data.pictures import CollateMasks
    from flvlp.models.segmenter import Segmenter

    task, side = args.task, args.task.side or job.given.image.crop
    if task.threshold == AUTO:
        job.need_validation("task.threshold")
    loaders = job.loaders(CollateMasks(side), task.fit.batch_size, task.fit.num_workers)
    encoder = job.given.views.frontal
    encoder.set_input_size(side)
    torch.manual_seed(args.seed)  # the same untrained decoder whatever the encoders have drawn
    return Work(job, args, Segmenter(encoder, task.model).to(job.device), loaders, side)


@dataclass(frozen=True)
class Work:
    """A model, and the pictures it is trained and tested on.

    Attributes:
        job, args: of the run.
        model: decoder on the frontal encoder, on its device.
        loaders: of this rank.
        side: of the pictures in pixels.
    """

    job: Job
    args: Args
    model: "Segmenter"
    loaders: "PictureLoaders"
    side: int

    def train(self) -> None:
        """Trains the model and leaves it with the weights of the epoch that is best on validation."""
        from flvlp.engine.fit import Fit
        from flvlp.losses.segmentation import segmentation_loss

        job, task = self.job, self.args.task

        def criterion(model: "nn.Module", batch: "MaskedPictures") -> "tuple[Tensor, Tensor]":
            loss = segmentation_loss(model(batch.frontal), batch.masks, batch.is_valid, task.loss)
            return loss, batch.is_valid.sum()

        dataset = self._dataset(is_training=True)
        positions = balanced(job.source, job.parts["train"], task.negatives_per_positive, self.args.seed)
        batches, sampler = self.loaders.training(dataset, positions, task.fit.accumulate, task.fit.min_steps_per_epoch)
        job.trained = len(positions)
        judge = self.judge if job.has_validation else None
        fit = Fit(self.model, criterion, task.fit, sampler.steps)
        fit.run(batches, sampler, judge, metric=SELECTED_ON, run_log=job.run_log, seed=self.args.seed)

    def judge(self) -> dict[str, float]:
        """Returns the validation figures of the model as it is now."""
        thresholds = self.args.task.thresholds
        return selection(self.count("validation", thresholds), thresholds)

    def count(self, part: str, thresholds: Sequence[float]) -> Counted:
        """Returns the pixels of every picture of a part, on every rank."""
        positions, rows = self._predict(
            self.job.parts[part], lambda batch, logits: pixel_counts(logits, batch.masks, thresholds)
        )
        return Counted(positions, **{name: values.numpy() for name, values in rows.items()}, side=self.side)

    def masks(self, positions: np.ndarray, threshold: float) -> "dict[str, Tensor]":
        """Returns the pictures at `positions` (n,) with their masks, in that order, as `draw_overlays` takes them."""
        ascending, rows = self._predict(
            positions,
            lambda batch, logits: {
                "picture": batch.frontal,
                "truth": batch.masks,
                "predicted": logits.float().sigmoid() >= threshold,
            },
        )
        return {name: values[np.searchsorted(ascending, positions)] for name, values in rows.items()}

    def _dataset(self, *, is_training: bool) -> "MaskDataset":
        from flvlp.data.pictures import MaskDataset

        return MaskDataset(
            self.job.source,
            self.side,
            seed=self.args.seed,
            is_training=is_training,
            on_error=self.args.dataset.on_error,
            augment=self.args.task.augment,
        )

    def _predict(
        self, positions: np.ndarray, outputs: "Callable[[MaskedPictures, Tensor], dict[str, Tensor]]"
    ) -> "tuple[np.ndarray, dict[str, Tensor]]":
        from flvlp.engine.optim import autocast_dtype
        from flvlp.engine.predict import predict

        self.model.eval()
        found, rows = predict(
            lambda batch: outputs(batch, self.model(batch.frontal)),
            self.loaders.evaluation(self._dataset(is_training=False), positions),
            self.job.device,
            autocast_dtype(self.args.task.fit.precision, self.job.device),
        )
        return found.numpy(), rows


if __name__ == "__main__":
    run_main(__file__)
