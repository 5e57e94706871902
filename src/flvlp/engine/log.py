"""The run folder: what ran, what it measured, and the console. Rank 0 writes; the others are silent."""

import json
import logging
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
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
        (folder / "config.yaml").write_text(config_yaml)
    path = folder / "run.json"
    earlier = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps([*earlier, provenance(seed)], indent=2) + "\n")
    latest = folder.parent / "latest"
    if is_latest and (latest.is_symlink() or not latest.exists()):  # a folder of that name is somebody's own
        link = folder.parent / f".latest.{os.getpid()}"
        link.symlink_to(folder.name, target_is_directory=True)
        link.replace(latest)  # in one step: two runs may start at once


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
    """`metrics.jsonl` and TensorBoard events of one run."""

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        """Opens the log; what an interrupted run wrote beyond step `first_step` is cut.

        Args:
            folder: run folder.
            first_step: optimiser steps that the checkpoint holds; 0 for a new run.
        """
        self.path = folder / "metrics.jsonl"
        self.writer: SummaryWriter | None = None
        if not distributed.is_main():
            return
        cut_lines(self.path, first_step)
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
        record = {"part": part, "step": step, "epoch": epoch, **values}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self.writer is None:
            return
        for key, value in values.items():
            self.writer.add_scalar(f"{part}/{key}", value, step)

    def picture(self, name: str, picture: torch.Tensor, step: int) -> None:
        """Records a picture (1, H, W) or (3, H, W) uint8."""
        if self.writer is not None:
            self.writer.add_image(name, picture, step)

    def png(self, name: str, content: bytes, step: int) -> None:
        """Records a picture that is encoded already."""
        if self.writer is not None and self.writer.file_writer is not None:
            width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))  # of its header
            image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
            self.writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def text(self, name: str, text: str, step: int) -> None:
        """Records a text."""
        if self.writer is not None:
            self.writer.add_text(name, text, step)

    def pr_curve(self, name: str, labels: np.ndarray, scores: np.ndarray, step: int) -> None:
        """Records precision over recall: labels (n,) 0 or 1, scores (n,) in [0, 1]."""
        if self.writer is not None:
            self.writer.add_pr_curve(name, labels, scores, step)

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
        self.writer.add_embedding(features, clean, pictures, global_step=0, tag=name, metadata_header=[*header])

    def hyperparameters(
        self, config: Mapping[str, bool | float | str], figures: Mapping[str, float], step: int
    ) -> None:
        """Records one line of the HPARAMS tab: what ran, and `result/<figure>`, which it compares.

        The description of the whole experiment is left out on purpose: TensorBoard would take that of one run for all;
        without it, it compares the runs itself and shows first what differs between them. Of several lines of a run it
        would take the first: the line has an events file of its own, and that of an earlier start is removed.
        """
        if self.writer is None:
            return
        for name, value in figures.items():
            self.writer.add_scalar(f"result/{name}", value, step)
        self.writer.flush()  # a reader that has gone on to a later file does not come back
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
        if self.writer is not None:
            self.writer.close()


def cut_lines(path: Path, last_step: int) -> None:
    """Drops the records of a JSON-lines file that lie beyond `last_step`, and a line that was never finished."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break
        if record["step"] <= last_step:
            kept.append(line + "\n")
    path.write_text("".join(kept))
