"""`deterministic=true`: the same command gives the same bits, however many workers read the data."""

from pathlib import Path

import pytest

from tests.conftest import ONE_PROCESS, TWO_PROCESSES, Run
from tests.experiments.test_resume import differences, last_checkpoint

OVERRIDES = ("deterministic=true", "encoder.text.dropout=0.1", "dataset.studies=60")


def twice(run: Run, folder: Path, launcher: tuple[str, ...], workers: tuple[int, int]) -> list[str]:
    """Trains twice with as many reading workers as `workers` says; returns what differs at the end."""
    ends = []
    for number, count in enumerate(workers):
        place = folder / str(number)
        overrides = (f"hydra.run.dir={place}", f"engine.num_workers={count}", "engine.batch_size=4", *OVERRIDES)
        done = run(*overrides, cwd=folder, launcher=launcher)
        assert done.returncode == 0, done.stderr[-3000:]
        ends.append(last_checkpoint(place))
    return differences(ends[0], ends[1])


def test_none_and_four_workers_give_the_same_bits(run: Run, tmp_path: Path) -> None:
    different = twice(run, tmp_path, ONE_PROCESS, (0, 4))
    assert not different, f"{len(different)} entries differ, such as {different[:5]}"


@pytest.mark.slow
def test_two_processes_give_the_same_bits_twice(run: Run, tmp_path: Path) -> None:
    different = twice(run, tmp_path, TWO_PROCESSES, (1, 1))
    assert not different, f"{len(different)} entries differ, such as {different[:5]}"
