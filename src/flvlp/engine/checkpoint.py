"""Checkpoints: everything that a resumed run needs to go on bit for bit, written so that no half file is ever read."""

import errno
import logging
import os
import re
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from flvlp import distributed
from flvlp.engine.restoring import OF_ANOTHER_RUN, restore
from flvlp.engine.seed import random_state
from flvlp.engine.state import TrainState

log = logging.getLogger(__name__)

CONTENT = ("model", "optimizer", "scaler", "state", "rng", "torch", "threads")
# A bad block, and what a broken table of contents leads to. Any other OSError (no rights, too many open files, a file
# system that does not answer) says nothing of the file.
BAD_CONTENT = (errno.EIO, errno.EINVAL, errno.EOVERFLOW)
NAME = "step_{:08d}.pt"
PATTERN = re.compile(r"step_(\d{8})\.pt")


def write_atomically(content: dict[str, Any], path: Path) -> None:
    """Saves to a temporary file beside `path`, flushes it to the disk, and renames it.

    Raises:
        OSError: it cannot be written; PyTorch itself would hide that behind a RuntimeError of its archive.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("step_*.pt") if PATTERN.fullmatch(path.name))


def damage(path: Path) -> str:
    """Returns what is wrong with a checkpoint file, "" for a whole one.

    PyTorch writes a checksum (CRC-32) of every tensor, and does not look at it when it reads.

    Raises:
        OSError: it cannot be read now, which says nothing of what is in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken:
            return f"checksum of {broken} differs"
        content = torch.load(path, map_location="meta", weights_only=True)  # headers and structure; reads no tensor
        missing = [name for name in CONTENT if name not in content]
        if missing:
            return f"it holds no {', '.join(missing)}"
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in BAD_CONTENT):
            raise
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
    return ""


class Checkpoints:
    """The checkpoint folder of one run."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any, state: TrainState) -> bool:
        """Writes a checkpoint of all ranks; rank 0 holds the pen. Older ones beyond `keep` are deleted.

        Returns:
            whether it is on the disk; the same on every rank, none of which goes on before.
        """
        rng = distributed.gather_objects(random_state())
        is_written = self._write(model, optimizer, scaler, state, rng) if distributed.is_main() else False
        return distributed.broadcast_object(is_written)

    def _write(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any, state: TrainState, rng: list[Any]
    ) -> bool:
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
        path = self.folder / NAME.format(state.step)
        try:
            write_atomically(content, path)
        except OSError as error:  # a full disk: what is there stays, and a later one may find room
            kept = list_checkpoints(self.folder)
            log.error(  # noqa: TRY400 - nothing is wrong with this program
                "checkpoint of step %d is NOT written (%s); training goes on, and %s; make room on the disk",
                state.step,
                error,
                f"the last one is {kept[-1].name}" if kept else "there is none to resume from",
            )
            return False
        for old in list_checkpoints(self.folder)[: -self.keep]:
            old.unlink()
        return True

    def newest(self) -> Path:
        """Returns the last checkpoint that is whole, and says which ones are not; the same on every rank.

        Raises:
            FileNotFoundError: the folder holds none.
            ValueError: all are damaged.
        """
        return distributed.broadcast_object(self._newest() if distributed.is_main() else Path())

    def _set_aside(self, taken: Path) -> None:
        """Renames damaged checkpoints after the one that is taken, or they would push out good ones."""
        for path in list_checkpoints(self.folder):
            if path.name > taken.name:
                path.rename(path.with_name(f"{path.name}.damaged"))

    def _newest(self) -> Path:
        found = list_checkpoints(self.folder)
        if not found:
            raise FileNotFoundError(f"resume: no checkpoint in {self.folder}; start a new run without resume=")
        for path in reversed(found):
            wrong = damage(path)
            if not wrong:
                return path
            log.warning("resume: %s is damaged (%s); the one before it is taken", path, wrong)
        raise ValueError(
            f"resume: all {len(found)} checkpoints in {self.folder} are damaged; start a new run, with "
            "init_from=<run>/encoders_last where its encoders are whole"
        )

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any) -> TrainState:
        """Restores the last checkpoint into model, optimiser, scaler and this rank's generators.

        Raises:
            FileNotFoundError: the folder holds none.
            ValueError: all are damaged, or it is of another model.
        """
        path = self.newest()
        if distributed.is_main():
            self._set_aside(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        try:
            restore(content, model, optimizer, scaler)
            state = TrainState.read(content["state"])
        except OF_ANOTHER_RUN as error:
            if isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError) or "allocate memory" in str(error):
                raise
            raise ValueError(
                f"resume: {path} does not fit this run ({type(error).__name__}: {' '.join(str(error).split())[:300]}); "
                "it is of another configuration, or of another version of the code; go on with those, or start a new "
                "run with init_from=<run>/encoders_last"
            ) from error
        log.info("resumed from %s", path)
        return state
