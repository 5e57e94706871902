"""Curves of classes: hand-made ones, the areas below them, and missing labels left out."""

import numpy as np
import pytest

from flvlp.metrics.classification import auroc, average_precision
from flvlp.metrics.curves import precision_recall_curves, recall_shares, roc_curves


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels (30, 3) with missing ones and scores with ties; the last class has no positive."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, (30, 3)).astype(np.float32)
    labels[generator.random((30, 3)) < 0.2] = np.nan
    labels[:, 2] = np.where(np.isnan(labels[:, 2]), np.nan, 0)
    return labels, generator.integers(0, 12, (30, 3)) * 0.5 - 3


def test_a_hand_made_curve_has_its_known_corners() -> None:
    labels, scores = np.array([[1.0], [0], [1], [0]]), np.array([[4.0], [3], [2], [1]])
    roc, precision_recall = roc_curves(labels, scores)[0], precision_recall_curves(labels, scores)[0]
    assert roc is not None
    assert precision_recall is not None
    assert list(zip(roc.x, roc.y, strict=True)) == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]
    assert roc.area == 0.75
    assert precision_recall.x.tolist() == [0, 0.5, 0.5, 1, 1]
    assert precision_recall.y.tolist() == pytest.approx([1, 1, 0.5, 2 / 3, 0.5])
    assert precision_recall.area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@pytest.mark.parametrize("seed", range(7))
def test_areas_below_the_drawn_curves_are_auroc_and_average_precision(seed: int) -> None:
    labels, scores = draw(seed)
    for column, curve in enumerate(roc_curves(labels, scores)[:2]):
        assert curve is not None
        assert np.trapezoid(curve.y, curve.x) == pytest.approx(auroc(labels, scores)[column])
        assert curve.area == auroc(labels, scores)[column]
    for column, curve in enumerate(precision_recall_curves(labels, scores)[:2]):
        assert curve is not None
        assert (np.diff(curve.x) >= 0).all()
        steps = float((np.diff(curve.x) * curve.y[1:]).sum())
        assert steps == pytest.approx(average_precision(labels, scores)[column])


def test_studies_without_a_label_and_classes_without_a_positive_are_left_out() -> None:
    labels, scores = draw(0)
    changed = np.where(np.isnan(labels), 1e3, scores)
    for curves in (roc_curves, precision_recall_curves):
        before, after = curves(labels, scores), curves(labels, changed)
        assert before[2] is None
        for one, other in zip(before[:2], after[:2], strict=True):
            assert one is not None
            assert other is not None
            assert np.array_equal(one.x, other.x), f"{curves.__name__}: a study without a label moves the curve"


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="roc_curves: 1 scores are not finite"):
        roc_curves(np.array([[1.0], [0]]), np.array([[np.nan], [0]]))


@pytest.mark.parametrize("seed", range(7))
def test_recall_shares_rise_with_the_score_and_are_one_for_the_best_positive(seed: int) -> None:
    labels, scores = draw(seed)
    known, scored = np.nan_to_num(labels[:, 0]), scores[:, 0]
    shares = recall_shares(known, scored)
    assert (np.diff(shares[np.argsort(scored, kind="stable")]) >= 0).all()
    for share, score in zip(shares, scored, strict=True):
        assert share == (scored[known == 1] <= score).mean()
    assert recall_shares(np.array([1.0, 0, 1, 0]), np.array([5.0, -1, 7, 9])).tolist() == [0.5, 0, 1, 1]
