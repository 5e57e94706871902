"""Runs the job of an entry point in this process, or in workers that it starts."""

import importlib
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from flvlp.launch import LOCAL, run_workers
from support.devices import claim_devices
from support.entry import typed

Job = Callable[[Any, Path, str], float]


def start(job: Job, args: Any, folder: Path, config_yaml: str) -> float:
    """Runs a job as `args.launch` says and returns its figure."""
    return next(iter(start_by_rank(job, args, folder, config_yaml).values()))


def start_by_rank(job: Job, args: Any, folder: Path, config_yaml: str) -> dict[int, float]:
    """Runs a job as `args.launch` says.

    Args:
        job: function of an entry point, called as its file is.
        args, folder, config_yaml: what it takes. Workers make `args` from `config_yaml`, without composing anything.

    Returns:
        what the workers of this host returned, by rank.

    Raises:
        ValueError: workers are asked for, and this process is one already.
    """
    hydra: Any = HydraConfig.instance().cfg
    if is_side_by_side(hydra):
        # joblib's own way to start processes is not known in those that a job starts (phantoms, data workers).
        multiprocessing.set_start_method(None, force=True)
        claim_devices(args.launch.nproc_per_node, job_number(hydra))
    if args.launch.name == LOCAL:
        rank = int(os.environ.get("RANK", "0"))
        return {rank: run_explained(job, args, folder, config_yaml)}
    if "RANK" in os.environ:
        raise ValueError(
            f"launch: {args.launch.name} starts the workers itself, and this process is one of torchrun's; start it "
            "with plain python, or leave launch=local"
        )
    # Plain values: the classes of a launcher plugin, of which Hydra's own node is made, cannot be sent.
    started = {"mode": hydra.hydra.mode, "overrides": {"task": list(hydra.hydra.overrides.task)}}
    return run_workers(args.launch, job_number(hydra), work, job.__name__, config_yaml, folder, started)


def work(entry: str, config_yaml: str, folder: Path, started: dict[str, Any]) -> float:
    """What a worker does: the job of an entry point. `started` is what Hydra says of how the job was started."""
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": started})  # type: ignore[assignment]
    module = importlib.import_module(entry)
    cfg = OmegaConf.create(config_yaml)
    assert isinstance(cfg, DictConfig)
    return run_explained(getattr(module, entry), typed(module.Args, cfg), folder, config_yaml)


def run_explained(job: Job, args: Any, folder: Path, config_yaml: str) -> float:
    """Runs a job in this process; where another rank does not answer, its error says what to do."""
    from flvlp.rendezvous import explained_timeouts

    with explained_timeouts():
        return job(args, folder, config_yaml)


def is_side_by_side(hydra: DictConfig | None) -> bool:
    """True where other jobs of the sweep run on this machine at the same time."""
    return hydra is not None and hydra.hydra.runtime.choices.get("hydra/launcher") == "joblib"


def job_number(hydra: DictConfig | None) -> int:
    """Returns the number of this job in its sweep, 0 outside one."""
    number = None if hydra is None else OmegaConf.select(hydra, "hydra.job.num", throw_on_missing=False)
    return int(number or 0)
