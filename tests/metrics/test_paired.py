"""Differences between runs on the same studies: their figures, their pairing, and what their intervals cover."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from flvlp.metrics.classification_figures import findings_figures
from flvlp.metrics.paired import MacroAuroc, Ratio, point_and_draws, pooled_difference
from tests.metrics.draws import patient_weights

PATIENTS = [f"p{number // 2}" for number in range(120)]


def scored(seed: int, gain: float, studies: int = 120, classes: int = 3) -> MacroAuroc:
    """Returns scores that are `gain` standard deviations higher where the label is 1; labels are those of seed 0."""
    labels = (np.random.default_rng(0).random((studies, classes)) < 0.3).astype(np.float64)
    noise = np.random.default_rng(seed + 1).normal(size=labels.shape)
    return MacroAuroc(labels, noise + gain * labels)


def test_the_macro_auroc_of_every_draw_is_that_of_scikit_learn() -> None:
    figure = scored(0, 1.0)
    figure.labels[:7, 1] = np.nan
    weights = patient_weights(PATIENTS, 20, seed=4)
    for found, weight in zip(figure.of(weights), weights, strict=True):
        areas = []
        for labels, scores in zip(figure.labels.T, figure.scores.T, strict=True):
            known = ~np.isnan(labels)
            areas.append(roc_auc_score(labels[known], scores[known], sample_weight=weight[known]))
        assert found == pytest.approx(np.mean(areas), abs=1e-12), f"{found}, scikit-learn {np.mean(areas)}"


def test_point_and_draws_give_the_figure_and_the_interval_of_a_result_row() -> None:
    figure = scored(2, 0.8)
    row = findings_figures(["a", "b", "c"], figure.labels, figure.scores, PATIENTS, draws=200)
    values = point_and_draws(figure, PATIENTS, draws=200)
    found = (values[0], *np.percentile(values[1:], (2.5, 97.5)))
    expected = tuple(row[f"macro_auroc{end}"] for end in ("", "_low", "_high"))
    assert found == pytest.approx(expected, abs=1e-12), f"{found}, {expected} in the row"


def test_a_ratio_counts_only_what_its_denominator_counts() -> None:
    figure = Ratio(np.array([3.0, 5.0, 8.0]), np.array([1.0, 0.0, 2.0]))
    weights = np.array([[1, 1, 1], [2, 5, 0], [0, 1, 0]])
    found = figure.of(weights).tolist()
    assert found[:2] == [16 / 3, 31 / 2] and np.isnan(found[2]), f"{found}"
    assert figure.take(np.array([2])).of(np.ones((1, 1))).tolist() == [4.0]


def test_a_figure_minus_itself_is_0_with_no_width() -> None:
    values = point_and_draws(scored(0, 1.0), PATIENTS, draws=50)[None]
    found = pooled_difference(values, values)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0), f"{found}"


def test_the_difference_is_that_of_the_averages_over_seeds_draw_by_draw() -> None:
    ours = np.array([[0.8, 0.7, 0.9], [0.6, 0.5, 0.7]])
    theirs = np.array([[0.5, 0.5, 0.5], [0.7, 0.5, 0.9]])
    found = pooled_difference(ours, theirs)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1)), f"{found}, every draw differs by 0.1"


def test_a_draw_without_a_value_is_left_out() -> None:
    found = pooled_difference(np.array([[0.8, np.nan, 0.9]]), np.array([[0.5, 0.1, 0.5]]))
    assert (found.mean, found.low, found.high) == pytest.approx((0.3, 0.4, 0.4)), f"{found}"


def test_the_same_draw_of_patients_for_both_narrows_the_interval() -> None:
    figure = scored(0, 1.0)
    better = MacroAuroc(figure.labels, figure.scores + 0.2 * figure.labels)
    paired, apart = (
        pooled_difference(
            point_and_draws(better, PATIENTS, draws=300, seed=0)[None],
            point_and_draws(figure, PATIENTS, draws=300, seed=seed)[None],
        )
        for seed in (0, 1)
    )
    ratio = (paired.high - paired.low) / (apart.high - apart.low)
    assert ratio < 0.5, f"the paired interval is {ratio:.2f} times as wide as the unpaired one"


@pytest.mark.parametrize(("gain", "is_better"), [(1.0, True), (0.0, False)])
def test_the_interval_leaves_out_0_for_a_planted_gain_and_holds_it_without(gain: float, is_better: bool) -> None:
    def values(gain: float, first: int) -> np.ndarray:
        figures = [scored(first + seed, gain, 400) for seed in range(3)]
        patients = [f"p{number // 2}" for number in range(400)]
        return np.stack([point_and_draws(figure, patients, draws=200) for figure in figures])

    found = pooled_difference(values(0.5 + gain, 0), values(0.5, 10))
    assert (found.low > 0) is is_better and (found.low <= 0 <= found.high) is not is_better, f"{found}"


@pytest.mark.parametrize("shape", [lambda: np.zeros((2, 3)), lambda: np.zeros((0, 4)), lambda: np.zeros(4)])
def test_other_shapes_are_refused(shape: Callable[[], np.ndarray]) -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        pooled_difference(shape(), np.zeros((0, 4)) if shape().ndim == 2 else np.zeros(4))
