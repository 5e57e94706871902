"""All figures of a detection task with intervals by patient, as a flat dict for the result row."""

from collections.abc import Sequence

import numpy as np

from flvlp.metrics.bootstrap import DRAWS, bootstrap, interval, known_mean
from flvlp.metrics.coco import COCO_IOUS, CocoEvaluation
from flvlp.metrics.detection import RSNA_IOUS, SCORE_THRESHOLD, ImageBoxes, rsna_map, rsna_map_skipping


def coco_map(truths: Sequence[ImageBoxes], predictions: Sequence[ImageBoxes], names: Sequence[str]) -> dict[str, float]:
    """Computes COCO's average precision with pycocotools; all predictions take part, at most 100 an image and class.

    Images without a true box take part too: what is predicted there counts as false.

    Args:
        truths, predictions: N images each, in the same order.
        names: of the classes.

    Returns:
        `coco_map` (IoU .50 to .95), `coco_ap50`, `coco_ap75`, `coco_ar100` (average recall) and `coco_ap/<name>`, in
        [0, 1]; means leave out classes without a true box, which are NaN.

    Raises:
        ValueError: as in `CocoEvaluation`.
    """
    return _coco_figures(CocoEvaluation(truths, predictions, len(names)), names)


def _coco_figures(evaluation: CocoEvaluation, names: Sequence[str]) -> dict[str, float]:
    of_ious = known_mean(evaluation.precision)  # (T,)
    of_classes = evaluation.precision.mean(axis=0)
    figures = {
        "coco_map": known_mean(of_classes),
        "coco_ap50": of_ious[COCO_IOUS.index(0.50)],
        "coco_ap75": of_ious[COCO_IOUS.index(0.75)],
        "coco_ar100": known_mean(evaluation.recall.mean(axis=0)),
    } | {f"coco_ap/{name}": of_classes[column] for column, name in enumerate(names)}
    return {name: float(value) for name, value in figures.items()}


def detection_figures(
    truths: Sequence[ImageBoxes],
    predictions: Sequence[ImageBoxes],
    names: Sequence[str],
    patients: Sequence[str],
    *,
    score_threshold: float = SCORE_THRESHOLD,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, float]:
    """Computes all figures of a detection task.

    What the literature calls mAP on RSNA is neither of the two headlines: it is COCO's average precision at the IoUs
    of the challenge, over the images that have both a true box and a prediction of at least the threshold
    (`ap_40_75_skipping`; HKU-MedAI/MGCA@4075a69:mgca/models/ssl_detector.py). `ap_40_75` is the same over everything.

    Args:
        truths, predictions: N images each, in the same order; predictions of low score included, COCO needs them.
        names: of the classes.
        patients: N patient ids.
        score_threshold: of `rsna_map` and of the figures called `skipping`.
        draws, seed: of the bootstrap.

    Returns:
        `rsna_map` and `coco_map`, each with `_low` and `_high`; the other figures of `coco_map`; `ap_40_75`; for
        comparison with published tables only `rsna_map_skipping` and `ap_40_75_skipping`; and counts: `images`,
        `images_in_rsna_map`, `positives` (images with a true box), `boxes`, `predictions` (of at least the threshold).

    Raises:
        ValueError: as in `rsna_map` and `CocoEvaluation`, or another number of patient ids than of images.
    """
    if len(patients) != len(truths):
        raise ValueError(f"detection_figures: {len(patients)} patient ids for {len(truths)} images; one an image")
    values = rsna_map(truths, predictions, score_threshold)
    skipping = rsna_map_skipping(truths, predictions, score_threshold)
    evaluation = CocoEvaluation(truths, predictions, len(names))

    def of_draws(weights: np.ndarray) -> np.ndarray:
        counted = weights * ~np.isnan(values)
        count = counted.sum(axis=1)
        mean = np.where(count > 0, counted @ np.nan_to_num(values) / np.maximum(count, 1), np.nan)
        return np.stack([mean, evaluation.weighted_map(weights)], axis=1)

    drawn = bootstrap(of_draws, patients, draws, seed)
    figures = interval(float(known_mean(values)), drawn[:, 0]).named("rsna_map")
    coco = _coco_figures(evaluation, names)
    figures |= coco | interval(coco["coco_map"], drawn[:, 1]).named("coco_map")
    figures |= {"rsna_map_skipping": float(known_mean(skipping))}
    kept = [found.at_least(score_threshold) for found in predictions]
    has_both = ~np.isnan(skipping)
    some_truths, some_kept = (
        [image for image, is_in in zip(images, has_both, strict=True) if is_in] for images in (truths, kept)
    )
    figures |= {
        "ap_40_75": _average_precision(truths, predictions, names),
        "ap_40_75_skipping": _average_precision(some_truths, some_kept, names),
        "images": float(len(truths)),
        "images_in_rsna_map": float(np.sum(~np.isnan(values))),
        "positives": float(sum(len(truth) > 0 for truth in truths)),
        "boxes": float(sum(len(truth) for truth in truths)),
        "predictions": float(sum(len(found) for found in kept)),
    }
    return figures


def _average_precision(truths: Sequence[ImageBoxes], predictions: Sequence[ImageBoxes], names: Sequence[str]) -> float:
    """Returns COCO's average precision at the IoUs of the RSNA challenge; NaN without an image."""
    if not truths:
        return np.nan
    return float(known_mean(CocoEvaluation(truths, predictions, len(names), RSNA_IOUS).precision.mean(axis=0)))
