"""Sections of a radiology report, marks of removed names and dates, and the text that the tokenizer sees."""

import re
from typing import NamedTuple

REPORT_POLICIES = ("both", "impression", "findings", "longer")

_TITLE = "final report"
_FINDINGS_HEADERS = ("findings and impression", "findings/impression", "findings", "finding")
_IMPRESSION_HEADERS = ("impressions", "impression", "conclusions", "conclusion")
# Headers that end a section; their text is in neither section.
_OTHER_HEADERS = (
    *("indications", "indication", "clinical indication", "clinical history", "clinical information", "history"),
    *("patient history", "clinical data", "reason for examination", "reason for exam", "reason for study"),
    *("reason for the examination", "reason for the exam", "reason for the study", "technique", "procedure"),
    *("comparisons", "comparison", "comparison exam", "comparison film", "reference exam", "type of examination"),
    *("examination", "exam", "study", "views", "view", "recommendations", "recommendation", "recommendation(s)"),
    *("notifications", "notification", "addendum", "wet read", "preliminary report", _TITLE),
)


def _header_pattern() -> re.Pattern[str]:
    def either(names: tuple[str, ...]) -> str:
        longest_first = sorted(names, key=len, reverse=True)
        return "|".join(r"\s+".join(re.escape(word) for word in name.split()) for name in longest_first)

    names = (*_FINDINGS_HEADERS, *_IMPRESSION_HEADERS, *_OTHER_HEADERS)
    any_name, upper_name = either(names), either(tuple(name.upper() for name in names))
    other_name = either(tuple(name.upper() for name in _OTHER_HEADERS))
    # Any case where a line or a sentence starts; in capitals after any space, because line breaks are often lost.
    # A stray second colon belongs to the header. Possessive quantifiers: no input makes them slow. The first
    # lookbehind only saves time: it drops the inside of words, where none of the four can start.
    return re.compile(
        r"(?<![^\s.:;!?])(?:"
        rf"(?:^[^\S\n]*+|(?<=[.:;!?])\s++|(?<=FINAL\sREPORT\s)\s*+)(?P<any>(?i:{any_name}))(?:\s*+:)++"
        rf"|(?<!\S)(?=[A-Z])(?:(?P<upper>{upper_name})(?:\s*+:)++|(?P<title>FINAL\s+REPORT)(?!\S))"
        rf"|^[^\S\n]*+(?P<line>WET\s+READ\b|(?:{other_name})(?=[^\S\n]*+$)))",
        re.MULTILINE,
    )


_HEADER = _header_pattern()
# An empty line, or the rule that MIMIC-CXR draws between a wet read or addendum and the final report.
_BREAK = re.compile(r"\n[^\S\n]*+\n|_{10,}+")
_LETTER = re.compile(r"[^\W\d_]")

# Runs of underscores (MIMIC-CXR), runs of X (Indiana), [** ... **] (older sets) and either half of that, left alone.
_MARK = re.compile(r"_{2,}+|X{4,}+|\[\*\*(?:(?!\[\*\*|\*\*\]).)*+\*\*\]|\[\*\*|\*\*\]", re.DOTALL)
# What joins two marks ("___:___"), and what joins a mark to a word on either side.
_BETWEEN_MARKS = re.compile(r"[-/\\:.,'<>*+~|]++")
_GLUE = "-/<>"
_GLUED_AFTER = re.compile(r"[-/<>]++|'(?:s|t|d|m|ll|re|ve)?(?!\w)|:(?=\d)")
_BRACKETS, _QUOTES = ("()", "[]", "<>"), ('""', "''")
_PAUSES = ",;-/"
# Punctuation that has nothing before it; ".5" and "-5" are numbers.
_ORPHANS = re.compile(r"(?:[^\S\n]*+(?:[,;:.!?](?!\d)|[-/](?!\.?\w)))++")
_ORPHAN_PAUSES = re.compile(r"(?:[^\S\n]*+(?:[,;:](?!\d)|[-/](?!\.?\w)))++")
_END = re.compile(r"[.!?](?!\d)|\)")
_CLOSING = re.compile(r"[,;:.!?](?!\d)|\)")


class Sections(NamedTuple):
    """The parts of one report, whitespace normalised, without the headers of FINDINGS and IMPRESSION.

    Attributes:
        findings: text of FINDINGS.
        impression: text of IMPRESSION or CONCLUSION.
        rest: everything else, with its headers (INDICATION, TECHNIQUE, ...).
        last_paragraph: what stands in for a report without text in either section; "" when one of them has text.
    """

    findings: str
    impression: str
    rest: str
    last_paragraph: str = ""


def split_sections(text: str) -> Sections:
    """Splits a report at its headers.

    A header is one of the known names followed by a colon, in any case at the start of a line or sentence, or in
    capitals after any space. So "the clinical impression: ..." inside a sentence is no header. FINAL REPORT in
    capitals, WET READ at the start of a line and a line that is nothing but another known name in capitals need no
    colon. A section ends at the next header of any kind; a section that occurs twice is joined in the order of the
    text. "FINDINGS AND IMPRESSION:" counts as findings; text before the first header is `rest`.

    A report with text in neither section (an empty one is none) gives its last paragraph that has a word and does not
    begin with a header, up to the first header inside it. Paragraphs end at an empty line, at a rule of underscores
    and at FINAL REPORT. A line in capitals without a full stop ahead of a header ("CHEST RADIOGRAPH") is a title, not
    a paragraph. So a text of one paragraph without any header is taken whole; of "INDICATION: cough. Clear lungs."
    nothing is, since nothing says where the indication ends, and MIMIC-CXR's parser finds nothing there either.

    That parser takes everything after the first empty line below the last header, which can be several paragraphs,
    and finds nothing when a NOTIFICATION comes last; here it is always one paragraph, and the NOTIFICATION is skipped.
    Source of the convention: MIT-LCP/mimic-cxr:txt/section_parser.py.
    """
    text = "\n".join(text.splitlines())
    headers = list(_HEADER.finditer(text))
    starts = [*(header.start() for header in headers), len(text)]
    parts: dict[str, list[str]] = {"findings": [], "impression": [], "rest": [text[: starts[0]]]}
    for header, stop in zip(headers, starts[1:], strict=True):
        kind = _kind(header)
        parts[kind].append(text[header.start() if kind == "rest" else header.end() : stop])
    findings, impression, rest = (_normalised(" ".join(parts[kind])) for kind in ("findings", "impression", "rest"))
    if findings or impression:
        return Sections(findings, impression, rest)
    start, stop = _last_paragraph(text, headers)
    return Sections("", "", _normalised(f"{text[:start]} {text[stop:]}"), _normalised(text[start:stop]))


def compose_report(sections: Sections, policy: str = "both") -> str:
    """Chooses the text that the tokenizer gets, without headers and without marks of removed names and dates.

    Args:
        sections: what `split_sections` gives.
        policy: `both` joins IMPRESSION and then FINDINGS, so that truncation at a token limit cuts FINDINGS;
            `impression` and `findings` take that section alone; `longer` takes the one with more words, marks not
            counted, and IMPRESSION in a tie. Where there is neither, every policy takes `last_paragraph`.

    Returns:
        Single-spaced text; "" when what the policy asks for is not there, whatever `rest` holds. A section without
        a letter ("1.", marks alone) counts as empty.

    Raises:
        ValueError: for an unknown policy.
    """
    if policy not in REPORT_POLICIES:
        raise ValueError(
            f"compose_report: unknown policy ({policy!r}); the policies are: {', '.join(REPORT_POLICIES)}; choose one"
        )
    if not sections.impression and not sections.findings:
        return _cleaned(sections.last_paragraph)
    impression, findings = _cleaned(sections.impression), _cleaned(sections.findings)
    if policy == "both":
        return f"{impression} {findings}".strip()
    if policy == "longer":
        policy = "findings" if len(findings.split()) > len(impression.split()) else "impression"
    return findings if policy == "findings" else impression


def remove_marks(text: str) -> str:
    """Removes the marks that stand for names, dates and places, and mends what is left around each.

    Marks are two or more underscores, four or more capital X, and [** ... **], also inside a word. A hyphen, slash,
    "'s" or pair of brackets that held only the mark goes with it, and so does punctuation left without words before
    it; one space (or the line break that was there) stays between words. "Told Dr. ___ (___) at ___:___." becomes
    "Told Dr. at."; the words around a mark are never touched, so "chest x-XXXX" becomes "chest x".

    Returns:
        Text without marks; a text that has none is returned as it is.
    """
    if "__" not in text and "XXXX" not in text and "[**" not in text and "**]" not in text:  # as most: saves seconds
        return text
    first, *others = _MARK.split(text)
    if not others:
        return text
    # Only the last piece is mended; all but the first piece hold a word, which mending never removes.
    kept = [first]
    for number, piece in enumerate(others, start=1):
        is_last = number == len(others)
        if not is_last and _BETWEEN_MARKS.fullmatch(piece):
            continue
        left, right = _mended(kept.pop(), piece, is_last)
        kept += (left, right) if any(map(str.isalnum, right)) else (left + right,)
    return "".join(kept)


def _mended(left: str, right: str, is_last: bool) -> tuple[str, str]:
    """Returns the texts around a mark, to be joined without it; `is_last` says that the text ends with `right`."""
    left, right = _unglued(left, right)
    before, after = left.rstrip(), right.lstrip()
    space_before, space_after = left[len(before) :], right[: len(right) - len(after)]
    is_same_line = "\n" not in space_after
    # A pause has nothing to separate ahead of the end.
    if (is_last and not after) or (is_same_line and before.endswith(tuple(_PAUSES)) and _END.match(after)):
        left = before.rstrip(_PAUSES + " \t")
        before = left.rstrip()
        space_before = left[len(before) :]
    # Nothing precedes what follows a full stop, a colon, a bracket or a line break.
    is_start = before[-1:] in ("", *".!?:(") or "\n" in space_before
    orphans = _ORPHANS if is_start else _ORPHAN_PAUSES if before[-1] in _PAUSES else None
    if is_same_line and orphans and (found := orphans.match(after)):
        right = after[found.end() :]
        after = right.lstrip()
        space_after = right[: len(right) - len(after)] or space_after
    space = space_after if "\n" in space_after else space_before or space_after
    if not before:
        return "", after
    if not after:
        return before, "" if is_last else space
    if before[-1] == "(" or ("\n" not in space_after and _CLOSING.match(after)):
        return before, after
    return before, (space or " ") + after


def _unglued(left: str, right: str) -> tuple[str, str]:
    """Drops what held only the mark: brackets or quotes around it, and hyphens, slashes or "'s" that touch it."""
    while True:
        before, after = left.rstrip(), right.lstrip()
        # An opening quote looks like a closing one: both have to touch the mark.
        if before[-1:] + after[:1] in _BRACKETS or left[-1:] + right[:1] in _QUOTES:
            left, right = before[:-1], after[1:]
            continue
        glue = _GLUE + ":" if left.rstrip(":")[-1:].isdigit() else _GLUE
        glued_after = _GLUED_AFTER.match(right)
        bare = left.rstrip(glue), right[glued_after.end() :] if glued_after else right
        if bare == (left, right):
            return bare
        left, right = bare


def _last_paragraph(text: str, headers: list[re.Match[str]]) -> tuple[int, int]:
    """Returns start and stop of the paragraph that stands in for the sections; an empty span when there is none."""
    # Start, stop and whether a paragraph can begin there: FINAL REPORT names no section.
    borders = [(header.start(header.lastgroup or 0), header.end(), _name(header) == _TITLE) for header in headers]
    last_header = max((start for start, _, opens in borders if not opens), default=-1)
    borders += [(found.start(), found.end(), True) for found in _BREAK.finditer(text)]
    leads: list[tuple[int, int]] = []
    start, is_open = 0, True
    for stop, next_start, opens in [*sorted(borders), (len(text), len(text), False)]:
        if stop >= start:  # not an empty line inside a header
            leads += [(start, stop)] if is_open else []
            start, is_open = next_start, opens
    for start, stop in reversed(leads):
        lead = text[start:stop].strip()
        is_title = stop <= last_header and lead.isupper() and "\n" not in lead and lead[-1] not in ".!?"
        if not is_title and _cleaned(lead):
            return start, stop
    return len(text), len(text)


def _kind(header: re.Match[str]) -> str:
    name = _name(header)
    if name in _FINDINGS_HEADERS:
        return "findings"
    return "impression" if name in _IMPRESSION_HEADERS else "rest"


def _name(header: re.Match[str]) -> str:
    return _normalised(header[header.lastgroup or 0]).lower()


def _cleaned(text: str) -> str:
    text = _normalised(remove_marks(text))
    return text if _LETTER.search(text) else ""


def _normalised(text: str) -> str:
    return " ".join(text.split())
