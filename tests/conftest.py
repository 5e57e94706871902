"""Fixtures that several tests share: the repository, a small phantom data set, and running the entry point."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.warm import run_entry

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "experiments"))  # as `python experiments/<task>.py` does
SOURCES = os.pathsep.join(str(ROOT / folder) for folder in ("src", "tests/strict"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SOURCES, os.environ.get("PYTHONPATH"))))

# The smallest run that goes through everything: 64-px phantoms, a few steps.
PHANTOMS = ("dataset.studies=60", "dataset.validation_fraction=0.3", "dataset.workers=1")
SMALL = (
    "encoder.resize=64",
    "encoder.crop=56",
    "engine.epochs=2",
    "engine.batch_size=8",
    "engine.num_workers=0",
    "engine.log_every=2",
    "engine.figures_every=0",
    "engine.projector=0",
    "engine.precision=fp32",
    "heads.prototypes=8",
    "heads.queue=32",
    "loss.prototype.start_epoch=0.5",
)
PRETRAIN = str(ROOT / "experiments" / "pretrain.py")
ONE_PROCESS = (sys.executable,)
TWO_PROCESSES = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder where the made phantoms of this test session are kept."""
    return tmp_path_factory.mktemp("phantoms")


def environment() -> dict[str, str]:
    """Returns the environment of a run: these sources, their warnings as errors, one thread, no outer torchrun."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    return kept | {"PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@pytest.fixture(scope="session")
def command(phantom_root: Path) -> Callable[..., list[str]]:
    """Returns the command line of a small pre-training, on phantoms unless the overrides name another data set."""

    def build(*overrides: str, launcher: tuple[str, ...] = ONE_PROCESS) -> list[str]:
        names_data = any(override.startswith(("dataset=", "resume=")) for override in overrides)
        phantoms = () if names_data else (f"dataset.root={phantom_root}", *PHANTOMS)
        small = () if any(override.startswith("resume=") for override in overrides) else SMALL
        flags = [override for override in overrides if override.startswith("-")]  # must come first
        rest = [override for override in overrides if not override.startswith("-")]
        return [*launcher, PRETRAIN, *flags, *phantoms, *small, *rest]

    return build


@pytest.fixture(scope="session")
def run(command: Callable[..., list[str]]) -> Run:
    """Runs pre-training to its end and returns what it printed; `is_fresh` as in `tests.warm`."""

    def start(*overrides: str, cwd: Path, launcher: tuple[str, ...] = ONE_PROCESS, is_fresh: bool = False) -> Done:
        return run_entry(command(*overrides, launcher=launcher), cwd, environment(), is_fresh=is_fresh)

    return start


@pytest.fixture
def _attention_as_it_was() -> Iterator[None]:
    """The switches of attention are the process's; other tests in it want their own."""
    from torch.backends import cuda

    before = cuda.flash_sdp_enabled(), cuda.fp16_bf16_reduction_math_sdp_allowed()
    yield
    cuda.enable_flash_sdp(before[0])
    cuda.allow_fp16_bf16_reduction_math_sdp(before[1])
