"""Phantom reports: how long, how varied and how fast they are, and what they say of views."""

import re
import time

import numpy as np

from flvlp.data.phantom.findings import draw_findings
from flvlp.data.phantom.reports import write_report
from tests.builders import draw_reports


def test_reports_have_25_to_110_words() -> None:
    lengths = [len(report.split()) for _, report in draw_reports(4000, seed=1)]
    assert min(lengths) >= 25, f"shortest {min(lengths)}"
    assert max(lengths) <= 110, f"longest {max(lengths)}"


def test_without_a_lateral_view_no_report_speaks_of_one() -> None:
    generator = np.random.default_rng(2)
    for _ in range(1500):
        findings = draw_findings(generator)
        report = write_report(findings, generator, has_lateral=False)
        assert not re.search(r"\blateral|two (views|projections)|both projections", report, re.IGNORECASE), report


def test_with_a_lateral_view_reports_often_speak_of_it() -> None:
    generator = np.random.default_rng(3)
    reports = [write_report(draw_findings(generator), generator, has_lateral=True) for _ in range(500)]
    assert sum("lateral" in report for report in reports) > 50


def test_the_same_generator_state_gives_the_same_report() -> None:
    findings = draw_findings(np.random.default_rng(4))
    first, second = (write_report(findings, np.random.default_rng(7), True) for _ in range(2))
    assert first == second


def test_normal_studies_get_different_reports() -> None:
    reports = {write_report((), np.random.default_rng(seed), True) for seed in range(400)}
    assert len(reports) >= 380, f"{len(reports)} different reports of 400"


def test_5000_reports_have_at_least_400_distinct_words() -> None:
    texts = " ".join(report for _, report in draw_reports(5000, seed=5)).lower()
    words = set(re.findall(r"[a-z]+", texts))
    assert len(words) >= 400, f"{len(words)} words"


def test_2000_reports_take_less_than_a_second() -> None:
    start = time.process_time()
    draw_reports(2000, seed=6)
    seconds = time.process_time() - start
    assert seconds < 1, f"{seconds:.2f} s for 2,000 reports"
