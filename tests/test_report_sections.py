"""Sections of reports, and the order in which the tokenizer gets them."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flvlp.data.phantom.findings import draw_findings
from flvlp.data.phantom.reports import write_report
from flvlp.data.reports import Sections, compose_report, split_sections

sentences = st.lists(st.sampled_from(("the", "lungs", "are", "clear", "1.4", "cm", "nodule")), min_size=1).map(
    lambda words: " ".join(words) + "."
)
cases = st.sampled_from((str.upper, str.lower, str.title))
pieces = st.sampled_from(
    (
        *(
            "FINDINGS:",
            "findings:",
            "Impression:",
            "IMPRESSION :",
            "Conclusion:",
            "INDICATION:",
            "FINDINGS",
            "impression",
        ),
        *(":", ".", "\n", "\r\n", "  ", "The lungs are clear.", "No effusion", "FINAL", "REPORT:", "1."),
    )
)


@given(findings=sentences, impression=sentences, case=cases, space=st.sampled_from((" ", "\n", "\r\n\r\n", "  \t")))
def test_headers_of_any_case_are_found_on_lines_and_after_sentences(
    findings: str, impression: str, case: Callable[[str], str], space: str
) -> None:
    forwards = f"{case('findings')}:{space}{findings}{space}{case('impression')}:{space}{impression}"
    backwards = f"{case('conclusion')}: {impression}{space}{case('findings')}: {findings}"
    expected = Sections(findings, impression, "")
    assert split_sections(forwards) == expected
    assert split_sections(backwards) == expected


@given(findings=sentences, impression=sentences, history=sentences)
def test_impression_comes_before_findings_and_the_rest_is_left_out(
    findings: str, impression: str, history: str
) -> None:
    text = f"INDICATION: {history}\nFINDINGS:\n{findings}\nCOMPARISON: none.\nIMPRESSION: {impression}"
    assert split_sections(text).rest == f"INDICATION: {history} COMPARISON: none."
    assert compose_report(split_sections(text)) == f"{impression} {findings}"


@given(st.lists(pieces, max_size=12).map(" ".join))
def test_composing_a_composed_report_again_changes_nothing(text: str) -> None:
    once = compose_report(split_sections(text))
    assert compose_report(split_sections(once)) == once, repr(text)


@given(st.text())
def test_any_text_is_split_and_the_report_is_single_spaced(text: str) -> None:
    report = compose_report(split_sections(text))
    assert report == " ".join(report.split())


@given(st.lists(pieces, max_size=12).map(" ".join))
def test_no_word_is_lost_or_made_by_splitting(text: str) -> None:
    headers = ("FINDINGS", "IMPRESSION", "CONCLUSION")

    def words(part: str) -> list[str]:
        spaced = part.upper().replace(":", " ").split()
        return sorted(word for word in spaced if word not in headers)

    assert words(" ".join(split_sections(text))) == words(text)


@pytest.mark.parametrize(
    "text", ["The lungs are clear.", "  Clear\n lungs ", "INDICATION: cough. TECHNIQUE: two views. Clear"]
)
def test_a_text_with_neither_section_is_taken_whole(text: str) -> None:
    assert compose_report(split_sections(text)) == " ".join(text.split())


@pytest.mark.parametrize("text", ["", " \n", "FINDINGS:", "INDICATION: cough. FINDINGS: IMPRESSION: \n"])
def test_empty_sections_compose_to_nothing(text: str) -> None:
    assert compose_report(split_sections(text)) == ""


def test_a_header_word_inside_a_sentence_is_no_header() -> None:
    text = "FINDINGS: The referring clinical impression: asthma. Findings were discussed."
    assert split_sections(text) == Sections(
        "The referring clinical impression: asthma. Findings were discussed.", "", ""
    )


def test_capitals_after_a_lost_line_break_are_a_header() -> None:
    text = "FINDINGS: no effusion IMPRESSION: normal RECOMMENDATION: none"
    assert split_sections(text) == Sections("no effusion", "normal", "RECOMMENDATION: none")


@pytest.mark.parametrize(
    "text", ["FINDINGS:: a\nIMPRESSION : b", "findings: a\rimpression: b", "Finding: a\n Conclusion: b"]
)
def test_a_second_colon_a_space_and_any_line_end_are_no_trouble(text: str) -> None:
    assert split_sections(text) == Sections("a", "b", "")


def test_a_section_that_occurs_twice_is_joined() -> None:
    assert split_sections("FINDINGS: a. IMPRESSION: b. FINDINGS: c.") == Sections("a. c.", "b.", "")


def test_findings_and_impression_under_one_header_count_as_findings() -> None:
    assert split_sections("FINDINGS AND IMPRESSION: clear.") == Sections("clear.", "", "")


def test_a_phantom_report_keeps_all_of_impression_and_findings() -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        text = write_report(draw_findings(generator), generator, True)
        lines = dict(line.split(": ", 1) for line in text.split("\n"))
        assert compose_report(split_sections(text)) == f"{lines['IMPRESSION']} {lines['FINDINGS']}"
