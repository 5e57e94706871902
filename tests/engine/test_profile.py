"""The profile of a training step: a trace that can be read, and a table of its phases."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from flvlp.engine.profile import FOLDER, SKIPPED, TABLE, TRACED, WARM_UP, phase, profiled, table_of

STEPS = SKIPPED + WARM_UP + TRACED


def work(folder: Path | None, steps: int) -> None:
    """Multiplies matrices in one phase, adds them in another."""
    square = torch.ones(64, 64)
    with profiled(folder) as profiler:
        for _ in range(steps):
            with phase("step/forward"):
                square @ square
                square @ square
            with phase("step/optimiser"):
                square + 1
            profiler.step()


@pytest.mark.parametrize("steps", [STEPS, STEPS - 1, STEPS + 2], ids=["all", "one fewer", "more"])
def test_the_table_names_phases_and_counts_operators_a_step(tmp_path: Path, steps: int) -> None:
    work(tmp_path, steps)
    lines = [line.split() for line in (tmp_path / FOLDER / TABLE).read_text().splitlines()]
    phases = {line[0]: float(line[2].rstrip("%")) for line in lines if line and line[0] in ("forward", "optimiser")}
    assert set(phases) == {"forward", "optimiser"}, lines
    assert sum(phases.values()) == pytest.approx(100, abs=0.2), f"shares {phases}"
    (product,) = [line for line in lines if line and line[0] == "aten::mm"]
    assert product[-1] == "2", f"{product}: two products a step"


def test_the_trace_holds_the_phases(tmp_path: Path) -> None:
    work(tmp_path, STEPS)
    (trace,) = (tmp_path / FOLDER).glob("rank0.*.pt.trace.json")
    names = [event.get("name") for event in json.loads(trace.read_text())["traceEvents"]]
    assert names.count("step/forward") == TRACED, f"{names.count('step/forward')} of {TRACED} traced steps"


def test_a_training_that_is_too_short_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        work(tmp_path, SKIPPED + WARM_UP)
    assert "engine.profile: nothing is written before step 5; train longer" in caplog.text
    assert not (tmp_path / FOLDER / TABLE).exists()


def test_a_folder_that_has_one_gets_no_other(tmp_path: Path) -> None:
    work(tmp_path, STEPS)
    before = {path: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()}
    work(tmp_path, STEPS)
    assert {path: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()} == before


def test_without_a_profile_nothing_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        work(None, STEPS)
    assert not list(tmp_path.iterdir())
    assert not caplog.text


def test_on_a_device_phases_are_timed_on_the_host_and_kernels_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def event(key: str, device: DeviceType, host: float, on_device: float, own: float) -> SimpleNamespace:
        times = {"cpu_time_total": host, "device_time_total": on_device, "self_device_time_total": own}
        return SimpleNamespace(key=key, device_type=device, count=2, self_cpu_time_total=host, **times)

    events = [
        event("step/forward", DeviceType.CPU, 4000, 3000, 0),
        event("step/backward", DeviceType.CPU, 8000, 0, 0),  # its kernels are started by another thread
        event("step/forward", DeviceType.CUDA, 0, 3000, 3000),  # the same phase again, as it stood on the device
        event("aten::mm", DeviceType.CPU, 10, 6000, 6000),
        event("aten::add", DeviceType.CPU, 10, 2000, 2000),
        event("sm90_gemm", DeviceType.CUDA, 0, 6000, 6000),
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    lines = [line.split() for line in table_of(SimpleNamespace(key_averages=lambda: events), 2).splitlines()]
    assert [line[:3] for line in lines if line and line[0] in ("forward", "backward")] == [
        ["backward", "4.0", "66.7%"],
        ["forward", "2.0", "33.3%"],
    ]
    assert [line for line in lines if line and line[0].startswith(("aten", "sm90"))] == [
        ["aten::mm", "3.0", "75.0%", "1"],
        ["aten::add", "1.0", "25.0%", "1"],
    ]


def test_a_phase_waits_for_the_device_while_a_profile_is_taken_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(1))
    monkeypatch.setattr("flvlp.engine.profile.torch.cuda.is_available", lambda: True)
    with phase("step/forward"):
        pass
    assert not waited
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]), phase("step/forward"):
        pass
    assert len(waited) == 1
