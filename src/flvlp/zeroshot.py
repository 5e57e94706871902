"""Zero-shot scores: how near each image lies to what is said for a class, and how far from what is said against it.

Letters: N images, C classes, n prompts of one side of one class, D joint width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_SMALLEST_DEVIATION = 1e-6  # of cosines; float32 resolves no less around 1


@dataclass(frozen=True, slots=True)
class PromptFeatures:
    """Text features of the prompts of one class, any scale.

    Attributes:
        positive: (n, D), n at least 1.
        negative: (m, D), m may be 0.
    """

    positive: Tensor
    negative: Tensor


def class_scores(
    images: Tensor,
    prompts: Sequence[PromptFeatures],
    scheme: str,
    *,
    reduce: str,
    standardise: bool = False,
) -> Tensor:
    """Computes a score for each class on its own; an image may have none, one or several of them.

    Each side is first reduced to one cosine a class, and then the sides are joined. The softmax over the pair, as
    CheXzero has it, rises with their difference at any temperature: the same ranking, so it is not offered.

    Args:
        images: (N, D), any scale.
        prompts: of C classes.
        scheme: `difference`: positive minus negative cosine, in [-2, 2]; `positive_only`: positive cosine, in [-1, 1].
        reduce: `mean` averages the normalised features of a side and normalises the mean (an ensemble); `max` takes the
            cosine of the nearest prompt.
        standardise: True subtracts each class's mean over the N images and divides by the deviation. Transductive: the
            score of an image depends on the others (GLoRIA does so on the test images). It ranks the images of a class
            as before.

    Returns:
        (N, C) float32, higher for the class.

    Raises:
        ValueError: unknown scheme or reduction; a class without the prompts that the scheme needs.
    """
    if scheme not in ("difference", "positive_only"):
        raise ValueError(f"class_scores: unknown scheme {scheme!r}; choose one of: difference, positive_only")
    with torch.autocast(images.device.type, enabled=False):
        scores = _similarities(images, [one.positive for one in prompts], reduce, "positive")
        if scheme != "positive_only":
            scores = scores - _similarities(images, [one.negative for one in prompts], reduce, "negative")
        return _standardised(scores) if standardise else scores


def exclusive_scores(
    images: Tensor,
    prompts: Sequence[PromptFeatures],
    *,
    reduce: str,
    temperature: float = 0.1,
    standardise: bool = False,
) -> Tensor:
    """Computes the probabilities of classes of which an image has exactly one; the argmax is the class.

    What speaks against a class are the other classes, so negative prompts have no part. Unlike in `class_scores`, the
    classes compete, and both options below change which one wins or how images rank.

    Args:
        images: (N, D), any scale.
        prompts: of C classes.
        reduce: as in `class_scores`.
        temperature: of the softmax over the classes.
        standardise: as in `class_scores`, of the cosines before the softmax.

    Returns:
        (N, C) float32 in [0, 1]; a row sums to 1.

    Raises:
        ValueError: unknown reduction, or a class without positive prompts.
    """
    with torch.autocast(images.device.type, enabled=False):
        cosines = _similarities(images, [one.positive for one in prompts], reduce, "positive")
        return torch.softmax((_standardised(cosines) if standardise else cosines) / temperature, dim=1)


def _similarities(images: Tensor, texts: Sequence[Tensor], reduce: str, side: str) -> Tensor:
    """Computes one cosine an image and class, (N, C), from the prompts (n, D) of one side of each class."""
    if reduce not in ("mean", "max"):
        raise ValueError(f"zeroshot: unknown reduction {reduce!r}; choose one of: mean, max")
    empty = [position for position, one in enumerate(texts) if not len(one)]
    if empty:
        raise ValueError(
            f"zeroshot: no {side} prompt for the classes at positions {empty}; add some to the prompt set, or take "
            "scheme=positive_only where only negative ones are missing"
        )
    images = functional.normalize(images.float(), dim=-1)
    columns = []
    for one in texts:
        text = functional.normalize(one.float(), dim=-1)  # (n, D)
        if reduce == "mean":
            text = functional.normalize(text.mean(dim=0, keepdim=True), dim=-1)
        columns.append((images @ text.T).amax(dim=1))
    return torch.stack(columns, dim=1)


def _standardised(scores: Tensor) -> Tensor:
    """Returns z-scores of each column; a column without spread becomes 0."""
    deviation = scores.std(dim=0, unbiased=False).clamp_min(_SMALLEST_DEVIATION)
    return (scores - scores.mean(dim=0)) / deviation
