"""The stand-in of MS-CXR: phrases and boxes are of what the phantom shows, and patients are those of MIMIC-CXR's."""

from collections.abc import Callable

import numpy as np

from flvlp.data.grounding import find_regions
from flvlp.data.phantom.source import PhantomSource
from flvlp.data.studies import StudySource
from tests.data.standin.matching import numbers_of

# What a category may be made of.
FINDINGS = {
    "Atelectasis": {"atelectasis"},
    "Cardiomegaly": {"cardiomegaly"},
    "Consolidation": {"consolidation"},
    "Edema": {"edema"},
    "Lung Opacity": {"consolidation", "nodule", "mass"},
    "Pleural Effusion": {"pleural_effusion"},
    "Pneumonia": {"consolidation"},
    "Pneumothorax": {"pneumothorax"},
}
ON_THE_LEFT, ON_THE_RIGHT = 0.62, 0.38  # the patient's left is the right of the picture; a turned patient is off centre


def test_boxes_come_back_within_a_pixel_and_belong_to_a_finding_of_their_category(
    source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    source = source_of("ms_cxr")
    boxes = source.boxes
    assert boxes is not None
    seen = set()
    for index, number in enumerate(numbers_of(source, phantoms)):
        known = phantoms.finding_boxes[number]["frontal"]
        for value, label in zip(*boxes.of(index), strict=True):
            category = boxes.names[label]
            near = [
                name
                for name, box in known
                if name in FINDINGS[category] and np.abs(value * phantoms.size - box).max() <= 0.1
            ]
            assert len(near) == 1, f"{category} at {value * phantoms.size}, known: {known}"
            seen.add(category)
    assert len(seen) >= 6, seen


def test_the_box_of_a_pneumothorax_goes_around_its_mask(
    source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    source, shown = source_of("ms_cxr"), 0
    assert source.boxes is not None
    for index, number in enumerate(numbers_of(source, phantoms)):
        values, labels = source.boxes.of(index)
        found = [
            value for value, label in zip(values, labels, strict=True) if source.boxes.names[label] == "Pneumothorax"
        ]
        rows, columns = np.nonzero(phantoms.pneumothorax.of(number))
        assert len(found) == (len(rows) > 0)
        for left, top, width, height in np.array(found).reshape(-1, 4) * phantoms.size:
            around = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.abs(np.array(around) - (left, top, left + width, top + height)).max() <= 0.1
            shown += 1
    assert shown > 1


def test_a_phrase_that_names_a_side_has_its_box_on_that_side_and_a_bilateral_one_has_two(
    source_of: Callable[..., StudySource],
) -> None:
    source = source_of("ms_cxr")
    sides = {"left": 0, "right": 0, "bilateral": 0}
    for region in find_regions(source, range(len(source.studies)), {}):
        assert region.boxes is not None
        assert region.phrase == region.phrase.strip()
        assert not region.phrase.endswith(".")
        middles = (region.boxes[:, 0] + region.boxes[:, 2] / 2).tolist()
        words = region.phrase.lower().split()
        if region.category in ("Cardiomegaly", "Edema"):
            continue
        if "left" in words and "right" not in words:
            sides["left"] += 1
            assert all(middle > ON_THE_RIGHT for middle in middles), (region.phrase, middles)
        elif "right" in words and "left" not in words:
            sides["right"] += 1
            assert all(middle < ON_THE_LEFT for middle in middles), (region.phrase, middles)
        elif "bilateral" in words:
            sides["bilateral"] += 1
            assert len(middles) == 2, (region.phrase, middles)
            assert min(middles) < 0.5 < max(middles), (region.phrase, middles)
    assert sides["left"] > 2, sides
    assert sides["right"] > 2, sides


def test_pictures_patients_and_parts_are_those_of_mimics_stand_in(source_of: Callable[..., StudySource]) -> None:
    mimic, grounded = source_of("mimic_cxr", needs_report=False), source_of("ms_cxr")
    of_mimic, of_grounded = (
        {source.studies[row].patient_id: part for part, rows in source.splits.items() for row in rows}
        for source in (mimic, grounded)
    )
    shared = of_mimic.keys() & of_grounded.keys()
    assert len(shared) > 0.8 * len(of_grounded)  # a few of MIMIC's have no frontal view
    assert [of_mimic[patient] for patient in shared] == [of_grounded[patient] for patient in shared]
    files = {path.rsplit("/", 1)[1] for path in mimic.listing.frontal_paths}  # type: ignore[attr-defined]
    same = [path for path in grounded.listing.frontal_paths if path.rsplit("/", 1)[1] in files]  # type: ignore[attr-defined]
    assert len(same) > 0.8 * len(grounded.studies)
