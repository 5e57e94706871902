"""A disk that is full while a run trains: nothing ends while room may come, and nothing is half."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from flvlp.saved_encoders import load_encoders
from tests.conftest import environment

MIB = 2**20
SIZE, FREE = 320 * MIB, 90 * MIB  # a checkpoint has 57 MiB, the first one 20, encoders 13
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
# On a disk of its own, full but for some bytes, runs the command; what it left there is copied out.
SCRIPT = """
mount -t tmpfs -o size=$1 tmpfs "$2" && head -c $3 /dev/zero > "$2/filler" || exit 9
disk=$2 out=$4; shift 4
"$@"; status=$?
cp -r "$disk/run" "$out"
exit $status
"""


@pytest.fixture(scope="module", autouse=True)
def _may_mount() -> None:
    done = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk of its own can be mounted here: {done.stderr.decode().strip()}")


@pytest.fixture
def process(command: Callable[..., list[str]], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run of two epochs whose disk is full after its first checkpoint; its folder is copied to `out`."""
    (tmp_path / "disk").mkdir()
    disk, out = str(tmp_path / "disk"), str(tmp_path / "out")
    saves = ("engine.checkpoint_every=1", "engine.keep_checkpoints=1", "engine.log_every=1")
    line = command(f"hydra.run.dir={disk}/run", *saves)
    started = subprocess.Popen(
        [*NAMESPACE, "sh", "-c", SCRIPT, "sh", str(SIZE), disk, str(SIZE - FREE), out, *line],
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    yield started
    if started.poll() is None:
        os.killpg(started.pid, signal.SIGKILL)
    started.communicate()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """Returns what the process says up to these words, or to its end."""
    assert process.stderr is not None
    said, deadline = "", time.monotonic() + 120
    for line in process.stderr:
        said += line
        if words in line:
            break
        assert time.monotonic() < deadline, said[-3000:]
    return said


def test_a_disk_that_is_full_for_a_while_costs_nothing(process: subprocess.Popen[str], tmp_path: Path) -> None:
    said = read_until(process, "is NOT written")
    assert "training goes on, and the last one is step_00000001.pt; make room on the disk" in said, said[-2000:]
    Path(f"/proc/{process.pid}/root{tmp_path}/disk/filler").unlink()
    said = read_until(process, "no such words")
    assert process.wait() == 0, said[-3000:]
    state = torch.load(max((tmp_path / "out/checkpoints").glob("step_*.pt")), weights_only=True)["state"]
    assert (state["step"], state["epoch"]) == (10, 2)
    records = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if record["part"] == "train"] == list(range(1, 11))
    assert load_encoders(tmp_path / "out").training["epoch"] in (0, 1)


def test_a_disk_that_stays_full_ends_the_run_where_its_encoders_are_due(
    process: subprocess.Popen[str], tmp_path: Path
) -> None:
    said = read_until(process, "no such words")
    assert process.wait() == 1, said[-3000:]
    assert "encoders of step 10 are NOT written" in said and "No space left on device" in said, said[-3000:]
    (left,) = (tmp_path / "out/checkpoints").glob("*.pt")
    assert torch.load(left, weights_only=True)["state"]["step"] == 1, "the one from before the disk was full is whole"
    assert not list((tmp_path / "out").glob(".enc*")), "half written encoders take what room there is"
