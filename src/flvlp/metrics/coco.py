"""COCO's average precision by pycocotools, for the whole set and for draws of its images."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from flvlp.metrics.bootstrap import known_mean
from flvlp.metrics.detection import ImageBoxes, check_pair, left_top_width_height

COCO_IOUS = (0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
MAX_BOXES = 100  # of an image and class that COCO looks at, best first
KEYS = ("precision", "recall")  # of a pycocotools evaluation


class CocoEvaluation:
    """COCO's average precision of any draw of images; every predicted box is compared with true boxes only once.

    Equal scores of different images rank in the order of the images, as in pycocotools.

    Attributes:
        precision: (T, K) average precision of all images at each IoU and of each class, in [0, 1]; NaN for a class
            without a true box (pycocotools' -1).
        recall: (T, K) share of the true boxes that are found by at most 100 predictions an image; NaN likewise.
    """

    def __init__(
        self,
        truths: Sequence[ImageBoxes],
        predictions: Sequence[ImageBoxes],
        classes: int,
        ious: Sequence[float] = COCO_IOUS,
    ) -> None:
        """Compares the boxes.

        Args:
            truths, predictions: N images each, in the same order. Images without a true box take part: what is
                predicted on them is false.
            classes: K, how many there are.
            ious: T overlaps from which on a box counts as found.

        Raises:
            ValueError: as in `rsna_map`, or a class outside [0, K).
        """
        check_pair("CocoEvaluation", truths, predictions)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            evaluation = COCOeval(_coco(truths, classes), _coco(predictions, classes), "bbox")
            evaluation.params.iouThrs = np.array(ious)
            evaluation.params.maxDets = [MAX_BOXES]
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, np.inf]], ["all"]
            evaluation.evaluate()
            evaluation.accumulate()
        precision, recall = (
            np.where(evaluation.eval[key] < 0, np.nan, evaluation.eval[key])[..., 0, 0] for key in KEYS
        )
        self.precision, self.recall = precision.mean(axis=1), recall
        self._recalls = evaluation.params.recThrs
        of_images, count = evaluation.evalImgs, len(truths)  # class by class
        self._ranked = [_rank(of_images[first : first + count]) for first in range(0, classes * count, count)]

    def weighted_map(self, weights: np.ndarray) -> np.ndarray:
        """Computes the mean average precision of draws of images, without comparing boxes again.

        Args:
            weights: (D, N) how often each image counts in each draw.

        Returns:
            (D,) mean over the IoUs and over the classes with a true box in the draw; NaN for a draw without any.
        """
        of_classes = [[self._of_draw(ranked, drawn) for ranked in self._ranked] for drawn in weights.astype(np.int64)]
        return known_mean(np.array(of_classes))

    def _of_draw(self, ranked: "_Ranked", weights: np.ndarray) -> float:
        """Returns the average precision of one class, the mean over the IoUs.

        Precision is needed at found boxes only: between them it falls, and the envelope takes the highest to the right.
        """
        total = weights[ranked.image_of_truth].sum()
        if not total:
            return np.nan
        asked = np.cumsum(weights[ranked.image_of_prediction])
        curves = []
        for positions in ranked.found:
            found = np.cumsum(weights[ranked.image_of_prediction[positions]])
            precision = found / np.maximum(asked[positions], 1)  # before the first drawn image both are 0
            envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)  # 0 beyond the recall reached
            curves.append(envelope[np.searchsorted(found / total, self._recalls)].mean())
        return float(np.mean(curves))


@dataclass(frozen=True, slots=True)
class _Ranked:
    """One class: image of each true box (n,), of each prediction by falling score (m,), and found ones at each IoU."""

    image_of_truth: np.ndarray
    image_of_prediction: np.ndarray
    found: list[np.ndarray]


def _rank(of_images: list[dict[str, Any] | None]) -> _Ranked:
    known = [image for image in of_images if image is not None]  # None: neither a true box nor a prediction
    if not known:
        return _Ranked(np.zeros(0, np.int64), np.zeros(0, np.int64), [])
    order = np.argsort(-np.concatenate([image["dtScores"] for image in known]), kind="stable")
    is_found = np.concatenate([image["dtMatches"] for image in known], axis=1)[:, order] > 0
    of_truth, of_prediction = (
        np.repeat([image["image_id"] for image in known], [len(image[ids]) for image in known])
        for ids in ("gtIds", "dtIds")
    )
    return _Ranked(of_truth, of_prediction[order], [np.flatnonzero(row) for row in is_found])


def _coco(images: Sequence[ImageBoxes], classes: int) -> COCO:
    """Returns the boxes in the form that pycocotools reads."""
    boxes: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        if len(image) and not (image.classes.min() >= 0 and image.classes.max() < classes):
            raise ValueError(f"CocoEvaluation: image {number} has classes {image.classes}; [0, {classes}) are known")
        for position, (left, top, width, height) in enumerate(left_top_width_height(image).tolist()):
            box: dict[str, Any] = {"image_id": number, "category_id": int(image.classes[position]), "iscrowd": 0}
            box |= {"bbox": [left, top, width, height], "area": width * height}
            box["id"] = len(boxes) + 1  # not 0, which stands for no match
            if image.scores is not None:
                box["score"] = float(image.scores[position])
            boxes.append(box)
    coco = COCO()
    categories = [{"id": number} for number in range(classes)]
    coco.dataset = {"images": [{"id": n} for n in range(len(images))], "categories": categories, "annotations": boxes}
    coco.createIndex()
    return coco
