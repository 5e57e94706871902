"""Tasks after a pre-training: each in a folder of its own, none stopped by another, none run twice."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from support import chain

THEN = {"zeroshot": ["zeroshot"], "probe": ["classify", "label_fraction=0.01"]}
BREAKS = "Traceback ...\nValueError: prompts: none\n\nSet the environment variable HYDRA_FULL_ERROR=1 for a trace\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Run folder of a pre-training."""
    (tmp_path / "encoders").mkdir()
    (tmp_path / "encoders" / "encoders.safetensors").write_bytes(b"first")
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The commands that a chain started; the first one of `zeroshot` breaks."""
    commands: list[Sequence[str]] = []

    def run_visibly(command: Sequence[str]) -> tuple[int, str]:
        is_first = command not in commands
        commands.append(command)
        place = Path(command[3].removeprefix("hydra.run.dir=").strip("'"))
        assert not place.exists(), "what a broken start left behind must be gone"
        place.mkdir(parents=True)
        if command[1].endswith("zeroshot.py") and is_first:
            return 1, BREAKS
        (place / "result.json").write_text("{}\n")
        return 0, ""

    monkeypatch.setattr(chain, "run_visibly", run_visibly)
    return commands


def names(commands: list[Sequence[str]]) -> list[str]:
    return [Path(command[1]).stem for command in commands]


def test_a_task_gets_the_best_encoders_a_folder_the_seed_and_its_overrides(
    folder: Path, started: list[Sequence[str]]
) -> None:
    chain.run_chain({"probe": THEN["probe"]}, folder, seed=3)
    ((python, file, *overrides),) = started
    assert (python, Path(file).name) == (sys.executable, "classify.py")
    places = [f"encoders='{folder / 'encoders'}'", f"hydra.run.dir='{folder / 'tasks' / 'probe'}'"]
    assert overrides == [*places, "seed=3", "label_fraction=0.01"]


def test_a_broken_task_stops_no_other_and_is_run_again(folder: Path, started: list[Sequence[str]]) -> None:
    with pytest.raises(RuntimeError) as raised:
        chain.run_chain(THEN, folder, seed=0)
    assert names(started) == ["zeroshot", "classify"]
    assert "1 of 2 tasks broke (zeroshot: ValueError: prompts: none)" in str(raised.value)
    chain.run_chain(THEN, folder, seed=0)
    assert names(started) == ["zeroshot", "classify", "zeroshot"]


def test_a_study_that_is_looked_at_needs_no_figures(
    folder: Path, started: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draws(command: Sequence[str]) -> tuple[int, str]:
        started.append(command)
        place = Path(command[3].removeprefix("hydra.run.dir=").strip("'"))
        place.mkdir(parents=True)
        (place / "explain.png").touch()
        return 0, ""

    monkeypatch.setattr(chain, "run_visibly", draws)
    for _ in range(2):
        chain.run_chain({"look": ["explain", "phrase=edema"]}, folder, seed=0)
    assert names(started) == ["explain"]


@pytest.mark.parametrize("change", ["nothing", "other encoders", "other overrides", "no result"])
def test_a_result_counts_as_long_as_it_is_of_these_encoders_and_overrides(
    folder: Path, started: list[Sequence[str]], change: str
) -> None:
    then = {"probe": ["classify"]}
    chain.run_chain(then, folder, seed=0)
    match change:
        case "other encoders":
            (folder / "encoders" / "encoders.safetensors").write_bytes(b"second")
        case "other overrides":
            then = {"probe": ["classify", "task=finetune"]}
        case "no result":
            (folder / "tasks" / "probe" / "result.json").unlink()
    chain.run_chain(then, folder, seed=0)
    assert len(started) == (1 if change == "nothing" else 2)


def test_a_task_that_leaves_no_result_is_broken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "run_visibly", lambda command: (0, ""))
    with pytest.raises(RuntimeError, match=r"probe: exit status 0, no result\.json"):
        chain.run_chain({"probe": ["classify"]}, folder, seed=0)


def test_a_task_is_no_worker_and_its_words_are_shown_and_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(key, "1")
    monkeypatch.setenv("HF_HOME", "kept")
    code = "import os, json; print(json.dumps(dict(os.environ))); raise SystemExit('the reason')"
    status, tail = chain.run_visibly([sys.executable, "-c", code])
    known = json.loads(tail.splitlines()[0])
    assert status == 1 and chain.last_line(tail) == "the reason"
    assert known["HF_HOME"] == "kept" and not {key for key in known if key.startswith(chain.OF_WORKERS)}
    assert "the reason" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("then", "part"),
    [
        ({"probe": ["clasify"]}, "then.probe: no task 'clasify'; .* classify, segment, detect, retrieve, zeroshot"),
        ({"probe": []}, "then.probe: no task ''"),
        ({"a/b": ["classify"]}, "'a/b' is no name of a folder"),
    ],
)
def test_what_cannot_be_chained_says_what_can(then: dict[str, list[str]], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        chain.check_then(then)


@pytest.mark.parametrize("name", ["plain", "it's", "a,b=c", "with space", "brackets[1]{2}"])
def test_a_path_comes_through_the_grammar_of_overrides(name: str) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([f"encoders={chain.quoted(Path('/runs') / name)}"])
    assert parsed.value() == f"/runs/{name}"
