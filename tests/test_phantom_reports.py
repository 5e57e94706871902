"""Phantom reports: the facts of the findings, never their negation, in many words.

The reader below is written from the English of radiology, not from the grammar's tables: it looks for what a sentence
asserts or denies.
"""

import re

import numpy as np
import pytest

from flvlp.data.phantom.findings import FINDING_NAMES, Finding, draw_findings
from flvlp.data.phantom.reports import write_report
from tests.builders import draw_reports

LUNGS = {"consolidation", "atelectasis", "edema", "nodule", "mass", "emphysema"}
CHEST = LUNGS | {"pleural_effusion", "pneumothorax"}
FRACTURES = {"rib_fracture", "vertebral_fracture"}
ASSERTS = {
    "cardiomegaly": r"cardiomegaly|enlarge\w+ (of the )?(heart|cardiac)|is \w+ enlarged|(diac|not) enlarge",
    "pleural_effusion": r"effusion|pleural fluid",
    "pneumothorax": r"pneumothorax|pleural air",
    "consolidation": r"consolidation|airspace|infiltrate|opacification|pneumonia\b",
    "atelectasis": r"atelectasis|volume loss|lobar collapse",
    "edema": r"\bedema|vascular congestion|overt failure",
    "nodule": r"\bnodul",
    "mass": r"\bmass\b|masslike",
    "emphysema": r"emphysema|hyperinflat|hyperexpan|bullous",
    "hiatal_hernia": r"hernia",
    "rib_fracture": r"\brib\b",
    "vertebral_fracture": r"compression|wedge",
    "support_device": r"\btubes?\b|catheter|central (venous )?line|pacemaker|sternotomy",
}
NEGATION = re.compile(r"\b(no|not|without|negative for|absence of|free of)\b")
GOOD = (
    r"\b(normal|unremarkable|within normal limits|clear|sharp|preserved|intact|maintained|midline|adequate\w*|smooth)\b"
)
# What a sentence with a word of praise or a negation says is fine -> the findings it denies.
STRUCTURES = (
    (r"\blungs?\b.*\bclear\b|\bclear lungs|lung fields", CHEST),
    (r"\bheart\b|\bcardiac\b|cardiomediastinal", {"cardiomegaly"}),
    (r"mediastinum|mediastinal (contours|silhouette)", {"hiatal_hernia", "mass"}),
    (r"vascular", {"edema"}),
    (r"\bhilar (structures|contours)|\bhila\b", {"edema", "mass"}),
    (r"lung volumes|inflated|inspiratory", {"atelectasis", "emphysema"}),
    (r"costophrenic", {"pleural_effusion"}),
    (r"pleura\b|pleural (spaces|surfaces)", {"pleural_effusion", "pneumothorax"}),
    (r"\b(hemi)?diaphragm", {"hiatal_hernia", "emphysema"}),
    (r"osseous|bony|bones|skeleton|acute fracture|displaced fracture", FRACTURES),
    (r"vertebral body heights|thoracic spine", {"vertebral_fracture"}),
    (r"soft tissues|chest wall|lines or tubes|foreign body|hardware", {"support_device"}),
    (r"upper abdomen|bowel gas", {"hiatal_hernia"}),
    (r"trachea\b.*midline|midline trachea", {"pneumothorax"}),
    (r"cardiopulmonary|intrathoracic", CHEST | {"cardiomegaly"}),
    (
        r"^(normal|clear|negative) (chest|study)|acute disease|active disease|acute findings|significant abnormality"
        r"|unremarkable examination|^chest within",
        set(FINDING_NAMES),
    ),
)
GRADED = ("cardiomegaly", "pleural_effusion", "pneumothorax", "edema", "emphysema", "hiatal_hernia")
GRADE_WORDS = {
    "small": r"\b(small|tiny|minor|minimal)\b",
    "moderate": r"\b(moderate|medium-sized|moderately)\b",
    "large": r"\b(large|sizable|extensive|substantial)\b",
    "mild": r"\b(mild|slight|subtle|minimal|mildly|slightly|minimally)\b",
    "severe": r"\b(severe|marked|pronounced|advanced|severely|markedly|massively|grossly)\b",
}


def sections(report: str) -> tuple[list[str], list[str]]:
    """Sentences of FINDINGS and of IMPRESSION, lower case."""
    lines = dict(line.split(": ", 1) for line in report.lower().split("\n"))
    cut = re.compile(r"(?<=\.)\s+")
    return cut.split(lines["findings"]), cut.split(lines["impression"])


def facts(report: str) -> tuple[dict[str, list[str]], set[str]]:
    """What the report asserts, finding -> sentences, and the set of findings that it denies."""
    asserted: dict[str, list[str]] = {}
    denied: set[str] = set()
    for sentence in (sentence for section in sections(report) for sentence in section):
        one_side = re.fullmatch(r"the (left|right) lung is clear\.", sentence)
        if one_side:
            denied |= {f"{name}:{one_side[1]}" for name in CHEST}
            continue
        is_negated = NEGATION.search(sentence) is not None
        named = {name for name, words in ASSERTS.items() if re.search(words, sentence)}
        if is_negated:
            denied |= named
        if is_negated or (re.search(GOOD, sentence) and not named):
            denied |= {name for words, names in STRUCTURES if re.search(words, sentence) for name in names}
        else:
            for name in named:
                asserted.setdefault(name, []).append(sentence)
    return asserted, denied


REPORTS = draw_reports(4000, seed=1)
NORMAL_REPORTS = [write_report((), np.random.default_rng(seed), True) for seed in range(400)]


@pytest.mark.parametrize("name", FINDING_NAMES)
def test_the_reader_of_this_test_sees_each_finding_denied_in_normal_reports(name: str) -> None:
    count = sum(name in facts(report)[1] for report in NORMAL_REPORTS)
    assert count >= 5, f"{name} is denied in {count} of 400 normal reports: a contradiction could go unseen"


def test_no_report_denies_a_finding_that_is_present() -> None:
    for findings, report in REPORTS:
        present = {finding.name for finding in findings}
        sided = {
            f"{finding.name}:{side}"
            for finding in findings
            for side in (("left", "right") if finding.side == "both" else (finding.side,))
        }
        contradictions = facts(report)[1] & (present | sided)
        assert not contradictions, f"denies {contradictions}:\n{report}"


def test_every_finding_is_asserted_in_findings_and_nothing_else_is_asserted_anywhere() -> None:
    for findings, report in REPORTS:
        present = {finding.name for finding in findings}
        asserted = set(facts(report)[0])
        assert asserted == present, f"asserts {asserted}, shows {present}:\n{report}"
        own_section = " ".join(sections(report)[0])
        for name in present:
            assert re.search(ASSERTS[name], own_section), f"{name} is not in FINDINGS:\n{report}"


def test_no_lung_is_called_clear_on_the_side_of_a_finding() -> None:
    findings = (Finding("pneumothorax", "right", "apical", "small"), Finding("nodule", "right", "mid", "small", "", 12))
    reports = [write_report(findings, np.random.default_rng(seed), False).lower() for seed in range(200)]
    assert sum("the left lung is clear" in report for report in reports) > 20
    assert not any("right lung is clear" in report or "lungs are clear" in report for report in reports)


def test_side_is_stated_and_never_the_other_side() -> None:
    words = {"left": r"\bleft\b|lingul", "right": r"\bright\b", "both": r"bilateral|both|bibas"}
    other = {"left": words["right"], "right": words["left"]}
    for findings, report in REPORTS:
        asserted = facts(report)[0]
        for finding in findings:
            sentence = asserted[finding.name][0]
            if finding.side in ("left", "right"):
                assert re.search(words[finding.side], sentence), f"{finding}: no side in {sentence!r}"
                assert not re.search(other[finding.side], sentence), f"{finding}: wrong side in {sentence!r}"
            elif finding.side == "both" and finding.name in ("pleural_effusion", "atelectasis"):
                both = rf"{words['both']}|right middle lobe and lingula"
                assert re.search(both, sentence), f"{finding}: not bilateral in {sentence!r}"


def test_size_rib_and_level_are_those_of_the_finding() -> None:
    for findings, report in REPORTS:
        asserted = facts(report)[0]
        for finding in findings:
            text = " ".join(asserted[finding.name])
            if finding.size_mm:
                sizes = {
                    round(float(value) * (10 if unit == "cm" else 1))
                    for value, unit in re.findall(r"(\d+(?:\.\d)?)[ -](mm|cm)", text)
                }
                assert sizes == {finding.size_mm}, f"{finding}: sizes {sizes} in {text!r}"
            if finding.name == "vertebral_fracture":
                assert set(re.findall(r"\bt\d+\b", text)) == {finding.place.lower()}, f"{finding}: {text!r}"
            if finding.name == "rib_fracture" and re.search(r"\d+(th|rd)", text):
                assert f"rib_{re.findall(r'([0-9]+)(?:th|rd)', text)[0]}" == finding.place, f"{finding}: {text!r}"


def test_degree_is_stated_and_never_another_degree() -> None:
    for findings, report in REPORTS:
        asserted = facts(report)[0]
        for finding in findings:
            if finding.name in GRADED:
                sentence = asserted[finding.name][0]
                stated = {grade for grade, words in GRADE_WORDS.items() if re.search(words, sentence)}
                assert finding.severity in stated, f"{finding}: no degree in {sentence!r}"
                assert stated <= {finding.severity, "small", "mild"}, f"{finding}: {stated} in {sentence!r}"


@pytest.mark.parametrize("name", GRADED)
def test_impression_names_a_finding_with_and_without_its_degree(name: str) -> None:
    # Or a text encoder meets the bare name in denials alone, and reads a prompt such as "Pneumothorax." as one.
    named = [
        any(re.search(words, sentence) for words in GRADE_WORDS.values())
        for findings, report in REPORTS
        if name in {finding.name for finding in findings}
        for sentence in sections(report)[1]
        if re.search(ASSERTS[name], sentence)
    ]
    share = 1 - sum(named) / len(named)
    assert 0.15 < share < 0.6, f"{share:.2f} of {len(named)} impressions of {name} give no degree"


def test_impression_begins_with_a_most_severe_finding() -> None:
    order = {"severe": 0, "large": 0, "moderate": 1, "mild": 2, "small": 2}
    compared = 0
    for findings, report in REPORTS:
        ranks = {finding.name: order[finding.severity] for finding in findings if finding.name != "support_device"}
        texts = [sentence for sentence in sections(report)[1] if not re.fullmatch(r"\d\.", sentence)]
        first = [name for name in ranks if re.search(ASSERTS[name], texts[0])]
        if len(ranks) > 1 and first:
            compared += 1
            assert ranks[first[0]] == min(ranks.values()), f"{ranks}:\n{report}"
    assert compared > 500, f"only {compared} impressions were compared"


@pytest.mark.parametrize("seed", range(5))
def test_the_same_findings_get_different_words_and_the_same_facts(seed: int) -> None:
    findings = draw_findings(np.random.default_rng(seed))
    reports = [write_report(findings, np.random.default_rng(1000 + draw), True) for draw in range(60)]
    assert len(set(reports)) >= 58, f"{len(set(reports))} different reports of 60"
    assert {frozenset(facts(report)[0]) for report in reports} == {frozenset(finding.name for finding in findings)}
