"""One run over two hosts: network namespaces with an address each, joined by a wire that can be cut."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import TWO_PROCESSES, Run, environment
from tests.experiments.test_resume import differences, last_checkpoint

pytestmark = pytest.mark.slow
OVERRIDES = ("engine.batch_size=4", "engine.log_every=1", "engine.checkpoint_every=1", "engine.keep_checkpoints=50")
ADDRESSES = ("10.213.77.1", "10.213.77.2")


@dataclass
class Hosts:
    """Two hosts, and what torchrun says on each of them.

    Attributes:
        names: of the namespaces; empty where none may be made, and both are this machine's loopback.
        said: so far, by host.
    """

    names: tuple[str, ...]
    agents: list[subprocess.Popen[str]] = field(default_factory=list)
    said: list[str] = field(default_factory=lambda: ["", ""])

    def start(self, command: Callable[..., list[str]], folder: Path, *overrides: str) -> None:
        """Starts the same command on both."""
        for host in range(2):
            inside = ["ip", "netns", "exec", self.names[host]] if self.names else []
            address = ADDRESSES[host] if self.names else "127.0.0.1"
            launcher = (
                *(*inside, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"),
                *("--max-restarts", "2", "--rdzv-backend", "c10d", "--rdzv-id", folder.name, "--local-addr", address),
                *("--rdzv-endpoint", f"{ADDRESSES[0] if self.names else '127.0.0.1'}:29713"),
                *("--rdzv-conf", f"is_host={1 - host}"),  # both have the name of this machine
            )
            line = command(f"hydra.run.dir={folder}", *OVERRIDES, *overrides, launcher=launcher)
            variables = {**environment(), "GLOO_SOCKET_IFNAME": "eth0" if inside else "lo"}
            agent = subprocess.Popen(
                line, cwd=folder.parent, env=variables, stderr=subprocess.PIPE, text=True, start_new_session=True
            )
            self.agents.append(agent)
            threading.Thread(target=self._listen, args=[host], daemon=True).start()

    def _listen(self, host: int) -> None:
        stream = self.agents[host].stderr
        assert stream is not None
        for line in stream:
            self.said[host] += line

    def wait_for(self, pattern: str, seconds: float = 120) -> int:
        """Returns the first host that says it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for host, said in enumerate(self.said):
                if re.search(pattern, said):
                    return host
            assert None in [agent.poll() for agent in self.agents], f"both ended without {pattern!r}: {self.tail()}"
            time.sleep(0.02)
        raise AssertionError(f"{pattern!r} was not said within {seconds} s: {self.tail()}")

    def set_wire(self, state: str) -> None:
        """Cuts the wire (`down`) or mends it (`up`)."""
        subprocess.run(["ip", "-n", self.names[1], "link", "set", "eth0", state], check=True)

    def finish(self, seconds: float = 200) -> None:
        """Waits for both to end well."""
        statuses = [agent.wait(timeout=seconds) for agent in self.agents]
        assert statuses == [0, 0], f"exit statuses {statuses}: {self.tail()}"

    def tail(self) -> str:
        return "\n".join(f"--- host {host}: {said[-2500:]}" for host, said in enumerate(self.said))


def ip(*words: str) -> bool:
    """Runs `ip`; returns whether it worked."""
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    names = tuple(f"flvlp-{os.getpid()}-{host}" for host in range(2))
    has_wire = shutil.which("ip") is not None and all(ip("netns", "add", name) for name in names)
    if has_wire:
        ends = [word for host in range(2) for word in ("name", f"fw{host}-{os.getpid()}")]
        has_wire = ip("link", "add", *ends[:2], "type", "veth", "peer", *ends[2:])
        for name, address, end in zip(names, ADDRESSES, ends[1::2], strict=True):
            has_wire = (
                has_wire
                and ip("link", "set", end, "netns", name, "name", "eth0")
                and ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
                and ip("-n", name, "link", "set", "eth0", "up")
                and ip("-n", name, "link", "set", "lo", "up")
            )
    made = Hosts(names if has_wire else ())
    yield made
    for agent in made.agents:
        if agent.poll() is None:
            os.killpg(agent.pid, signal.SIGKILL)
        agent.wait()
    for name in names:
        ip("netns", "del", name)


@pytest.fixture
def whole(run: Run, tmp_path: Path) -> Path:
    """Returns the folder of the same run on one host, undisturbed."""
    folder = tmp_path / "whole"
    done = run(f"hydra.run.dir={folder}", *OVERRIDES, cwd=tmp_path, launcher=TWO_PROCESSES)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def assert_same_end(whole: Path, folder: Path) -> None:
    different = differences(last_checkpoint(whole), last_checkpoint(folder))
    assert not different, f"{len(different)} entries differ, such as {different[:5]}"


def test_a_rank_that_dies_on_one_host_restarts_both(
    hosts: Hosts, command: Callable[..., list[str]], tmp_path: Path, whole: Path
) -> None:
    folder = tmp_path / "run"
    hosts.start(command, folder)
    trained = hosts.wait_for(r"step 2/")
    other = hosts.agents[1 - trained].pid  # its agent counts this restart, the one of rank 0 does not
    (rank,) = Path(f"/proc/{other}/task/{other}/children").read_text().split()
    os.kill(int(rank), signal.SIGKILL)
    hosts.finish()
    assert "resumed from" in hosts.said[trained], hosts.tail()
    assert_same_end(whole, folder)


@pytest.mark.parametrize("cut", ["short", "long"])
def test_a_host_that_is_cut_off_and_comes_back_goes_on(
    hosts: Hosts, command: Callable[..., list[str]], tmp_path: Path, whole: Path, cut: str
) -> None:
    if not hosts.names:
        pytest.skip("no network namespaces may be made here (needs root and iproute2)")
    folder = tmp_path / "run"
    hosts.start(command, folder, f"engine.timeout_minutes={0.2 if cut == 'long' else 2}")
    trained = hosts.wait_for(r"step 2/")
    hosts.set_wire("down")
    time.sleep(30 if cut == "long" else 4)
    hosts.set_wire("up")
    hosts.finish()
    assert ("resumed from" in hosts.said[trained]) == (cut == "long"), hosts.tail()
    assert_same_end(whole, folder)
