"""What the downstream tasks share: their common arguments, encoders, parts of the data, and the result row."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flvlp.checks import SEEDS, check_fields
from flvlp.launch import LaunchConfig
from flvlp.models.config import EncoderConfig
from support.entry import is_overridden, is_sweep
from support.inputs import read_source, shows_images
from support.seen import count_seen

if TYPE_CHECKING:
    import torch

    from flvlp.baselines import GivenEncoders
    from flvlp.data.loaders import PictureLoaders
    from flvlp.data.pictures import Collate
    from flvlp.data.studies import Labels, StudySource
    from flvlp.engine.log import RunLog

log = logging.getLogger(__name__)

PRETRAINING = Path("runs/pretrain")


@dataclass
class CommonArgs:
    """What every downstream task can be told.

    Attributes:
        encoders: see `flvlp.baselines.find_encoders`.
        encoders_weights: of `timm:<name>` and `imagenet`: `pretrained`, `random`, or a file.
        encoder: the bundle that `encoders=random` makes; the picture sizes of all encoders that are not saved.
        dataset, launch: see `flvlp.data.readers.config` and `flvlp.launch`.
        label_fraction: share of the training studies that are trained on.
        limit_test: evaluate the first n test studies only, to try things out; null for all.
        draws: of the bootstrap by patient.
        pictures: drawn into the run folder and TensorBoard.
        seed, deterministic: as in pre-training.
        allow_seen: test on patients that the encoders were pre-trained on.
    """

    encoders: str = "latest"
    encoders_weights: str = "pretrained"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    dataset: Any = None
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    label_fraction: float = 1.0
    limit_test: int | None = None
    draws: int = 1000
    pictures: int = 8
    seed: int = 0
    deterministic: bool = False
    allow_seen: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "", "(0, 1]", "label_fraction")
        check_fields(self, "", "[1, inf)", "draws", "limit_test")
        check_fields(self, "", "[0, inf)", "pictures")
        check_fields(self, "", SEEDS, "seed")
        if self.encoders_weights != "pretrained" and not self.encoders.startswith(("timm:", "imagenet")):
            raise ValueError(
                f"encoders_weights: {self.encoders_weights} is for encoders=timm:<name> and imagenet, not for "
                f"encoders={self.encoders}; leave it out"
            )


@dataclass
class Job:
    """One run of a task.

    Attributes:
        args: common arguments.
        task: name of the entry point.
        folder: run folder.
        device: of this rank.
        given: the encoders, on the device.
        source: the data set.
        parts: part -> positions (n,) int64; `train` is the chosen fraction.
        run_log, started: metrics and TensorBoard; seconds of a clock.
        seen: test patients that pre-training trained on and that it selected on; None where that is not known.
        trained: studies that were trained on, set by tasks that train.
    """

    args: CommonArgs
    task: str
    folder: Path
    device: "torch.device"
    given: "GivenEncoders"
    source: "StudySource"
    parts: dict[str, np.ndarray]
    run_log: "RunLog"
    started: float
    seen: dict[str, int] | None = None
    trained: int | None = None

    def loaders(self, collate: "Collate", batch_size: int, num_workers: int) -> "PictureLoaders":
        """Returns the maker of this rank's loaders."""
        from flvlp import distributed
        from flvlp.data.loaders import PictureLoaders

        return PictureLoaders(
            collate,
            seed=self.args.seed,
            batch_size=batch_size,
            num_workers=num_workers,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )

    def patients(self, positions: Iterable[int]) -> list[str]:
        """Returns the patient of each study."""
        return [self.source.studies[position].patient_id for position in positions]

    def labels(self, task: str) -> "Labels":
        """Returns the labels of the data set; raises `ValueError` where it has none."""
        if self.source.labels is None:
            raise ValueError(
                f"dataset.name: {self.args.dataset.name} has no labels, and {task} needs them; choose one of: nih14, "
                "chexpert, rsna, covidx, siim, object_cxr, mimic_cxr, phantom, or pairs with dataset.label_columns"
            )
        return self.source.labels

    @property
    def has_validation(self) -> bool:
        """True where there is something to select on."""
        return len(self.parts.get("validation", ())) > 0

    def need_validation(self, key: str) -> None:
        """Raises `ValueError` where a threshold is to be chosen on a validation part that is not there."""
        if not self.has_validation:
            raise ValueError(
                f"{key}: auto is chosen on validation, and {self.source.split_name} has no such part; give a number "
                "(the literature has 0.5), or choose another dataset.split"
            )

    def keep_view(self, view: str) -> None:
        """Leaves out the studies that the view does not show.

        Raises:
            ValueError: nobody in a part has a lateral.
        """
        if view == "both" and not any(study.has_lateral for study in self.source.studies):
            raise ValueError(f"task: view=both, and {self.args.dataset.name} has no lateral at all; choose frontal")
        if view != "lateral":
            return
        for part, positions in self.parts.items():
            kept = [position for position in positions if self.source.studies[position].has_lateral]
            log.info("view=lateral: %d of %d studies of %s have one", len(kept), len(positions), part)
            if not kept and len(positions):
                raise ValueError(f"task: view=lateral, and no study of the {part} part has one; choose frontal")
            self.parts[part] = np.array(kept, dtype=np.int64)

    @property
    def shows_images(self) -> bool:
        """False where pictures of the data set must not be left behind."""
        return shows_images(self.args.dataset)


def open_job(
    task: str,
    args: CommonArgs,
    folder: Path,
    config_yaml: str,
    *,
    long_side: Callable[["GivenEncoders"], int],
    texts: Callable[["StudySource"], Sequence[str]] | None = None,
) -> Job:
    """Starts a task on this rank: console, seeds, data, encoders, run folder.

    Args:
        task: name of the entry point.
        args: common arguments.
        folder: run folder.
        config_yaml: what is written to it.
        long_side: of the pictures in pixels, for the pixel cache.
        texts: what the vocabulary of `encoders=random` is learned from, where the task reads text.

    Raises:
        ValueError: a data set without a test part, and what the parts raise.
    """
    from flvlp import distributed
    from flvlp.baselines import find_encoders
    from flvlp.engine import log as run_logs
    from flvlp.engine.log import RunLog
    from flvlp.engine.seed import seed_everything

    run_logs.set_up_console()
    started = time.monotonic()
    device = distributed.start()
    folder = distributed.broadcast_object(folder)
    seed_everything(args.seed, args.deterministic)

    @cache
    def source(side: int) -> "StudySource":
        return read_source(args.dataset, side)

    given = find_encoders(
        args.encoders,
        args.encoder,
        weights=args.encoders_weights,
        seed=args.seed,
        pretraining=PRETRAINING,
        texts=lambda: texts(source(args.encoder.resize)) if texts else (),
    )
    given.views.to(device)
    if given.folder and is_overridden("encoder"):
        log.warning("encoder: not used, saved encoders bring their own (%s)", given.name)
    data = source(long_side(given))
    log.info("encoders: %s, sha256 %s", given.name, given.sha256[:12])
    parts = choose_parts(args, data)
    if distributed.is_main():
        run_logs.open_run(folder, config_yaml, args.seed, is_new=True, is_latest=not is_sweep())
    tested = {data.studies[position].patient_id for position in parts["test"]}
    seen = count_seen(given, args.dataset, data, tested, is_allowed=args.allow_seen)
    return Job(args, task, folder, device, given, data, parts, RunLog(folder), started, seen)


def choose_parts(args: CommonArgs, source: "StudySource") -> dict[str, np.ndarray]:
    """Returns the studies to train on (the chosen fraction), to select on and to test on.

    Raises:
        ValueError: a data set without a test part.
    """
    from flvlp.data.splits.fractions import label_fraction

    parts = dict(source.splits)
    if not len(parts.get("test", ())):
        raise ValueError(
            f"dataset.split: {source.split_name} has no test part, and what is selected on is no test; choose another "
            f"split, or hold patients out: dataset.split={args.dataset.name}/patient dataset.test_fraction=0.2 (in "
            "pre-training too, where that was on this data set)"
        )
    patients = [study.patient_id for study in source.studies]
    parts["train"] = label_fraction(parts["train"], patients, source.labels, args.label_fraction, args.seed)
    parts["test"] = parts["test"][: args.limit_test]
    log.info(
        "%d studies to train on (fraction %g), %d to select on, %d to test on",
        *(len(parts["train"]), args.label_fraction, len(parts.get("validation", ())), len(parts["test"])),
    )
    return parts
