"""What phrase grounding is asked: a phrase, a view of a study, and where the view shows what the phrase says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from flvlp.data.config import ImageConfig
from flvlp.data.images import ImageReadError
from flvlp.data.phantom.findings import shows_on_frontal
from flvlp.data.phantom.making import phrase_of
from flvlp.data.phantom.source import PhantomSource
from flvlp.data.pictures import PictureSample
from flvlp.data.scaling import scaled_size
from flvlp.data.studies import StudySource
from flvlp.data.transforms import crop_view, fit_mask

FRONTAL, LATERAL = "frontal", "lateral"


@dataclass(frozen=True, slots=True)
class Region:
    """One phrase and its place.

    Attributes:
        study: position in the source.
        view: `frontal` or `lateral`.
        category: of the phrase, which figures are averaged over.
        phrase: what is asked.
        boxes: (n, 4) left, top, width, height as shares of the picture; None: the mask of the study.
    """

    study: int
    view: str
    category: str
    phrase: str
    boxes: np.ndarray | None = None


def classes_of(source: StudySource) -> tuple[str, ...]:
    """Returns the classes that need a sentence each; () where the data set has phrases of its own.

    Raises:
        ValueError: a data set that says of no finding where it is.
    """
    if isinstance(source, PhantomSource):
        return ()
    if source.boxes is not None:
        return () if source.boxes.phrases else source.boxes.names
    names = source.labels.names if source.labels else ()
    if source.masks is None or len(names) != 1:
        raise ValueError(
            "dataset.name: this data set has no boxes, and no masks of a single labelled class; choose one of: ms_cxr, "
            "phantom, rsna, nih14, siim, object_cxr, or pairs with dataset.mask_column and one of dataset.label_columns"
        )
    return names


def find_regions(source: StudySource, positions: Iterable[int], sentences: Mapping[str, str]) -> list[Region]:
    """Returns the regions of some studies; a study without box and mask has none.

    Boxes of a study with the same phrase are one region, as are those of a class where the set has no phrases.

    Args:
        source: the data set; phantoms have boxes on both views, all others on the frontal one. What the frontal view
            of a phantom hardly shows is asked on the lateral one alone.
        positions: of the studies.
        sentences: class -> what is asked, for the classes of `classes_of`.
    """
    regions: list[Region] = []
    for position in map(int, positions):
        if isinstance(source, PhantomSource):
            regions += _of_phantom(source, position)
        elif source.boxes is not None:
            regions += _of_boxes(source, position, sentences)
        elif source.masks is not None and source.masks.of(position).any():
            regions += [Region(position, FRONTAL, category, phrase) for category, phrase in sentences.items()]
    return regions


def _of_boxes(source: StudySource, position: int, sentences: Mapping[str, str]) -> list[Region]:
    boxes = source.boxes
    assert boxes is not None, "checked by the caller"
    values, classes = boxes.of(position)
    first = int(np.searchsorted(boxes.study, position))
    grouped: dict[tuple[str, str], list[int]] = {}
    for row, label in enumerate(classes):
        category = boxes.names[label]
        phrase = boxes.phrases[first + row] if boxes.phrases else sentences[category]
        grouped.setdefault((category, phrase), []).append(row)
    return [Region(position, FRONTAL, category, phrase, values[rows]) for (category, phrase), rows in grouped.items()]


def _of_phantom(source: PhantomSource, position: int) -> list[Region]:
    plan = source.plans[position]
    regions = []
    for view in (FRONTAL, LATERAL):
        for finding in plan.findings:
            if view == FRONTAL and not shows_on_frontal(finding):
                continue
            marked = source.finding_boxes[position][view]
            boxes = [box for name, box in marked if name == (finding.kind or finding.name)]
            if boxes:
                shares = np.array(boxes, dtype=np.float32) / source.size
                regions.append(Region(position, view, finding.name, phrase_of(plan, finding, source.seed), shares))
    return regions


class RegionPictures(Dataset[PictureSample]):
    """The picture of each region as the encoders take it; items are asked for by (0, number of the region)."""

    def __init__(self, source: StudySource, regions: Sequence[Region], image: ImageConfig, on_error: str) -> None:
        """`on_error`: `raise` or `skip` for an image that cannot be read; the rest as named."""
        self.source, self.regions, self.image, self.on_error = source, regions, image, on_error

    def __getitem__(self, key: tuple[int, int]) -> PictureSample:
        """Returns the crop in the place of the frontal view, whichever view it is, without boxes."""
        _, number = key
        try:
            picture = picture_of(self.source, self.regions[number])
        except ImageReadError:
            if self.on_error == "raise":
                raise
            return PictureSample(number, None, None, None)
        nothing = np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64)
        height, width = picture.shape
        return PictureSample(number, crop_view(picture, self.image, None), None, nothing, (height, width))


def picture_of(source: StudySource, region: Region) -> np.ndarray:
    """Returns the picture that a region lies on, (H, W) uint8."""
    return source.frontal(region.study) if region.view == FRONTAL else source.lateral(region.study)


def inside_of(source: StudySource, region: Region, shape: tuple[int, int], side: int) -> np.ndarray:
    """Returns which pixels lie in a region, (h, w) bool, of the picture with its long side scaled to `side`.

    A thin region does not vanish: a box has at least a pixel.

    Args:
        source: the data set.
        region: of it.
        shape: height and width in pixels of the picture.
        side: pixels.
    """
    height, width = scaled_size(shape, side)
    if region.boxes is None:
        assert source.masks is not None, "a region without boxes is of a data set of masks"
        top, left = (side - height) // 2, (side - width) // 2
        return fit_mask(source.masks.of(region.study), side)[top : top + height, left : left + width]
    inside = np.zeros((height, width), dtype=bool)
    for left, top, wide, high in region.boxes * np.array([width, height, width, height]):
        first_row, first_column = min(round(top), height - 1), min(round(left), width - 1)
        last_row, last_column = max(round(top + high), first_row + 1), max(round(left + wide), first_column + 1)
        inside[first_row:last_row, first_column:last_column] = True
    return inside
