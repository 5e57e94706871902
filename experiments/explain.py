"""Show what encoders look at: heat maps of a phrase over both views, and phrase grounding over a data set with boxes.

python experiments/explain.py                                         # a stand-in's study, the last pre-training
python experiments/explain.py frontal=a.png lateral=b.png phrase="left pleural effusion"
python experiments/explain.py frontal=a.png report=report.txt encoders=runs/pretrain/latest   # a row a sentence
python experiments/explain.py dataset=ms_cxr dataset.root=/data/ms_cxr dataset.images=/data/mimic-cxr-jpg
python experiments/explain.py dataset=phantom dataset.seed=5 dataset.studies=500 dataset.test_fraction=0.8
python experiments/explain.py dataset=rsna encoders=random            # a sentence a class; the baseline
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf

from flvlp.checks import check_choice, check_fields
from flvlp.data.prompts import PromptsConfig, expand
from flvlp.engine.config import EncodingConfig
from support.downstream import CommonArgs, open_job
from support.entry import CONF, run_folder, run_main, typed
from support.explained import explain_study
from support.grounded import (
    HEADLINE,
    draw_regions,
    figures_of,
    heat_maps,
    table_of,
    values_of,
    write_regions,
)
from support.results import close_job
from support.workers import start

if TYPE_CHECKING:
    from flvlp.data.studies import StudySource
    from support.downstream import Job

log = logging.getLogger(__name__)

ACTIONS = ("auto", "study", "grounding")
PLACED = ("ms_cxr", "phantom", "rsna", "nih14", "siim", "object_cxr")  # data sets that say where findings are
PARTS = ("test", "all")


@dataclass
class GroundingConfig(EncodingConfig):
    """How phrases are grounded over a data set.

    Attributes:
        name: `grounding`.
        part: `test`, or `all`: the studies of every part, as the field does where encoders have seen none of them.
        threshold: of `iou` and `dice`, as a share of a heat map's own maximum.
    """

    name: str = "grounding"
    part: str = "test"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        EncodingConfig.__post_init__(self)
        check_choice("task.part", self.part, PARTS)
        check_fields(self, "task", "(0, 1]", "threshold")


@dataclass
class Args(CommonArgs):
    """Everything that can be set.

    Attributes:
        action: `study`, `grounding`, or `auto`: grounding where the data set says where findings are (`PLACED`) and no
            picture, phrase or report is given.
        frontal, lateral: picture files of a study; without them one of the data set is shown.
        phrase: what is looked for.
        report: text, or a file of it: each sentence is looked for.
        index: which of the data set's test studies is shown, from 0; those with a lateral come first.
        task, prompts: of grounding; a class without phrases is asked for by its first positive prompt.
    """

    action: str = "auto"
    frontal: str = ""
    lateral: str = ""
    phrase: str = ""
    report: str = ""
    index: int = 0
    task: GroundingConfig = field(default_factory=GroundingConfig)
    prompts: PromptsConfig = field(
        default_factory=lambda: PromptsConfig(positive=["{Finding}."], negative=["No {finding}."])
    )

    def __post_init__(self) -> None:
        CommonArgs.__post_init__(self)
        check_choice("action", self.action, ACTIONS)
        if self.phrase and self.report:
            raise ValueError("phrase: given together with report; give one of them")
        if self.lateral and not self.frontal:
            raise ValueError("lateral: given without frontal; give both, or frontal alone")
        if self.frontal and not (self.phrase or self.report):
            raise ValueError('phrase: nothing to look for; give phrase="left pleural effusion", or report=file.txt')
        if self.action == "grounding" and (self.frontal or self.phrase or self.report):
            raise ValueError(
                "action: grounding takes pictures and phrases from the data set; leave frontal, phrase "
                "and report out, or take action=study"
            )
        if self.label_fraction != 1:
            raise ValueError(f"label_fraction: {self.label_fraction}, and nothing is trained here; leave 1")
        check_fields(self, "", "[0, inf)", "index")


@hydra.main(version_base="1.3", config_path=CONF, config_name="explain")
def main(cfg: DictConfig) -> float:
    """Composes the configuration; returns the headline figure, for sweepers."""
    return start(explain, typed(Args, cfg), run_folder(), OmegaConf.to_yaml(cfg))


def explain(args: Args, folder: Path, config_yaml: str) -> float:
    """Shows one study, or grounds the phrases of a data set; returns the highest cosine, or the headline figure."""
    return (explain_study if is_study(args) else ground)(args, folder, config_yaml)


def is_study(args: Args) -> bool:
    """Says whether one study is shown, and not a data set grounded."""
    if args.action == "auto":
        return bool(args.frontal or args.phrase or args.report or args.dataset.name not in PLACED)
    return args.action == "study"


def ground(args: Args, folder: Path, config_yaml: str) -> float:
    """Grounds every phrase of the tested studies; returns the headline figure."""
    from flvlp.data.grounding import classes_of, find_regions

    def texts(source: "StudySource") -> list[str]:
        if classes_of(source):
            return list(sentences_of(source, args).values())
        return [region.phrase for region in find_regions(source, range(len(source.studies)), {})]

    job = open_job("explain", args, folder, config_yaml, long_side=lambda given: given.image.resize, texts=texts)
    given = job.given.with_text
    if args.task.part == "all":
        take_all(job)
    regions = find_regions(job.source, job.parts["test"], sentences_of(job.source, args))
    if not given.encoders.has_lateral_encoder:
        regions = [region for region in regions if region.view == "frontal"]
    if not regions:
        raise ValueError(
            f"dataset.split: no study of the tested part of {job.source.split_name} has a box or mask; take "
            "task.part=all, another split, or a larger stand-in (dataset.standin_studies)"
            + (f"; limit_test={args.limit_test} cuts it to its first studies" if args.limit_test else "")
        )
    job.parts["test"] = np.unique([region.study for region in regions]).astype(np.int64)
    found = heat_maps(job, regions, args.task)
    regions = [region for region, heat in zip(regions, found, strict=True) if heat is not None]
    heats = [heat for heat in found if heat is not None]
    values = values_of(job, regions, heats, args.task.threshold)
    figures, groups = figures_of(job, regions, values)
    write_regions(job, regions, values)
    draw_regions(job, regions, heats, values)
    prompts = args.prompts.name if classes_of(job.source) else "own phrases"
    mode = {"mode": "grounding", "part": args.task.part, "threshold": args.task.threshold, "prompts": prompts}
    tested = len({region.study for region in regions})
    close_job(job, mode, HEADLINE, figures, tested, table=table_of(figures, groups))
    return figures[HEADLINE]


def sentences_of(source: "StudySource", args: Args) -> dict[str, str]:
    """Returns what is asked for each class of a data set without phrases: its first positive prompt."""
    from flvlp.data.grounding import classes_of

    return {prompts.name: prompts.positive[0] for prompts in expand(args.prompts, classes_of(source), 0, args.seed)}


def take_all(job: "Job") -> None:
    """Makes all studies of the data set the test part, and counts the seen ones anew.

    Raises:
        ValueError: as `count_seen`.
    """
    from support.seen import count_seen

    everything = np.sort(np.concatenate(list(job.source.splits.values())))
    job.parts = {"train": job.parts["train"][:0], "test": everything[: job.args.limit_test]}
    tested = set(job.patients(job.parts["test"]))
    job.seen = count_seen(job.given, job.args.dataset, job.source, tested, is_allowed=job.args.allow_seen)


if __name__ == "__main__":
    run_main(__file__)
