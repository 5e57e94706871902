"""`dataset.test_fraction`: patients held out for test where a data set has no test part of its own."""

from pathlib import Path

import pytest

from flvlp.data.phantom.source import PhantomSource
from flvlp.data.readers.base_config import DatasetConfig
from flvlp.data.readers.config import DATASET_CONFIGS, PhantomConfig
from flvlp.data.splits.making import Split, make_split
from flvlp.data.splits.patients import PARTS
from flvlp.data.splits.registry import rule_of
from tests.data.readers.pairs_folder import Folder
from tests.data.splits.split_tables import table_of

PATIENTS = [f"p{row // 2}" for row in range(200)]
TABLE = table_of("pairs/patient", [], PATIENTS, [f"{row:03d}" for row in range(200)])


def made(validation: float, test: float, name: str = "pairs/patient") -> Split:
    return make_split(name, TABLE, seed=0, validation_fraction=validation, lists="", test_fraction=test)


def test_the_shares_are_of_patients_and_every_study_is_in_one_part() -> None:
    parts = made(0.1, 0.25).parts
    assert list(parts) == list(PARTS)
    patients = {part: {PATIENTS[row] for row in rows} for part, rows in parts.items()}
    assert [len(patients[part]) for part in PARTS] == [65, 10, 25]
    assert sum(map(len, parts.values())) == len(PATIENTS) == len(set().union(*parts.values()))
    assert not patients["train"] & patients["test"]
    assert not patients["validation"] & patients["test"]


def test_without_it_nothing_changes_and_there_is_no_test_part() -> None:
    without = make_split("pairs/patient", TABLE, seed=0, validation_fraction=0.1, lists="").parts
    assert "test" not in made(0.1, 0.0).parts
    assert {part: rows.tolist() for part, rows in without.items()} == {
        part: rows.tolist() for part, rows in made(0.1, 0.0).parts.items()
    }


def test_more_validation_moves_no_patient_out_of_test() -> None:
    assert made(0.1, 0.2).parts["test"].tolist() == made(0.3, 0.2).parts["test"].tolist()


def test_it_is_of_the_split_by_patient_alone() -> None:
    assert rule_of("siim/patient-70-15-15", "siim", 0.5, 0.4).test == 0.15
    assert rule_of("siim/patient", "siim", 0.5, 0.4).test == 0.4
    assert rule_of("nih14/official", "nih14", 0.5, 0.4).validation == 0.1


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_share_out_of_range_is_refused_with_its_key(value: float) -> None:
    configs: list[type[DatasetConfig]] = [DatasetConfig, *DATASET_CONFIGS.values()]
    for config in configs:
        with pytest.raises(ValueError, match=rf"dataset\.test_fraction: must lie in \[0, 1\), got {value}"):
            config(name="x", test_fraction=value)


def test_shares_that_leave_nothing_to_train_on_are_refused_with_both() -> None:
    with pytest.raises(ValueError, match=r"0\.5.*0\.5"):
        made(0.5, 0.5)


def test_a_csv_of_studies_and_phantoms_have_a_test_part_on_request(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    rows = [("images/a.png", "", "x", f"p{number}", "") for number in range(10)]
    parts = folder.read(rows, test_fraction=0.2).splits
    assert {part: len(positions) for part, positions in parts.items()} == {"train": 7, "validation": 1, "test": 2}
    assert "test" not in folder.read(rows).splits
    phantoms = PhantomConfig("phantom", str(tmp_path), studies=8, size=16, workers=1, test_fraction=0.3)
    source = PhantomSource(phantoms)
    patients = {part: {source.studies[row].patient_id for row in rows} for part, rows in source.splits.items()}
    assert len(patients["test"]) == round(0.3 * len(set().union(*patients.values())))
    assert not patients["train"] & patients["test"]
