"""How the workers of a job are started: what is asked, where hosts meet, and what a worker may take."""

import os
import signal

import pytest

from flvlp.launch import LaunchConfig, kept_signals, meeting, shared_threads, threads_of_worker


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"name": "mpi"}, "local, torchrun, slurm"),
        ({"nproc_per_node": 4}, "set launch=torchrun"),
        ({"name": "torchrun", "nproc_per_node": 0}, "launch.nproc_per_node: must lie in"),
        ({"name": "torchrun", "nnodes": 2}, "launch.rdzv_endpoint"),
    ],
)
def test_what_cannot_be_started_says_what_to_set(wrong: dict[str, object], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        LaunchConfig(**wrong)  # type: ignore[arg-type]


def test_jobs_side_by_side_on_one_host_share_neither_port_nor_name() -> None:
    one, two = (meeting(LaunchConfig("torchrun", 2), job) for job in (0, 0))
    assert one["rdzv_endpoint"].endswith(":0"), "a fixed port would be taken by the other job"
    assert one["run_id"] != two["run_id"]


def test_hosts_meet_at_another_port_for_every_job_of_a_sweep() -> None:
    config = LaunchConfig("torchrun", 4, 2, "node1:29500")
    first, third = meeting(config, 0), meeting(config, 2)
    assert (first["rdzv_endpoint"], third["rdzv_endpoint"]) == ("node1:29500", "node1:29502")
    assert first["run_id"] != third["run_id"]


@pytest.mark.parametrize(("node", "is_host"), [("0", True), ("1", False)])
def test_the_nodes_of_a_slurm_job_meet_at_its_first_one(
    monkeypatch: pytest.MonkeyPatch, node: str, *, is_host: bool
) -> None:
    for key, value in {"JOB_ID": "71234", "LAUNCH_NODE_IPADDR": "10.0.0.7", "NODEID": node}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    found = meeting(LaunchConfig("slurm", 4, 2), 0)
    host, port = found["rdzv_endpoint"].split(":")
    assert (host, found["run_id"], found["rdzv_configs"]["is_host"]) == ("10.0.0.7", "71234", is_host)
    assert 15000 <= int(port) < 30000


def test_workers_share_the_threads_of_their_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert [threads_of_worker(workers) for workers in (1, 2, 3, 16)] == [8, 4, 2, 1]
    with shared_threads(4):
        assert os.environ["OMP_NUM_THREADS"] == "2"
    assert os.environ["OMP_NUM_THREADS"] == "8"
    monkeypatch.delenv("OMP_NUM_THREADS")
    with shared_threads(1):
        assert int(os.environ["OMP_NUM_THREADS"]) == len(os.sched_getaffinity(0))
    assert "OMP_NUM_THREADS" not in os.environ


def test_an_agent_leaves_the_keyboard_as_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    with kept_signals():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) is before
