"""What TensorBoard reads of a run folder, read back by its own readers."""

import errno
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util

from flvlp.data.png import png_bytes
from flvlp.engine.log import RunLog, open_run
from tests.processes import largest_file, root_logging


def events(folder: Path) -> EventAccumulator:
    """Returns what the events of a folder hold."""
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


def test_a_run_is_one_line_of_the_hparams_tab_without_a_description_of_the_experiment(tmp_path: Path) -> None:
    run_log = RunLog(tmp_path)
    run_log.hyperparameters({"loss.mlm.weight": 0.0, "loss": "itc", "validate": True}, {"fused/r1": 0.25}, 7)
    run_log.close()
    assert {path.name[:10] for path in tmp_path.iterdir()} == {"events.out"}, (
        "a folder of its own would be a second run"
    )
    found = events(tmp_path)
    content = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    assert values["loss.mlm.weight"].number_value == 0.0
    assert values["loss"].string_value == "itc"
    assert found.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.plugin_name == metadata.PLUGIN_NAME
    with pytest.raises(KeyError):
        found.SummaryMetadata(metadata.EXPERIMENT_TAG)
    (scalar,) = found.Scalars("result/fused/r1")
    assert (scalar.step, scalar.value) == (7, 0.25)


def test_a_run_that_goes_on_has_the_last_line_in_the_hparams_tab_and_no_other(tmp_path: Path) -> None:
    for step in (2, 4):
        run_log = RunLog(tmp_path, first_step=step - 2)
        run_log.write("train", step, 0, {"loss": 1.0})
        run_log.hyperparameters({"engine.max_steps": step}, {"fused/r1": step / 8}, step)
        run_log.close()
    found = events(tmp_path)
    content = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    assert values["engine.max_steps"].number_value == 4
    assert [(one.step, one.value) for one in found.Scalars("result/fused/r1")] == [(2, 0.25), (4, 0.5)]
    assert [one.step for one in found.Scalars("train/loss")] == [2, 4]
    starts = [
        event.step
        for path in tmp_path.glob("events.out.*")
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.tag == metadata.SESSION_START_INFO_TAG
    ]
    assert starts == [4], f"session starts at the steps {starts}"


def test_a_pr_curve_holds_precision_and_recall(tmp_path: Path) -> None:
    run_log = RunLog(tmp_path)
    run_log.pr_curve("test/effusion", np.array([1.0, 0, 1, 0]), np.array([1, 2 / 3, 1 / 3, 0]), 0)
    run_log.close()
    (event,) = events(tmp_path).Tensors("test/effusion")
    curve = tensor_util.make_ndarray(event.tensor_proto)  # TP, FP, TN, FN, precision, recall by threshold
    half = curve.shape[1] // 2
    assert curve[:4, half].tolist() == [1, 1, 1, 1], "at a threshold of a half, two of four are called positive"
    assert curve[4:, half].tolist() == [0.5, 0.5]


def test_an_encoded_picture_is_recorded_with_its_size(tmp_path: Path) -> None:
    content = png_bytes(np.zeros((5, 300, 3), dtype=np.uint8))
    run_log = RunLog(tmp_path)
    run_log.png("figures/one", content, 3)
    run_log.close()
    (event,) = events(tmp_path).Images("figures/one")
    assert (event.step, event.width, event.height, event.encoded_image_string) == (3, 300, 5, content)


@pytest.mark.parametrize("has_pictures", [True, False])
def test_points_of_the_projector_replace_those_that_were_there(tmp_path: Path, has_pictures: bool) -> None:
    pictures = torch.zeros(3, 3, 8, 8, dtype=torch.uint8) if has_pictures else None
    for count in (3, 2):
        run_log = RunLog(tmp_path)
        rows = [[f"study\t{row}", "a\nb"] for row in range(count)]
        run_log.embedding(
            "points", torch.eye(3)[:count], ("study", "text"), rows, None if pictures is None else pictures[:count]
        )
        run_log.close()
    folder = tmp_path / "00000" / "points"
    assert (folder / "metadata.tsv").read_text().splitlines() == ["study\ttext", "study 0\ta b", "study 1\ta b"]
    assert len((folder / "tensors.tsv").read_text().splitlines()) == 2
    assert (folder / "sprite.png").exists() == has_pictures
    assert "points" in (tmp_path / "projector_config.pbtxt").read_text()


def test_a_folder_that_takes_no_events_costs_tensorboard_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("flvlp.engine.log.SummaryWriter", refused)
    run_log = RunLog(tmp_path)
    assert "no TensorBoard: events cannot be written" in caplog.text
    run_log.write("train", 1, 0, {"total": 2.0})
    run_log.text("a", "b", 0)
    run_log.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {
        "part": "train",
        "step": 1,
        "epoch": 0,
        "total": 2.0,
    }


def test_a_start_that_finds_no_room_leaves_no_half_of_its_configuration(tmp_path: Path) -> None:
    with root_logging(), largest_file(20), pytest.raises(OSError, match="File too large"):
        open_run(tmp_path / "run", "seed: 0\n" * 20, 0, is_new=True, is_latest=False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["log.txt"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own thread dies
def test_events_that_cannot_be_written_any_more_cost_tensorboard_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_log = RunLog(tmp_path)
    run_log.write("train", 1, 0, {"total": 2.0})
    assert run_log.writer is not None
    events_file = run_log.writer._get_file_writer().event_writer._async_writer._writer

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    events_file._writer.write = full
    deadline = time.monotonic() + 20  # its thread meets the error, a later call of ours is told
    step = 1
    while run_log.writer is not None and time.monotonic() < deadline:
        step += 1
        run_log.write("train", step, 0, {"total": 1.0})
        run_log.png("figure", png_bytes(np.zeros((2, 2, 3), np.uint8)), step)
        time.sleep(0.02)
    assert run_log.writer is None
    assert "no TensorBoard any more: events cannot be written" in caplog.text
    run_log.text("a", "b", step)
    run_log.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, step + 1))
