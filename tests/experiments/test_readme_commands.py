"""The commands of the README, run in the README's order in one folder, with `engine=debug` and little data."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, environment
from tests.test_commands import COMMANDS, expanded

# What needs the reader's own data, four devices, or another environment.
ELSEWHERE = (
    *("/data/studies.csv", "/data/mimic", "--nproc-per-node 4", "nproc_per_node=4"),
    *("VENV=", "make test", "tensorboard"),
)
PICTURES = ("encoder.resize=64", "encoder.crop=56")
STANDIN = ("dataset.standin_studies=80", "dataset.standin_size=64", "draws=20")
LITTLE = {
    "pretrain": (
        *("engine=debug", "engine.projector=0", "engine.figures_every=0", "then=null", *PICTURES),
        *("dataset.studies=60", "dataset.size=64", "dataset.validation_fraction=0.3", "heads.prototypes=8"),
    ),
    "classify": (*STANDIN, "task.fit.epochs=2"),
    "segment": (*STANDIN, "task.fit.epochs=1", "task.fit.min_steps=0"),
    "detect": (*STANDIN, "task.fit.epochs=1", "task.fit.min_steps=0"),
    "retrieve": STANDIN,
    "zeroshot": STANDIN,
    "explain": STANDIN,
}
README = [
    (command, line)
    for page, command in COMMANDS
    if page == "README.md" and not any(word in command for word in ELSEWHERE)
    for line in expanded(command)
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Returns what runs a line, and gives back what it printed."""
    folder = tmp_path_factory.mktemp("reader")

    def start(line: str) -> str:
        words = shlex.split(line.replace("ROOT=/data/siim", ""))
        place = next(number for number, word in enumerate(words) if re.fullmatch(r"experiments/\w+\.py", word))
        words = [word for word in words if not word.startswith("dataset.root=")]  # the stand-in
        words[0], words[place] = sys.executable, str(ROOT / words[place])
        is_resumed = any(word.startswith("resume=") for word in words)
        little = () if is_resumed else LITTLE[Path(words[place]).stem]
        if "-m" in words:
            words = [re.sub(r"^seed=.*", "seed=0,1", word) for word in words]
            little = (*little, "hydra.launcher.n_jobs=1") if "joblib" in line else little
        if "experiment=ablation_terms" in words:
            little = (*little, "experiment/ablation=full,itc")
        if "experiment=sweep_keep_ratio" in words:
            little = (*little, "heads.keep_ratio=0.5,1.0")
        done = subprocess.run(
            [*words, *little], cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{' '.join([*words, *little])}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    return start


def test_most_of_the_readme_is_run() -> None:
    assert len(README) >= 14, [command for command, _ in README]


def cases() -> list[Any]:
    """Returns every command; a sweep, several processes and a second pre-training are slow."""
    found: list[Any] = []
    for command, line in README:
        is_first = not any("pretrain" in str(one.values[1]) for one in found)
        is_quick = " -m " not in line and ("pretrain" not in line or is_first)
        found.append(pytest.param(command, line, id=command, marks=[] if is_quick else pytest.mark.slow))
    return found


@pytest.mark.parametrize(("command", "line"), cases())
def test_a_command_runs_as_written(run: Callable[[str], str], command: str, line: str) -> None:
    printed = run(line)
    expected = "#SBATCH" if "dry_run" in command else "finished at step" if "pretrain" in line else "written: "
    assert expected in printed, printed[-2000:]
