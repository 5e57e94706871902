"""A report of run folders: which rows there are, what they are called, and what is not counted."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from report import choose_baseline
from tests.conftest import environment
from tests.experiments.made_runs import AUROC, SEEDS, VALID_R1, make, names, pretrain, scores_of, write_config, zeroshot
from tests.warm import run_entry

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_a_row_holds_the_seeds_of_one_configuration_whatever_their_folders_and_workers(sweep: Path) -> None:
    report = make(sweep)
    assert names(report) == ["itc", "full", "random"]
    assert all(row.seeds == SEEDS for row in report.rows), [row.seeds for row in report.rows]
    assert not report.problems, report.problems


def test_validation_is_that_of_the_best_epoch(tmp_path: Path) -> None:
    pretrain(tmp_path / "a", name="a", fused=(0.1, 0.4, 0.2))
    assert make(tmp_path).cells["a", VALID_R1].mean == 0.4


def test_broken_and_unfinished_runs_are_listed_and_not_counted(sweep: Path) -> None:
    (sweep / "full" / "seed_0" / "failed.txt").write_text("Traceback\nRuntimeError: out of memory\n")
    for seed in (0, 1):
        (sweep / "full" / f"seed_{seed}" / "finished.json").unlink()
    (sweep / "itc" / "seed_2" / "tasks" / "zeroshot" / "result.json").unlink()
    report = make(sweep)
    states = {(one.state, Path(one.where).name if one.folder else one.where, one.reason) for one in report.problems}
    assert ("broken", "seed_0", "RuntimeError: out of memory") in states
    assert ("unfinished", "seed_1", "stopped at step 20") in states
    assert ("unfinished", "zeroshot", "no result.json") in states
    assert ("seeds", "full", "no seeds 0, 1, which other rows have") in states
    assert ("seeds", "itc", "zeroshot/macro_auroc: no seed 2") in states
    full = next(row for row in report.rows if row.name == "full")
    assert full.seeds == (2,) and np.isnan(report.cells["full", VALID_R1].sd)
    assert report.cells["full", AUROC].difference is None, "the one seed of both rows is not in both columns"


def test_a_log_tells_of_a_run_without_a_sweep_whether_it_ended(tmp_path: Path) -> None:
    for name, log in (("ended", "x finished at step 20; y"), ("went_on", "x finished at step 10; y")):
        folder = pretrain(tmp_path / name, name=name, seed=len(name))
        (folder / "finished.json").unlink()
        (folder / "log.txt").write_text(log)
    report = make(tmp_path)
    assert names(report) == ["ended"]
    assert [one.reason for one in report.problems] == ["went on after step 10 and stopped at step 20"]


def test_of_two_runs_with_one_configuration_and_seed_the_later_one_counts(tmp_path: Path) -> None:
    pretrain(tmp_path / "old", name="a", fused=(0.1,))
    later = pretrain(tmp_path / "new", name="b", fused=(0.9,))
    start = json.loads((later / "run.json").read_text())[0] | {"started": "2026-02-02T00:00:00+00:00"}
    (later / "run.json").write_text(json.dumps([start]))
    report = make(tmp_path)
    assert names(report) == ["b"] and report.cells["b", VALID_R1].values == {0: 0.9}
    assert [(one.state, Path(one.where).name) for one in report.problems] == [("left out", "old")]


def test_other_commits_and_uncommitted_changes_are_said(sweep: Path) -> None:
    path = sweep / "full" / "seed_0" / "run.json"
    start = json.loads(path.read_text())[0] | {"git_commit": "fedcba9876543210", "git_is_dirty": True}
    path.write_text(json.dumps([start]))
    reasons = " ".join(one.reason for one in make(sweep).problems)
    assert "0123456, fedcba9" in reasons and "uncommitted changes when full ran" in reasons, reasons


def test_rows_stand_by_how_many_keys_set_them_apart_from_what_is_usual(tmp_path: Path) -> None:
    rows: dict[str, dict[str, float]] = {
        "two": {"itc": 0.0, "mlm": 0.0},
        "one": {"mlm": 0.0},
        "more": {"itc": 0.5},
        "none": {},
        "view": {"view": 1},
    }
    for name, loss in rows.items():
        pretrain(tmp_path / name, name=name, loss=loss)
    report = make(tmp_path, baseline="two")
    assert names(report) == ["two", "none", "more", "one", "view"]
    changes = {row.name: row.changes for row in report.rows}
    assert changes["one"] == {"loss.mlm": (0.0, 1.0, 0.0)} and not changes["none"], changes


def test_runs_without_a_name_are_called_by_what_sets_them_apart(tmp_path: Path) -> None:
    for number, loss in enumerate(({}, {}, {"mlm": 0})):
        pretrain(tmp_path / str(number), seed=number, loss=loss)
    assert sorted(names(make(tmp_path))) == ["default", "loss.mlm=0"]


def test_rows_of_one_name_are_told_apart(tmp_path: Path) -> None:
    pretrain(tmp_path / "a", name="full")
    pretrain(tmp_path / "b", name="full", loss={"mlm": 0.5})
    assert names(make(tmp_path)) == ["full", "full (loss.mlm=0.5)"]


def test_a_task_elsewhere_joins_the_run_whose_encoders_it_judged(tmp_path: Path) -> None:
    import hashlib

    folder = pretrain(tmp_path / "pretrain" / "a", name="a")
    digest = hashlib.sha256((folder / "encoders" / "encoders.safetensors").read_bytes()).hexdigest()
    figure = zeroshot(tmp_path / "zeroshot" / "1", scores_of(1, 0), encoders_sha256=digest)
    report = make(tmp_path)
    assert names(report) == ["a"] and report.cells["a", AUROC].mean == figure


def test_downstream_runs_alone_make_rows_by_their_encoders_and_settings(tmp_path: Path) -> None:
    for number, (encoders, seed) in enumerate((("random", 0), ("random", 1), ("runs/x", 0))):
        zeroshot(tmp_path / str(number), scores_of(number, seed), seed=seed, encoders=encoders)
    zeroshot(tmp_path / "other", scores_of(1, 5), encoders="random")
    config = json.loads((tmp_path / "other" / "config.yaml").read_text())
    write_config(tmp_path / "other", config | {"task": {"name": "zeroshot", "view": "lateral"}})
    report = make(tmp_path)
    assert sorted(names(report)) == ["random", "random task.view=lateral", "runs/x (runs/x)"]
    assert next(row.seeds for row in report.rows if row.name == "random") == (0, 1)


def test_the_baseline_is_itc_where_there_is_one_else_the_first_and_an_unknown_one_is_refused(sweep: Path) -> None:
    report = make(sweep)
    assert choose_baseline(report.rows, None).name == "itc"
    assert choose_baseline(report.rows[1:], None).name == "full"
    with pytest.raises(ValueError, match="choose one of: itc, full, random"):
        choose_baseline(report.rows, "base")


def test_a_figure_that_nobody_has_and_a_folder_without_runs_are_refused(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing matches 'macro_f1'; known: retrieve/fused/r1"):
        make(sweep, figures=["macro_f1"])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        make(tmp_path, runs=[str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no finished run below"):
        make(tmp_path, runs=[str(tmp_path / "empty")])


def test_patterns_and_folders_inside_each_other_count_a_run_once(sweep: Path) -> None:
    report = make(sweep, runs=[f"{sweep}/*", str(sweep), str(sweep / "full" / "seed_0")])
    assert all(row.seeds == SEEDS for row in report.rows) and not report.problems


def test_the_entry_point_writes_every_file_and_the_link_latest(sweep: Path) -> None:
    folder = sweep / "report" / "now"
    command = [sys.executable, str(EXPERIMENTS / "report.py"), f"runs=['{sweep}/full','{sweep}/itc']", "draws=20"]
    done = run_entry([*command, f"hydra.run.dir='{folder}'"], sweep, environment())
    assert done.returncode == 0, done.stderr[-2000:]
    found = {path.name for path in (sweep / "report" / "latest").iterdir()}
    expected = {"table.md", "table.csv", "table.tex", "report.html", "config.yaml", "run.json", "log.txt"}
    plots = {f"{kind}_zeroshot_macro_auroc.{ending}" for kind in ("bars", "forest") for ending in ("png", "svg")}
    assert expected | plots | {"curves_train_itc.svg"} <= found, expected - found
    assert names(make(sweep)) == ["itc", "full", "random"], "a report is no run"


def test_a_misspelt_key_is_refused_with_its_name() -> None:
    command = [sys.executable, str(EXPERIMENTS / "report.py"), "baselin=full"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "baselin" in done.stderr, done.stderr[-500:]


@pytest.mark.parametrize("override", ["runs=[{}/nowhere]", "draws=0"])
def test_a_report_that_cannot_be_made_leaves_no_folder_behind(tmp_path: Path, override: str) -> None:
    command = [sys.executable, str(EXPERIMENTS / "report.py"), override.format(tmp_path)]
    folder = tmp_path / "report" / "now"
    done = run_entry([*command, f"hydra.run.dir={folder}"], tmp_path, environment())
    assert done.returncode == 1 and not folder.exists(), done.stderr[-500:]
