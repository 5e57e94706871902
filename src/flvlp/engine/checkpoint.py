"""Checkpoints: everything that a resumed run needs to go on bit for bit, written so that no half file is ever read."""

import logging
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from flvlp import distributed
from flvlp.engine.seed import random_state, restore_random_state

log = logging.getLogger(__name__)

NAME = "step_{:08d}.pt"
PATTERN = re.compile(r"step_(\d{8})\.pt")


@dataclass(slots=True)
class TrainState:
    """Where a run stands.

    Attributes:
        step: optimiser steps taken.
        epoch: epochs finished, their validation included.
        studies: studies seen by all ranks.
        skipped: studies of all ranks masked because an image could not be read.
        best: best value of `engine.best_metric` so far.
    """

    step: int = 0
    epoch: int = 0
    studies: int = 0
    skipped: int = 0
    best: float | None = None


def write_atomically(content: dict[str, Any], path: Path) -> None:
    """Saves to a temporary file beside `path`, flushes it to the disk, and renames it."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("step_*.pt") if PATTERN.fullmatch(path.name))


class Checkpoints:
    """The checkpoint folder of one run."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any, state: TrainState) -> None:
        """Writes a checkpoint of all ranks; rank 0 holds the pen. Older ones beyond `keep` are deleted."""
        rng = distributed.gather_objects(random_state())
        if not distributed.is_main():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "state": asdict(state),
            "rng": rng,
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
        }
        write_atomically(content, self.folder / NAME.format(state.step))
        for old in list_checkpoints(self.folder)[: -self.keep]:
            old.unlink()

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any) -> TrainState:
        """Restores the last checkpoint into model, optimiser, scaler and this rank's generators.

        Raises:
            FileNotFoundError: the folder holds none.
        """
        found = list_checkpoints(self.folder)
        if not found:
            raise FileNotFoundError(f"resume: no checkpoint in {self.folder}; start a new run without resume=")
        content = torch.load(found[-1], map_location="cpu", weights_only=True)
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        scaler.load_state_dict(content["scaler"])
        for name, now in (("torch", str(torch.__version__)), ("threads", torch.get_num_threads())):
            if content[name] != now:
                log.warning("resume: %s was %s, is %s: figures may differ in the last bits", name, content[name], now)
        if len(content["rng"]) == distributed.world_size():
            restore_random_state(content["rng"][distributed.rank()])
        else:
            log.warning(
                "resume: the run had %d processes, now %d: it goes on from the same weights, not bit for bit",
                len(content["rng"]),
                distributed.world_size(),
            )
        log.info("resumed from %s", found[-1])
        return TrainState(**{field.name: content["state"][field.name] for field in fields(TrainState)})
