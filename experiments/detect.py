"""Detect findings with saved encoders: a torchvision detector on their feature pyramid.

python experiments/detect.py                                          # RSNA's stand-in, the last pre-training
python experiments/detect.py dataset.root=/data/rsna encoders=runs/pretrain/latest label_fraction=0.01
python experiments/detect.py dataset=object_cxr dataset.root=/data/object_cxr task.model.encoder_mode=finetune
python experiments/detect.py task.model.detector=retinanet task.score_threshold=0.5    # or faster_rcnn
python experiments/detect.py encoders=random                          # the baseline; also imagenet, timm:<name>
python experiments/detect.py dataset=nih14 dataset.split=nih14/patient dataset.test_fraction=0.2
torchrun --nproc-per-node 4 experiments/detect.py dataset.root=/data/rsna
python experiments/detect.py -m label_fraction=0.01,0.1,1.0 seed=0,1,2
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf

from flvlp.checks import check_fields
from flvlp.data.config import AugmentConfig
from flvlp.engine.config import FitConfig
from flvlp.models.task_config import DetectorConfig
from support.detected import (
    HEADLINE,
    SELECTED_ON,
    Found,
    choose_threshold,
    draw_boxes,
    found_of,
    keep_annotated,
    padded,
    selection,
    write_boxes,
)
from support.downstream import CommonArgs, Job, open_job
from support.entry import CONF, run_folder, run_main, typed
from support.results import close_job
from support.workers import start

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flvlp.data.loaders import PictureLoaders
    from flvlp.data.pictures import BoxDataset
    from flvlp.data.studies import Boxes
    from flvlp.models.detector import Detector
    from flvlp.types import BoxedPictures

log = logging.getLogger(__name__)

AUTO = "auto"


@dataclass
class DetectConfig:
    """How it is detected.

    Attributes:
        name: `detection`.
        side: the whole picture is fitted to a square of this side in pixels; null takes the encoders' own.
        score_threshold: confidence from which on a box counts in `rsna_map`: a number in [0, 1], or `auto`, the one
            that is best on validation.
        model, fit, augment: as their classes say.
    """

    name: str = "detection"
    side: int | None = None
    score_threshold: Any = AUTO
    model: DetectorConfig = field(default_factory=DetectorConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_fields(self, "task", "[1, inf)", "side")
        given = self.score_threshold
        if given != AUTO and (not isinstance(given, int | float) or not 0 <= given <= 1):
            raise ValueError(f"task.score_threshold: must be {AUTO} or lie in [0, 1], got {given!r}")


@dataclass
class Args(CommonArgs):
    """Everything that can be set."""

    task: DetectConfig = field(default_factory=DetectConfig)


@hydra.main(version_base="1.3", config_path=CONF, config_name="detect")
def main(cfg: DictConfig) -> float:
    """Composes the configuration; returns the headline figure, for sweepers."""
    return start(detect, typed(Args, cfg), run_folder(), OmegaConf.to_yaml(cfg))


def detect(args: Args, folder: Path, config_yaml: str) -> float:
    """Trains on the training part, selects on validation, tests once; returns the headline figure."""
    from flvlp.data.pictures import CollateBoxes
    from flvlp.metrics.detection_figures import detection_figures

    job = open_job("detect", args, folder, config_yaml, long_side=lambda given: args.task.side or given.image.crop)
    side = args.task.side or job.given.image.crop
    plain = box_dataset(job, args, side, is_training=False)
    boxes = job.source.boxes
    assert boxes is not None, "checked by the data set of boxes"
    keep_annotated(job, boxes)
    check_parts(job, args, boxes)
    loaders = job.loaders(CollateBoxes(side), args.task.fit.batch_size, args.task.fit.num_workers)
    model = build_model(job, args, side, len(boxes.names))

    def find(part: str) -> Found:
        return find_boxes(job, args, model, loaders=loaders, plain=plain, part=part)

    train(job, args, model, loaders=loaders, side=side, find=find)
    threshold = choose_threshold(find("validation")) if args.task.score_threshold == AUTO else args.task.score_threshold
    found = find("test")
    figures = detection_figures(
        found.truths,
        found.predictions,
        boxes.names,
        job.patients(found.positions),
        score_threshold=threshold,
        draws=args.draws,
    )
    figures |= {"score_threshold": threshold}
    write_boxes(job, found, boxes.names)
    draw_boxes(job, found, threshold)
    mode = {"mode": args.task.model.encoder_mode, "detector": args.task.model.detector, "side": side}
    close_job(job, mode, HEADLINE, figures, len(found.positions))
    return figures[HEADLINE]


def check_parts(job: Job, args: Args, boxes: "Boxes") -> None:
    """Stops before any training where it could come to nothing.

    Raises:
        ValueError: a training or test part without a box, or a threshold that there is no validation part to choose on.
    """
    for part in ("train", "test"):
        if not np.isin(job.parts[part], boxes.study).any():
            raise ValueError(
                f"dataset.split: no picture of the {part} part of {job.source.split_name} has a box (those of NIH14 "
                "are of its official test part); choose another split, such as "
                f"dataset.split={args.dataset.name}/patient dataset.test_fraction=0.2, or a larger label_fraction"
            )
    if args.task.score_threshold == AUTO:
        job.need_validation("task.score_threshold")


def box_dataset(job: Job, args: Args, side: int, *, is_training: bool) -> "BoxDataset":
    """Returns the pictures with their boxes."""
    from flvlp.data.pictures import BoxDataset

    return BoxDataset(
        job.source,
        side,
        seed=args.seed,
        is_training=is_training,
        on_error=args.dataset.on_error,
        augment=args.task.augment,
    )


def build_model(job: Job, args: Args, side: int, classes: int) -> "Detector":
    """Returns the detector on the frontal encoder, which is made to take squares of `side` pixels."""
    import torch

    from flvlp.models.detector import Detector

    encoder = job.given.views.frontal
    encoder.set_input_size(side)
    torch.manual_seed(args.seed)  # the same untrained detector whatever the encoders have drawn
    return Detector(encoder, classes, args.task.model).to(job.device)


def find_boxes(
    job: Job, args: Args, model: "Detector", *, loaders: "PictureLoaders", plain: "BoxDataset", part: str
) -> Found:
    """Returns what the model as it is now finds in a part, on every rank."""
    from flvlp.engine.optim import autocast_dtype
    from flvlp.engine.predict import predict

    def forward(batch: "BoxedPictures") -> "dict[str, Tensor]":
        return padded(model.detect(batch.frontal), args.task.model.max_detections) | {"sizes": batch.sizes}

    batches = loaders.evaluation(plain, job.parts[part])
    positions, rows = predict(forward, batches, job.device, autocast_dtype(args.task.fit.precision, job.device))
    assert job.source.boxes is not None, "checked by the data set of boxes"
    return found_of(job.source.boxes, positions.numpy(), rows, plain.side)


def train(
    job: Job, args: Args, model: "Detector", *, loaders: "PictureLoaders", side: int, find: Callable[[str], Found]
) -> None:
    """Trains the detector and leaves it with the weights of the epoch that is best on validation."""
    from flvlp.engine.fit import Fit

    assert job.source.boxes is not None, "checked by the data set of boxes"
    names, fit = job.source.boxes.names, args.task.fit
    dataset = box_dataset(job, args, side, is_training=True)
    batches, sampler = loaders.training(dataset, job.parts["train"], fit.accumulate, fit.min_steps_per_epoch)
    job.trained = len(job.parts["train"])
    judge = (lambda: selection(find("validation"), names)) if job.has_validation else None
    Fit(model, criterion, fit, sampler.steps).run(
        batches, sampler, judge, metric=SELECTED_ON, run_log=job.run_log, seed=args.seed
    )


def criterion(model: "nn.Module", batch: "BoxedPictures") -> "tuple[Tensor, Tensor]":
    """Returns the sum of the detector's loss terms times the pictures that could be read, and their number."""
    import torch

    terms = model(batch.frontal, batch.boxes, batch.box_rows, batch.box_classes, is_valid=batch.is_valid)
    count = batch.is_valid.sum()
    return torch.stack(list(terms.values())).sum() * count, count


if __name__ == "__main__":
    run_main(__file__)
