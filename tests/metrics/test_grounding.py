"""Phrase grounding figures: hand-made answers, plain loops, and what may not move them."""

import numpy as np
import pytest

from flvlp.metrics.bootstrap import known_mean
from flvlp.metrics.grounding import (
    FIGURES,
    MIOU_THRESHOLDS,
    contrast_to_noise,
    grounding_figures,
    grounding_values,
    marked_by,
    mean_iou,
    overlap,
    pointing_hit,
)

HEAT = np.array([[0.1, 0.2, 0.9], [0.0, 0.45, 0.6], [-0.8, 0.0, 0.3]])
INSIDE = np.array([[False, False, True], [False, True, True], [False, False, False]])


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a map with a frame that was not seen, and a region that reaches into it."""
    generator = np.random.default_rng(seed)
    heat = generator.uniform(-1, 1, (9, 7)).astype(np.float32)
    heat[:, 0] = heat[0] = np.nan
    inside = np.zeros(heat.shape, dtype=bool)
    inside[generator.integers(0, 5) :, : generator.integers(2, 7)] = True
    return heat, inside


def test_a_hand_made_map_has_the_figures_worked_out_on_paper() -> None:
    values = grounding_values(HEAT, INSIDE, 0.5)
    within, without = [0.9, 0.45, 0.6], [0.1, 0.2, 0.0, -0.8, 0.0, 0.3]
    noise = (np.var(within) + np.var(without)) ** 0.5
    assert values["pointing"] == 1
    assert values["cnr"] == values["cnr_signed"] == pytest.approx((0.65 - (-0.2 / 6)) / noise)
    # Six pixels reach .1, five .2, four .3, three .4, two .5.
    assert values["miou"] == pytest.approx((3 / 6 + 3 / 5 + 3 / 4 + 3 / 3 + 2 / 3) / 5)
    assert values["iou"] == pytest.approx(3 / 3)  # half of .9 is .45
    assert values["dice"] == pytest.approx(1)


@pytest.mark.parametrize("seed", range(8))
def test_figures_are_those_of_plain_loops(seed: int) -> None:
    heat, inside = drawn(seed)
    pixels = [(float(heat[i, j]), bool(inside[i, j])) for i in range(9) for j in range(7)]
    seen = [(value, within) for value, within in pixels if not np.isnan(value)]
    hottest = max(value for value, _ in seen)
    hits = [within for value, within in seen if value == hottest]
    within, without = ([value for value, side in seen if side == wanted] for wanted in (True, False))

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    def variance(values: list[float]) -> float:
        return sum((value - mean(values)) ** 2 for value in values) / len(values)

    def iou(threshold: float) -> tuple[float, float]:
        both = sum(value >= threshold and side for value, side in pixels)
        marked = sum(value >= threshold for value, _ in pixels)
        total = marked + sum(side for _, side in pixels)
        return both / (total - both), 2 * both / total

    values = grounding_values(heat, inside, 0.5)
    signed = (mean(within) - mean(without)) / (variance(within) + variance(without)) ** 0.5
    assert values["pointing"] == pytest.approx(sum(hits) / len(hits))
    assert values["cnr_signed"] == pytest.approx(signed)
    assert values["cnr"] == pytest.approx(abs(signed))
    assert values["miou"] == pytest.approx(mean([iou(threshold)[0] for threshold in MIOU_THRESHOLDS]))
    assert (values["iou"], values["dice"]) == pytest.approx(iou(0.5 * hottest))


def test_of_equally_hot_pixels_the_share_inside_counts_so_a_level_map_hits_by_chance() -> None:
    assert pointing_hit(np.array([[1.0, 1.0, 0.0, 1.0]]), np.array([[True, False, True, False]])) == pytest.approx(
        1 / 3
    )
    level = np.full(INSIDE.shape, 0.3)
    level[2, 2] = np.nan  # not seen: chance does not point there
    assert pointing_hit(level, INSIDE) == pytest.approx(3 / 8)
    assert contrast_to_noise(level, INSIDE) == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_monotone_map_of_the_values_moves_no_pointing_and_scale_and_offset_move_no_contrast(seed: int) -> None:
    heat, inside = drawn(seed)
    assert pointing_hit(np.exp(3 * heat) - 7, inside) == pointing_hit(heat, inside)
    assert contrast_to_noise(5 * heat.astype(np.float64) + 2, inside) == pytest.approx(contrast_to_noise(heat, inside))
    assert contrast_to_noise(-heat, inside) == pytest.approx(-contrast_to_noise(heat, inside))
    assert overlap(marked_by(2 * heat, 0.5), inside) == overlap(marked_by(heat, 0.5), inside)


def test_a_map_that_is_nowhere_warm_marks_nothing() -> None:
    assert not marked_by(HEAT - 2, 0.5).any()
    assert mean_iou(HEAT - 2, INSIDE) == 0
    assert pointing_hit(HEAT - 2, INSIDE) == 1


def test_a_box_that_covers_everything_is_always_hit_and_has_no_contrast() -> None:
    everything = np.ones(HEAT.shape, dtype=bool)
    assert pointing_hit(HEAT, everything) == 1
    assert np.isnan(contrast_to_noise(HEAT, everything))
    assert overlap(everything, everything) == (1, 1)


def test_a_region_that_the_encoder_never_saw_is_missed() -> None:
    heat, corner = HEAT.copy(), np.zeros(HEAT.shape, dtype=bool)
    heat[0], corner[0, 0] = np.nan, True
    values = grounding_values(heat, corner, 0.5)
    assert (values["pointing"], values["iou"], values["miou"]) == (0, 0, 0)
    assert np.isnan(values["cnr"])


@pytest.mark.parametrize(
    ("heat", "inside", "message"),
    [
        (HEAT, np.zeros((3, 3), dtype=bool), "nothing is inside"),
        (HEAT, INSIDE[:2], r"shape \(3, 3\) and inside \(2, 3\)"),
        (HEAT, INSIDE.astype(float), "second bool"),
        (np.full((3, 3), np.nan), INSIDE, "no number"),
    ],
)
def test_what_cannot_be_judged_is_refused(heat: np.ndarray, inside: np.ndarray, message: str) -> None:
    for measure in (pointing_hit, contrast_to_noise, mean_iou):
        with pytest.raises(ValueError, match=message):
            measure(heat, inside)


def test_means_are_over_phrases_and_over_categories_and_leave_out_what_is_not_defined() -> None:
    values = {"pointing": np.array([1.0, 0.0, 0.0, 0.0]), "cnr": np.array([2.0, np.nan, np.inf, 4.0])}
    figures = grounding_figures(
        values,
        ["a", "b", "b", "b"],
        ["p", "p", "q", "r"],
        subsets={"lateral": np.array([True, True, False, False])},
        draws=50,
    )
    assert figures["pointing"] == 0.25
    assert figures["macro_pointing"] == 0.5
    assert (figures["pointing/a"], figures["pointing/b"], figures["pointing/lateral"]) == (1, 0, 0.5)
    assert (figures["cnr"], figures["macro_cnr"], figures["cnr/b"]) == (3, 3, 4)
    assert (figures["phrases"], figures["phrases/b"], figures["phrases/lateral"]) == (4, 3, 2)
    assert figures["pointing_low"] <= 0.25 <= figures["pointing_high"]


def test_the_interval_draws_patients_and_not_phrases() -> None:
    hits = np.repeat([0.0, 1.0, 0.0, 1.0], 25)
    categories = ["a"] * 100
    by_patient = grounding_figures({"pointing": hits}, categories, np.repeat(list("pqrs"), 25).tolist(), draws=400)
    alone = grounding_figures({"pointing": hits}, categories, [str(n) for n in range(100)], draws=400)

    def width(figures: dict[str, float]) -> float:
        return figures["pointing_high"] - figures["pointing_low"]

    assert width(by_patient) > 2.5 * width(alone), "phrases of one patient were drawn apart"


def test_a_macro_interval_is_that_of_the_means_of_the_categories() -> None:
    generator = np.random.default_rng(0)
    hits, own = generator.uniform(size=40), np.arange(40) % 3
    figures = grounding_figures(
        {"iou": hits}, [f"c{one}" for one in own], [str(n) for n in range(40)], draws=30, seed=4
    )
    replayed = np.random.default_rng(4)
    order = np.argsort([str(n) for n in range(40)])  # patients are numbered in the order of their names
    means = []
    for _ in range(30):
        counts = np.bincount(replayed.integers(0, 40, size=40), minlength=40)
        weights = np.empty(40)
        weights[order] = counts
        sums = [(weights * hits)[own == one].sum() / max(weights[own == one].sum(), 1) for one in range(3)]
        means.append(float(known_mean(np.array(sums))))
    low, high = np.percentile(means, (2.5, 97.5))
    assert (figures["macro_iou_low"], figures["macro_iou_high"]) == pytest.approx((low, high))


def test_lengths_that_differ_and_no_phrase_at_all_are_refused() -> None:
    for values, categories in (({"iou": np.zeros(2)}, ["a"]), ({"iou": np.zeros(0)}, [])):
        with pytest.raises(ValueError, match="one entry a phrase"):
            grounding_figures(values, categories, categories)


def test_every_figure_is_named_once() -> None:
    assert tuple(grounding_values(HEAT, INSIDE, 0.5)) == FIGURES
