"""The phantom source offers what every study source does."""

import numpy as np

from flvlp.data.grounding import find_regions
from flvlp.data.phantom.findings import DEVICES, FINDING_NAMES, Finding, shows_on_frontal
from flvlp.data.phantom.making import phrase_of
from flvlp.data.phantom.source import PhantomSource
from flvlp.data.readers.config import PhantomConfig
from flvlp.data.studies import StudySource


def test_labels_are_those_of_the_planned_findings(phantoms: PhantomSource) -> None:
    source: StudySource = phantoms
    assert source.split_name == "phantom/patient"
    assert source.labels is not None
    assert source.labels.names == FINDING_NAMES
    for plan, row in zip(phantoms.plans, source.labels.values, strict=True):
        shown = {FINDING_NAMES[column] for column in np.flatnonzero(row)}
        assert shown == {finding.name for finding in plan.findings}


def test_boxes_are_the_consolidations_as_shares_of_the_picture(phantoms: PhantomSource) -> None:
    assert phantoms.boxes is not None
    assert phantoms.boxes.names == ("opacity",)
    assert len(phantoms.boxes.values) > 0
    for index, marked in enumerate(phantoms.finding_boxes):
        expected = [box for name, box in marked["frontal"] if name == "consolidation"]
        values, classes = phantoms.boxes.of(index)
        assert np.allclose(values * phantoms.size, np.array(expected).reshape(-1, 4))
        assert not classes.any()


def test_both_views_have_boxes_of_what_is_in_them(phantoms: PhantomSource) -> None:
    for plan, marked in zip(phantoms.plans, phantoms.finding_boxes, strict=True):
        known = {finding.kind or finding.name for finding in plan.findings}
        assert set(marked) == {"frontal", "lateral"}
        assert {name for boxes in marked.values() for name, _ in boxes} <= known
        assert known & {"nodule", "mass", *DEVICES} <= {name for name, _ in marked["frontal"]}
        assert plan.has_lateral or not marked["lateral"]


def test_the_frontal_view_hardly_shows_what_lies_behind_the_heart_or_the_dome() -> None:
    for severity, is_shown in {"small": False, "moderate": True, "large": True}.items():
        assert shows_on_frontal(Finding("pleural_effusion", "left", "basal", severity)) == is_shown, severity
        assert shows_on_frontal(Finding("consolidation", "left", "lower", severity)), severity
        assert not shows_on_frontal(Finding("hiatal_hernia", "midline", "retrocardiac", severity)), severity
    assert not shows_on_frontal(Finding("vertebral_fracture", "midline", "T8", "severe"))


def test_phrases_are_asked_of_every_view_that_shows_the_finding(phantoms: PhantomSource) -> None:
    left_out = {"hiatal_hernia": False, "vertebral_fracture": False}
    for plan, marked in zip(phantoms.plans, phantoms.finding_boxes, strict=True):
        asked = {(one.view, one.phrase) for one in find_regions(phantoms, [plan.index], {})}
        for finding in plan.findings:
            phrase, name = phrase_of(plan, finding, phantoms.seed), finding.kind or finding.name
            is_behind = not shows_on_frontal(finding)
            for view, boxes in marked.items():
                has_box, is_hidden = name in {one for one, _ in boxes}, view == "frontal" and is_behind
                assert ((view, phrase) in asked) == (has_box and not is_hidden), f"{finding}, {view}"
                if has_box and is_hidden:
                    left_out[name] = True
    assert all(left_out.values()), left_out


def test_a_mask_marks_the_side_of_the_pneumothorax_and_nothing_else(phantoms: PhantomSource) -> None:
    assert phantoms.masks is not None
    for index, plan in enumerate(phantoms.plans):
        mask = phantoms.masks.of(index)
        assert mask.shape == (phantoms.size, phantoms.size)
        assert mask.dtype == bool
        assert mask.any() == any(finding.name == "pneumothorax" for finding in plan.findings)


def test_an_opened_cache_gives_what_was_planned(phantoms: PhantomSource, standin_root: object) -> None:
    root = f"{standin_root}/phantoms"
    again = PhantomSource(PhantomConfig("phantom", root, studies=len(phantoms.plans), size=phantoms.size, seed=1))
    assert again.plans == phantoms.plans
    assert again.finding_boxes == phantoms.finding_boxes
    assert all(plan.has_lateral == study.has_lateral for plan, study in zip(again.plans, again.studies, strict=True))
    assert np.array_equal(again.frontal(3), phantoms.frontal(3))
