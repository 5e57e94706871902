"""Small files of a run folder: whole or not at all, and no half line."""

import json
from pathlib import Path

import pytest

from flvlp.engine.lines import append_line, cut_lines, replace_text
from tests.processes import largest_file


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_that_finds_no_room_is_said_and_leaves_the_file_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    append_line(path, {"step": 1, "total": 2.5})
    with largest_file(path.stat().st_size + 5):  # a half line fits
        append_line(path, {"step": 2, "total": 2.0})
    assert "metrics.jsonl: the line of step 2 is NOT written" in caplog.text
    append_line(path, {"step": 3, "total": 1.5})
    assert records(path) == [{"step": 1, "total": 2.5}, {"step": 3, "total": 1.5}]


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    replace_text(path, "old")

    with largest_file(2), pytest.raises(OSError, match="File too large"):
        replace_text(path, "new")
    assert path.read_text() == "old"
    replace_text(path, "new")
    assert path.read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"], "something is left beside it"


@pytest.mark.parametrize(("redone", "left"), [("", ["train", "validation"]), ("validation", ["train"])])
def test_what_will_be_validated_again_is_cut_and_what_was_trained_is_not(
    tmp_path: Path, redone: str, left: list[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in (4, 8):
        append_line(path, {"part": "train", "step": step})
        append_line(path, {"part": "validation", "step": step})
    cut_lines(path, 8, redone)
    assert [record["part"] for record in records(path)] == ["train", "validation", *left]
