"""Which section of a report becomes its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flvlp.data.reports import REPORT_POLICIES, Sections, compose_report, split_sections

policies = st.sampled_from(REPORT_POLICIES)
words = st.sampled_from(
    ("lungs", "CLEAR", "1.", "effusion,", "no", "heart.", "(small)", "___", "XXXX.", "[** Name **]")
)
texts = st.lists(words, max_size=8).map(" ".join)
plain = st.lists(st.sampled_from(("lungs", "CLEAR", "1. no", "effusion,", "heart.")), max_size=8).map(" ".join)


@given(impression=plain, findings=plain, rest=texts)
def test_a_single_section_is_taken_unchanged_and_both_is_impression_then_findings(
    impression: str, findings: str, rest: str
) -> None:
    sections = Sections(findings, impression, rest)
    assert compose_report(sections, "impression") == impression
    assert compose_report(sections, "findings") == findings
    assert compose_report(sections, "both") == f"{impression} {findings}".strip()


@given(impression=texts, findings=texts, rest=texts)
def test_longer_is_the_section_with_more_words_and_impression_in_a_tie(
    impression: str, findings: str, rest: str
) -> None:
    sections = Sections(findings, impression, rest)
    candidates = {policy: compose_report(sections, policy) for policy in ("impression", "findings")}
    counts = {policy: len(text.split()) for policy, text in candidates.items()}
    winner = "findings" if counts["findings"] > counts["impression"] else "impression"
    assert compose_report(sections, "longer") == candidates[winner], counts


def test_longer_counts_words_and_does_not_compare_strings() -> None:
    sections = Sections("Heart and lungs are normal.", "Zebra.", "")
    assert compose_report(sections, "longer") == "Heart and lungs are normal."


def test_marks_do_not_make_a_section_longer() -> None:
    sections = Sections("Told Dr. XXXX XXXX XXXX XXXX.", "The lungs are clear.", "")
    assert compose_report(sections, "longer") == "The lungs are clear."


@given(impression=texts, findings=texts, rest=texts, last_paragraph=texts, policy=policies)
def test_every_word_of_a_report_stands_in_its_sections(
    impression: str, findings: str, rest: str, last_paragraph: str, policy: str
) -> None:
    report = compose_report(Sections(findings, impression, rest, last_paragraph), policy)
    source = f"{impression} {findings}" if impression or findings else last_paragraph
    extra = {word.strip(".,") for word in report.split()} - {word.strip(".,") for word in source.split()}
    assert not extra, (report, source)


@pytest.mark.parametrize("policy", REPORT_POLICIES)
def test_the_last_paragraph_stands_in_under_every_policy_when_there_is_neither_section(policy: str) -> None:
    assert compose_report(split_sections("HISTORY: cough.\n\nClear lungs."), policy) == "Clear lungs."


@pytest.mark.parametrize(("policy", "other"), [("impression", "FINDINGS"), ("findings", "IMPRESSION")])
def test_a_section_that_is_not_there_gives_nothing_and_no_other_text_stands_in(policy: str, other: str) -> None:
    assert compose_report(split_sections(f"Two views.\n\n{other}: Clear lungs."), policy) == ""


@given(st.lists(st.sampled_from(("___", "XXXX.", "XXXX", ",", "(XXXX)", "[** a **]", "XXXX-XXXX", ".", "-"))), policies)
def test_a_report_of_marks_only_is_empty(pieces: list[str], policy: str) -> None:
    text = " ".join(pieces)
    for sections in (Sections(text, text, ""), Sections("", text, ""), Sections("", "", "rest", text)):
        assert compose_report(sections, policy) == "", repr(text)


@given(sections=st.builds(Sections, texts, texts, texts, texts), policy=policies)
def test_a_composed_report_composes_to_itself(sections: Sections, policy: str) -> None:
    once = compose_report(sections, policy)
    assert compose_report(split_sections(once), policy) == once


def test_both_is_the_default_policy() -> None:
    sections = Sections("Clear.", "Normal.", "")
    assert compose_report(sections) == compose_report(sections, "both") == "Normal. Clear."


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'shorter'.*both, impression, findings, longer"):
        compose_report(Sections("Clear.", "", ""), "shorter")
