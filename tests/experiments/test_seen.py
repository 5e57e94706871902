"""A task knows which of its test patients the encoders were pre-trained on."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flvlp.data.studies import Study
from support.seen import count_seen, seen_patients, write_seen


def source_of(*patients: str, report: str = "Clear.", train: int = 2) -> Any:
    """Returns a data set of one study a patient; the first `train` are trained on, the next one selects."""
    studies = [Study(f"study-{name}", name, report, has_lateral=False) for name in patients]
    splits = {"train": np.arange(train), "validation": np.arange(train, train + 1)}
    return SimpleNamespace(studies=studies, splits=splits)


def given_in(folder: Path) -> Any:
    return SimpleNamespace(name="run", folder=folder / "encoders")


def test_trained_and_selected_patients_are_known_again_in_any_order(tmp_path: Path) -> None:
    write_seen(tmp_path, source_of("a", "b", "c", "d"))
    assert seen_patients(tmp_path / "encoders", source_of("d", "c", "b", "a")) == {
        "trained": {"a", "b"},
        "selected": {"c"},
    }


def test_a_patient_of_another_data_set_with_the_same_id_is_another_patient(tmp_path: Path) -> None:
    write_seen(tmp_path, source_of("a", "b", "c"))
    found = seen_patients(tmp_path / "encoders", source_of("a", "b", "c", report="Effusion."))
    assert found == {"trained": set(), "selected": set()}


def test_another_study_of_a_seen_patient_counts(tmp_path: Path) -> None:
    write_seen(tmp_path, source_of("a", "b", "c"))
    now = source_of("a", "b", "c")
    now.studies.append(replace(now.studies[0], study_id="later visit"))
    counts = count_seen(given_in(tmp_path), now, {"a"}, is_allowed=True)
    assert counts == {"trained": 1, "selected": 0}


def test_testing_on_trained_patients_is_refused_unless_allowed(tmp_path: Path) -> None:
    write_seen(tmp_path, source_of("a", "b", "c", "d"))
    with pytest.raises(ValueError, match=r"2 of 3 test patients are in the training part.*allow_seen"):
        count_seen(given_in(tmp_path), source_of("a", "b", "c", "d"), {"a", "b", "d"}, is_allowed=False)
    allowed = count_seen(given_in(tmp_path), source_of("a", "b", "c", "d"), {"c", "d"}, is_allowed=False)
    assert allowed == {"trained": 0, "selected": 1}


def test_encoders_without_a_list_are_unknown_and_those_of_nobody_have_seen_nobody(tmp_path: Path) -> None:
    assert count_seen(given_in(tmp_path), source_of("a", "b", "c"), {"a"}, is_allowed=False) is None
    nobody: Any = SimpleNamespace(name="random", folder=None)
    assert count_seen(nobody, source_of("a", "b", "c"), {"a"}, is_allowed=False) == {"trained": 0, "selected": 0}
