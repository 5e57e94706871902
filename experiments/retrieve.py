"""Retrieve reports by images and images by reports, over the whole test part, and compare the image sides.

python experiments/retrieve.py                                        # IU X-ray's stand-in, the last pre-training
python experiments/retrieve.py dataset.root=/data/iu_xray encoders=runs/pretrain/latest
python experiments/retrieve.py dataset=mimic_cxr dataset.root=/data/mimic dataset.split=mimic_cxr/5x200  # also P@K
python experiments/retrieve.py task.dedupe=false                      # only the own pair is correct
python experiments/retrieve.py encoders=random                        # the baseline
python experiments/retrieve.py dataset=phantom dataset.seed=2 dataset.test_fraction=0.2    # new phantoms
torchrun --nproc-per-node 4 experiments/retrieve.py dataset=mimic_cxr dataset.root=/data/mimic
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf

from flvlp.checks import check_fields
from flvlp.data.config import MaskingConfig
from flvlp.engine.config import EncodingConfig
from support.classes import keep_one_class
from support.downstream import CommonArgs, Job, open_job
from support.entry import CONF, run_folder, run_main, typed
from support.results import close_job, named, write_table
from support.retrieval_page import write_page
from support.retrieved import Pool, combined, facts, judge, tables
from support.workers import start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from flvlp.data.readers.base_config import DatasetConfig
    from flvlp.data.studies import StudySource
    from flvlp.types import Batch
    from support.retrieved import Judged

log = logging.getLogger(__name__)

WITH_REPORTS = ("iu_xray", "mimic_cxr", "pairs", "phantom")


@dataclass
class RetrievalConfig(EncodingConfig):
    """How the pool is searched.

    Attributes:
        name: `retrieval`.
        dedupe: True counts every report in the same words as correct; False the own pair alone.
        classes: labels that P@K goes by; every other study is left out of the pool. Empty takes the classes of the
            split's pool (5x200), and no P@K for other splits.
        chunk: queries that are compared with the pool at a time; memory grows with chunk times pool.
    """

    name: str = "retrieval"
    dedupe: bool = True
    classes: list[str] = field(default_factory=list)
    precision: str = "fp32"
    chunk: int = 1024

    def __post_init__(self) -> None:
        EncodingConfig.__post_init__(self)
        check_fields(self, "task", "[1, inf)", "chunk")


@dataclass
class Args(CommonArgs):
    """Everything that can be set."""

    task: RetrievalConfig = field(default_factory=RetrievalConfig)


@hydra.main(version_base="1.3", config_path=CONF, config_name="retrieve")
def main(cfg: DictConfig) -> float:
    """Composes the configuration; returns the headline figure, for sweepers."""
    return start(retrieve, typed(Args, cfg), run_folder(), OmegaConf.to_yaml(cfg))


def retrieve(args: Args, folder: Path, config_yaml: str) -> float:
    """Searches the test part in both directions with every image side; returns the headline figure."""
    from flvlp import distributed

    if args.label_fraction != 1:
        raise ValueError(f"label_fraction: {args.label_fraction}, and retrieval trains on nothing; leave 1")
    if args.dataset.name not in WITH_REPORTS:
        raise no_reports(args.dataset)
    job = open_job(
        "retrieve",
        args,
        folder,
        config_yaml,
        long_side=lambda given: given.image.resize,
        texts=lambda source: reports_of(args.dataset, source, source.splits["train"]),
    )
    has_fusion = job.given.with_text.has_fusion
    classes = keep_pool(job, args)
    pool = encode(job, args, classes)
    judged = judge(pool, has_fusion=has_fusion, draws=args.draws, chunk=args.task.chunk)
    figures = combined(pool, judged)
    said, shown = facts(job, pool, figures, is_dedupe=args.task.dedupe), tables(judged)
    if distributed.is_main():
        write_ranks(job, pool, judged)
        write_page(job, pool, judged, said, shown)
    headline = "fused/r1" if has_fusion else "frontal/r1"
    mode = {"mode": "same_report" if args.task.dedupe else "own_pair"}
    table = "\n".join([*(f"  {fact}" for fact in said), *(one.text() for one in shown)])
    close_job(job, mode, headline, figures, len(pool), table=table)
    return figures[headline]


def no_reports(dataset: "DatasetConfig") -> ValueError:
    """Returns what to say of a data set that retrieval cannot use."""
    message = (
        f"dataset.name: {dataset.name} has no reports, and retrieval needs them; choose one of: iu_xray, mimic_cxr, "
        "phantom, or pairs with dataset.report_column"
    )
    if dataset.name == "chexpert":
        message += (
            "; the reports of CheXpert-5x200 were never published, and CheXpert-8x200 is searched by text queries: "
            "experiments/zeroshot.py dataset.split=chexpert/8x200 task.queries=<query.csv>"
        )
    return ValueError(message)


def reports_of(dataset: "DatasetConfig", source: "StudySource", positions: np.ndarray) -> list[str]:
    """Returns the reports of the studies at `positions` (n,) that have one.

    Raises:
        ValueError: none has.
    """
    reports = [source.studies[position].report for position in positions]
    if not any(reports):
        raise no_reports(dataset)
    return [report for report in reports if report]


def keep_pool(job: Job, args: Args) -> "np.ndarray | None":
    """Leaves out of the test part what cannot be searched; returns the class of each study (N,), or None.

    A study without a report has no pair, and one that shows none or several of the classes has no class.

    Raises:
        ValueError: nothing is left, or an unknown class.
    """
    from flvlp.data.splits.pools import pool_classes

    tested = job.parts["test"]
    reports_of(args.dataset, job.source, tested)
    kept = np.array([bool(job.source.studies[position].report) for position in tested])
    if not kept.all():
        log.info("%d of %d test studies have no report and are left out", (~kept).sum(), len(kept))
    job.parts["test"] = tested[kept]
    names = tuple(args.task.classes) or pool_classes(args.dataset.split)
    key = "task.classes" if args.task.classes else "dataset.split"
    return keep_one_class(job, names, key, "P@K by class") if names else None


def encode(job: Job, args: Args, classes: "np.ndarray | None") -> Pool:
    """Encodes views and reports of the test part, on all ranks together."""
    import torch

    from flvlp import distributed
    from flvlp.data.loaders import Loaders
    from flvlp.engine.optim import autocast_dtype
    from flvlp.engine.predict import predict

    given = job.given.with_text
    loaders = Loaders(
        source=job.source,
        tokenizer=given.tokenizer,
        masking=MaskingConfig(),
        image=given.image,
        seed=args.seed,
        on_error=args.dataset.on_error,
        with_lateral=given.encoders.has_lateral_encoder,
        batch_size=args.task.batch_size,
        num_workers=args.task.num_workers,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )

    def forward(batch: "Batch") -> "dict[str, Tensor]":
        views = given.encoders.encode_views(batch)
        fused = given.encoders.fuse(views.frontal, views.lateral, views.has_lateral)
        report = given.encoders.encode_text(batch.tokens, batch.is_token).report
        return {"frontal": views.frontal, "lateral": views.lateral, "fused": fused, "report": report} | {
            "has_lateral": batch.has_lateral,
            "report_key": batch.report_key,
        }

    tested = job.parts["test"]
    dtype = autocast_dtype(args.task.precision, job.device)
    found, rows = predict(forward, loaders.evaluation(tested), job.device, dtype)
    positions = found.numpy()
    # Padding rounds the same words differently in different batches; they get one feature, so that they tie exactly.
    _, first, groups = np.unique(rows.pop("report_key").numpy(), return_index=True, return_inverse=True)
    rows["report"] = rows["report"][torch.from_numpy(first[groups])]
    return Pool(
        positions=positions,
        patients=job.patients(positions),
        features=rows,
        has_lateral=rows.pop("has_lateral"),
        reports=torch.from_numpy(groups),
        groups=torch.from_numpy(groups) if args.task.dedupe else torch.arange(len(positions)),
        classes=None if classes is None else torch.from_numpy(classes[np.isin(tested, positions)]),
    )


def write_ranks(job: Job, pool: Pool, judged: "Mapping[str, Judged]") -> None:
    """Writes `predictions.csv`, one line a query: where its first right answer stands in which pool."""
    rows = (
        (study, direction, side, len(one.rows), f"{rank:g}", int(size))
        for side, one in judged.items()
        for direction, hits in one.hits.items()
        for study, rank, size in zip(
            named(job, pool.positions[one.rows.numpy()]), hits.rank().tolist(), one.group_sizes, strict=True
        )
    )
    write_table(job.folder / "predictions.csv", ("id", "direction", "side", "pool", "rank", "group_size"), rows)


if __name__ == "__main__":
    run_main(__file__)
