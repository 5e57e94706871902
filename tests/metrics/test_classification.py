"""Figures of findings class by class: against pairs counted one by one, scikit-learn and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

from flvlp.metrics.classification import auroc, average_precision, best_thresholds, weighted_auroc
from flvlp.metrics.exclusive import macro_f1, multiclass_accuracy, multiclass_mcc

SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_auroc_is_the_share_of_pairs_in_order_and_leaves_missing_labels_out(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.choice([0.0, 1.0, np.nan], size=(3 * seed + 2, 3))
    scores = np.round(generator.normal(size=labels.shape), 1)  # with ties
    for column, area in enumerate(auroc(labels, scores)):
        positive, negative = (scores[labels[:, column] == value, column] for value in (1, 0))
        if len(positive) and len(negative):
            difference = positive[:, None] - negative[None, :]
            assert area == pytest.approx(((difference > 0) + 0.5 * (difference == 0)).mean())
        else:
            assert np.isnan(area), "a class with one label only must be reported as such"


def test_auroc_refuses_scores_that_are_no_numbers_or_do_not_fit() -> None:
    with pytest.raises(ValueError, match="1 scores are not finite"):
        auroc(np.array([[1.0], [0.0]]), np.array([[np.nan], [0.0]]))
    with pytest.raises(ValueError, match=r"\(2, 1\), scores of shape \(2, 2\)"):
        auroc(np.zeros((2, 1)), np.zeros((2, 2)))


def findings(seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels (N, C) with NaN and scores with ties of a small random set."""
    generator = np.random.default_rng(seed)
    labels = generator.choice([0.0, 1.0, np.nan], p=[0.5, 0.3, 0.2], size=(3 * seed + 8, classes))
    return labels, np.round(generator.normal(size=labels.shape), 1)


@pytest.mark.parametrize("seed", range(8))
def test_weighted_auroc_is_that_of_scikit_learn_in_every_draw(seed: int) -> None:
    (label,), (score,) = (part.T for part in findings(seed, classes=1))
    weights = np.random.default_rng(seed).integers(0, 3, size=(15, len(label))) * (1 if seed % 2 else 0.37)
    is_known = ~np.isnan(label)
    for area, weight in zip(weighted_auroc(label, score, weights), weights, strict=True):
        drawn = label[is_known & (weight > 0)]
        if len(set(drawn)) < 2:
            assert np.isnan(area), f"{area} from one label only, expected NaN"
        else:
            expected = roc_auc_score(label[is_known], score[is_known], sample_weight=weight[is_known])
            assert area == pytest.approx(expected, rel=1e-12), f"{area}, scikit-learn {expected}"


def test_weighted_auroc_of_a_hand_made_case() -> None:
    label, score = np.array([1, 0, 0, 1, np.nan]), np.array([3.0, 3.0, 1.0, 0.0, 9.0])
    weights = np.array([[1, 1, 1, 1, 1], [2, 1, 3, 0, 0], [0, 1, 1, 0, 1]])
    # Pairs in order: 3 and 3 tie, 3 > 1, 0 < 3, 0 < 1, so 1.5 of 4; then 2 * (0.5 + 3) of 2 * 4; then no positive.
    found = weighted_auroc(label, score, weights).tolist()
    assert found == pytest.approx([0.375, 0.875, np.nan], nan_ok=True), f"{found}, by hand 0.375, 0.875, NaN"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 1, np.nan]), st.integers(-3, 3)), max_size=25), st.randoms())
def test_weighted_auroc_with_ones_is_auroc_in_any_order_of_images(rows: list, random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    areas = []
    for some in (rows, shuffled):
        table = np.array(some, dtype=np.float64).reshape(-1, 2)
        areas += [weighted_auroc(table[:, 0], table[:, 1], np.ones((1, len(table)))), auroc(table[:, :1], table[:, 1:])]
    found = np.concatenate(areas).tolist()
    assert found == pytest.approx([found[0]] * 4, nan_ok=True), f"weighted and not, in two orders: {found}"


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_that_of_scikit_learn_and_nan_with_one_label_only(seed: int) -> None:
    labels, scores = findings(seed)
    labels[:, 2] = np.where(labels[:, 2] == 1, np.nan, labels[:, 2])
    found = average_precision(labels, scores)
    for column in range(2):
        is_known = ~np.isnan(labels[:, column])
        expected = average_precision_score(labels[is_known, column], scores[is_known, column])
        assert found[column] == pytest.approx(expected), f"{found[column]}, scikit-learn {expected}"
    assert np.isnan(found[2]), f"{found[2]} without a positive, expected NaN"
    with pytest.raises(ValueError, match=r"average_precision: labels of shape \(2, 1\)"):
        average_precision(np.zeros((2, 1)), np.zeros((2, 2)))


@pytest.mark.parametrize("seed", range(12))
def test_the_best_threshold_is_the_highest_of_those_that_brute_force_finds(seed: int) -> None:
    labels, scores = findings(seed)
    labels[:, 2] = np.where(labels[:, 2] == 0, np.nan, labels[:, 2])
    found = best_thresholds(labels, scores)
    for column in range(2):
        label, score = (part[~np.isnan(labels[:, column]), column] for part in (labels, scores))
        candidates = sorted(set(score), reverse=True)
        f1 = [f1_score(label, score >= candidate, zero_division=0) for candidate in candidates]
        expected = next(c for c, value in zip(candidates, f1, strict=True) if value >= max(f1) - 1e-12)
        assert found[column] == expected, f"threshold {found[column]}, by brute force {expected}"
    assert np.isnan(found[2]), f"{found[2]} without a negative, expected NaN"


def test_the_best_threshold_of_a_hand_made_case() -> None:
    # Falling: 1, 0, 1, 0 have F1 2/3, 1/2, 4/5, 2/3; the two equal scores at 0.4 cannot be told apart.
    labels = np.array([[1.0], [0], [1], [0], [np.nan]])
    assert best_thresholds(labels, np.array([[0.9], [0.5], [0.4], [0.1], [0.45]])).tolist() == [0.4]
    assert best_thresholds(labels, np.array([[0.9], [0.5], [0.4], [0.4], [0.45]])).tolist() == [0.9], "2/3 at both ends"


def test_exclusive_classes_of_a_hand_made_case() -> None:
    scores = np.array([[5, 1, 1], [1, 5, 1], [3, 3, 1], [1, 5, 1]])  # the third has equal scores: class 0
    targets = np.array([0, 1, 1, 0])
    assert multiclass_accuracy(targets, scores) == 0.5, "rows 0 and 1 are right"
    assert macro_f1(targets, scores) == 0.5, "class 2 does not occur; 0 and 1 have one hit, one miss, one alarm each"


def test_the_correlation_of_a_hand_made_case() -> None:
    targets, scores = np.array([0, 0, 1, 1, 1]), np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 0]])
    assert multiclass_mcc(targets, scores) == pytest.approx(4 / 6), "(2 x 2 - 0 x 1) / sqrt(2 x 3 x 2 x 3)"
    assert multiclass_mcc(targets, np.tile([1, 0], (5, 1))) == 0, "one class only is predicted"


@pytest.mark.parametrize("seed", range(6))
def test_exclusive_classes_agree_with_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    targets, scores = generator.integers(0, 3, 3 * seed + 1), generator.normal(size=(3 * seed + 1, 4))
    pairs = {
        multiclass_accuracy(targets, scores): accuracy_score(targets, scores.argmax(axis=1)),
        macro_f1(targets, scores): f1_score(targets, scores.argmax(axis=1), average="macro", zero_division=0),
    }
    for found, expected in pairs.items():
        assert found == pytest.approx(expected), f"{found}, scikit-learn {expected}"


@pytest.mark.parametrize(
    ("targets", "scores", "message"),
    [
        (np.zeros(0, int), np.zeros((0, 2)), r"N >= 1"),
        (np.zeros(2, int), np.zeros((3, 2)), r"targets of shape \(2,\), scores of shape \(3, 2\)"),
        (np.array([0, 2]), np.zeros((2, 2)), r"targets from 0 to 2; \[0, 2\)"),
        (np.array([0, 1]), np.array([[0, np.inf], [0, 0]]), "1 scores are not finite"),
    ],
)
def test_exclusive_classes_refuse_what_they_cannot_judge(targets: np.ndarray, scores: np.ndarray, message: str) -> None:
    for figure in (multiclass_accuracy, macro_f1):
        with pytest.raises(ValueError, match=f"{figure.__name__}: .*{message}"):
            figure(targets, scores)
