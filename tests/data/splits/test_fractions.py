"""Label fractions: nested, by patient, no class lost, in proportion."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flvlp.data.splits.fractions import label_fraction
from flvlp.data.studies import Labels


@dataclass
class Part:
    """A data set of a few studies, and the positions of its training part."""

    patients: list[str]
    labels: Labels | None
    positions: np.ndarray

    def take(self, fraction: float, seed: int = 0) -> list[int]:
        return label_fraction(self.positions, self.patients, self.labels, fraction, seed).tolist()

    def patients_of(self, positions: list[int]) -> set[str]:
        return {self.patients[position] for position in positions}

    def shows(self, positions: list[int] | np.ndarray) -> set[str]:
        """The classes that some study shows, and "no finding" where some study shows none."""
        if self.labels is None:
            return set()
        is_shown = self.labels.values[positions] == 1
        shown = {name for name, column in zip(self.labels.names, is_shown.T, strict=True) if column.any()}
        return shown | ({"no finding"} if not is_shown.any(axis=1).all() else set())


def labels_of(rows: list[list[float]]) -> Labels:
    values = np.array(rows, dtype=np.float32)
    return Labels(tuple(f"class {column}" for column in range(values.shape[1])), values)


@st.composite
def small_parts(draw: st.DrawFn) -> Part:
    studies = draw(st.integers(1, 40))
    classes = draw(st.integers(1, 4))
    patients = draw(st.lists(st.sampled_from("abcdefghijklmno"), min_size=studies, max_size=studies))
    row = st.lists(st.sampled_from([0.0, 0.0, 1.0, float("nan")]), min_size=classes, max_size=classes)
    labels = labels_of(draw(st.lists(row, min_size=studies, max_size=studies)))
    positions = sorted(draw(st.sets(st.integers(0, studies - 1), min_size=1)))
    return Part(patients, draw(st.sampled_from([labels, labels, labels, None])), np.array(positions, dtype=np.int64))


fractions = st.one_of(st.sampled_from([0.01, 0.1, 1.0]), st.floats(0, 1, exclude_min=True))
seeds = st.integers(0, 5)


@given(small_parts(), fractions, fractions, seeds)
def test_a_smaller_fraction_lies_inside_a_larger_one(part: Part, first: float, second: float, seed: int) -> None:
    small, large = part.take(min(first, second), seed), part.take(max(first, second), seed)
    assert set(small) <= set(large), f"{small} is not inside {large}"


@given(small_parts(), fractions, seeds)
def test_a_patient_is_taken_with_all_studies_of_the_training_part_or_not_at_all(
    part: Part, fraction: float, seed: int
) -> None:
    taken = part.take(fraction, seed)
    chosen = part.patients_of(taken)
    assert taken == [position for position in part.positions if part.patients[position] in chosen]


@given(small_parts(), fractions, seeds)
def test_every_class_of_the_training_part_is_in_every_fraction_and_no_finding_too(
    part: Part, fraction: float, seed: int
) -> None:
    taken = part.take(fraction, seed)
    assert part.shows(taken) == part.shows(part.positions), f"{taken} of {part.positions}"


@given(small_parts(), fractions, seeds)
def test_the_share_is_reached_and_passed_by_less_than_a_patient_beyond_one_for_each_class(
    part: Part, fraction: float, seed: int
) -> None:
    taken = part.take(fraction, seed)
    wanted = max(1, round(fraction * len(part.positions)))
    owners = [part.patients[position] for position in taken]
    heads = 0 if part.labels is None else len(part.labels.names) + 1
    assert len(taken) >= wanted, f"{len(taken)} studies taken, {wanted} wanted"
    most = max(owners.count(patient) for patient in owners)
    assert len(set(owners)) <= heads or len(taken) - most < wanted, f"{len(taken)} studies taken, {wanted} wanted"


@given(small_parts(), seeds)
def test_the_whole_fraction_is_the_training_part(part: Part, seed: int) -> None:
    assert part.take(1.0, seed) == part.positions.tolist()


@given(small_parts(), fractions, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(part: Part, fraction: float, seed: int, random: object) -> None:
    moved = list(range(len(part.patients)))
    random.shuffle(moved)  # type: ignore[attr-defined]
    labels = None if part.labels is None else Labels(part.labels.names, part.labels.values[moved])
    positions = np.array([new for new, old in enumerate(moved) if old in part.positions], dtype=np.int64)
    other = Part([part.patients[old] for old in moved], labels, positions)
    assert sorted(moved[new] for new in other.take(fraction, seed)) == part.take(fraction, seed)


@given(small_parts(), fractions, seeds)
def test_labels_and_patients_outside_the_training_part_do_not_matter(part: Part, fraction: float, seed: int) -> None:
    inside = part.positions
    labels = None if part.labels is None else Labels(part.labels.names, part.labels.values[inside])
    alone = Part([part.patients[position] for position in inside], labels, np.arange(len(inside)))
    assert [int(inside[row]) for row in alone.take(fraction, seed)] == part.take(fraction, seed)


def made_set(studies: int, rng: np.random.Generator) -> Part:
    """Studies with 14 classes of 0.2 % to 18 %, two thirds without any, up to 20 studies a patient."""
    shares = np.geomspace(0.002, 0.18, 14)
    is_ill = rng.random(studies) < 0.35
    values = (rng.random((studies, 14)) < np.minimum(shares / 0.35, 0.6)) & is_ill[:, None]
    sizes = np.minimum(rng.geometric(0.4, studies), 20)
    patients = np.repeat(np.arange(studies), sizes)[:studies]
    return Part([f"p{number}" for number in patients], labels_of(values.astype(float).tolist()), np.arange(studies))


def largest_errors(part: Part, taken: list[int] | np.ndarray) -> tuple[float, float]:
    """Largest and mean difference between the class shares of a fraction and those of the whole."""
    assert part.labels is not None
    difference = np.abs(part.labels.values[taken].mean(axis=0) - part.labels.values.mean(axis=0))
    return float(difference.max()), float(difference.mean())


@pytest.mark.parametrize(("has_patients", "better"), [(False, 0.8), (True, 0.9)])
def test_a_tenth_of_a_large_set_holds_the_classes_in_proportion_and_closer_than_plain_chance_does(
    has_patients: bool, better: float
) -> None:
    rng = np.random.default_rng(0)
    part = made_set(10_000, rng)
    if not has_patients:
        part.patients = [f"p{row}" for row in range(10_000)]
    drawn = np.array([largest_errors(part, part.take(0.1, seed)) for seed in range(12)])
    names = sorted(set(part.patients))
    chance = []
    for _ in range(12):
        chosen = set(rng.permutation(names)[: len(names) // 10])
        chance.append(largest_errors(part, [row for row, patient in enumerate(part.patients) if patient in chosen]))
    assert drawn[:, 0].max() < 0.02, f"a class is off by {drawn[:, 0].max():.3f} of all studies"
    mean, by_chance = drawn[:, 1].mean(), np.array(chance)[:, 1].mean()
    assert mean < better * by_chance, f"mean error {mean:.4f}, {by_chance:.4f} by plain chance"


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
def test_a_share_of_a_large_set_is_met_within_one_patient(fraction: float) -> None:
    part = made_set(10_000, np.random.default_rng(1))
    taken = len(part.take(fraction))
    assert fraction * 10_000 <= taken <= fraction * 10_000 + 20, f"{taken} studies for {fraction}"


def test_another_seed_gives_another_draw() -> None:
    part = made_set(500, np.random.default_rng(2))
    assert len({tuple(part.take(0.1, seed)) for seed in range(10)}) == 10
    unlabelled = Part(part.patients, None, part.positions)
    assert len({tuple(unlabelled.take(0.1, seed)) for seed in range(10)}) == 10


def test_the_draw_is_the_same_on_every_machine_and_in_every_version() -> None:
    rows = [[float(row % 2), float(row % 5 == 0)] for row in range(20)]
    part = Part([f"p{row // 2}" for row in range(20)], labels_of(rows), np.arange(20))
    assert part.take(0.2) == [0, 1, 2, 3]
    assert label_fraction(part.positions, part.patients, part.labels, 0.2, 0).dtype == np.int64


def test_classes_are_kept_at_one_percent_of_a_set_that_is_smaller_than_its_classes() -> None:
    part = Part(list("abcdef"), labels_of([*np.eye(5).tolist(), [0.0] * 5]), np.arange(6))
    assert part.take(0.01) == [0, 1, 2, 3, 4, 5]
    assert Part(list("abcdef"), None, np.arange(6)).take(0.01) in [[row] for row in range(6)]


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_fraction_out_of_range_is_an_error_with_the_value_and_the_usual_ones(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"label_fraction: {fraction} lies outside \(0, 1\].*0\.01, 0\.1 and 1\.0"):
        label_fraction(np.arange(3), list("abc"), None, fraction, 0)


def test_a_fraction_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no training study"):
        label_fraction(np.zeros(0, np.int64), list("abc"), None, 0.1, 0)
