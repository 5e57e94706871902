"""The boxes of an image, and the measure of the RSNA challenge."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

RSNA_IOUS = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75)
SCORE_THRESHOLD = 0.5  # what MGCA and the papers that follow it keep


@dataclass(frozen=True, slots=True)
class ImageBoxes:
    """The boxes of one image; there may be none.

    Attributes:
        boxes: (n, 4) left, top, right, bottom in pixels.
        classes: (n,) integers, positions in the class names.
        scores: (n,) higher for surer, of predictions; None for true boxes.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes)
        if self.boxes.shape != (count, 4) or self.classes.shape != (count,):
            raise ValueError(f"ImageBoxes: boxes {self.boxes.shape}, classes {self.classes.shape}; (n, 4) and (n,)")
        if self.scores is not None and (self.scores.shape != (count,) or not np.isfinite(self.scores).all()):
            raise ValueError(f"ImageBoxes: scores of shape {self.scores.shape} for {count} boxes; (n,) finite numbers")
        if not (np.isfinite(self.boxes).all() and (self.boxes[:, 2:] >= self.boxes[:, :2]).all()):
            raise ValueError(
                f"ImageBoxes: a box of {self.boxes.tolist()} ends before it begins, or a side is no number; sides are "
                "left, top, right, bottom"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def at_least(self, score: float) -> "ImageBoxes":
        """Returns the predictions whose score is `score` or more."""
        assert self.scores is not None, "checked by check_pair"
        is_kept = self.scores >= score
        return ImageBoxes(self.boxes[is_kept], self.classes[is_kept], self.scores[is_kept])


def rsna_map(
    truths: Sequence[ImageBoxes], predictions: Sequence[ImageBoxes], score_threshold: float = SCORE_THRESHOLD
) -> np.ndarray:
    """Computes the measure of the RSNA Pneumonia Detection Challenge for each image; the mean over images is the mAP.

    At each IoU of .40, .45 ... .75 an image has TP / (TP + FP + FN), and its value is the mean over those. Predictions
    choose in order of falling score: each takes the free true box of its class that it overlaps most, if by more than
    the IoU. Public code leaves out what makes the figure fall; here an image with true boxes and no prediction counts
    0, and so does an image with predictions and no true box. The score has no part in the figure but through its order
    and the threshold, unlike COCO's.

    Args:
        truths, predictions: N images each, in the same order.
        score_threshold: predictions below it are dropped; 0.5 in MGCA and what follows it.

    Returns:
        (N,) float64 in [0, 1]; NaN for an image with neither a true box nor a prediction, which is left out of the
        mean (`np.nanmean`).

    Raises:
        ValueError: another number of images, or predictions without scores.
    """
    check_pair("rsna_map", truths, predictions)
    pairs = zip(truths, predictions, strict=True)
    return np.array([_rsna_value(truth, found.at_least(score_threshold)) for truth, found in pairs], dtype=np.float64)


def rsna_map_skipping(
    truths: Sequence[ImageBoxes], predictions: Sequence[ImageBoxes], score_threshold: float = SCORE_THRESHOLD
) -> np.ndarray:
    """Computes `rsna_map` without the images that lack a true box or a prediction, which public code skips.

    What public code computes on the rest is another measure still: `ap_40_75_skipping` of `detection_figures`.
    Too good by construction: a model that keeps silent unless it is sure is not punished for what it misses, nor for
    alarms on healthy images. For comparison only, never a headline.

    Args and Raises: as in `rsna_map`.

    Returns:
        (N,) float64 in [0, 1], NaN for the images left out.
    """
    values = rsna_map(truths, predictions, score_threshold)
    pairs = zip(truths, predictions, strict=True)
    is_kept = [len(truth) > 0 and len(found.at_least(score_threshold)) > 0 for truth, found in pairs]
    return np.where(is_kept, values, np.nan)


def _rsna_value(truth: ImageBoxes, found: ImageBoxes) -> float:
    if not len(truth) and not len(found):
        return np.nan
    if not len(truth) or not len(found):
        return 0.0
    overlap = coco_mask.iou(left_top_width_height(found), left_top_width_height(truth), [0] * len(truth))
    overlap = np.where(found.classes[:, None] == truth.classes, overlap, 0.0)
    assert found.scores is not None, "checked by check_pair"
    overlap = overlap[np.argsort(-found.scores, kind="stable")]
    values = []
    for threshold in RSNA_IOUS:
        is_free = np.ones(len(truth), dtype=bool)
        for row in overlap:
            best = np.argmax(np.where(is_free, row, -1.0))
            is_free[best] &= row[best] <= threshold
        hits = np.sum(~is_free)
        values.append(hits / (len(truth) + len(found) - hits))
    return float(np.mean(values))


def left_top_width_height(image: ImageBoxes) -> np.ndarray:
    """Returns (n, 4) float64, the form that pycocotools reads."""
    boxes = image.boxes.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def check_pair(where: str, truths: Sequence[ImageBoxes], predictions: Sequence[ImageBoxes]) -> None:
    """Raises ValueError, in the name of `where`, unless images match and predictions have scores."""
    if len(truths) != len(predictions) or not truths:
        raise ValueError(f"{where}: true boxes of {len(truths)} images, predictions of {len(predictions)}; N >= 1 both")
    if any(found.scores is None for found in predictions):
        raise ValueError(f"{where}: predictions without scores; average precision ranks them, so give each one")
