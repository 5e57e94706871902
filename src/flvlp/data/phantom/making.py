"""Makes phantom studies by number. Imports no torch, so that worker processes start at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flvlp.data.phantom.findings import FINDING_NAMES, Finding, draw_findings
from flvlp.data.phantom.rendering import Box, render
from flvlp.data.phantom.reports import write_phrase, write_report

LATERAL_SHARE = 0.7
VISIT_SHARES = (0.6, 0.25, 0.15)  # of patients with one, two, three studies
MAX_FINDINGS = 4
# These stay from one visit of a patient to the next; the rest comes and goes.
CHRONIC = ("cardiomegaly", "emphysema", "hiatal_hernia", "vertebral_fracture", "mass", "nodule")
# Streams of chance under the data set's seed.
_PLAN, _ANATOMY, _STUDY, _REPORT, _PHRASE = range(5)


@dataclass(frozen=True, slots=True)
class PhantomPlan:
    """What study number `index` will be.

    Attributes:
        index: position in the data set; patient, visit: numbers from 0.
        findings: what it shows.
        has_lateral: whether a lateral view is taken.
    """

    index: int
    patient: int
    visit: int
    findings: tuple[Finding, ...]
    has_lateral: bool


@dataclass(frozen=True, slots=True)
class MadePhantom:
    """One made study: uint8 pictures (S, S), pneumothorax mask (S, S) bool, boxes as in `Rendering`, report text."""

    plan: PhantomPlan
    frontal: np.ndarray
    lateral: np.ndarray | None
    pneumothorax_mask: np.ndarray
    opacity_boxes: tuple[Box, ...]
    finding_boxes: dict[str, tuple[tuple[str, Box], ...]]
    report: str


def plan_studies(count: int, seed: int) -> list[PhantomPlan]:
    """Draws patients, visits and findings; the first n studies are the same for every `count` >= n."""
    plans: list[PhantomPlan] = []
    for patient in range(count):
        generator = np.random.default_rng([seed, _PLAN, patient])
        findings: tuple[Finding, ...] = ()
        for visit in range(1 + int(generator.choice(len(VISIT_SHARES), p=VISIT_SHARES))):
            kept = tuple(finding for finding in findings if finding.name in CHRONIC)
            names = {finding.name for finding in kept}
            fresh = tuple(finding for finding in draw_findings(generator) if finding.name not in names)
            findings = tuple(sorted((kept + fresh)[:MAX_FINDINGS], key=lambda one: FINDING_NAMES.index(one.name)))
            has_lateral = bool(generator.random() < LATERAL_SHARE)
            plans.append(PhantomPlan(len(plans), patient, visit, findings, has_lateral))
            if len(plans) == count:
                return plans
    return plans


def make_study(plan: PhantomPlan, seed: int, size: int) -> MadePhantom:
    """Renders both views of a planned study and writes its report."""
    made = render(
        plan.findings,
        patient_seed=(seed, _ANATOMY, plan.patient),
        study_seed=(seed, _STUDY, plan.patient, plan.visit),
        size=size,
        with_lateral=plan.has_lateral,
    )
    generator = np.random.default_rng([seed, _REPORT, plan.patient, plan.visit])
    report = write_report(plan.findings, generator, plan.has_lateral)
    lateral = made.lateral if plan.has_lateral else None
    return MadePhantom(
        *(plan, made.frontal, lateral, made.pneumothorax_mask, made.opacity_boxes, made.finding_boxes, report)
    )


def phrase_of(plan: PhantomPlan, finding: Finding, seed: int) -> str:
    """Returns a sentence on one finding of a study, in words of its own: what a box of phrase grounding shows."""
    key = [seed, _PHRASE, plan.patient, plan.visit, FINDING_NAMES.index(finding.name)]
    return write_phrase(finding, np.random.default_rng(key))


def make_chunk(arguments: tuple[list[PhantomPlan], int, int]) -> list[MadePhantom]:
    """Makes several studies: one task of a worker process."""
    plans, seed, size = arguments
    return [make_study(plan, seed, size) for plan in plans]


def label_matrix(plans: list[PhantomPlan]) -> np.ndarray:
    """Returns labels (N, C) float32, 1 where a study shows `FINDING_NAMES[c]`."""
    labels = np.zeros((len(plans), len(FINDING_NAMES)), dtype=np.float32)
    for plan in plans:
        for finding in plan.findings:
            labels[plan.index, FINDING_NAMES.index(finding.name)] = 1
    return labels


def chunks(plans: list[PhantomPlan], size: int) -> Iterator[list[PhantomPlan]]:
    """Splits plans into lists of `size`."""
    for start in range(0, len(plans), size):
        yield plans[start : start + size]
