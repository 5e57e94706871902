"""F1, MCC, accuracy, sensitivity and specificity: by hand, against scikit-learn, and in draws."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, recall_score

from flvlp.metrics.classification import Confusion, confusion

FIGURES = ("f1", "accuracy", "mcc", "sensitivity", "specificity")


def test_counts_and_figures_of_a_hand_made_case() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, np.nan])[:, None]
    predictions = np.array([1, 1, 0, 1, 0, 0, 0, 0, 1], dtype=bool)[:, None]
    found = confusion(labels, predictions)
    expected = Confusion(*(np.array([float(count)]) for count in (2, 1, 4, 1)))
    assert found == expected, f"{found}, by hand {expected}"
    by_hand = {"f1": 4 / 6, "accuracy": 6 / 8, "mcc": (2 * 4 - 1 * 1) / 15, "sensitivity": 2 / 3, "specificity": 4 / 5}
    for name, value in by_hand.items():
        assert getattr(found, name)()[0] == pytest.approx(value), f"{name} {getattr(found, name)()[0]}, by hand {value}"


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("positives", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("predicted", [0.0, 0.4, 1.0])
def test_figures_are_those_of_scikit_learn_also_where_they_are_not_defined(positives: float, predicted: float) -> None:
    generator = np.random.default_rng(round(10 * positives + 100 * predicted))
    labels = (generator.random((30, 4)) < positives).astype(np.float64)
    labels[generator.random((30, 4)) < 0.2] = np.nan
    predictions = generator.random((30, 4)) < predicted
    found = confusion(labels, predictions)
    for column in range(4):
        is_known = ~np.isnan(labels[:, column])
        pair = labels[is_known, column], predictions[is_known, column]
        expected = {
            "f1": f1_score(*pair, zero_division=0),
            "accuracy": accuracy_score(*pair),
            "mcc": matthews_corrcoef(*pair),
            "sensitivity": recall_score(*pair, zero_division=np.nan),
            "specificity": recall_score(1 - pair[0], ~pair[1], zero_division=np.nan),
        }
        values = {name: getattr(found, name)()[column] for name in FIGURES}
        assert values == pytest.approx(expected, nan_ok=True), f"{values}, scikit-learn {expected}"


def test_a_class_without_any_known_label_is_nan_or_zero_but_no_crash() -> None:
    found = confusion(np.full((3, 1), np.nan), np.ones((3, 1), dtype=bool))
    values = [getattr(found, name)()[0] for name in FIGURES]
    assert values == pytest.approx([0, np.nan, 0, np.nan, np.nan], nan_ok=True), f"{values}"
    assert not found.has_both[0]


def test_weights_count_images_as_often_as_they_are_drawn() -> None:
    generator = np.random.default_rng(0)
    labels, predictions = generator.choice([0, 1, np.nan], size=(12, 3)), generator.random((12, 3)) < 0.5
    weights = generator.integers(0, 4, size=(9, 12))
    found = confusion(labels, predictions, weights)
    for draw, weight in enumerate(weights):
        resampled = confusion(np.repeat(labels, weight, axis=0), np.repeat(predictions, weight, axis=0))
        for name in FIGURES:
            some, expected = getattr(found, name)()[draw], getattr(resampled, name)()
            assert some == pytest.approx(expected, nan_ok=True), f"{name} {some}, of the images drawn {expected}"
