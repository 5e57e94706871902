"""Small sets of boxes that the tests of detection share."""

from collections.abc import Sequence

import numpy as np

from flvlp.metrics.detection import ImageBoxes


def truth(*boxes: Sequence[float], classes: Sequence[int] | None = None) -> ImageBoxes:
    """Returns true boxes (left, top, right, bottom), of class 0 unless said."""
    return ImageBoxes(np.array(boxes, dtype=float).reshape(-1, 4), np.array(classes or [0] * len(boxes), dtype=int))


def found(*boxes: Sequence[float], classes: Sequence[int] | None = None) -> ImageBoxes:
    """Returns predictions (left, top, right, bottom, score), of class 0 unless said."""
    table = np.array(boxes, dtype=float).reshape(-1, 5)
    return ImageBoxes(table[:, :4], np.array(classes or [0] * len(boxes), dtype=int), table[:, 4])


def random_set(seed: int, images: int = 15, classes: int = 2) -> tuple[list[ImageBoxes], list[ImageBoxes]]:
    """Returns true boxes and predictions near them and elsewhere; no two scores are equal, some images are empty."""
    generator = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(images):
        count = generator.choice([0, 1, 2, 3])
        corners = generator.uniform(0, 60, size=(count, 2))
        boxes = np.concatenate([corners, corners + generator.uniform(10, 40, size=(count, 2))], axis=1)
        truths.append(ImageBoxes(boxes, generator.integers(0, classes, count)))
        near = boxes[generator.random(count) < 0.8]
        near = near + generator.uniform(-4, 4, near.shape)
        corners = generator.uniform(0, 60, size=(generator.choice([0, 2]), 2))
        far = np.concatenate([corners, corners + 25], axis=1)
        both = np.concatenate([near, far])
        predictions.append(ImageBoxes(both, generator.integers(0, classes, len(both)), generator.random(len(both))))
    return truths, predictions
