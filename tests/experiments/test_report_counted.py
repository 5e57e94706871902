"""What of the runs on disk a report counts, and what it keeps apart: broken ones, other data, other encoders."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.reporting.samples import choose_samples
from support.reporting.tables import markdown
from tests.experiments.made_runs import make, names, pretrain, scores_of, write_config, zeroshot


def test_a_run_whose_task_broke_is_counted_with_the_tasks_that_did_not(tmp_path: Path) -> None:
    for seed, name in enumerate(("whole", "task_broke", "broke")):
        folder = pretrain(tmp_path / name, name=name, seed=seed, loss={"mlm": seed})
        zeroshot(folder / "tasks" / "zeroshot", scores_of(1, 0), seed=seed)
        if name != "whole":
            (folder / "failed.txt").write_text("RuntimeError: then: 1 of 2 tasks broke\n")
    (tmp_path / "broke" / "finished.json").unlink()
    report = make(tmp_path)
    assert sorted(names(report)) == ["task_broke", "whole"]
    assert all(member.tasks for row in report.rows for member in row.members.values())
    assert sorted((Path(one.where).name, one.state, one.reason) for one in report.problems if one.folder) == [
        ("broke", "broken", "RuntimeError: then: 1 of 2 tasks broke"),
        ("task_broke", "broken", "counted, but for a task: RuntimeError: then: 1 of 2 tasks broke"),
    ]


FILES = (
    *("config.yaml", "metrics.jsonl", "finished.json", "run.json", "data.json"),
    *("tasks/zeroshot/result.json", "tasks/zeroshot/config.yaml"),
)


@pytest.mark.parametrize(
    "content", ["", "3", '{"half', "[3]", "{}", "\0"], ids=["empty", "3", "half", "list", "{}", "0"]
)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_costs_its_run_alone_and_is_named(tmp_path: Path, file: str, content: str) -> None:
    for name in ("whole", "spoilt"):
        folder = pretrain(tmp_path / name, name=name, seed=len(name))
        (folder / "data.json").write_text(json.dumps({"split": "mimic/official", "train": "9 studies"}))
        zeroshot(folder / "tasks" / "zeroshot", scores_of(1, 0), seed=len(name))
    path = tmp_path / "spoilt" / file
    path.write_text(content)
    (path.parent / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16))
    report = make(tmp_path)
    choose_samples(report.rows, 3)  # a damaged configuration says nothing about who may see it
    told = [one.reason for one in report.problems if one.folder]
    is_harmless = (file, content) in {  # a line that was never ended; facts that nothing hangs on
        *(("metrics.jsonl", one) for one in ("", '{"half', "\0")),
        ("finished.json", "{}"),
    }
    lost = "whole" if file.startswith("tasks") else "spoilt"
    counted = [name for row in report.rows for name in row.name.split(" = ")]
    assert (lost in counted) == (is_harmless or file.startswith("tasks")), counted
    if is_harmless:
        assert not told
    else:
        assert len(told) == 1 and told[0].startswith(f"{path.name} is damaged"), told
    assert "whole" in counted and str(tmp_path) not in "".join(told)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("tasks/zeroshot/result.json", {"figures": []}),
        ("tasks/zeroshot/result.json", {"figures": None}),
        ("tasks/zeroshot/result.json", {"figures": {"macro_auroc": "x"}}),
        ("tasks/zeroshot/result.json", {"split_sha256": []}),
        ("tasks/zeroshot/result.json", {"images": {}}),
        ("tasks/zeroshot/result.json", {"patients": "x"}),
        ("finished.json", {"seconds": [1]}),
        ("run.json", {"world_size": "two"}),
        ("metrics.jsonl", {"retrieval/fused/r1": None}),
        ("metrics.jsonl", {"step": "x"}),
        ("config.yaml", {"seed": "x"}),
    ],
)
def test_a_value_of_another_kind_costs_its_run_alone_and_is_named(
    tmp_path: Path, file: str, change: dict[str, Any]
) -> None:
    for name in ("whole", "spoilt"):
        folder = pretrain(tmp_path / name, name=name, seed=len(name))
        zeroshot(folder / "tasks" / "zeroshot", scores_of(1, 0), seed=len(name))
    path = tmp_path / "spoilt" / file
    *lines, last = path.read_text().strip().splitlines()
    held = json.loads(last)
    spoilt = [held[0] | change] if isinstance(held, list) else held | change
    path.write_text("\n".join([*lines, json.dumps(spoilt)]) + "\n")
    (path.parent / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16))
    report = make(tmp_path)
    (told,) = [one.reason for one in report.problems if one.folder]
    assert told.startswith(f"{path.name} is damaged"), told
    assert any("whole" in name for name in names(report))
    choose_samples(report.rows, 3)


def test_a_study_that_was_looked_at_is_neither_a_row_nor_unfinished(tmp_path: Path) -> None:
    folder = pretrain(tmp_path / "a", name="a")
    zeroshot(folder / "tasks" / "look", scores_of(1, 0))
    (folder / "tasks" / "look" / "result.json").rename(folder / "tasks" / "look" / "explain.png")
    report = make(tmp_path)
    assert names(report) == ["a"] and not report.problems and not report.rows[0].members[0].tasks


def test_prompt_sets_are_told_apart_by_their_name_and_not_by_their_words(tmp_path: Path) -> None:
    folder = pretrain(tmp_path / "a", name="a")
    for name, sample in (("findings", 0), ("phrases", 0), ("phrases", 5)):
        task = folder / "tasks" / f"{name}_{sample}"
        zeroshot(task, scores_of(1, sample), prompts=name)
        words = {key: {"synonyms": [f"{name} of {key}"]} for key in ("mass", "nodule")}
        config = json.loads((task / "config.yaml").read_text())
        write_config(task, config | {"prompts": {"name": name, "findings": words, "sample": sample}})
    (row,) = make(tmp_path).rows
    assert sorted(row.members[0].tasks) == [
        "zeroshot findings",
        "zeroshot phrases",
        "zeroshot phrases prompts.sample=5",
    ]


def test_a_task_stays_with_its_encoders_where_the_run_that_left_them_is_there_twice(tmp_path: Path) -> None:
    runs = [pretrain(tmp_path / name / "full" / "seed_0", name="full") for name in "ab"]  # the same weights in both
    start = json.loads((runs[0] / "run.json").read_text())[0] | {"started": "2026-02-02T00:00:00+00:00"}
    (runs[0] / "run.json").write_text(json.dumps([start]))  # of the two the first one counts
    digests = {hashlib.sha256((run / "encoders" / "encoders.safetensors").read_bytes()).hexdigest() for run in runs}
    zeroshot(tmp_path / "elsewhere", scores_of(1, 0), encoders_sha256=digests.pop())
    assert not digests
    (row,) = make(tmp_path).rows
    assert list(row.members[0].tasks) == ["zeroshot"]
    assert row.members[0].run and row.members[0].run.folder == runs[0]


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ("figures_every", 1),
        ("projector", 1),
        ("timeout_minutes", 1),
        ("log_every", 1),
        ("validate", 2),
        ("max_steps", 2),
    ],
)
def test_seeds_are_of_one_row_unless_what_sets_them_apart_moves_a_result(tmp_path: Path, key: str, rows: int) -> None:
    for seed in (0, 1):
        folder = pretrain(tmp_path / str(seed), name="full", seed=seed)
        plain = json.loads((folder / "config.yaml").read_text())
        plain["engine"][key] = seed + 1
        write_config(folder, plain)
    assert len(make(tmp_path).rows) == rows


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
