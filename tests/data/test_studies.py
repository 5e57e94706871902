"""Labels: what they may hold, and which are of exclusive classes."""

from pathlib import Path

import numpy as np
import pytest

from flvlp.data.studies import Labels
from tests.data.readers.test_covidx import TEST, TRAIN, CovidxRoot, names_of

NAMES = ("normal", "pneumonia", "COVID-19")
NAN = float("nan")


def test_exclusive_labels_have_one_class_a_study() -> None:
    assert Labels(NAMES, np.eye(3, dtype=np.float32), is_exclusive=True).is_exclusive
    assert Labels(NAMES, np.zeros((0, 3), dtype=np.float32), is_exclusive=True).is_exclusive
    assert not Labels(NAMES, np.ones((2, 3), dtype=np.float32)).is_exclusive
    unknown = np.array([(1, 0, 0), (NAN, NAN, NAN)], dtype=np.float32)
    assert Labels(NAMES, unknown, is_exclusive=True).is_exclusive, "a study of which nothing is known breaks no rule"


@pytest.mark.parametrize("row", [(0, 0, 0), (1, 1, 0), (1, NAN, 0)], ids=str)
def test_a_study_of_no_class_several_or_one_unknown_is_not_exclusive(row: tuple[float, ...]) -> None:
    values = np.array([(1, 0, 0), row], dtype=np.float32)
    assert Labels(NAMES, values).values is values
    with pytest.raises(ValueError, match="exclusive classes, and a study has none of them, or several"):
        Labels(NAMES, values, is_exclusive=True)


def test_the_classes_of_covidx_are_exclusive_and_its_two_label_set_is_one_finding(tmp_path: Path) -> None:
    root = CovidxRoot(tmp_path)
    for part, lines in (("train", TRAIN), ("test", TEST)):
        root.lines(f"{part}_COVIDx9A.txt", lines)
        root.pictures(part, names_of(lines))
    labels = root.read().labels
    assert labels is not None
    assert labels.is_exclusive
    assert labels.names == NAMES
    for part, lines in (("train", TRAIN), ("test", TEST)):
        two = [line.replace("pneumonia", "negative").replace("normal", "negative") for line in lines]
        root.lines(f"{part}_COVIDx9A.txt", [line.replace("COVID-19", "positive") for line in two])
    labels = root.read().labels
    assert labels is not None
    assert not labels.is_exclusive
    assert labels.names == ("COVID-19",)
