"""Splits by patient."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flvlp.data.splits.patients import split_by_patient

patients = st.lists(st.text(max_size=3), min_size=1, max_size=40)
fractions = st.floats(0, 0.9)
seeds = st.integers(0, 5)


def split_or_none(ids: list[str], fraction: float, seed: int) -> dict[str, np.ndarray] | None:
    try:
        return split_by_patient(ids, fraction, seed)
    except ValueError:
        return None


@given(patients, fractions, seeds)
def test_every_study_is_in_one_part_and_every_patient_too(ids: list[str], fraction: float, seed: int) -> None:
    splits = split_or_none(ids, fraction, seed)
    if splits is None:
        return
    train, validation = splits["train"], splits["validation"]
    assert sorted([*train, *validation]) == list(range(len(ids)))
    assert not {ids[i] for i in train} & {ids[i] for i in validation}
    assert list(train) == sorted(train)
    assert list(validation) == sorted(validation)


@given(patients, fractions, seeds, st.randoms())
def test_the_order_and_number_of_rows_do_not_matter(ids: list[str], fraction: float, seed: int, random: object) -> None:
    shuffled = ids + ids[: len(ids) // 2]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = split_or_none(ids, fraction, seed), split_or_none(shuffled, fraction, seed)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert {ids[i] for i in one["validation"]} == {shuffled[i] for i in other["validation"]}


@given(patients, fractions, fractions, seeds)
def test_a_larger_fraction_keeps_every_held_out_patient(ids: list[str], first: float, second: float, seed: int) -> None:
    small, large = split_or_none(ids, min(first, second), seed), split_or_none(ids, max(first, second), seed)
    if small is not None and large is not None:
        assert set(small["validation"]) <= set(large["validation"])


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25, 0.5])
def test_the_share_is_one_of_patients_and_not_of_studies(fraction: float) -> None:
    ids = ["many"] * 500 + [f"patient {number}" for number in range(199)]
    validation = split_by_patient(ids, fraction, 3)["validation"]
    count = len({ids[i] for i in validation})
    assert count == round(fraction * 200), f"{count} of 200 patients held out for {fraction}"


def test_two_patients_give_one_to_validation_however_small_the_fraction() -> None:
    splits = split_by_patient(["a", "b", "a"], 0.001, 0)
    assert len({("a", "b", "a")[i] for i in splits["validation"]}) == 1


def test_one_patient_or_a_fraction_of_0_leaves_validation_empty() -> None:
    assert split_by_patient(["a", "a"], 0.1, 0)["validation"].tolist() == []
    assert split_by_patient(["a", "b", "c"], 0.0, 0)["train"].tolist() == [0, 1, 2]


def test_another_seed_gives_another_split() -> None:
    ids = [str(number) for number in range(100)]
    parts = {tuple(split_by_patient(ids, 0.2, seed)["validation"]) for seed in range(10)}
    assert len(parts) == 10


def test_the_split_is_the_same_on_every_machine_and_in_every_version() -> None:
    ids = [f"p{number}" for number in range(12)]
    assert split_by_patient(ids, 0.3, 0)["validation"].tolist() == [0, 1, 10, 11]


def test_nothing_left_for_training_is_an_error_that_names_the_key() -> None:
    with pytest.raises(
        ValueError, match=r"no patient is left for training \(2 patients, 2 held out\).*validation_fraction"
    ):
        split_by_patient(["a", "b"], 0.9, 0)
    with pytest.raises(ValueError, match=r"\(0 patients"):
        split_by_patient([], 0.1, 0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_outside_0_to_1_is_an_error(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"validation fraction .* lies outside \[0, 1\)"):
        split_by_patient(["a", "b"], fraction, 0)
