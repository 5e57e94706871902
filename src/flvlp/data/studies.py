"""What every reader gives: studies, how they are split, their pixels, labels, boxes and masks.

Letters: N studies, C classes, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Study:
    """One study as a reader lists it; pixels are read later, through its `StudySource`.

    A data set that knows no studies (NIH, RSNA, ...) has one a picture, with that picture as its frontal view.

    Attributes:
        study_id: unique in its data set.
        patient_id: splits keep a patient in one part.
        report: the text the tokenizer sees, "" in a data set without reports; the IMPRESSION comes first, so that
            truncation cuts FINDINGS.
        has_lateral: said by the data set, never guessed from pixels.
        row: 1-based line of the source file (the header is line 1), 0 for data that has no file.
    """

    study_id: str
    patient_id: str
    report: str
    has_lateral: bool
    row: int = 0


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of each study.

    Attributes:
        names: the C classes.
        values: (N, C) float32: 1, 0, or NaN where it is not known; losses and metrics leave NaN out.
        is_exclusive: every study is of exactly one class (COVIDx), or all its labels are missing.
    """

    names: tuple[str, ...]
    values: np.ndarray
    is_exclusive: bool = False

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names) or self.values.dtype != np.float32:
            raise ValueError(
                f"Labels: values of shape {self.values.shape} and type {self.values.dtype} for {len(self.names)} "
                "classes; float32 of shape (studies, classes) is right"
            )
        if not np.isin(self.values[~np.isnan(self.values)], (0, 1)).all():
            raise ValueError("Labels: a value is neither 0, 1 nor NaN; apply the uncertain policy first")
        is_unknown = np.isnan(self.values).all(axis=1)
        if self.is_exclusive and not (is_unknown | (self.values.sum(axis=1) == 1)).all():
            raise ValueError("Labels: exclusive classes, and a study has none of them, or several; each has one")


@dataclass(frozen=True, slots=True)
class Boxes:
    """All boxes of a data set.

    Attributes:
        names: class names.
        study: (M,) int64, the study that each box lies in, ascending.
        values: (M, 4) float32: left, top, width, height as shares of the frontal picture's width and height, in
            [0, 1], so that they hold for a resized copy.
        classes: (M,) int64, positions in `names`.
        phrases: of a data set of phrase grounding, the M phrases that the boxes show; boxes of a study with the same
            class and phrase belong together. () of others.
    """

    names: tuple[str, ...]
    study: np.ndarray
    values: np.ndarray
    classes: np.ndarray
    phrases: tuple[str, ...] = ()

    def of(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns values (n, 4) and classes (n,) of the boxes of study `index`; n may be 0."""
        first, last = np.searchsorted(self.study, (index, index + 1))
        return self.values[first:last], self.classes[first:last]


class Masks(Protocol):
    """The masks of a data set, decoded when asked for."""

    def of(self, index: int) -> np.ndarray:
        """Returns the mask of study `index`, (H, W) bool.

        It covers the frontal picture; its size is that of the annotation and may differ from the picture's.
        """
        ...


class StudySource(Protocol):
    """What every reader offers.

    Attributes:
        studies: all studies, in the order of the source.
        splits: part name (`train`, `validation`, maybe `test`) -> positions in `studies`, (n,) int64, ascending.
        split_name: of the registry (`flvlp.data.splits`), for result rows; a stand-in made of phantoms says so.
        labels, boxes, masks: None where the data set has none.
    """

    studies: Sequence[Study]
    splits: dict[str, np.ndarray]
    split_name: str
    labels: Labels | None
    boxes: Boxes | None
    masks: Masks | None

    def frontal(self, index: int) -> np.ndarray:
        """Returns the frontal view of study `index`, (H, W) uint8, 0-255, air dark."""
        ...

    def lateral(self, index: int) -> np.ndarray:
        """Returns the lateral view of study `index`, (H, W) uint8, 0-255; only for a study that has one."""
        ...
