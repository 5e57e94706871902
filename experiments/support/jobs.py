"""One job of pre-training with its tasks: skipped where it is finished, resumed where a sweep was interrupted."""

import gc
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from flvlp.engine.lines import replace_text
from support.chain import check_overrides, pending, run_chain
from support.entry import is_sweep
from support.locks import take_lock
from support.sweeps import FAILED_FILE, FINISHED_FILE, Done, FolderTakenError, check_same_configuration
from support.workers import Job, start_by_rank

log = logging.getLogger(__name__)


def run_job(pretrain: Job, args: Any, folder: Path, cfg: DictConfig) -> Done:
    """Pre-trains in `folder`, writes `finished.json`, and runs the tasks of `args.then` on the best encoders.

    Args:
        pretrain: of the entry point.
        args: of the job; in a sweep `resume` is set where the folder holds an interrupted run.
        folder: run folder.
        cfg: what `args` was made of; changed with it.

    Raises:
        FolderTakenError: the folder of a sweep's job holds another configuration, or another process is at work in it.
        ValueError: a task of `args.then` cannot be composed.
        RuntimeError: a task broke.
    """
    check_overrides(args.then or {})
    if not is_sweep() or args.resume is not None:
        return _alone(lambda: _run(pretrain, args, folder, cfg), args, folder)
    check_same_configuration(folder, cfg)
    finished = folder / FINISHED_FILE
    if finished.exists() and not pending(args.then or {}, folder):
        log.info("skipped, an earlier start has finished it: %s", folder)
        (folder / FAILED_FILE).unlink(missing_ok=True)  # of a start with other tasks
        return Done(_number(json.loads(finished.read_text())["value"]), is_skipped=True)
    if finished.exists() and args.launch.nnodes == 1:  # of several hosts, the one with rank 0 is known once they meet
        log.info("an earlier start has finished the pre-training, its tasks are run: %s", folder)
        return _alone(lambda: _run_tasks(args, folder), args, folder)
    if any((folder / "checkpoints").glob("step_*.pt")):
        log.info("resumed, an earlier start was interrupted: %s", folder)
        args.resume = cfg.resume = str(folder)
    return _alone(lambda: _run(pretrain, args, folder, cfg), args, folder)


def _alone(run: Callable[[], Done], args: Any, folder: Path) -> Done:
    """Runs the job where no other process is at work in its folder; of several ranks the first one looks.

    Raises:
        FolderTakenError: another one is.
    """
    if args.launch.nnodes > 1 or os.environ.get("RANK", "0") != "0":
        return run()
    path = folder / ".lock"
    lock = take_lock(path)
    if lock is None:
        raise FolderTakenError(f"another process is at work in {folder}; wait for it, or stop it")
    with lock:
        try:
            return run()
        finally:
            with suppress(OSError):
                if [*folder.iterdir()] == [path]:  # no run came of it
                    path.unlink()


def _run(pretrain: Job, args: Any, folder: Path, cfg: DictConfig) -> Done:
    """Runs the job. Of several ranks and hosts, the one with rank 0 goes on to the tasks."""
    started = time.monotonic()
    (folder / FAILED_FILE).unlink(missing_ok=True)
    if args.resume is not None:
        (folder / FINISHED_FILE).unlink(missing_ok=True)
    figures = start_by_rank(pretrain, args, folder, OmegaConf.to_yaml(cfg))
    value = next(iter(figures.values()))
    if 0 in figures:
        done = {"value": None if math.isnan(value) else value, "metric": args.engine.best_metric}
        _finish(folder, done, started)  # whatever becomes of the tasks
        release_device()
        run_chain(args.then or {}, folder, args.seed)
        _finish(folder, done, started)
    return Done(value)


def _run_tasks(args: Any, folder: Path) -> Done:
    """Runs the tasks that are pending in the folder of a finished pre-training, which stays as it is."""
    started = time.monotonic()
    (folder / FAILED_FILE).unlink(missing_ok=True)
    done = json.loads((folder / FINISHED_FILE).read_text())
    run_chain(args.then or {}, folder, args.seed)
    _finish(folder, done, started - done["seconds"])
    return Done(_number(done["value"]))


def _finish(folder: Path, done: Mapping[str, Any], started: float) -> None:
    """Writes down that the pre-training has ended, and how long the job took up to now."""
    seconds = round(time.monotonic() - started, 1)
    replace_text(folder / FINISHED_FILE, json.dumps({**done, "seconds": seconds}) + "\n")


def release_device() -> None:
    """Gives back what this process keeps of its device's memory, so that the tasks find room."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
