"""COCO's average precision: by hand, in draws of images, and all figures of detection with intervals."""

import numpy as np
import pytest

from flvlp.metrics.coco import CocoEvaluation
from flvlp.metrics.detection import ImageBoxes, rsna_map
from flvlp.metrics.detection_figures import coco_map, detection_figures
from tests.metrics.boxes import found, random_set, truth
from tests.metrics.draws import patient_weights


def test_average_precision_of_a_hand_made_case() -> None:
    # By score: a hit, a false one, a hit of IoU 0.8. Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    truths = [truth((0, 0, 100, 100)), truth((0, 0, 100, 100))]
    predictions = [found((0, 0, 100, 100, 0.9), (200, 200, 300, 300, 0.8)), found((0, 0, 80, 100, 0.7))]
    figures = coco_map(truths, predictions, ["opacity"])
    both, one = (51 * 1 + 50 * 2 / 3) / 101, 51 / 101  # at 101 recalls, with the second hit and without it
    expected = {
        "coco_map": (7 * both + 3 * one) / 10,  # the second counts at IoU .50 to .80
        "coco_ap50": both,
        "coco_ap75": both,
        "coco_ar100": (7 * 1 + 3 * 0.5) / 10,
        "coco_ap/opacity": (7 * both + 3 * one) / 10,
    }
    assert figures == pytest.approx(expected), f"{figures}, by hand {expected}"


def test_a_false_box_on_an_image_without_boxes_lowers_the_precision() -> None:
    truths, predictions = [truth((0, 0, 9, 9)), truth()], [found((0, 0, 9, 9, 0.5)), found((0, 0, 9, 9, 0.9))]
    with_it = coco_map(truths, predictions, ["opacity"])["coco_map"]
    without = coco_map(truths[:1], predictions[:1], ["opacity"])["coco_map"]
    assert (with_it, without) == pytest.approx((0.5, 1)), f"{with_it} with it, {without} without"


def test_a_class_without_a_true_box_is_nan_and_averaged_nowhere() -> None:
    figures = coco_map([truth((0, 0, 9, 9))], [found((0, 0, 9, 9, 0.9), (0, 0, 9, 9, 0.8), classes=[0, 1])], ["a", "b"])
    assert np.isnan(figures["coco_ap/b"]), f"{figures['coco_ap/b']}, pycocotools' -1 must not be averaged"
    assert figures["coco_map"] == figures["coco_ap/a"] == pytest.approx(1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("predictions", [found(), found((0, 0, 9, 9, 0.9))])
def test_a_set_without_any_true_box_is_nan_and_no_crash(predictions: ImageBoxes) -> None:
    figures = coco_map([truth()], [predictions], ["opacity"])
    assert np.isnan(list(figures.values())).all(), f"{figures}"
    assert np.isnan(CocoEvaluation([truth()], [predictions], 1).weighted_map(np.ones((2, 1)))).all()


def test_a_set_without_any_prediction_is_0() -> None:
    figures = coco_map([truth((0, 0, 9, 9))], [found()], ["opacity"])
    assert set(figures.values()) == {0.0}, f"{figures}"


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    coco_map(*random_set(0), ["a", "b"])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(5))
def test_a_draw_has_the_average_precision_that_pycocotools_gives_its_images(seed: int) -> None:
    truths, predictions = random_set(seed)
    evaluation = CocoEvaluation(truths, predictions, 2)
    weights = np.concatenate([np.ones((1, 15), int), np.random.default_rng(seed).integers(0, 3, size=(6, 15))])
    for some, weight in zip(evaluation.weighted_map(weights), weights, strict=True):
        rows = np.repeat(np.arange(15), weight)
        expected = coco_map([truths[i] for i in rows], [predictions[i] for i in rows], ["a", "b"])["coco_map"]
        assert some == pytest.approx(expected, abs=1e-12), f"{some}, pycocotools on the images drawn {expected}"


@pytest.mark.parametrize("seed", range(3))
def test_detection_figures_have_intervals_that_resample_patients(seed: int) -> None:
    truths, predictions = random_set(seed)
    patients = [f"p{i // 2}" for i in range(15)]
    figures = detection_figures(truths, predictions, ["a", "b"], patients, draws=40, seed=seed)
    values, evaluation = rsna_map(truths, predictions), CocoEvaluation(truths, predictions, 2)
    weights = patient_weights(patients, 40, seed)
    of_draws = {
        "rsna_map": np.array([np.nanmean(np.repeat(values, weight)) for weight in weights]),
        "coco_map": evaluation.weighted_map(weights),
    }
    points = {"rsna_map": np.nanmean(values), "coco_map": evaluation.precision.mean()}
    for name, draws in of_draws.items():
        expected = [points[name], *np.percentile(draws, (2.5, 97.5))]
        some = [figures[f"{name}{end}"] for end in ("", "_low", "_high")]
        assert some == pytest.approx(expected), f"{name} {some}, one by one {expected}"
    assert coco_map(truths, predictions, ["a", "b"]).items() <= figures.items()


def test_the_figures_of_published_tables_stand_beside_the_honest_ones() -> None:
    # Missed, false alarm, nothing, found.
    truths = [truth((0, 0, 9, 9)), truth(), truth(), truth((0, 0, 9, 9))]
    predictions = [found((0, 0, 9, 9, 0.4)), found((0, 0, 9, 9, 0.9)), found(), found((0, 0, 9, 9, 0.8))]
    figures = detection_figures(truths, predictions, ["opacity"], list("abcd"), draws=20)
    expected = {
        "rsna_map": 1 / 3,
        "rsna_map_skipping": 1,
        "ap_40_75": 2 / 3,  # by score: false, found, found; the box of 0.4 counts here
        "ap_40_75_skipping": 1,
        "images": 4,
        "images_in_rsna_map": 3,
        "positives": 2,
        "boxes": 2,
        "predictions": 2,
    }
    some = {name: figures[name] for name in expected}
    assert some == pytest.approx(expected), f"{some}, by hand {expected}"


@pytest.mark.filterwarnings("error")
def test_nothing_found_leaves_the_skipping_figures_undefined() -> None:
    figures = detection_figures([truth((0, 0, 9, 9))], [found()], ["opacity"], ["a"], draws=5)
    assert figures["rsna_map"] == figures["coco_map"] == figures["ap_40_75"] == 0
    assert np.isnan(figures["rsna_map_skipping"]) and np.isnan(figures["ap_40_75_skipping"])


def test_a_class_without_a_name_and_patients_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image 0 has classes \[1\]; \[0, 1\) are known"):
        coco_map([truth((0, 0, 9, 9), classes=[1])], [found()], ["a"])
    with pytest.raises(ValueError, match="2 patient ids for 1 images"):
        detection_figures([truth()], [found()], ["a"], ["p", "q"])
