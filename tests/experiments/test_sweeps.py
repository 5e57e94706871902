"""A sweep goes on past a broken job, and where it was stopped; it touches nothing that is finished."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from flvlp.engine import train
from support.sweeps import check_same_configuration
from tests.experiments.sweeping import Ended, start_sweep
from tests.experiments.test_resume import differences, last_checkpoint

BROKEN = "init_from=null,/nowhere"  # the second of two jobs starts from encoders that are not there


@dataclass
class Swept:
    """Two starts of a sweep of two jobs, of which the second breaks; the first has a task on its encoders."""

    folder: Path
    first: Ended
    second: Ended


def files_of(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def chained(name: str, phantom_root: Path) -> str:
    """Returns the override that chains a small retrieval to a job."""
    task = [
        "dataset=phantom",
        f"dataset.root={phantom_root}",
        "dataset.studies=24",
        "dataset.test_fraction=0.3",
        "allow_seen=true",
        "draws=20",
        "pictures=0",
    ]
    return f"then={{{name}: [retrieve, {', '.join(map(json.dumps, task))}]}}"


@pytest.fixture(scope="module")
def swept(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    folder = tmp_path_factory.mktemp("sweeps") / "it's one"  # Hydra's grammar needs quotes around this path
    overrides = (BROKEN, chained("found", phantom_root))
    first = start_sweep(phantom_root, folder, *overrides)
    before = files_of(folder / "0")
    second = start_sweep(phantom_root, folder, *overrides)
    assert files_of(folder / "0") == before, "a finished job was touched"
    return Swept(folder, first, second)


def test_a_broken_job_does_not_stop_the_others_and_the_exit_status_tells(swept: Swept) -> None:
    assert swept.first.status == 1
    assert (swept.folder / "0" / "finished.json").is_file(), swept.first.said[-3000:]
    assert not (swept.folder / "1" / "finished.json").exists()
    assert "no config.json in /nowhere" in (swept.folder / "1" / "failed.txt").read_text()


def test_the_last_lines_of_a_sweep_say_what_broke_and_why(swept: Swept) -> None:
    table = swept.first.said[swept.first.said.rindex("sweep /") :]
    assert "1 finished, 0 skipped, 1 broken" in table
    (broken,) = (line for line in table.splitlines() if line.startswith("  broken"))
    assert broken.split()[1] == "1" and "FileNotFoundError: load_encoders: no config.json in /nowhere" in broken


def test_a_finished_job_is_skipped_and_a_broken_one_tried_again(swept: Swept) -> None:
    assert swept.second.status == 1
    assert "0 finished, 1 skipped, 1 broken" in swept.second.said
    assert swept.second.said.count("skipped, an earlier start has finished it") == 1


def test_a_finished_job_takes_up_a_task_that_is_new_to_it(swept: Swept, phantom_root: Path, tmp_path: Path) -> None:
    shutil.copytree(swept.folder / "0", tmp_path / "0")
    trained = (tmp_path / "0" / "metrics.jsonl").read_text()
    ended = start_sweep(phantom_root, tmp_path, chained("new", phantom_root))
    assert ended.status == 0 and "1 finished, 0 skipped, 0 broken" in ended.said, ended.said[-2000:]
    assert (tmp_path / "0" / "tasks" / "new" / "result.json").is_file()
    assert (tmp_path / "0" / "metrics.jsonl").read_text() == trained, "it trained again"


def test_a_finished_job_holds_its_best_figure(swept: Swept) -> None:
    finished = json.loads((swept.folder / "0" / "finished.json").read_text())
    lines = [json.loads(line) for line in (swept.folder / "0" / "metrics.jsonl").read_text().splitlines()]
    figures = [line["retrieval/fused/r1"] for line in lines if line["part"] == "validation"]
    assert (finished["value"], finished["metric"]) == (max(figures), "retrieval/fused/r1")
    assert finished["seconds"] > 0


def test_a_task_runs_on_the_best_encoders_of_its_job(swept: Swept) -> None:
    tasks = swept.folder / "0" / "tasks"
    assert [path.name for path in tasks.iterdir()] == ["found"], "a link beside it would be one task too many"
    row, made = (json.loads((tasks / "found" / name).read_text()) for name in ("result.json", "chained.json"))
    best = json.loads((swept.folder / "0" / "encoders" / "config.json").read_text())
    assert (row["task"], row["seed"], row["encoders_sha256"]) == ("retrieve", 0, made["encoders_sha256"])
    assert best, "the encoders say what they are"


def test_a_folder_of_another_configuration_is_refused(swept: Swept, phantom_root: Path, tmp_path: Path) -> None:
    shutil.copytree(swept.folder / "0", tmp_path / "0")
    before = files_of(tmp_path / "0")
    ended = start_sweep(phantom_root, tmp_path, "engine.lr=0.25")
    assert ended.status == 1
    told = ended.said
    assert "engine.lr=0.25 (there 0.0005)" in told and "choose another hydra.sweep.dir" in told
    assert files_of(tmp_path / "0") == before, "what is there must stay as it is"


@pytest.mark.parametrize(
    ("key", "value", "may_differ"),
    [
        ("engine.log_every", 7, True),
        ("dataset.root", "/elsewhere", True),
        ("then", {"probe": ["classify"]}, True),
        ("launch.partition", "long", True),
        ("launch.nproc_per_node", 2, False),
        ("engine.max_steps", 3, False),
        ("loss.itc.temperature", 0.2, False),
        ("name", "another", False),
    ],
)
def test_what_two_starts_may_differ_in(swept: Swept, key: str, value: Any, *, may_differ: bool) -> None:
    cfg = OmegaConf.load(swept.folder / "0" / "config.yaml")
    OmegaConf.update(cfg, key, value, force_add=True)
    if may_differ:
        check_same_configuration(swept.folder / "0", cfg)  # type: ignore[arg-type]
    else:
        with pytest.raises(ValueError, match=key):
            check_same_configuration(swept.folder / "0", cfg)  # type: ignore[arg-type]


def stop_at(step: int) -> Callable[..., Any]:
    """Returns a training step that Ctrl-C meets."""

    def train_step(training: Any, batches: Any) -> Any:
        if training.state.step == step:
            raise KeyboardInterrupt
        return original(training, batches)

    original = train.train_step
    return train_step


def test_a_stopped_sweep_goes_on_bit_for_bit(
    phantom_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("engine.checkpoint_every=1", "engine.validate=false", "encoder.text.dropout=0.1", "seed=0,1")
    with monkeypatch.context() as patched:
        patched.setattr(train, "train_step", stop_at(3))
        with pytest.raises(KeyboardInterrupt):
            start_sweep(phantom_root, tmp_path / "stopped", *overrides)
    assert last_checkpoint(tmp_path / "stopped" / "0")["state"]["step"] == 3
    assert not (tmp_path / "stopped" / "1").exists(), "Ctrl-C must stop the sweep, not one job"
    ended = start_sweep(phantom_root, tmp_path / "stopped", *overrides)
    assert ended.status == 0 and "2 finished, 0 skipped, 0 broken" in ended.said, ended.said[-3000:]
    assert "resumed, an earlier start was interrupted" in ended.said
    assert start_sweep(phantom_root, tmp_path / "whole", *overrides[:-1]).status == 0
    whole, stopped = (last_checkpoint(tmp_path / name / "0") for name in ("whole", "stopped"))
    assert whole["state"]["step"] > 3
    assert not differences(whole, stopped)


@pytest.mark.parametrize(("line", "told"), [("nosuchkey=3", "nosuchkey"), ("task.chunk=many", "task.chunk")])
def test_a_task_that_cannot_be_composed_breaks_the_job_before_it_trains(
    phantom_root: Path, tmp_path: Path, line: str, told: str
) -> None:
    ended = start_sweep(phantom_root, tmp_path, f"then={{typo: [retrieve, '{line}']}}")
    assert ended.status == 1 and "then.typo" in ended.said and told in ended.said
    assert not (tmp_path / "0" / "checkpoints").exists(), "it trained"


def test_a_job_killed_in_its_first_checkpoint_starts_again(phantom_root: Path, tmp_path: Path) -> None:
    (tmp_path / "0" / "checkpoints").mkdir(parents=True)
    (tmp_path / "0" / "checkpoints" / ".step_00000000.pt.tmp").touch()
    ended = start_sweep(phantom_root, tmp_path, "engine.max_steps=1")
    assert ended.status == 0, ended.said[-2000:]
