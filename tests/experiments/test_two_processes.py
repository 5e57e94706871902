"""Classification from a head and from prompts under torchrun: the row of two processes is that of one."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, TWO_PROCESSES, environment
from tests.experiments.conftest import TINY, result_of
from tests.warm import run_entry

STILL = ("task.fit.max_steps=1", "task.fit.lr=1e-12", "task.fit.num_workers=0", "task.fit.precision=fp32")
TASKS = {
    "zeroshot": ("task.num_workers=0", "task.precision=fp32", "task.batch_size=7"),
    "probe": STILL,
    "finetune": ("task=finetune", *STILL, "task.fit.batch_size=3"),
}


@pytest.mark.parametrize("name", ["zeroshot", pytest.param("probe", marks=pytest.mark.slow), "finetune"])
def test_two_processes_give_the_row_of_one(
    name: str, task: Callable[..., Path], tmp_path: Path, standin_root: Path
) -> None:
    """A head that does not move, so that both judge the same model; batches that do not divide the parts."""
    entry = "zeroshot" if name == "zeroshot" else "classify"
    one = task(entry, *TASKS[name])
    line = [*TWO_PROCESSES, str(ROOT / "experiments" / f"{entry}.py"), *TINY, *TASKS[name]]
    line += [f"dataset.standin_root={standin_root}", f"hydra.run.dir={tmp_path / 'two'}"]
    done = run_entry(line, tmp_path, environment())
    assert done.returncode == 0, done.stderr[-3000:]
    rows = []
    for folder in (one, tmp_path / "two"):
        with (folder / "predictions.csv").open() as file:
            rows.append(list(csv.DictReader(file)))
    assert len(rows[0]) == len(rows[1]) > 0
    for ours, theirs in zip(*rows, strict=True):
        assert [ours[key] for key in ("id", "class", "target")] == [theirs[key] for key in ("id", "class", "target")]
        assert float(ours["score"]) == pytest.approx(float(theirs["score"]), abs=1e-4)
    one_row, two_row = result_of(one), result_of(tmp_path / "two")
    assert (one_row["world_size"], two_row["world_size"]) == (1, 2)
    assert two_row["images"] == one_row["images"]
    assert two_row["split_sha256"] == one_row["split_sha256"]
