"""Classify findings with saved encoders: a linear probe on frozen features, or fine-tuning.

python experiments/classify.py                                        # NIH14's stand-in, the last pre-training
python experiments/classify.py dataset=nih14 dataset.root=/data/nih encoders=runs/pretrain/latest label_fraction=0.01
python experiments/classify.py task=finetune dataset=chexpert dataset.root=/data/chexpert task.head.view=both
python experiments/classify.py encoders=random                        # the baseline; also imagenet, timm:<name>
torchrun --nproc-per-node 4 experiments/classify.py task=finetune dataset=rsna dataset.root=/data/rsna
python experiments/classify.py -m label_fraction=0.01,0.1,1.0 seed=0,1,2
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf

from flvlp.checks import check_choice
from flvlp.data.config import AugmentConfig
from flvlp.engine.config import FitConfig
from flvlp.models.config import NONE, HeadConfig
from support.curves import show_curves
from support.downstream import CommonArgs, Job, open_job
from support.entry import CONF, run_folder, run_main, typed
from support.judging import headline, judge_scores, selection
from support.results import close_job, write_predictions
from support.workers import start

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flvlp.data.loaders import PictureLoaders
    from flvlp.data.pictures import ViewDataset
    from flvlp.data.sampler import EpochSampler
    from flvlp.data.studies import Labels, StudySource
    from flvlp.types import TrainableModel

    Scored = tuple[np.ndarray, np.ndarray]  # positions in the source (n,) and scores (n, C)

log = logging.getLogger(__name__)

MODES = ("linear_probe", "finetune")


@dataclass
class ClassifyConfig:
    """Attributes: `name`: `linear_probe` or `finetune`; the rest as their classes say."""

    name: str = "linear_probe"
    head: HeadConfig = field(default_factory=HeadConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_choice("task.name", self.name, MODES)


@dataclass
class Args(CommonArgs):
    """Everything that can be set."""

    task: ClassifyConfig = field(default_factory=ClassifyConfig)


@hydra.main(version_base="1.3", config_path=CONF, config_name="classify")
def main(cfg: DictConfig) -> float:
    """Composes the configuration; returns the headline figure, for sweepers."""
    return start(classify, typed(Args, cfg), run_folder(), OmegaConf.to_yaml(cfg))


def classify(args: Args, folder: Path, config_yaml: str) -> float:
    """Trains on the training part, selects on validation, tests once; returns the headline figure."""
    from flvlp.data.pictures import CollateLabels

    def texts(source: "StudySource") -> tuple[str, ...]:
        is_fused = args.task.head.view == "fused"  # a bundle with its fusion has a vocabulary, which nobody reads here
        return source.labels.names if is_fused and source.labels else ()

    job = open_job("classify", args, folder, config_yaml, long_side=lambda given: given.image.resize, texts=texts)
    labels = job.labels("classification")
    has_lateral = job.given.views.config.lateral.backbone != NONE and any(one.has_lateral for one in job.source.studies)
    args = replace(args, task=replace(args.task, head=args.task.head.settled(has_lateral)))
    job.keep_view(args.task.head.view)
    collate = CollateLabels(job.given.image.crop, len(labels.names))
    loaders = job.loaders(collate, args.task.fit.batch_size, args.task.fit.num_workers)
    run = probe if args.task.name == "linear_probe" else finetune
    positions, logits = run(job, args, labels, loaders)
    scores = probabilities(logits, labels.is_exclusive)
    figures = judge_scores(labels, positions, scores, job.patients(positions), draws=args.draws)
    write_predictions(job, labels, positions, scores)
    show_curves(job, labels, positions, scores)
    mode = {"mode": args.task.name, "view": args.task.head.view}
    close_job(job, mode, headline(labels), figures, len(positions))
    return figures[headline(labels)]


def probabilities(logits: np.ndarray, is_exclusive: bool) -> np.ndarray:
    """Returns (n, C) in [0, 1]: of each class on its own, or of exclusive classes together."""
    from scipy.special import expit, softmax

    logits = logits.astype(np.float64)  # in float32 all logits above 17 would be equal
    return softmax(logits, axis=1) if is_exclusive else expit(logits)


def probe(job: Job, args: Args, labels: "Labels", loaders: "PictureLoaders") -> "Scored":
    """Trains a linear layer on features that are computed once; returns the tested positions and scores (n, C)."""
    import torch

    from flvlp import distributed
    from flvlp.data.features import FeatureBatches, fill_and_scale
    from flvlp.data.sampler import EpochSampler
    from flvlp.models.classifier import LinearProbe

    head, fit = args.task.head, args.task.fit
    if head.view == "fused" and job.given.loaded is not None and not job.given.loaded.has_fusion:
        raise ValueError("task.head.view: fused, and nothing trained that feature (itc.weight=0); take view=both")
    found, features = encode_parts(job, args, loaders)
    job.trained = len(found["train"])
    features = fill_and_scale(features, scales=head.norm == "standardise")
    model = LinearProbe(features["train"].shape[1], len(labels.names), head).to(job.device)
    sampler = EpochSampler(
        np.arange(len(found["train"])),
        batch_size=fit.batch_size,
        accumulate=fit.accumulate,
        seed=args.seed,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        fills_last=True,
        min_steps=fit.min_steps_per_epoch,
    )
    known = torch.from_numpy(labels.values[found["train"]])
    batches = FeatureBatches(features["train"], known, fit.batch_size, sampler)

    @torch.no_grad()
    def score(part: str) -> "Scored":
        model.eval()
        return found[part], model(features[part].to(job.device)).cpu().numpy()

    train(job, args, labels, model, batches=batches, sampler=sampler, inputs=lambda batch: batch.features, score=score)
    return score("test")


def encode_parts(job: Job, args: Args, loaders: "PictureLoaders") -> "tuple[dict[str, np.ndarray], dict[str, Tensor]]":
    """Computes the frozen features of every part once: positions (n,) and features (n, F)."""
    from flvlp.engine.optim import autocast_dtype
    from flvlp.engine.predict import predict
    from flvlp.models.classifier import frozen_features

    dataset = view_dataset(job, args, is_training=False)
    dtype = autocast_dtype(args.task.fit.precision, job.device)
    found, features = {}, {}
    for part, positions in job.parts.items():
        rows, outputs = predict(
            lambda batch: {"features": frozen_features(job.given.views, batch, args.task.head)},
            loaders.evaluation(dataset, positions),
            job.device,
            dtype,
        )
        found[part], features[part] = rows.numpy(), outputs["features"]
    return found, features


def finetune(job: Job, args: Args, labels: "Labels", loaders: "PictureLoaders") -> "Scored":
    """Trains encoders and head together; returns the tested positions and scores (n, C)."""
    from flvlp.engine.optim import autocast_dtype
    from flvlp.engine.predict import predict
    from flvlp.models.classifier import Classifier

    job.trained = len(job.parts["train"])
    model = Classifier(job.given.views, len(labels.names), args.task.head).to(job.device)
    dataset = view_dataset(job, args, is_training=True)
    batches, sampler = loaders.training(
        dataset, job.parts["train"], args.task.fit.accumulate, args.task.fit.min_steps_per_epoch
    )
    plain = view_dataset(job, args, is_training=False)
    dtype = autocast_dtype(args.task.fit.precision, job.device)

    def score(part: str) -> "Scored":
        model.eval()
        part_batches = loaders.evaluation(plain, job.parts[part])
        found, outputs = predict(lambda batch: {"logits": model(batch)}, part_batches, job.device, dtype)
        return found.numpy(), outputs["logits"].numpy()

    train(job, args, labels, model, batches=batches, sampler=sampler, inputs=lambda batch: batch, score=score)
    return score("test")


def train(
    job: Job,
    args: Args,
    labels: "Labels",
    model: "TrainableModel",
    *,
    batches: "Iterable[Any]",
    sampler: "EpochSampler",
    inputs: Callable[[Any], Any],
    score: "Callable[[str], Scored]",
) -> None:
    """Trains a model and leaves it with the weights of the epoch that is best on validation.

    Args:
        job, args, labels: of the task.
        model: on its device.
        batches, sampler: of this rank.
        inputs: what of a batch the model takes.
        score: part -> its positions and scores as the model is now.
    """
    import torch

    from flvlp.engine.fit import Fit
    from flvlp.losses.findings import exclusive_loss, findings_loss, imbalance_weights, known_labels, known_studies

    weights = None
    if args.task.head.class_weights:
        known = torch.from_numpy(labels.values[job.parts["train"]])
        weights = imbalance_weights(known, labels.is_exclusive).to(job.device)

    def criterion(model: "nn.Module", batch: Any) -> "tuple[Tensor, Tensor]":
        logits = model(inputs(batch))
        if labels.is_exclusive:
            return exclusive_loss(logits, batch.labels, weights), known_studies(batch.labels)
        return findings_loss(logits, batch.labels, weights), known_labels(batch.labels)

    judge = (lambda: selection(labels, *score("validation"))) if job.has_validation else None
    Fit(model, criterion, args.task.fit, sampler.steps).run(
        batches, sampler, judge, metric=headline(labels), run_log=job.run_log, seed=args.seed
    )


def view_dataset(job: Job, args: Args, *, is_training: bool) -> "ViewDataset":
    """Returns the studies as the chosen view asks for them."""
    from flvlp.data.pictures import ViewDataset

    return ViewDataset(
        job.source,
        job.given.image,
        with_lateral=args.task.head.view != "frontal",
        seed=args.seed,
        is_training=is_training,
        on_error=args.dataset.on_error,
        augment=args.task.augment,
    )


if __name__ == "__main__":
    run_main(__file__)
