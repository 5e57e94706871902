"""What entry points share: typed configuration, the run folder, resume, torchrun."""

import dataclasses
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from flvlp.data.readers.base_config import DatasetConfig
from flvlp.data.readers.config import DATASET_CONFIGS

log = logging.getLogger(__name__)

T = TypeVar("T")

CONF = str(Path(__file__).parents[2] / "conf")  # absolute: Hydra knows relative ones for scripts only, see run_main

# choice on the command line -> the distribution that brings it, and the extra of this package that installs it
PLUGINS = {
    "launch=slurm": ("hydra-submitit-launcher", "slurm"),
    "hydra/launcher=submitit_slurm": ("hydra-submitit-launcher", "slurm"),
    "hydra/launcher=joblib": ("hydra-joblib-launcher", "parallel"),
}


def run_main(file: str) -> None:
    """Checks the command line and runs `main` of an entry point's file.

    It is the `main` of the module of that name and not of `__main__`: workers and launchers of sweeps, which are other
    processes, can import the one and not the other.
    """
    check_command_line()
    importlib.import_module(Path(file).stem).main()


def check_command_line() -> None:
    """Stops before Hydra starts where its own message would not help, or where a sweep would share a process group.

    Raises:
        SystemExit: with the way to do it.
    """
    refuse_sweep_under_torchrun()
    for choice in set(PLUGINS) & set(sys.argv[1:]):
        distribution, extra = PLUGINS[choice]
        try:
            metadata.version(distribution)
        except metadata.PackageNotFoundError:
            raise SystemExit(
                f"{Path(sys.argv[0]).name}: {choice} needs {distribution}, which is not installed; "
                f"pip install 'flvlp[{extra}]', in a clone: pip install -e '.[{extra}]'"
            ) from None


def refuse_sweep_under_torchrun() -> None:
    """Stops before Hydra starts when a sweep would share one process group among its jobs.

    Raises:
        SystemExit: with the way to do it.
    """
    if "RANK" in os.environ and any(argument in ("-m", "--multirun", "launch=slurm") for argument in sys.argv[1:]):
        raise SystemExit(
            f"{Path(sys.argv[0]).name}: a sweep (-m) cannot run under torchrun; start it with plain python, and let it "
            "start the workers of each job: launch=torchrun launch.nproc_per_node=<number>"
        )


def typed(arguments: type[T], cfg: DictConfig) -> T:
    """Joins the composed YAML to the dataclasses: a wrong type, a misspelt key or an unknown choice fails here.

    Args:
        arguments: dataclass of the entry point; a field `dataset` is read as the dataclass that `dataset.name` names.
        cfg: what Hydra composed.

    Raises:
        ValueError: unknown data set or choice.
        omegaconf.errors.OmegaConfBaseException: wrong type or key, with the key's name.
    """
    OmegaConf.resolve(cfg)
    plain: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    dataset = plain.pop("dataset", None)
    joined = OmegaConf.merge(OmegaConf.structured(arguments), plain)
    made: Any = OmegaConf.to_object(joined)
    if dataset is not None:
        made.dataset = typed_dataset(dataset)
    return made


def typed_dataset(plain: dict[str, Any]) -> DatasetConfig:
    """Returns the configuration of the data set that `name` selects."""
    name = plain.get("name")
    if not isinstance(name, str) or name not in DATASET_CONFIGS:
        raise ValueError(f"dataset.name: unknown data set {name!r}; choose one of: {', '.join(DATASET_CONFIGS)}")
    joined = OmegaConf.merge(OmegaConf.structured(DATASET_CONFIGS[name]), plain)
    return OmegaConf.to_object(joined)  # type: ignore[return-value]


def run_folder() -> Path:
    """Returns the folder that Hydra made for this run."""
    return Path(HydraConfig.get().runtime.output_dir)


def is_sweep() -> bool:
    """Returns whether this is a job of a sweep (-m)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def is_overridden(group: str) -> bool:
    """Returns whether the command line says something of a configuration group, or of a key in it."""
    if not HydraConfig.initialized():
        return False
    keys = [override.lstrip("+~").partition("=")[0] for override in HydraConfig.get().overrides.task]
    return any(key.replace("/", ".").partition(".")[0] == group for key in keys)


def remove_if_empty(folder: Path) -> None:
    """Removes a folder that nothing was written to; several ranks may, and one that cannot be removed stays."""
    with suppress(OSError):  # one that is not empty, too
        folder.rmdir()


# What may differ when a run is resumed. None of it moves a result but on_error, which lets a run go on that an
# unreadable image has ended.
FREE_ON_RESUME = (
    "resume",
    "then",
    "launch",
    "engine.max_steps",
    "engine.num_workers",
    "engine.timeout_minutes",
    "engine.log_every",
    "engine.checkpoint_every",
    "engine.keep_checkpoints",
    "engine.log_pictures",
    "engine.figures_every",
    "engine.projector",
    "engine.profile",
    "dataset.root",
    "dataset.workers",
    "dataset.on_error",
    "dataset.cache",
    "dataset.cache_root",
    "dataset.standin_root",
)


def is_free(key: str, free: Sequence[str] = FREE_ON_RESUME) -> bool:
    """Returns whether a key, or a group that it lies in, is one of those that may differ."""
    return any(key == one or key.startswith(f"{one}.") for one in free)


NO_HYPERPARAMETERS = (*(f"dataset.log_{what}" for what in ("text", "images", "ids")), "dataset.images")
LONGEST_VALUE = 100  # characters of a hyperparameter; a longer one, such as a list of prompts, fills no column


def hyperparameters(args: Any) -> dict[str, bool | float | str]:
    """Returns what of a configuration may move a result, for a table of runs.

    Args:
        args: dataclass of an entry point.

    Returns:
        dotted key -> value; lists as text, null as "null"; of the keys that a resumed run may change only the steps.
    """
    flat: dict[str, bool | float | str] = {}

    def add(prefix: str, value: Any) -> None:
        if dataclasses.is_dataclass(value):
            for one in dataclasses.fields(value):
                add(f"{prefix}.{one.name}" if prefix else one.name, getattr(value, one.name))
        elif prefix == "engine.max_steps" or not (is_free(prefix) or prefix in NO_HYPERPARAMETERS):
            said = "null" if value is None else str(value)
            flat[prefix] = value if isinstance(value, bool | int | float | str) else said

    add("", args)
    return {key: value for key, value in flat.items() if len(str(value)) <= LONGEST_VALUE}


def read_config(path: Path) -> DictConfig:
    """Returns the configuration that a run has written.

    Raises:
        ValueError: it is damaged.
    """
    try:
        saved = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, ValueError, RecursionError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # without, it is OmegaConf's own for a lone number
            raise
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise ValueError(
            f"{path} is damaged ({reason}); copy it again, or start a new run in another folder"
        ) from error
    if not isinstance(saved, DictConfig) or not saved:
        raise ValueError(f"{path} is damaged (no keys in it); copy it again, or start a new run in another folder")
    return saved


def resumed_config(cfg: DictConfig, folder: Path) -> DictConfig:
    """Returns the configuration of the run in `folder` with what the command line changes.

    Args:
        cfg: composed from the command line.
        folder: run folder.

    Raises:
        FileNotFoundError: `folder` holds no run.
        ValueError: its configuration is damaged, or the command line changes something that would make it another run.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"resume: no config.yaml in {folder}; give the folder of a run, or latest")
    saved = read_config(path)
    keys = [override.lstrip("+").partition("=")[0].replace("/", ".") for override in HydraConfig.get().overrides.task]
    for key in filter(is_free, keys):
        OmegaConf.update(saved, key, OmegaConf.select(cfg, key), force_add=True)
    for key in FREE_ON_RESUME:  # what the command line leaves alone stays as it was, inside groups too
        OmegaConf.update(cfg, key, OmegaConf.select(saved, key), force_add=True)
    for key in keys:
        path_of = "dataset.name" if key == "dataset" else key  # naming the data set again changes nothing
        asked, held = OmegaConf.select(cfg, path_of), OmegaConf.select(saved, path_of)
        if not is_free(key) and key.partition(".")[0] != "experiment" and asked != held:
            raise ValueError(
                f"resume: {key}={asked} is not what the run in {folder} was started with ({held}); leave it out, or "
                f"start a new run (free to change: {', '.join(FREE_ON_RESUME[1:])})"
            )
    return saved
