"""Sections of a radiology report, and the text that the tokenizer sees."""

import re
from typing import NamedTuple

_FINDINGS_HEADERS = ("findings and impression", "findings/impression", "findings", "finding")
_IMPRESSION_HEADERS = ("impressions", "impression", "conclusions", "conclusion")
# Headers that end a section; their text is in neither section.
_OTHER_HEADERS = (
    *("indications", "indication", "clinical indication", "clinical history", "clinical information", "history"),
    *("reason for examination", "reason for exam", "reason for study", "technique", "procedure", "comparisons"),
    *("comparison", "examination", "exam", "study", "views", "view", "recommendations", "recommendation"),
    *("notifications", "notification", "addendum", "wet read", "final report"),
)


def _header_pattern() -> re.Pattern[str]:
    names = (*_FINDINGS_HEADERS, *_IMPRESSION_HEADERS, *_OTHER_HEADERS)
    any_name = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    upper_name = any_name.upper()
    # Any case where a line or a sentence starts; in capitals after any space, because line breaks are often lost.
    return re.compile(
        rf"(?:^[^\S\n]*|(?<=[.:;!?])\s+)(?P<any>(?i:{any_name}))[ \t]*:|(?<!\S)(?P<upper>{upper_name})[ \t]*:",
        re.MULTILINE,
    )


_HEADER = _header_pattern()


class Sections(NamedTuple):
    """The parts of one report, whitespace normalised, without the headers of the first two.

    Attributes:
        findings: text of FINDINGS; the whole text of a report that has neither section.
        impression: text of IMPRESSION or CONCLUSION.
        rest: everything else, with its headers (INDICATION, TECHNIQUE, ...).
    """

    findings: str
    impression: str
    rest: str


def split_sections(text: str) -> Sections:
    """Splits a report at its headers.

    A header is one of the known names followed by a colon, in any case at the start of a line or sentence, or in
    capitals after any space. So "the clinical impression: ..." inside a sentence is no header. A section ends at the
    next header of any kind; a section that occurs twice is joined in the order of the text. "FINDINGS AND
    IMPRESSION:" counts as findings. A text with neither section is taken whole, as findings, whatever other headers
    it has; text before the first header of a report that has one is `rest`.
    """
    text = "\n".join(text.splitlines())
    headers = list(_HEADER.finditer(text))
    kinds = [_kind(header) for header in headers]
    if "findings" not in kinds and "impression" not in kinds:
        return Sections(_normalised(text), "", "")
    parts: dict[str, list[str]] = {"findings": [], "impression": [], "rest": [text[: headers[0].start()]]}
    ends = [header.start() for header in headers[1:]] + [len(text)]
    for header, kind, end in zip(headers, kinds, ends, strict=True):
        # A stray second colon belongs to the header.
        body = text[header.end() : end].lstrip(": \t\r\n")
        parts[kind].append(f"{header.group().strip()} {body}" if kind == "rest" else body)
    return Sections(**{kind: _normalised(" ".join(texts)) for kind, texts in parts.items()})


def compose_report(sections: Sections) -> str:
    """Joins IMPRESSION and then FINDINGS, so that truncation at a token limit cuts FINDINGS.

    Returns:
        The text without headers, single-spaced; "" when both sections are empty, whatever `rest` holds.
    """
    return _normalised(f"{sections.impression} {sections.findings}")


def _kind(header: re.Match[str]) -> str:
    name = (header["any"] or header["upper"]).lower()
    if name in _FINDINGS_HEADERS:
        return "findings"
    return "impression" if name in _IMPRESSION_HEADERS else "rest"


def _normalised(text: str) -> str:
    return " ".join(text.split())
