"""Studies to batches of the downstream tasks: pictures with labels, masks or boxes.

What is drawn at random is a function of (seed, epoch, study), so worker count and order change nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from flvlp.data.augment import Augment
from flvlp.data.config import AugmentConfig, ImageConfig
from flvlp.data.dataset import stable_hash
from flvlp.data.images import ImageReadError
from flvlp.data.studies import StudySource
from flvlp.data.transforms import crop_view, fit_boxes, fit_mask, fit_square
from flvlp.types import BoxedPictures, LabelledPictures, MaskedPictures

_CROP_STREAM, _AUGMENT_STREAM, _LATERAL_STREAM = 0, 1, 2

_NO_BOXES = (np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class PictureSample:
    """One study as a worker hands it on.

    Attributes:
        index: position in the source.
        frontal: (H, W) uint8, None where the pixels could not be read.
        lateral: the same, None where there is none.
        target: labels (C,) float32, mask (H, W) bool, or boxes (n, 4) with classes (n,).
        size: height and width in pixels of the frontal picture as it was read, where it was fitted to a square.
    """

    index: int
    frontal: np.ndarray | None
    lateral: np.ndarray | None
    target: Any
    size: tuple[int, int] = (0, 0)


class PictureDataset(Dataset[PictureSample], ABC):
    """What the three data sets below share; items are asked for by (epoch, position in the source)."""

    def __init__(
        self,
        source: StudySource,
        *,
        seed: int,
        is_training: bool,
        on_error: str,
        augment: AugmentConfig | None = None,
    ) -> None:
        """Args as named; see also:

        Args:
            is_training: random crops and changes; otherwise none.
            on_error: `raise` or `skip` for an image that cannot be read.
            augment: of training pictures.
        """
        self.source, self.seed, self.is_training, self.on_error = source, seed, is_training, on_error
        self.augment = Augment(augment or AugmentConfig()) if is_training else None

    def __getitem__(self, key: tuple[int, int]) -> PictureSample:
        """Returns study `index` as drawn in `epoch`."""
        epoch, index = key
        try:
            return self._sample(index, [self.seed, epoch, stable_hash(self.source.studies[index].study_id)])
        except ImageReadError:
            if self.on_error == "raise":
                raise
            return PictureSample(index, None, None, None)

    @abstractmethod
    def _sample(self, index: int, key: list[int]) -> PictureSample:
        """Reads study `index`; `key` (seed, epoch, study) alone decides what is drawn. May raise `ImageReadError`."""


class ViewDataset(PictureDataset):
    """Both views of a study as the encoders take them, with its labels."""

    def __init__(self, source: StudySource, image: ImageConfig, *, with_lateral: bool, **common: Any) -> None:
        """`image`: sizes; `with_lateral=False` reads no lateral; the rest as in `PictureDataset`."""
        super().__init__(source, **common)
        self.image, self.with_lateral = image, with_lateral

    def _sample(self, index: int, key: list[int]) -> PictureSample:
        frontal = self._view(self.source.frontal(index), key)
        lateral = None
        if self.with_lateral and self.source.studies[index].has_lateral:
            lateral = self._view(self.source.lateral(index), [*key, _LATERAL_STREAM])
        labels = self.source.labels.values[index] if self.source.labels else np.zeros(0, dtype=np.float32)
        return PictureSample(index, frontal, lateral, labels)

    def _view(self, picture: np.ndarray, key: list[int]) -> np.ndarray:
        if self.augment is None:
            return crop_view(picture, self.image, None)
        cropped = crop_view(picture, self.image, np.random.default_rng([*key, _CROP_STREAM]))
        return self.augment.view(cropped, [*key, _AUGMENT_STREAM])


class MaskDataset(PictureDataset):
    """The whole frontal picture, fitted to a square, with its mask; boxes are filled where there are no masks."""

    def __init__(self, source: StudySource, side: int, **common: Any) -> None:
        """`side`: of the square in pixels; the rest as in `PictureDataset`.

        Raises:
            ValueError: a data set with neither masks nor boxes.
        """
        super().__init__(source, **common)
        if source.masks is None and source.boxes is None:
            raise ValueError(
                "dataset.name: this data set has neither masks nor boxes, and segmentation needs one of them; choose "
                "one of: siim, rsna, phantom, or pairs with dataset.mask_column"
            )
        self.side = side

    def _sample(self, index: int, key: list[int]) -> PictureSample:
        picture = self.source.frontal(index)
        mask = self._mask(index, picture.shape)
        picture = fit_square(picture, self.side)
        if self.augment is not None:
            picture, mask = self.augment.with_mask(picture, mask, [*key, _AUGMENT_STREAM])
        return PictureSample(index, picture, None, mask)

    def _mask(self, index: int, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the mask in the square (S, S) bool."""
        if self.source.masks is not None:
            return fit_mask(self.source.masks.of(index), self.side)
        assert self.source.boxes is not None
        mask = np.zeros((self.side, self.side), dtype=bool)
        boxes = fit_boxes(self.source.boxes.of(index)[0], shape[0], shape[1], self.side)
        for left, top, right, bottom in boxes.round().astype(int):
            mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
        return mask


class BoxDataset(PictureDataset):
    """The whole frontal picture, fitted to a square, with its boxes."""

    def __init__(self, source: StudySource, side: int, **common: Any) -> None:
        """`side`: of the square in pixels; the rest as in `PictureDataset`.

        Raises:
            ValueError: a data set without boxes.
        """
        super().__init__(source, **common)
        if source.boxes is None:
            raise ValueError(
                "dataset.name: this data set has no boxes, and detection needs them; choose one of: rsna, object_cxr, "
                "nih14, phantom"
            )
        self.side = side

    def _sample(self, index: int, key: list[int]) -> PictureSample:
        assert self.source.boxes is not None
        picture = self.source.frontal(index)
        values, classes = self.source.boxes.of(index)
        height, width = picture.shape
        boxes = fit_boxes(values, height, width, self.side)
        picture = fit_square(picture, self.side)
        if self.augment is not None:
            picture, boxes, classes = self.augment.with_boxes(picture, boxes, classes, [*key, _AUGMENT_STREAM])
        return PictureSample(index, picture, None, (boxes, classes), (height, width))


def _common(samples: Sequence[PictureSample], side: int) -> dict[str, Tensor]:
    """Returns what every batch of pictures holds; a blank stands for what could not be read."""
    blank = np.zeros((side, side), dtype=np.uint8)
    laterals = [(row, sample.lateral) for row, sample in enumerate(samples) if sample.lateral is not None]
    rows = torch.tensor([row for row, _ in laterals], dtype=torch.int64)
    pictures = [view for _, view in laterals] or [blank]
    return {
        "frontal": _stacked([blank if sample.frontal is None else sample.frontal for sample in samples]),
        "lateral": _stacked(pictures)[: len(laterals)],
        "lateral_rows": rows,
        "has_lateral": torch.zeros(len(samples), dtype=torch.bool).index_fill_(0, rows, True),
        "is_valid": torch.tensor([sample.frontal is not None for sample in samples]),
        "study_index": torch.tensor([sample.index for sample in samples]),
    }


def _stacked(views: Sequence[np.ndarray]) -> Tensor:
    """Stacks (H, W) pictures to (n, 1, H, W)."""
    return torch.from_numpy(np.stack(views)[:, None])


class CollateLabels:
    """Samples to `LabelledPictures`."""

    def __init__(self, side: int, classes: int) -> None:
        self.side, self.classes = side, classes

    def __call__(self, samples: Sequence[PictureSample]) -> LabelledPictures:
        """Returns the micro-batch of `samples`, in their order."""
        unknown = np.full(self.classes, np.nan, dtype=np.float32)
        labels = [unknown if sample.target is None else sample.target for sample in samples]
        return LabelledPictures(**_common(samples, self.side), labels=torch.from_numpy(np.stack(labels)))


class CollateMasks:
    """Samples to `MaskedPictures`."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, samples: Sequence[PictureSample]) -> MaskedPictures:
        """Returns the micro-batch of `samples`, in their order."""
        empty = np.zeros((self.side, self.side), dtype=bool)
        masks = [empty if sample.target is None else sample.target for sample in samples]
        return MaskedPictures(**_common(samples, self.side), masks=_stacked(masks))


class CollateBoxes:
    """Samples to `BoxedPictures`."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, samples: Sequence[PictureSample]) -> BoxedPictures:
        """Returns the micro-batch of `samples`, in their order."""
        targets = [_NO_BOXES if sample.target is None else sample.target for sample in samples]
        counts = torch.tensor([len(boxes) for boxes, _ in targets])
        return BoxedPictures(
            **_common(samples, self.side),
            boxes=torch.from_numpy(np.concatenate([boxes for boxes, _ in targets])),
            box_rows=torch.arange(len(samples)).repeat_interleave(counts),
            box_classes=torch.from_numpy(np.concatenate([classes for _, classes in targets])),
            sizes=torch.tensor([sample.size for sample in samples]),
        )


Collate = Callable[[Sequence[PictureSample]], Any]
