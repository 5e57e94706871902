"""A run goes on with another number of processes: in the same epoch, to its end, each study once an epoch."""

import json
from pathlib import Path

import pytest
import torch

from tests.conftest import ONE_PROCESS, TWO_PROCESSES, Run


@pytest.mark.parametrize(
    ("launchers", "stopped", "lengths"),
    # 40 studies an epoch, in 10 steps of 4 or 5 of 8; stopped when 24 studies of the second epoch were seen
    [((ONE_PROCESS, TWO_PROCESSES), 16, (10, 6 + 2, 5)), ((TWO_PROCESSES, ONE_PROCESS), 8, (5, 3 + 4, 10))],
    ids=["one-two", "two-one"],
)
def test_a_run_goes_on_with_another_number_of_processes(
    run: Run, tmp_path: Path, launchers: tuple[tuple[str, ...], ...], stopped: int, lengths: tuple[int, ...]
) -> None:
    folder = tmp_path / "run"
    small = ("engine.batch_size=4", "engine.limit_studies=40", "engine.epochs=3", "engine.validate=false")
    buckets = 2 * (launchers[0] == TWO_PROCESSES)  # which move no count, and what is seen again
    overrides = (*small, "engine.log_every=1", f"engine.max_steps={stopped}", f"engine.bucket_steps={buckets}")
    done = run(f"hydra.run.dir={folder}", *overrides, cwd=tmp_path, launcher=launchers[0])
    assert done.returncode == 0, done.stderr[-3000:]
    done = run(f"resume={folder}", "engine.max_steps=null", cwd=tmp_path, launcher=launchers[1])
    assert done.returncode == 0, done.stderr[-3000:]
    assert "it goes on from the same weights, not bit for bit" in done.stderr, done.stderr[-3000:]
    assert "; 0 studies are seen a second time" in done.stderr, done.stderr[-3000:]
    assert ("and others too: engine.bucket_steps orders" in done.stderr) == bool(buckets), done.stderr[-3000:]
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, sum(lengths) + 1))
    found = tuple(sum(record["epoch"] == epoch for record in records) for epoch in range(3))
    assert found == lengths, f"steps of the three epochs: {found}, expected {lengths}"
    state = torch.load(max(folder.glob("checkpoints/step_*.pt")), weights_only=True)["state"]
    assert (state["epoch"], state["epoch_step"], state["studies"]) == (3, 0, 120), state
