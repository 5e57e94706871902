"""Reports laid out as those of MIMIC-CXR: sections, centred titles, wrapped lines, and `___` for what was removed."""

import re
import textwrap

from flvlp.data.phantom.layouts.chance import is_turn
from flvlp.data.reports import split_sections

TITLE = " " * 33 + "FINAL REPORT"
WET_READ = " " * 33 + "WET READ: ___ ___ ___ 8:15 PM"
RULE = "_" * 78
_WIDTH = 77
_AGE = re.compile(r"\b\d+-year-old\b|\baged \d+\b")
# Turns, see `is_turn`.
_EMPTY = (30, 11)  # describes nothing
_WITHOUT_HEADERS = (12, 9)
_JOINED = (12, 3)  # one section, FINDINGS AND IMPRESSION
_WITH_WET_READ = (20, 13)


def report_text(raw: str, number: int, has_lateral: bool) -> str:
    """Lays a phantom's report out.

    Ages, dates and names are `___`. Most reports have the sections FINDINGS and IMPRESSION. Some have them in one, some
    have a paragraph without any header, some begin with a wet read, and a few describe nothing at all.

    Args:
        raw: lines of the form `HEADER: sentences.`, as `PhantomSource.raw_reports`.
        number: of the study; what is unusual about a report depends on it.
        has_lateral: whether the study has a lateral view.
    """
    sections = split_sections(raw)
    lines = dict(line.split(": ", 1) for line in raw.splitlines())
    exam = "CHEST (PA AND LAT)" if has_lateral else "CHEST (PORTABLE AP)"
    blocks = [f"EXAMINATION:  {exam}"]
    reason = next((lines[name] for name in ("INDICATION", "HISTORY", "REASON FOR EXAM") if name in lines), "")
    if reason:
        blocks.append(f"INDICATION:  {_AGE.sub('___ year old', reason)}  // eval for acute process")
    if "TECHNIQUE" in lines:
        blocks.append(f"TECHNIQUE:  {lines['TECHNIQUE']}")
    blocks.append("COMPARISON:  Chest radiograph from ___." if number % 2 else "COMPARISON:  ___")
    both = f"{sections.findings} {sections.impression}"
    if is_turn(number, _EMPTY):
        pass
    elif is_turn(number, _WITHOUT_HEADERS):
        blocks.append(both)
    elif is_turn(number, _JOINED):
        blocks.append(f"FINDINGS AND IMPRESSION:  {both}")
    else:
        blocks += [f"FINDINGS:  {sections.findings}", f"IMPRESSION:  {sections.impression}"]
        if number % 5 == 0:
            blocks.append("NOTIFICATION:  Discussed with Dr. ___ by ___ by phone at ___ on ___.")
    wet_read = f"{WET_READ}\n {sections.impression}\n{RULE}\n" if is_turn(number, _WITH_WET_READ) else ""
    return wet_read + "\n \n".join([TITLE, *map(_wrapped, blocks)]) + "\n"


def _wrapped(block: str) -> str:
    """Breaks a section into lines that begin with a space; two spaces stay behind its header."""
    return textwrap.fill(
        *(block, _WIDTH),
        initial_indent=" ",
        subsequent_indent=" ",
        break_long_words=False,
        break_on_hyphens=False,
    )
