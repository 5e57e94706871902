"""The benchmark: processes that take turns, goals, the table, and rows from end to end."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

import benchmark
from benchmark import ROWS
from support.benchmarking.contenders import Contender, Timed, compete
from support.benchmarking.rows import Figure, Row, ratio
from support.benchmarking.tables import markdown
from support.entry import typed
from tests.processes import root_logging

ROOT = Path(__file__).parents[2]
SMALL = (
    *("encoder=tiny", "batch_size=2", "small_batch_size=2", "turns=1", "studies=2", "pool=200", "files=40"),
    *("picture=[300,260]", "encoder.text.layers=1"),
)


def broken_row(_: object) -> Row:
    raise RuntimeError("no such device")


def test_a_row_that_breaks_costs_no_other_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(ROWS, "selection", broken_row)
    monkeypatch.setitem(ROWS, "cache", lambda _: Row("cache", "as it was", [Figure("times", 50.0, ">= 40")]))
    monkeypatch.setattr("flvlp.engine.log.set_up_console", lambda: None)  # would take away that of caplog
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        args = typed(benchmark.Args, compose("benchmark", overrides=["rows=[selection,cache]"]))
    with (
        root_logging(),
        pytest.raises(RuntimeError, match=r"selection broke, see above; rows=\[selection\] repeats them"),
    ):
        benchmark.measure(args, tmp_path, "")
    assert "no such device" in caplog.text
    assert "| cache | times | 50.00 |" in (tmp_path / "table.md").read_text()


def sleeper(seconds: float, mebibytes: int) -> Callable[[], Any]:
    """Makes something that takes time and memory."""
    held = bytearray()

    def run() -> int:
        time.sleep(seconds)
        held.extend(b"x" * (mebibytes * 2**20))
        return os.getpid()

    return run


def breaker() -> Callable[[], Any]:
    """Makes something that breaks in its second turn."""
    turns = []

    def run() -> None:
        turns.append(1)
        if len(turns) > 1:
            os._exit(3)

    return run


def rank_sum() -> Callable[[], Any]:
    """Makes something that ranks do together."""
    import torch

    from flvlp import distributed

    distributed.start()
    return lambda: float(distributed.sum_over_ranks(torch.tensor(distributed.rank() + 1.0)))


def test_contenders_have_processes_times_and_memory_of_their_own() -> None:
    with Contender(sleeper, [0.05, 0], 1) as quick, Contender(sleeper, [0.2, 64], 1) as slow:
        first, second = compete([quick, slow], turns=3)
    assert first.last != second.last, "one process for both"
    assert len(first.seconds) == len(second.seconds) == 3
    assert 0.05 <= first.median < 0.2 <= second.median, f"{first.seconds}, {second.seconds}"
    assert second.peak_gib - second.start_gib > 0.2, f"{second}: four times 64 MiB"
    assert first.peak_gib - first.start_gib < 0.1, f"{first}: the memory of the other one"


def test_a_contender_that_breaks_is_told() -> None:
    with pytest.raises(RuntimeError, match="the process of a contender broke"), Contender(breaker, [], 1) as contender:
        compete([contender], turns=2)


def test_ranks_find_each_other() -> None:
    with Contender(rank_sum, [], 1, ranks=2) as both:
        (found,) = compete([both], turns=1)
    assert found.last == 3.0, f"{found.last}: the sum over ranks 1 + 2"


@pytest.mark.parametrize(
    ("value", "goal", "met"),
    [(3.3, ">= 3.2", True), (3.1, ">= 3.2", False), (0.6, "<= 0.65", True), (0.7, "<= 0.65", False), (1.0, "", None)],
)
def test_a_goal_is_a_bound(value: float, goal: str, met: bool | None) -> None:
    assert Figure("speed", value, goal).is_met is met


def test_the_speed_is_that_of_the_medians_and_the_spread_that_of_pairs() -> None:
    plain, ours = Timed([4.0, 6.0, 8.0], 1, 1, None), Timed([2.0, 2.0, 1.0], 1, 1, None)
    speed = ratio(plain, ours, "speed", ">= 2")
    assert speed.value == 3.0
    assert speed.spread == "2.00-8.00"


def test_the_table_names_what_is_missed() -> None:
    rows = [Row("step", "beside", [Figure("speed", 1.234, ">= 3"), Figure("loss", 1e-6, "<= 1e-05", "0-1")])]
    lines = markdown(rows).splitlines()
    assert lines[2] == "| step | speed | 1.23 |  | >= 3 | NO |"
    assert lines[3] == "| step | loss | 1e-06 | 0-1 | <= 1e-05 | yes |"
    assert lines[-1] == "- step: beside"


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Runs the benchmark with small sizes."""
    command = [
        sys.executable,
        str(ROOT / "experiments" / "benchmark.py"),
        f"hydra.run.dir={folder}",
        *SMALL,
        *overrides,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)


def test_rows_from_end_to_end(tmp_path: Path) -> None:
    names = ["listing", "retrieval"]
    done = run(tmp_path / "run", f"rows=[{','.join(names)}]")
    assert done.returncode == 0, done.stderr[-2000:]
    content = json.loads((tmp_path / "run" / "benchmark.json").read_text())
    assert [row["name"] for row in content["rows"]] == names
    for row in content["rows"]:
        for figure in row["figures"]:
            assert figure["value"] > 0, f"{row['name']}: {figure}"
    assert (tmp_path / "run" / "table.md").read_text() in done.stderr
    assert content["machine"]["cores"] >= 1


@pytest.mark.slow
def test_every_row_from_end_to_end(tmp_path: Path) -> None:
    done = run(tmp_path / "run")
    assert done.returncode == 0, done.stderr[-2000:]
    content = json.loads((tmp_path / "run" / "benchmark.json").read_text())
    assert [row["name"] for row in content["rows"]] == list(ROWS)
    losses = [one for row in content["rows"] for one in row["figures"] if "difference" in one["name"]]
    assert len(losses) == 4
    assert all(one["is_met"] for one in losses), losses


def test_an_unknown_row_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = run(tmp_path / "run", "rows=[stepp]")
    assert done.returncode == 1
    assert "rows: unknown row 'stepp'; choose from: step_bf16, step_fp32" in done.stderr
    assert not (tmp_path / "run").exists()
