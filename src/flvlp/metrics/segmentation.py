"""Overlap of masks from pixel counts of each image, in all the conventions of Dice that the literature mixes.

Letters: N images. `intersection`, `truth` and `predicted` are (N,) int64: pixels of the overlap, of the true and of the
predicted mask of each image.
"""

from collections.abc import Sequence

import numpy as np

from flvlp.metrics.bootstrap import DRAWS, bootstrap, interval
from flvlp.metrics.classification import ratio

CONVENTIONS = ("dice_all", "dice_positives", "dice_with_background", "iou_positives", "iou_pixels")


def dice_per_image(intersection: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Computes Dice of each image; where the true mask is empty it is 1 if the predicted one is empty, else 0.

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        ValueError: shapes that differ, or an overlap that cannot be.
    """
    _check_pixels("dice_per_image", intersection, truth, predicted)
    return ratio(2.0 * intersection, truth + predicted, undefined=1.0)


def iou_per_image(intersection: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Computes intersection over union of each image, (N,) float64 in [0, 1]; 1 where both masks are empty.

    Raises:
        ValueError: as in `dice_per_image`.
    """
    _check_pixels("iou_per_image", intersection, truth, predicted)
    return ratio(1.0 * intersection, truth + predicted - intersection, undefined=1.0)


def overlaps(
    intersection: np.ndarray, truth: np.ndarray, predicted: np.ndarray, pixels_per_image: np.ndarray | int
) -> dict[str, float]:
    """Computes the overlap of a whole set in every convention; only figures of the same one can be compared.

    Args:
        intersection, truth, predicted: (N,) pixels.
        pixels_per_image: (N,), or one number for all.

    Returns:
        Each in [0, 1]:
        `dice_all`: mean of `dice_per_image` over all images, those without a true mask included. Where most have none,
            as in SIIM, an always empty prediction scores their share. MGCA means this, but averages over batches first,
            so that a short last batch weighs more; here every image weighs alike.
        `dice_positives`: the mean over the images with a true mask; NaN without one.
        `dice_with_background`: mean of the Dice of foreground and of background, each from pixels summed over the set,
            the mDice of mmsegmentation that BenchX reports. The background is nearly always near 1, so an empty
            prediction already gets about 0.5. NaN where the set has no true and no predicted foreground at all
            (mmsegmentation would report the background alone).
        `iou_positives`: mean of `iou_per_image` over the images with a true mask; NaN without one.
        `iou_pixels`: of the foreground, from pixels summed over the set; NaN without any foreground.

    Raises:
        ValueError: no image, shapes that differ, an overlap that cannot be, or more foreground than pixels.
    """
    everyone_once = np.ones((1, len(truth)))
    values = _of_draws(everyone_once, intersection, truth, predicted, pixels_per_image)[0]
    return dict(zip(CONVENTIONS, values.tolist(), strict=True))


def segmentation_figures(
    intersection: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    pixels_per_image: np.ndarray | int,
    *,
    patients: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, float]:
    """Computes `overlaps` with intervals by patient.

    Args:
        intersection, truth, predicted, pixels_per_image: as in `overlaps`.
        patients: N patient ids.
        draws, seed: of the bootstrap.

    Returns:
        The figures of `overlaps`, each with `_low` and `_high`; `images` and `positives`, the number of images and of
        those with a true mask; `negatives_left_empty`, the share of the others whose predicted mask is empty too, NaN
        without one.

    Raises:
        ValueError: as in `overlaps`, or another number of patient ids than of images.
    """
    if len(patients) != len(truth):
        raise ValueError(f"segmentation_figures: {len(patients)} patient ids for {len(truth)} images; one an image")
    parts = (intersection, truth, predicted, pixels_per_image)
    points = overlaps(*parts)
    drawn = bootstrap(lambda weights: _of_draws(weights.astype(np.float64), *parts), patients, draws, seed)
    figures: dict[str, float] = {}
    for column, name in enumerate(CONVENTIONS):
        figures |= interval(points[name], drawn[:, column]).named(name)
    is_negative = truth == 0
    left_empty = (predicted[is_negative] == 0).mean() if is_negative.any() else np.nan
    counts = {"images": len(truth), "positives": int(np.sum(~is_negative))}
    return (
        figures | {name: float(count) for name, count in counts.items()} | {"negatives_left_empty": float(left_empty)}
    )


def _of_draws(
    weights: np.ndarray,
    intersection: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    pixels_per_image: np.ndarray | int,
) -> np.ndarray:
    """Returns (D, 5) in the order of `CONVENTIONS` for weights (D, N) float64, which sum up pixels exactly."""
    dice = dice_per_image(intersection, truth, predicted)
    iou = iou_per_image(intersection, truth, predicted)
    background = np.broadcast_to(pixels_per_image, truth.shape) - (truth + predicted - intersection)
    if not len(truth) or (background < 0).any():
        raise ValueError(
            f"overlaps: {len(truth)} images, {np.sum(background < 0)} of them with more foreground than pixels; at "
            "least one image, and pixels_per_image of the size the masks were counted at"
        )
    is_positive = (truth > 0).astype(np.float64)
    both, union = weights @ intersection, weights @ (truth + predicted - intersection)
    neither, background_union = weights @ background, weights @ (np.asarray(pixels_per_image) - intersection)

    def dice_of(overlap: np.ndarray, joined: np.ndarray) -> np.ndarray:
        return ratio(2 * overlap, overlap + joined, undefined=np.nan)

    return np.stack(
        [
            weights @ dice / weights.sum(axis=1),
            ratio(weights @ (dice * is_positive), weights @ is_positive, undefined=np.nan),
            (dice_of(both, union) + dice_of(neither, background_union)) / 2,
            ratio(weights @ (iou * is_positive), weights @ is_positive, undefined=np.nan),
            ratio(both, union, undefined=np.nan),
        ],
        axis=1,
    )


def _check_pixels(where: str, intersection: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> None:
    """Raises ValueError, in the name of `where`, unless the counts are (N,) and an overlap fits into both masks."""
    if not intersection.shape == truth.shape == predicted.shape or truth.ndim != 1:
        raise ValueError(
            f"{where}: intersection of shape {intersection.shape}, truth {truth.shape}, predicted {predicted.shape}; "
            "all are (N,)"
        )
    wrong = (intersection < 0) | (intersection > np.minimum(truth, predicted))
    if wrong.any():
        raise ValueError(f"{where}: the overlap of {wrong.sum()} images is negative or larger than one of its masks")
