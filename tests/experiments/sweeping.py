"""Starts sweeps of small jobs inside the test process: imports cost more than the jobs."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pretrain
from flvlp import distributed
from support.chain import quoted
from tests.processes import root_logging

JOB = (
    "dataset.studies=24",
    "dataset.validation_fraction=0.3",
    "dataset.workers=1",
    "encoder.resize=40",
    "encoder.crop=32",
    "encoder.text.hidden_size=32",
    "encoder.text.intermediate_size=32",
    "encoder.width=32",
    "heads.head_width=16",
    "heads.mlm_depth=1",
    "heads.prototypes=4",
    "heads.queue=16",
    "loss.prototype.start_epoch=0.5",
    "engine.epochs=2",
    "engine.batch_size=8",
    "engine.num_workers=0",
    "engine.log_every=1",
    "engine.precision=fp32",
    "engine.log_pictures=0",
    "engine.figures_every=0",
    "engine.projector=0",
)


@dataclass
class Ended:
    """What a start of a sweep came to: its exit status, and everything it said."""

    status: int
    said: str


def start_sweep(phantoms: Path, folder: Path, *overrides: str) -> Ended:
    """Starts a sweep in `folder`, as `python experiments/pretrain.py -m` does."""
    line = [
        "pretrain.py",
        "-m",
        f"dataset.root={quoted(phantoms)}",
        *JOB,
        f"hydra.sweep.dir={quoted(folder)}",
        *overrides,
    ]
    said, argv = io.StringIO(), sys.argv
    sys.argv, status = line, 0
    try:
        with root_logging(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            pretrain.main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        distributed.stop()  # a job that breaks does not come to it
        sys.argv = argv
    return Ended(status, said.getvalue())
