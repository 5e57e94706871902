"""What entry points share: typed configuration, the run folder, torchrun, the data set."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from flvlp.data.config import ImageConfig
from flvlp.data.readers.config import DATASET_CONFIGS, DatasetConfig, FilesConfig
from flvlp.models.config import TextEncoderConfig

if TYPE_CHECKING:
    from flvlp.data.studies import StudySource
    from flvlp.data.tokenizer import ReportTokenizer
    from flvlp.engine.log import RunLog

log = logging.getLogger(__name__)

T = TypeVar("T")


def refuse_sweep_under_torchrun() -> None:
    """Stops before Hydra starts when a sweep would share one process group among its jobs.

    Raises:
        SystemExit: with the way to do it.
    """
    if "RANK" in os.environ and any(argument in ("-m", "--multirun") for argument in sys.argv[1:]):
        raise SystemExit(
            f"{Path(sys.argv[0]).name}: a sweep (-m) cannot run under torchrun; start the sweep with plain python, one "
            "process a job, or start torchrun once for each job"
        )


def typed(arguments: type[T], cfg: DictConfig) -> T:
    """Joins the composed YAML to the dataclasses: a wrong type, a misspelt key or an unknown choice fails here.

    Args:
        arguments: dataclass of the entry point; its field `dataset` is read as the dataclass that `dataset.name` names.
        cfg: what Hydra composed.

    Raises:
        ValueError: unknown data set or choice.
        omegaconf.errors.OmegaConfBaseException: wrong type or key, with the key's name.
    """
    OmegaConf.resolve(cfg)
    plain: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    dataset = typed_dataset(plain.pop("dataset"))
    joined = OmegaConf.merge(OmegaConf.structured(arguments), plain)
    made: Any = OmegaConf.to_object(joined)
    made.dataset = dataset
    return made


def typed_dataset(plain: dict[str, Any]) -> DatasetConfig:
    """Returns the configuration of the data set that `name` selects."""
    name = plain.get("name")
    if name not in DATASET_CONFIGS:
        raise ValueError(f"dataset.name: unknown data set {name!r}; choose one of: {', '.join(DATASET_CONFIGS)}")
    joined = OmegaConf.merge(OmegaConf.structured(DATASET_CONFIGS[name]), plain)
    return OmegaConf.to_object(joined)  # type: ignore[return-value]


def run_folder() -> Path:
    """Returns the folder that Hydra made for this run."""
    return Path(HydraConfig.get().runtime.output_dir)


def remove_if_empty(folder: Path) -> None:
    """Removes a folder that nothing was written to."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


# What may differ when a run is resumed. None of it moves a result but on_error, which lets a run go on that an
# unreadable image has ended.
FREE_ON_RESUME = (
    "resume",
    "engine.max_steps",
    "engine.num_workers",
    "engine.log_every",
    "engine.checkpoint_every",
    "engine.keep_checkpoints",
    "engine.log_pictures",
    "dataset.root",
    "dataset.workers",
    "dataset.on_error",
    "dataset.cache",
    "dataset.cache_root",
    "dataset.standin_root",
)


def resumed_config(cfg: DictConfig, folder: Path) -> DictConfig:
    """Returns the configuration of the run in `folder` with what the command line changes.

    Args:
        cfg: composed from the command line.
        folder: run folder.

    Raises:
        FileNotFoundError: `folder` holds no run.
        ValueError: the command line changes something that would make it another run.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"resume: no config.yaml in {folder}; give the folder of a run, or latest")
    saved = OmegaConf.load(path)
    assert isinstance(saved, DictConfig)
    keys = [override.lstrip("+").partition("=")[0].replace("/", ".") for override in HydraConfig.get().overrides.task]
    for key in set(keys) & set(FREE_ON_RESUME):
        OmegaConf.update(saved, key, OmegaConf.select(cfg, key))
    for key in FREE_ON_RESUME:  # what the command line leaves alone stays as it was, inside groups too
        OmegaConf.update(cfg, key, OmegaConf.select(saved, key), force_add=True)
    for key in keys:
        asked, held = OmegaConf.select(cfg, key), OmegaConf.select(saved, key)
        if key not in FREE_ON_RESUME and key != "experiment" and asked != held:
            raise ValueError(
                f"resume: {key}={asked} is not what the run in {folder} was started with ({held}); leave it out, or "
                f"start a new run (free to change: {', '.join(FREE_ON_RESUME[1:])})"
            )
    return saved


def read_source(config: DatasetConfig, long_side: int, *, needs_reports: bool = False) -> "StudySource":
    """Lists the studies on every rank; rank 0 goes first, so that what is made once is made once.

    Args:
        config: of the data set.
        long_side: of the pictures in pixels; a pixel cache of this size is used as `config.cache` says.
        needs_reports: whether a data set without reports is of no use.

    Raises:
        ValueError: reports are needed and there are none; and what the readers raise.
    """
    from flvlp import distributed
    from flvlp.data.pixel_cache import use_cache
    from flvlp.data.readers.build import build_source
    from flvlp.data.readers.files import FileSource

    if not distributed.is_main():
        distributed.barrier()
    source = build_source(config)
    if distributed.is_main():
        distributed.barrier()
    if needs_reports and not any(study.report for study in source.studies):
        raise ValueError(
            f"dataset.name: {config.name} has no reports, and pre-training needs them; choose one of: phantom, pairs, "
            "iu_xray, mimic_cxr"
        )
    if isinstance(source, FileSource) and isinstance(config, FilesConfig):
        use_cache(source, config, long_side)
    laterals = sum(study.has_lateral for study in source.studies)
    parts = ", ".join(f"{name} {len(positions)}" for name, positions in source.splits.items())
    log.info(
        "%s: %d studies, %d with a lateral; split %s: %s",
        *(config.name, len(source.studies), laterals, source.split_name, parts),
    )
    return source


def name_of(config: DatasetConfig, source: "StudySource") -> Callable[[int], str]:
    """Returns how a study may be named in logs: its id and row, or a salted hash and the row."""
    from flvlp.data.readers.tables import hides_ids, shown

    def name_study(index: int) -> str:
        study = source.studies[index]
        return f"{shown(study.study_id, hides_ids(config))} (row {study.row})"

    return name_study


def show_studies(
    config: DatasetConfig, image: ImageConfig, source: "StudySource", run_log: "RunLog", count: int
) -> None:
    """Puts a few studies as the model sees them into TensorBoard, unless the data set is credentialed."""
    import numpy as np
    import torch

    from flvlp.data.images import ImageReadError
    from flvlp.data.transforms import crop_view

    part = source.splits.get("validation", source.splits["train"])
    for number, index in enumerate(part[:count]):
        study = source.studies[index]
        if config.log_images or not config.credentialed:
            try:
                views = [source.frontal(index)] + ([source.lateral(index)] if study.has_lateral else [])
            except ImageReadError:
                if config.on_error == "raise":
                    raise
                continue
            picture = np.concatenate([crop_view(view, image, None) for view in views], axis=1)
            run_log.picture(f"studies/{number}", torch.from_numpy(picture)[None], 0)
        if config.log_text or not config.credentialed:
            run_log.text(f"studies/{number}", study.report, 0)


def find_tokenizer(
    text: TextEncoderConfig, source: "StudySource", saved: Path | None, init_from: str | None, credentialed: bool
) -> "ReportTokenizer":
    """Returns a run's tokenizer: a saved one, that of the pre-trained weights, or one learned from the reports.

    Args:
        text: of the encoder.
        source: whose training reports a vocabulary is learned from.
        saved: tokenizer folder of a resumed run.
        init_from: folder of saved encoders that a new run starts from.
        credentialed: see `train_tokenizer`.
    """
    from flvlp import distributed
    from flvlp.data import tokenizer as tokenizers
    from flvlp.models.text_encoder import pretrained_location

    if saved is not None:
        return tokenizers.load_tokenizer(saved)
    if init_from is not None:
        from flvlp.saved_encoders import load_encoders

        return load_encoders(init_from).tokenizer
    if text.weights != "random":
        return tokenizers.pretrained_tokenizer(pretrained_location(text), text.max_tokens)
    reports = (source.studies[index].report for index in source.splits["train"])
    learned = tokenizers.train_tokenizer(reports, text.vocab_size, text.max_tokens, credentialed)
    return distributed.broadcast_object(learned)
