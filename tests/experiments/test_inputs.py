"""A resumed run finds the data that it was started with, or stops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.inputs import DATA, check_same_data, write_fingerprint
from tests.builders import HandMadeSource


@pytest.fixture
def started(tmp_path: Path) -> Path:
    write_fingerprint(tmp_path, HandMadeSource())
    return tmp_path


def test_the_same_data_are_known_again(started: Path) -> None:
    before = (started / DATA).read_bytes()
    check_same_data(started, HandMadeSource())
    write_fingerprint(started, HandMadeSource(5))
    assert (started / DATA).read_bytes() == before, "a later start must not overwrite what the run was started with"


@pytest.mark.parametrize("change", ["a study less", "another report", "another order", "another split"])
def test_other_data_stop_a_resumed_run(started: Path, change: str) -> None:
    source = HandMadeSource()
    first, *others = source.studies
    match change:
        case "a study less":
            source.splits = {"train": np.arange(7)}
        case "another report":
            source.studies = [replace(first, report="Other."), *others]
        case "another order":  # of rows that are named by their line, as in `pairs`
            source.studies = [
                replace(one, study_id=two.study_id) for one, two in zip(source.studies, [*others, first], strict=True)
            ]
        case "another split":
            source.split_name = "another"
    with pytest.raises(ValueError, match=r"resume: the data are not those that .* was started with"):
        check_same_data(started, source)


def test_a_run_from_before_this_file_goes_on_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    check_same_data(tmp_path, HandMadeSource())
    for content in (b"", b'{"split": ', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b'"\\ud800"', bytes(100)):
        (tmp_path / DATA).write_bytes(content)
        with pytest.raises(ValueError, match=r"data\.json is damaged .*delete it") as caught:
            check_same_data(tmp_path, HandMadeSource())
        assert str(tmp_path / DATA) in str(caught.value)
