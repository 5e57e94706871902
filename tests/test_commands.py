"""Every command that README and docs show exists, and composes to a valid configuration."""

import importlib
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from support.entry import typed

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "log.md")]
STARTS = ("make ", "NPROC=2 make ", "python experiments/", "torchrun ", "srun torchrun ")


def shown() -> list[tuple[str, str]]:
    """Returns the page and the text of each command in a block of code."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
            lines = re.sub(r"\\\n\s*", " ", block).splitlines()
            commands = [re.split(r"\s#\s", line)[0].strip() for line in lines]
            found += [(page.name, command) for command in commands if command.startswith(STARTS)]
    return found


COMMANDS = shown()


def expanded(command: str) -> list[str]:
    """Returns what a command would run: of `make`, the lines that start an entry point."""
    if "make " not in command:
        return [command]
    dry = command.replace("make ", "make --dry-run --no-print-directory ", 1)
    of_make = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "ARGS")  # of the make that runs these tests
    rest = {key: value for key, value in os.environ.items() if key not in of_make}
    done = subprocess.run(["bash", "-c", dry], cwd=ROOT, env=rest, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if "experiments/" in line]


def first_of_sweep(override: str) -> str:
    """Returns an override with the first of the values that it sweeps over."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return override
    return f"{parsed.get_key_element()}={next(iter(parsed.sweep_string_iterator()))}"


def test_commands_are_found_on_the_pages_that_show_most() -> None:
    pages = [page for page, _ in COMMANDS]
    assert pages.count("README.md") > 20
    assert {"downstream.md", "sweeps.md", "scale.md", "explain.md"} <= set(pages)


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}: {command}" for page, command in COMMANDS])
def test_a_shown_command_composes(page: str, command: str) -> None:
    for line in expanded(command):
        words = shlex.split(line)
        place = next(number for number, word in enumerate(words) if re.fullmatch(r"experiments/\w+\.py", word))
        entry, given = Path(words[place]).stem, [word for word in words[place + 1 :] if not word.startswith("-")]
        overrides = [first_of_sweep(word) for word in given]
        with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
            config = compose(entry, overrides=overrides)
        typed(importlib.import_module(entry).Args, config)


@pytest.mark.parametrize(
    ("given", "is_side_by_side"),
    [
        ([], True),
        (["ARGS=seed=0"], True),
        (["JOBS=1"], False),
        (["ARGS=launch=slurm launch.partition=gpu"], False),
        (["ARGS=hydra/launcher=basic"], False),
    ],
)
def test_the_ablation_runs_jobs_side_by_side_unless_told_otherwise(given: list[str], is_side_by_side: bool) -> None:
    own = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "ARGS", "JOBS")}
    command = ["make", "-n", "ablation", *given]
    said = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=True).stdout
    (started,) = [line for line in said.splitlines() if "pretrain.py" in line]
    assert ("hydra/launcher=joblib hydra.launcher.n_jobs=2" in started) == is_side_by_side, started
