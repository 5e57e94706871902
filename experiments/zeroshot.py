"""Classify findings without any label: each image is compared with sentences for and against each class.

python experiments/zeroshot.py                                        # CheXpert's stand-in, the last pre-training
python experiments/zeroshot.py dataset=nih14 dataset.root=/data/nih encoders=runs/pretrain/latest prompts=chexzero
python experiments/zeroshot.py prompts=gloria prompts.draws=10 seed=1          # phrases are drawn, seeded
python experiments/zeroshot.py dataset.split=chexpert/8x200 dataset.classes=all task.queries=query.csv
python experiments/zeroshot.py -m prompts=findings,chexzero,biovil,medclip
"""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf

from flvlp.checks import check_choice
from flvlp.data.prompts import ClassPrompts, PromptsConfig, expand
from flvlp.engine.config import EncodingConfig
from flvlp.models.config import NONE, HeadConfig
from support.classes import keep_one_class
from support.curves import show_curves
from support.downstream import CommonArgs, Job, open_job
from support.entry import CONF, run_folder, run_main, typed
from support.judging import headline, judge_scores
from support.queries import read_queries, text_precision
from support.results import close_job, write_predictions
from support.workers import start

if TYPE_CHECKING:
    from torch import Tensor

    from flvlp.data.studies import Labels, StudySource

log = logging.getLogger(__name__)

VIEWS = ("auto", "frontal", "lateral", "fused")


@dataclass
class ZeroshotConfig(EncodingConfig):
    """How images are encoded.

    Attributes:
        name: `zeroshot`.
        view: `frontal`, `lateral` (studies without one are left out), `fused`, or `auto`: fused where pre-training has
            trained that feature, else frontal.
        queries: CSV file of sentences by class that a pool by class (5x200, 8x200) is searched with; "": none.
    """

    name: str = "zeroshot"
    view: str = "auto"
    queries: str = ""

    def __post_init__(self) -> None:
        EncodingConfig.__post_init__(self)
        check_choice("task.view", self.view, VIEWS)


@dataclass
class Args(CommonArgs):
    """Everything that can be set."""

    task: ZeroshotConfig = field(default_factory=ZeroshotConfig)
    prompts: PromptsConfig = field(
        default_factory=lambda: PromptsConfig(positive=["{Finding}."], negative=["No {finding}."])
    )


@hydra.main(version_base="1.3", config_path=CONF, config_name="zeroshot")
def main(cfg: DictConfig) -> float:
    """Composes the configuration; returns the headline figure, for sweepers."""
    return start(zeroshot, typed(Args, cfg), run_folder(), OmegaConf.to_yaml(cfg))


def zeroshot(args: Args, folder: Path, config_yaml: str) -> float:
    """Scores the test part; returns the headline figure."""
    from flvlp import distributed
    from flvlp.metrics.classification import best_thresholds

    if args.label_fraction != 1:
        raise ValueError(
            f"label_fraction: {args.label_fraction}, and zero-shot classification trains on nothing; leave 1"
        )

    def texts(source: "StudySource") -> list[str]:
        names = source.labels.names if source.labels else ()
        return [text for one in expand(args.prompts, names, 0, args.seed) for text in (*one.positive, *one.negative)]

    job = open_job("zeroshot", args, folder, config_yaml, long_side=lambda given: given.image.resize, texts=texts)
    labels = of_pool(job, job.labels("zero-shot classification"))
    queries = queries_of(args.task.queries, labels)
    view = choose_view(job, args.task.view)
    job.keep_view(view)
    encoded = encode(job, args, view)
    drawn = [expand(args.prompts, labels.names, draw, args.seed) for draw in range(args.prompts.draws)]
    scored = {
        part: [score(job, args, labels, images, prompts) for prompts in drawn] for part, (_, images) in encoded.items()
    }
    positions, scores = encoded["test"][0], np.mean(scored["test"], axis=0)
    thresholds = None
    if "validation" in encoded and not labels.is_exclusive:
        selected = labels.values[encoded["validation"][0]]
        thresholds = best_thresholds(selected, np.mean(scored["validation"], axis=0))
    elif not labels.is_exclusive:
        log.warning("no validation part: no thresholds, so F1, accuracy and MCC are left out")
    patients = job.patients(positions)
    figures = judge_scores(labels, positions, scores, patients, draws=args.draws, thresholds=thresholds)
    if queries is not None:
        figures |= text_precision(job.given.with_text, *queries, encoded["test"][1], labels.values[positions].argmax(1))
    if len(drawn) > 1:
        figures |= spread(labels, positions, scored["test"], headline(labels))
    if distributed.is_main():
        write_prompts(job.folder / "prompts.json", drawn)
    write_predictions(job, labels, positions, scores)
    show_curves(job, labels, positions, scores)
    mode = {"mode": "zeroshot", "prompts": args.prompts.name, "view": view}
    close_job(job, mode, headline(labels), figures, len(positions))
    return figures[headline(labels)]


def of_pool(job: Job, labels: "Labels") -> "Labels":
    """Returns the labels that are judged: on a pool by class (`chexpert/5x200`) its classes, one a study."""
    from flvlp.data.splits.pools import pool_classes
    from flvlp.data.studies import Labels

    classes = pool_classes(job.args.dataset.split)
    if not classes:
        return labels
    shown = keep_one_class(job, classes, "dataset.split", "zero-shot classification")
    values = np.full((len(labels.values), len(classes)), np.nan, dtype=np.float32)
    values[job.parts["test"]] = np.eye(len(classes), dtype=np.float32)[shown]
    job.parts.pop("validation", None)
    return Labels(classes, values, is_exclusive=True)


def queries_of(path: str, labels: "Labels") -> tuple[list[str], np.ndarray] | None:
    """Returns the text queries of a pool by class, None where none are asked for.

    Raises:
        ValueError: the studies are not of one class each, and what `read_queries` raises.
    """
    if not path:
        return None
    if not labels.is_exclusive:
        raise ValueError(
            f"task.queries: {path} searches a pool of studies of one class each; set dataset.split to chexpert/8x200, "
            "chexpert/5x200 or mimic_cxr/5x200, or leave it out"
        )
    return read_queries(Path(path), labels.names)


def choose_view(job: Job, wanted: str) -> str:
    """Returns the view whose feature is compared.

    Raises:
        ValueError: a view that these encoders do not have.
    """
    given = job.given.with_text
    if wanted == "auto":
        return "fused" if given.has_fusion and given.encoders.config.lateral.backbone != NONE else "frontal"
    if wanted == "fused" and not given.has_fusion:
        raise ValueError("task.view: fused, and nothing trained that feature (itc.weight=0); take frontal or lateral")
    return wanted


def encode(job: Job, args: Args, view: str) -> "dict[str, tuple[np.ndarray, Tensor]]":
    """Returns positions (n,) and image features (n, D) of the validation and test part."""
    from flvlp.data.pictures import CollateLabels, ViewDataset
    from flvlp.engine.optim import autocast_dtype
    from flvlp.engine.predict import predict
    from flvlp.models.classifier import frozen_features

    labels = job.source.labels
    collate = CollateLabels(job.given.image.crop, len(labels.names) if labels else 0)
    loaders = job.loaders(collate, args.task.batch_size, args.task.num_workers)
    dataset = ViewDataset(
        job.source,
        job.given.image,
        with_lateral=view != "frontal",
        seed=args.seed,
        is_training=False,
        on_error=args.dataset.on_error,
    )
    head = HeadConfig(view=view, features="projected")
    encoded = {}
    for part in ("validation", "test"):
        if len(job.parts.get(part, ())):
            found, outputs = predict(
                lambda batch: {"images": frozen_features(job.given.views, batch, head)},
                loaders.evaluation(dataset, job.parts[part]),
                job.device,
                autocast_dtype(args.task.precision, job.device),
            )
            encoded[part] = found.numpy(), outputs["images"]
    return encoded


def score(job: Job, args: Args, labels: "Labels", images: "Tensor", prompts: tuple[ClassPrompts, ...]) -> np.ndarray:
    """Returns the scores (n, C) of images (n, D) by one draw of the prompts."""
    from flvlp.zeroshot import PromptFeatures, class_scores, exclusive_scores

    given, config = job.given.with_text, args.prompts

    def features(sentences: tuple[str, ...]) -> "Tensor":
        return given.encode_reports(list(sentences)).report.float().cpu() if sentences else images[:0]

    sides = [PromptFeatures(features(one.positive), features(one.negative)) for one in prompts]
    how: dict[str, Any] = {"reduce": config.reduce, "standardise": config.standardise}
    if labels.is_exclusive:
        return exclusive_scores(images, sides, temperature=config.temperature, **how).numpy()
    return class_scores(images, sides, config.scheme, **how).numpy()


def spread(labels: "Labels", positions: np.ndarray, scored: list[np.ndarray], figure: str) -> dict[str, float]:
    """Returns mean and standard deviation of the headline figure over the draws of the prompts."""
    from support.judging import selection

    values = [selection(labels, positions, scores).get(figure, np.nan) for scores in scored]
    return {f"{figure}_of_draws": float(np.mean(values)), f"{figure}_of_draws_sd": float(np.std(values, ddof=1))}


def write_prompts(path: Path, drawn: list[tuple[ClassPrompts, ...]]) -> None:
    """Writes what was said for and against each class, draw by draw."""
    content = [{one.name: {"positive": one.positive, "negative": one.negative} for one in prompts} for prompts in drawn]
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_main(__file__)
