"""The run folder: what ran, what it measured, and the console. Rank 0 writes; the others are silent."""

import json
import logging
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib import metadata
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import FileWriter, SummaryWriter
from torch.utils.tensorboard.summary import hparams

from flvlp import distributed
from flvlp.engine.lines import append_line, cut_lines, replace_text

log = logging.getLogger(__name__)

FORMAT = logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S")
HPARAMS_SUFFIX = ".hparams"  # of the events file that holds the line of the HPARAMS tab
EARLY_LINES = 1000  # kept until the run folder exists
PACKAGES = ("torch", "torchvision", "timm", "transformers", "tokenizers", "numpy", "hydra-core")


def set_up_console() -> None:
    """Sends log records to the terminal: INFO and above on rank 0, warnings and errors elsewhere."""
    handler = logging.StreamHandler()
    handler.setFormatter(FORMAT)
    root = logging.getLogger()
    for earlier in [one for one in root.handlers if isinstance(one, logging.FileHandler)]:
        earlier.close()  # the log.txt of an earlier job of this process
    root.handlers[:] = [handler, MemoryHandler(EARLY_LINES, flushLevel=logging.CRITICAL + 1)]
    root.setLevel(logging.INFO if distributed.launched_rank() == 0 else logging.WARNING)
    for noisy in ("httpx", "httpcore", "filelock", "matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def open_run(folder: Path, config_yaml: str, seed: int, *, is_new: bool, is_latest: bool) -> None:
    """Writes `config.yaml` of a new run, adds this start to `run.json`, sends the console's lines to `log.txt` too.

    Args:
        folder: run folder.
        config_yaml: what ran.
        seed: of the run.
        is_new: False for a run that goes on.
        is_latest: points `latest` beside the folder to it; not for the jobs of a sweep, of which none is the last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / "log.txt")
    handler.setFormatter(FORMAT)
    root = logging.getLogger()
    for early in [one for one in root.handlers if isinstance(one, MemoryHandler)]:
        early.setTarget(handler)  # what was said before there was a folder
        early.close()
        root.removeHandler(early)
    root.addHandler(handler)
    if is_new:
        replace_text(folder / "config.yaml", config_yaml)
    _add_start(folder / "run.json", seed)
    latest = folder.parent / "latest"
    if is_latest and (latest.is_symlink() or not latest.exists()):  # a folder of that name is somebody's own
        link = folder.parent / f".latest.{os.getpid()}"
        link.symlink_to(folder.name, target_is_directory=True)
        link.replace(latest)  # in one step: two runs may start at once


def _add_start(path: Path, seed: int) -> None:
    """Adds this start to the list of starts; a file that is none is set aside, since no result hangs on it."""
    earlier = []
    if path.exists():
        try:
            earlier = [*json.loads(path.read_text())]
        except (ValueError, TypeError):
            log.warning("%s is damaged: it is kept as %s.damaged, and begun anew", path, path.name)
            path.replace(path.with_name(f"{path.name}.damaged"))
    replace_text(path, json.dumps([*earlier, provenance(seed)], indent=2) + "\n")


def provenance(seed: int) -> dict[str, Any]:
    """Returns what is needed to tell later what ran: command, code, versions, machine, seed."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    changed = git("status", "--porcelain")
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": [sys.executable, *sys.argv],
        "git_commit": git("rev-parse", "HEAD"),
        "git_is_dirty": None if changed is None else bool(changed),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "host": platform.node(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "world_size": distributed.world_size(),
        "seed": seed,
    }


def peak_memory_gib() -> float:
    """Returns the peak memory of this process in GiB: on the device with CUDA, resident otherwise."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class RunLog:
    """`metrics.jsonl` and TensorBoard events of one run; what has no room on the disk is said, and costs no run."""

    def __init__(self, folder: Path, first_step: int = 0, redone: str = "") -> None:
        """Opens the log; what an interrupted run wrote beyond step `first_step` is cut.

        Args:
            folder: run folder.
            first_step: optimiser steps that the checkpoint holds; 0 for a new run.
            redone: part whose figures of that step will be written again; "" for none.
        """
        self.path = folder / "metrics.jsonl"
        self.writer: SummaryWriter | None = None
        if not distributed.is_main():
            return
        cut_lines(self.path, first_step, redone)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)
        except OSError as error:
            log.warning(
                "no TensorBoard: events cannot be written to %s (%s); metrics.jsonl has the figures", folder, error
            )

    def write(self, part: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Records figures of `part` (`train`, `validation`) at an optimiser step."""
        if not distributed.is_main():
            return
        append_line(self.path, {"part": part, "step": step, "epoch": epoch, **values})
        for key, value in values.items():
            self._tell(lambda board, key=key, value=value: board.add_scalar(f"{part}/{key}", value, step))  # type: ignore[misc]

    def _tell(self, write: Callable[[SummaryWriter], object]) -> None:
        """Writes to TensorBoard while it takes anything; what befalls its thread is raised by a later call."""
        if self.writer is None:
            return
        try:
            write(self.writer)
        except OSError as error:
            self.writer = None
            log.warning("no TensorBoard any more: events cannot be written (%s); metrics.jsonl has the figures", error)

    def picture(self, name: str, picture: torch.Tensor, step: int) -> None:
        """Records a picture (1, H, W) or (3, H, W) uint8."""
        self._tell(lambda board: board.add_image(name, picture, step))

    def png(self, name: str, content: bytes, step: int) -> None:
        """Records a picture that is encoded already."""
        width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))  # of its header
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._tell(lambda board: board._get_file_writer().add_summary(summary, step))

    def text(self, name: str, text: str, step: int) -> None:
        """Records a text."""
        self._tell(lambda board: board.add_text(name, text, step))

    def pr_curve(self, name: str, labels: np.ndarray, scores: np.ndarray, step: int) -> None:
        """Records precision over recall: labels (n,) 0 or 1, scores (n,) in [0, 1]."""
        self._tell(lambda board: board.add_pr_curve(name, labels, scores, step))

    def embedding(
        self,
        name: str,
        features: torch.Tensor,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        thumbnails: torch.Tensor | None,
    ) -> None:
        """Writes points for the embedding projector; those that were there under this name are replaced.

        Args:
            name: of the points.
            features: (n, D).
            header, rows: names and values of what is known of each point; tabs and line breaks become blanks.
            thumbnails: (n, 3, h, w) uint8, one a point; None for plain dots.
        """
        if self.writer is None:
            return
        shutil.rmtree(self.path.parent / "00000", ignore_errors=True)  # where the writer puts them
        clean = [[" ".join(value.split()) for value in row] for row in rows]
        pictures = None if thumbnails is None else thumbnails.float() / 255
        self._tell(
            lambda board: board.add_embedding(
                features, clean, pictures, global_step=0, tag=name, metadata_header=[*header]
            )
        )

    def hyperparameters(
        self, config: Mapping[str, bool | float | str], figures: Mapping[str, float], step: int
    ) -> None:
        """Records one line of the HPARAMS tab: what ran, and `result/<figure>`, which it compares.

        The description of the whole experiment is left out on purpose: TensorBoard would take that of one run for all;
        without it, it compares the runs itself and shows first what differs between them. Of several lines of a run it
        would take the first: the line has an events file of its own, and that of an earlier start is removed.
        """
        for name, value in figures.items():
            self._tell(lambda board, name=name, value=value: board.add_scalar(f"result/{name}", value, step))  # type: ignore[misc]
        self._tell(lambda board: board.flush())  # a reader that has gone on to a later file does not come back
        self._tell(lambda _: self._write_line(config, step))

    def _write_line(self, config: Mapping[str, bool | float | str], step: int) -> None:
        folder = self.path.parent
        for earlier in folder.glob(f"*{HPARAMS_SUFFIX}"):
            earlier.unlink()
        _, start, end = hparams(dict(config), {})
        line = FileWriter(str(folder), filename_suffix=HPARAMS_SUFFIX)
        for summary in (start, end):
            line.add_summary(summary, step)
        line.close()

    def close(self) -> None:
        """Flushes and closes the events file."""
        self._tell(lambda board: board.close())
