"""What of the runs on disk a report counts, and what it keeps apart: broken ones, other data, other encoders."""

import json
import os
import re
from pathlib import Path
from typing import Any

from support.reporting.tables import markdown
from tests.experiments.made_runs import make, pretrain, scores_of, write_config, zeroshot


def test_a_run_that_finished_after_it_broke_is_counted(tmp_path: Path) -> None:
    for name, at in (("again", 5), ("at_once", 9), ("broke", 10)):
        folder = pretrain(tmp_path / name, name=name, seed=at)
        (folder / "failed.txt").write_text("RuntimeError: out of memory\n")
        for file, when in (("failed.txt", at), ("finished.json", 9)):
            os.utime(folder / file, (when, when))
    report = make(tmp_path)
    assert sorted(name for row in report.rows for name in row.name.split(" = ")) == ["again", "at_once"]
    assert [(Path(one.where).name, one.state) for one in report.problems if one.folder] == [("broke", "broken")]


def test_what_is_left_out_names_the_run_that_counts_by_its_path(tmp_path: Path) -> None:
    for sweep in "ab":
        folder = pretrain(tmp_path / sweep / "full" / "seed_1", name="full", seed=1)
        zeroshot(folder / "tasks" / "zeroshot", scores_of(1, 0), seed=1)
    zeroshot(tmp_path / "b" / "full" / "seed_1" / "tasks" / "again", scores_of(1, 0), seed=1)
    zeroshot(tmp_path / "b" / "full" / "seed_1" / "tasks" / "other", scores_of(1, 0), seed=2)
    reasons = {one.where: (one.state, one.reason) for one in make(tmp_path).problems}
    assert reasons == {
        "a/full/seed_1": ("left out", "same configuration and seed as b/full/seed_1"),
        "seed_1/tasks/other": ("left out", "same task and encoders but for its seed as seed_1/tasks/zeroshot"),
        "seed_1/tasks/again": ("left out", "same task and encoders as seed_1/tasks/zeroshot"),
    }


def test_a_task_in_the_folder_of_a_run_on_other_encoders_than_its_own_is_left_out(tmp_path: Path) -> None:
    for number, name in enumerate(("same", "other", "gone")):
        folder = pretrain(tmp_path / name, name=name, seed=number)
        zeroshot(folder / "tasks" / "zeroshot", scores_of(1, 0), seed=number)
        weights = folder / "encoders" / "encoders.safetensors"
        if name == "other":
            weights.write_text("trained on")
        if name == "gone":
            weights.unlink()
    report = make(tmp_path)
    (row,) = report.rows
    assert {seed: list(member.tasks) for seed, member in row.members.items()} == {
        0: ["zeroshot"],
        1: [],
        2: ["zeroshot"],
    }
    said = [(one.where, one.state, one.reason) for one in report.problems if one.folder]
    assert said == [("other/tasks/zeroshot", "left out", "of other encoders than the run that it lies in now has")]


def test_a_task_on_few_test_studies_or_on_patients_seen_before_is_a_column_of_its_own(tmp_path: Path) -> None:
    folder = pretrain(tmp_path / "a", name="a")
    for name, change in (("all", {}), ("few", {"limit_test": 5}), ("seen", {"allow_seen": True})):
        place = folder / "tasks" / name
        zeroshot(place, scores_of(1, 0))
        config = json.loads((place / "config.yaml").read_text())
        write_config(place, config | {"limit_test": None, "allow_seen": False} | change)
    report = make(tmp_path)
    assert sorted(report.rows[0].members[0].tasks) == ["zeroshot", "zeroshot allow_seen=true", "zeroshot limit_test=5"]
    assert not report.problems


def test_runs_on_other_data_are_rows_and_columns_of_their_own(tmp_path: Path) -> None:
    for seed, (split, digest) in enumerate((("mimic/official", "aa"), ("mimic/official", "bb"), ("", ""))):
        folder = pretrain(tmp_path / str(seed), name="full", seed=seed)
        if split:
            (folder / "data.json").write_text(json.dumps({"split": split, "train": f"9 studies, sha256 {digest}"}))
        hashes: dict[str, Any] = {"split_sha256": {"train": str(seed), "test": digest}} if split else {}
        zeroshot(folder / "tasks" / "zeroshot", scores_of(1, 0), seed=seed, label_fraction=0.1, **hashes)
    report = make(tmp_path)
    assert [row.seeds for row in report.rows] in ([(0,), (1,), (2,)], [(0,), (2,), (1,)])
    data = {row.seeds: row.config.get("data") for row in report.rows}
    assert data[2,] is None and data[0,] != data[1,]
    assert all(re.fullmatch(r"mimic/official \([0-9a-f]{8}\)", str(data[seed,])) for seed in (0, 1))
    assert len({column.task for column in report.columns if column.task != "validation"}) == 3
    assert "| data |" in markdown(report.rows, report.columns, report.cells)


def test_a_fraction_drawn_by_seed_is_the_same_data(tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = pretrain(tmp_path / str(seed), name="full", seed=seed)
        hashes = {"train": str(seed), "test": "aa"}
        zeroshot(folder / "tasks" / "probe", scores_of(1, 0), seed=seed, label_fraction=0.1, split_sha256=hashes)
    (row,) = make(tmp_path).rows
    assert [list(member.tasks) for member in row.members.values()] == [["zeroshot"], ["zeroshot"]]
