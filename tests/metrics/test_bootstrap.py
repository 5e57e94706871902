"""Intervals by patient: their coverage, their weights, and what is not defined in a draw."""

import numpy as np
import pytest

from flvlp.metrics.bootstrap import (
    Interval,
    bootstrap,
    interval,
    iter_patient_weights,
    known_mean,
    paired_bootstrap,
)
from tests.metrics.draws import patient_weights

PATIENTS = ["b", "a", "b", "c", "a", "b", "d"]


def test_the_bootstrap_interval_covers_the_true_mean_in_about_95_percent_of_samples() -> None:
    generator, covered, samples = np.random.default_rng(0), 0, 150
    for seed in range(samples):
        differences = generator.normal(0.3, 1.0, 80)
        interval = paired_bootstrap(differences, [str(i) for i in range(80)], seed)
        assert interval.mean == pytest.approx(differences.mean()), f"{interval.mean}, mean {differences.mean()}"
        covered += interval.low <= 0.3 <= interval.high
    assert 0.89 <= covered / samples <= 0.99, f"{covered / samples:.3f} of intervals hold the mean, expected 0.95"


def test_studies_of_one_patient_are_drawn_together_which_widens_the_interval() -> None:
    by_patient = np.repeat(np.random.default_rng(0).normal(size=30), 10)
    clustered = paired_bootstrap(by_patient, [f"p{i // 10}" for i in range(300)])
    apart = paired_bootstrap(by_patient, [f"p{i}" for i in range(300)])
    ratio = (clustered.high - clustered.low) / (apart.high - apart.low)
    assert clustered.mean == apart.mean == pytest.approx(by_patient.mean())
    assert ratio == pytest.approx(10**0.5, rel=0.25), f"interval {ratio:.2f} times as wide, expected about 3.16"


def test_the_bootstrap_is_fixed_by_its_seed_and_refuses_no_study() -> None:
    values, patients = np.arange(9.0), list("abcabcabc")
    assert paired_bootstrap(values, patients) == paired_bootstrap(values, patients)
    with pytest.raises(ValueError, match="no study to compare"):
        paired_bootstrap(np.zeros(0), [])


def test_each_draw_counts_all_images_of_a_patient_alike_and_as_many_patients_as_there_are() -> None:
    weights = patient_weights(PATIENTS, 400, seed=3)
    assert weights.shape == (400, 7), f"{weights.shape}, 400 draws of 7 images"
    assert weights.dtype == np.int32, f"{weights.dtype}, 4 bytes a weight"
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    drawn = weights[:, [0, 1, 3, 6]].sum(axis=1)
    assert (drawn == 4).all(), f"patients a draw {np.unique(drawn)}, 4 expected"
    assert weights.mean() == pytest.approx(1, abs=0.1), f"an image counts {weights.mean():.3f} times, once expected"


@pytest.mark.parametrize("chunk", [1, 7, 400, 1000])
def test_the_weights_are_the_same_in_blocks_of_any_size_and_a_block_is_no_larger(chunk: int) -> None:
    blocks = list(iter_patient_weights(PATIENTS, 400, 3, chunk))
    assert max(map(len, blocks)) <= chunk, f"{max(map(len, blocks))} draws in a block of {chunk}"
    found, expected = np.concatenate(blocks), patient_weights(PATIENTS, 400, 3)
    assert np.array_equal(found, expected), f"{np.sum(found != expected)} weights differ in blocks of {chunk}"


def test_the_draws_hold_for_patients_and_not_for_positions() -> None:
    order = np.random.default_rng(0).permutation(7)
    found = patient_weights([PATIENTS[i] for i in order], 50)
    expected = patient_weights(PATIENTS, 50)[:, order]
    assert np.array_equal(found, expected), f"{np.sum(found != expected)} weights moved with the order of images"


@pytest.mark.parametrize(("patients", "draws"), [([], 10), (PATIENTS, 0)])
def test_drawing_needs_an_image_and_a_draw(patients: list[str], draws: int) -> None:
    with pytest.raises(ValueError, match=f"{draws} draws from {len(patients)} images; at least one of both"):
        patient_weights(patients, draws)


def test_an_interval_leaves_undefined_draws_out_and_is_nan_without_a_defined_one() -> None:
    found = interval(0.5, np.array([np.nan, *range(101), np.nan]))
    assert found == Interval(0.5, 2.5, 97.5), f"{found}, percentiles of 0 to 100 are 2.5 and 97.5"
    empty = interval(0.5, np.full(3, np.nan))
    assert empty.mean == 0.5 and np.isnan(empty.low) and np.isnan(empty.high), f"{empty}, nothing defined"
    assert interval(np.nan, np.ones(2)).named("x") == pytest.approx({"x": np.nan, "x_low": 1, "x_high": 1}, nan_ok=True)


def test_bootstrap_means_are_those_of_resampled_images() -> None:
    values = np.random.default_rng(0).normal(size=7)
    found = bootstrap(lambda weights: weights @ values / weights.sum(axis=1), PATIENTS, 120, seed=5)
    for mean, weights in zip(found, patient_weights(PATIENTS, 120, seed=5), strict=True):
        expected = np.repeat(values, weights).mean()
        assert mean == pytest.approx(expected), f"{mean}, mean of the images drawn {expected}"


@pytest.mark.filterwarnings("error")
def test_the_mean_of_known_values_is_nan_without_one_and_does_not_warn() -> None:
    found = known_mean(np.array([[1.0, np.nan, 3.0], [np.nan] * 3]))
    assert found.tolist() == pytest.approx([2.0, np.nan], nan_ok=True), f"{found}, expected 2 and NaN"
