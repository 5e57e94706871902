"""Sections of reports, the paragraph that stands in for them, and the order in which the tokenizer gets them."""

import time
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flvlp.data.phantom.findings import draw_findings
from flvlp.data.phantom.reports import write_report
from flvlp.data.reports import Sections, compose_report, split_sections

sentences = st.lists(st.sampled_from(("the", "lungs", "are", "clear", "1.4", "cm", "nodule")), min_size=1).map(
    lambda words: " ".join(("Both", *words)) + "."
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
        *(":", ".", "\n", "\r\n", "\n\n", "  ", "The lungs are clear.", "No effusion", "1."),
        *("FINAL REPORT", "FINAL REPORT:", "CHEST RADIOGRAPH", "WET READ:"),
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


@pytest.mark.parametrize("text", ["", " \n", "FINDINGS:", "INDICATION: cough. FINDINGS: IMPRESSION: \n", "1. 2."])
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


@given(findings=sentences, impression=sentences, history=sentences)
def test_the_order_of_the_sections_changes_no_section(findings: str, impression: str, history: str) -> None:
    lines = (f"FINDINGS: {findings}", f"IMPRESSION:\n\n{impression}", f"HISTORY: {history}", "COMPARISON:\n ___.")
    for order in permutations(lines):
        sections = split_sections("FINAL REPORT\n" + "\n\n".join(order))
        assert sections[:2] == (findings, impression), order
        assert sections.last_paragraph == "", order


bodies = st.lists(st.sampled_from(("Lungs are\nclear.", "No effusion.", "The heart is large", "1. Edema."))).map(
    " ".join
)
titles = st.sampled_from(
    ("HISTORY: cough.", "Technique: two views.\n Portable.", "WET READ: ___ 2:43 PM\n Clear.", "___")
)


@given(st.lists(st.tuples(st.booleans(), bodies, titles), max_size=6), st.sampled_from(("\n\n", "\n \r\n", "\r\n\r\n")))
def test_the_last_paragraph_with_words_and_without_a_header_stands_in_for_both_sections(
    paragraphs: list[tuple[bool, str, str]], gap: str
) -> None:
    text = gap.join(body if has_body else title for has_body, body, title in paragraphs)
    found = [body for has_body, body, _ in paragraphs if has_body and body]
    expected = " ".join(found[-1].split()) if found else ""
    sections = split_sections(text)
    assert sections.last_paragraph == expected, repr(text)
    assert (sections.findings, sections.impression) == ("", "")


@pytest.mark.parametrize("text", ["The lungs are clear.", "  Clear\n lungs ", "LUNGS CLEAR", "The exam: a good one"])
def test_one_paragraph_without_a_header_is_taken_whole(text: str) -> None:
    assert split_sections(text) == Sections("", "", "", " ".join(text.split()))


RULE = "_" * 78


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INDICATION: cough. Clear lungs.", ""),
        ("INDICATION: cough. TECHNIQUE: two views. Clear", ""),
        ("                FINAL REPORT\n INDICATION: cough. \n Clear lungs.", ""),
        ("FINAL REPORT INDICATION: cough.", ""),
        ("FINAL REPORT indication: cough.", ""),
        ("FINAL REPORT\n Clear lungs.", "Clear lungs."),
        ("FINAL REPORT Clear lungs.", "Clear lungs."),
        ("Final report: Clear lungs.", "Clear lungs."),
        ("Clear lungs. NOTIFICATION: Dr. ___ was told.", "Clear lungs."),
        ("HISTORY: cough.\n \n Clear lungs.\n \n NOTIFICATION: told.", "Clear lungs."),
        ("HISTORY\n cough.\n\n Clear lungs.\n\nADDENDUM\n Seen again.", "Clear lungs."),
        ("EXAMINATION: CHEST (PA AND LAT)\n\nTYPE OF EXAMINATION: chest.", ""),
        ("CHEST RADIOGRAPH\n\nINDICATION: cough.\n\nTECHNIQUE: two views.", ""),
        ("PORTABLE CHEST, ___\n\nCOMPARISON: ___.\n\nLUNGS CLEAR", "LUNGS CLEAR"),
        (f"WET READ: ___ 2:43 PM\n  No edema.\n {RULE}\n  FINAL REPORT\n HISTORY: ___\n\n Clear.", "Clear."),
        (f"WET READ VERSION #1\n No edema.\n{RULE}\nFINAL REPORT\nHISTORY: ___", ""),
        (f"HISTORY: cough. {RULE} Clear.", "Clear."),
        ("Clear lungs.\n\nDr. said.\n\n ___", "Dr. said."),
        ("Clear lungs.\n\nFINDINGS:\n\nIMPRESSION:", "Clear lungs."),
    ],
)
def test_a_paragraph_that_begins_with_a_header_or_is_a_title_is_skipped(text: str, expected: str) -> None:
    sections = split_sections(text)
    assert sections.last_paragraph == expected
    assert (sections.findings, sections.impression) == ("", "")


def test_final_report_ends_the_impression_of_an_addendum() -> None:
    text = f"ADDENDUM\n IMPRESSION: Small nodule.\n{RULE}\n FINAL REPORT\n FINDINGS: Clear."
    assert compose_report(split_sections(text)) == "Small nodule. Clear."


@pytest.mark.parametrize(
    "unit",
    [
        *("_", "X", " ", "\n", " \n", ". ", ":", " :", "a\n\n", "A\n\n", "EXAM ", "EXAM\n", "INDICATION:\n\n"),
        *("FINDINGS ", "FINDINGS:", "FINDINGS: ", "FINAL REPORT ", "clinical ", "FINAL ", "WET READ\n"),
    ],
)
def test_100_000_characters_of_one_kind_are_split_within_a_second(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    start = time.process_time()
    for hostile in (text, "." + text, "EXAM" + text + "x"):
        compose_report(split_sections(hostile))
    seconds = time.process_time() - start
    assert seconds < 3, f"{unit!r}: {seconds:.2f} s for three texts; allowed is 1 s each"
