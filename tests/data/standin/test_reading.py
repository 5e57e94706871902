"""The reader of the real files reads the stand-in, and gives the phantoms' pictures, labels, boxes and masks back."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from flvlp.data.phantom.findings import DEVICES, Finding
from flvlp.data.phantom.layouts.siim import published
from flvlp.data.phantom.source import PhantomSource
from flvlp.data.phantom.standin import WRITERS
from flvlp.data.studies import Boxes, StudySource
from tests.data.standin.matching import numbers_of, phantom_of

CHEXPERT = {
    "cardiomegaly": "Cardiomegaly",
    "pleural_effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
    "consolidation": "Consolidation",
    "atelectasis": "Atelectasis",
    "edema": "Edema",
    "nodule": "Lung Lesion",
    "mass": "Lung Lesion",
    "rib_fracture": "Fracture",
    "vertebral_fracture": "Fracture",
    "support_device": "Support Devices",
}
NIH = CHEXPERT | {
    "pleural_effusion": "Effusion",
    "nodule": "Nodule",
    "mass": "Mass",
    "emphysema": "Emphysema",
    "hiatal_hernia": "Hernia",
}
IMPLIED = {"Lung Opacity", "Pneumonia", "Enlarged Cardiomediastinum"}
WITH_LATERAL = ("mimic_cxr", "iu_xray", "chexpert")
WITHOUT_TORN_PATIENTS = ("mimic_cxr", "iu_xray", "chexpert", "nih14", "rsna", "covidx")  # that know patients


def names(findings: Sequence[Finding]) -> set[str]:
    return {finding.name for finding in findings}


def is_small(finding: Finding) -> bool:
    return finding.severity in ("small", "mild")


@pytest.mark.parametrize("name", WRITERS)
def test_each_study_is_one_phantom(name: str, source_of: Callable[..., StudySource], phantoms: PhantomSource) -> None:
    source = source_of(name)
    numbers = numbers_of(source, phantoms)
    assert len(set(numbers)) == len(numbers) == len(source.studies) > 10
    patients = [phantoms.plans[number].patient for number in numbers]
    if name in WITHOUT_TORN_PATIENTS:
        said: dict[int, set[str]] = {}
        for study, patient in zip(source.studies, patients, strict=True):
            said.setdefault(patient, set()).add(study.patient_id)
        assert all(len(ids) == 1 for ids in said.values()), "a patient has two ids"
    parts = {part: {patients[index] for index in rows} for part, rows in source.splits.items()}
    assert set(parts) == {"train", "validation", "test"}
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["validation"]
    assert not parts["validation"] & parts["test"]


@pytest.mark.parametrize("name", WITH_LATERAL)
def test_laterals_are_those_of_the_frontals(
    name: str, source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    source = source_of(name)
    for index, number in enumerate(numbers_of(source, phantoms)):
        assert source.studies[index].has_lateral == phantoms.plans[number].has_lateral
        if source.studies[index].has_lateral:
            assert phantom_of(source.lateral(index), phantoms, "lateral") == number


@pytest.mark.parametrize(
    ("name", "changes"), [("chexpert", {"classes": "all"}), ("mimic_cxr", {"needs_report": False})]
)
def test_chexpert_classes_are_those_of_the_findings(
    name: str, changes: dict, source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    labels = source_of(name, uncertain="u_ones", **changes).labels
    assert labels is not None
    implied = []
    for row, number in zip(labels.values, numbers_of(source_of(name, **changes), phantoms), strict=True):
        if np.isnan(row).all():  # not in the labeller's table
            continue
        findings = phantoms.plans[number].findings
        expected = {CHEXPERT[one] for one in names(findings) if one in CHEXPERT}
        expected |= (
            {"Lung Opacity"}
            if names(findings) & {*("consolidation", "atelectasis", "edema"), "nodule", "mass"}
            else set()
        )
        expected |= {"No Finding"} if names(findings) <= {"support_device"} else set()
        expected |= {
            "Enlarged Cardiomediastinum" for one in findings if one.name == "cardiomegaly" and not is_small(one)
        }
        positive = {labels.names[column] for column in np.flatnonzero(row == 1)}
        # Of a small consolidation, a labeller's table says that it may be pneumonia, the truth that it is not.
        maybe = {"Pneumonia"} if "consolidation" in names(findings) else set()
        # What findings imply stands in a labeller's table only where the report is not terse.
        assert positive - maybe - IMPLIED == expected - IMPLIED, findings
        assert positive & IMPLIED <= expected | maybe, findings
        implied.append((bool(positive & IMPLIED), bool(expected & IMPLIED)))
    named, all_of_them = np.array(implied).sum(axis=0)
    assert 0 < named < all_of_them, f"{named} of {all_of_them} reports name what their findings imply"


def test_nih_classes_are_those_of_the_findings(source_of: Callable[..., StudySource], phantoms: PhantomSource) -> None:
    source = source_of("nih14")
    assert source.labels is not None
    for row, number in zip(source.labels.values, numbers_of(source, phantoms), strict=True):
        findings = phantoms.plans[number].findings
        expected = {NIH[one] for one in names(findings) if one in NIH} - {"Fracture", "Support Devices"}
        expected |= {
            "Infiltration" if is_small(one) else "Pneumonia" for one in findings if one.name == "consolidation"
        }
        assert {source.labels.names[column] for column in np.flatnonzero(row)} == expected, findings


@pytest.mark.parametrize(
    ("name", "finding"), [("siim", "pneumothorax"), ("object_cxr", "support_device"), ("rsna", "consolidation")]
)
def test_a_binary_label_says_whether_the_finding_is_there(
    name: str, finding: str, source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    source = source_of(name)
    assert source.labels is not None
    said = source.labels.values[:, 0] == 1
    shown = np.array([finding in names(phantoms.plans[number].findings) for number in numbers_of(source, phantoms)])
    assert said.any()
    assert (~said).any()
    assert np.array_equal(said, shown)


def test_covidx_classes_stand_in_for_normal_consolidation_and_edema(
    source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    source = source_of("covidx")
    assert source.labels is not None
    assert source.labels.names == ("normal", "pneumonia", "COVID-19")
    for row, number in zip(source.labels.values, numbers_of(source, phantoms), strict=True):
        shown = names(phantoms.plans[number].findings)
        expected = [not shown, "consolidation" in shown and "edema" not in shown, "edema" in shown]
        assert row.tolist() == expected, shown


def boxes_of(boxes: Boxes, index: int) -> list[tuple[str, np.ndarray]]:
    """Returns class and box in pixels of the published 1024 x 1024, in the order of their left edges."""
    values, classes = boxes.of(index)
    found = [(boxes.names[kind], 1024 * box) for kind, box in zip(classes, values, strict=True)]
    return sorted(found, key=lambda one: one[1].tolist())


@pytest.mark.parametrize("name", ["nih14", "rsna"])
def test_boxes_come_back_within_a_pixel(
    name: str, source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    source = source_of(name)
    assert source.boxes is not None
    listed = set(source.splits["test"]) if name == "nih14" else set(range(len(source.studies)))
    marks = ("consolidation", "atelectasis", "nodule", "mass") if name == "nih14" else ("consolidation",)
    seen = 0
    for index, number in enumerate(numbers_of(source, phantoms)):
        found = [box for kind, box in boxes_of(source.boxes, index) if kind != "Pneumothorax"]
        known = phantoms.finding_boxes[number]["frontal"] if index in listed else []
        expected = sorted([1024 / phantoms.size * value for value in box] for kind, box in known if kind in marks)
        assert len(found) == len(expected)
        seen += len(found)
        if found:
            assert np.abs(np.array(found) - expected).max() <= 1
    assert seen > 0


def test_objects_lie_in_the_boxes_of_the_devices_and_fill_them(
    source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    source = source_of("object_cxr")
    assert source.boxes is not None
    for index, number in enumerate(numbers_of(source, phantoms)):
        found = np.array([box for _, box in boxes_of(source.boxes, index)]).reshape(-1, 4)
        devices = [box for kind, box in phantoms.finding_boxes[number]["frontal"] if kind in DEVICES]
        assert (len(found) > 0) == (len(devices) > 0)
        if devices:
            left, top, width, height = np.array(devices[0]) * 1024 / phantoms.size
            around = (*found[:, :2].min(axis=0), *(found[:, :2] + found[:, 2:]).max(axis=0))
            assert np.abs(np.array(around) - (left, top, left + width, top + height)).max() <= 1


def test_masks_come_back_and_rows_of_one_picture_are_joined(
    source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    source = source_of("siim")
    assert source.masks is not None
    seen = 0
    for index, number in enumerate(numbers_of(source, phantoms)):
        mask, expected = source.masks.of(index), published(phantoms.pneumothorax.of(number))
        assert mask.shape == (1024, 1024)
        assert mask.any() == expected.any()
        if expected.any():
            overlap = (mask & expected).sum() / (mask | expected).sum()
            assert overlap > 0.95, f"IoU {overlap:.2f}"
            seen += 1
    assert seen > 2


def test_a_result_from_a_stand_in_says_so(source_of: Callable[..., StudySource]) -> None:
    for name in WRITERS:
        assert "phantom" in source_of(name).split_name


def test_the_box_of_a_pneumothorax_goes_around_its_air(
    source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    source = source_of("nih14")
    assert source.boxes is not None
    numbers = numbers_of(source, phantoms)
    shown = 0
    for index in source.splits["test"]:
        rows, columns = np.nonzero(phantoms.pneumothorax.of(numbers[index]))
        found = [box for kind, box in boxes_of(source.boxes, index) if kind == "Pneumothorax"]
        assert len(found) == (len(rows) > 0)
        for left, top, width, height in found:
            scale = 1024 / phantoms.size
            around = scale * np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert np.abs(around - (left, top, left + width, top + height)).max() <= 1
            shown += 1
    assert shown > 0
