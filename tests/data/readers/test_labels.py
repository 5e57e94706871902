"""From what publishers write to 1, 0 or missing."""

from pathlib import Path

import numpy as np
import pytest

from flvlp.data.readers.labels import (
    CHEXPERT5,
    CHEXPERT14,
    chexpert_labels,
    known_values,
    uncertain_value,
)
from flvlp.data.readers.tables import Table
from flvlp.data.studies import Labels

NAN = float("nan")
POLICIES = ("u_ones", "u_zeros", "ignore", "chexpert5")


def table_of(**columns: list[str]) -> Table:
    count = len(next(iter(columns.values())))
    return Table(
        Path("/data/train.csv"),
        {name.replace("_", " "): values for name, values in columns.items()},
        np.arange(count) + 2,
    )


WRITTEN = ["1", "1.0", "0", "0.0", "", "-1", "-1.0"]


@pytest.mark.parametrize(
    ("uncertain", "values"),
    [("u_ones", (1, 1, 1)), ("u_zeros", (0, 0, 0)), ("ignore", (NAN, NAN, NAN)), ("chexpert5", (1, 0, NAN))],
)
@pytest.mark.parametrize(("unmentioned", "blank"), [("zero", 0), ("ignore", NAN)])
def test_every_spelling_of_chexperts_labels_follows_the_policies(
    uncertain: str, values: tuple[float, float, float], unmentioned: str, blank: float
) -> None:
    table = table_of(Atelectasis=WRITTEN, Fracture=WRITTEN, Cardiomegaly=WRITTEN)
    labels = chexpert_labels(table, ("Atelectasis", "Cardiomegaly", "Fracture"), uncertain, unmentioned)
    expected = [[1, 1, 0, 0, blank, value, value] for value in values]
    assert labels.names == ("Atelectasis", "Cardiomegaly", "Fracture")
    assert labels.values.dtype == np.float32
    np.testing.assert_array_equal(labels.values.T, np.array(expected, dtype=np.float32))


def test_the_mix_of_the_competition_is_that_of_gloria_and_mgca() -> None:
    values = {name: uncertain_value("chexpert5", name) for name in CHEXPERT5}
    assert values == {
        "Atelectasis": 1,
        "Cardiomegaly": 0,
        "Consolidation": 0,
        "Edema": 1,
        "Pleural Effusion": 1,
    }
    assert all(np.isnan(uncertain_value("chexpert5", name)) for name in set(CHEXPERT14) - set(CHEXPERT5))


def test_the_classes_are_those_of_the_published_header_in_its_order() -> None:
    header = (
        "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
        "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
    )
    assert ",".join(CHEXPERT14) == header
    assert CHEXPERT5 == ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")


@pytest.mark.parametrize("value", ["2", "-1.00", "yes", "nan", "1,0"])
def test_another_value_is_an_error_with_table_column_and_row(value: str) -> None:
    table = table_of(Pleural_Effusion=["1.0", value, "", value])
    with pytest.raises(ValueError, match=r"/data/train\.csv: column 'Pleural Effusion' has an unknown value") as caught:
        chexpert_labels(table, ("Pleural Effusion",), "u_ones", "zero")
    assert f"2 rows: row 3 ('{value}'), row 5 ('{value}')" in str(caught.value)
    assert "known: 1, 1.0, 0, 0.0, blank, -1, -1.0" in str(caught.value)


def test_a_long_value_is_counted_and_not_shown() -> None:
    table = table_of(Edema=["The patient has a small effusion."])
    with pytest.raises(ValueError, match="<a text of 33 characters>") as caught:
        known_values(table, "Edema", {"1": 1.0})
    assert "effusion" not in str(caught.value)


def test_an_unknown_policy_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=f"unknown policy 'mean'; known: {', '.join(POLICIES)}"):
        uncertain_value("mean", "Edema")
    for policy in POLICIES:
        uncertain_value(policy, "Edema")


def test_labels_refuse_what_is_neither_1_0_nor_missing() -> None:
    with pytest.raises(ValueError, match="neither 0, 1 nor NaN"):
        Labels(("a",), np.array([[-1.0]], dtype=np.float32))
    with pytest.raises(ValueError, match="for 2 classes"):
        Labels(("a", "b"), np.zeros((3, 1), dtype=np.float32))
    with pytest.raises(ValueError, match="type float64"):
        Labels(("a",), np.zeros((3, 1)))
    assert len(Labels((), np.zeros((3, 0), dtype=np.float32)).values) == 3
