"""Writes the report of a phantom from its findings.

The facts come from the findings alone; the words are drawn from the grammar of `phrases.py` and `statements.py`. Every
finding stands in FINDINGS; a normal statement or a negation is written only when nothing present makes it untrue.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from flvlp.data.phantom import phrases, statements
from flvlp.data.phantom.findings import Finding

MIN_WORDS, MAX_WORDS = 25, 110
# Findings whose nature is guessed at ("may represent pneumonia"); for the others it is the origin ("due to trauma").
_OPACITIES = frozenset({"consolidation", "nodule", "mass"})
_VOLUMES = frozenset({"pleural_effusion", "consolidation", "hiatal_hernia"})  # these can be "medium-sized"
# Most urgent first among findings of equal severity; a device is never the news.
_URGENCY = (
    *("pneumothorax", "mass", "edema", "consolidation", "pleural_effusion", "rib_fracture", "nodule", "atelectasis"),
    *("cardiomegaly", "vertebral_fracture", "emphysema", "hiatal_hernia", "support_device"),
)
_SEVERITY = {"severe": 0, "large": 0, "moderate": 1, "mild": 2, "small": 2}
_SLOT = re.compile(r"\{(\w+)\}")
_LOOSE_SPACE = re.compile(r"\s+(?=[,.])|(?<=\s)\s+")
_A_BEFORE_VOWEL = re.compile(r"\ba(?= [aeiou])|\ba(?= 1[18][ -])")
_GENERAL_SLOTS: dict[str, Sequence[str]] = {
    **phrases.WORDS,
    **{"fine": statements.FINE, "age": statements.AGES, "patient": statements.PATIENTS, "symptom": statements.SYMPTOMS},
}


def write_report(findings: tuple[Finding, ...], generator: np.random.Generator, has_lateral: bool) -> str:
    """Writes a report of 25 to 110 words with the sections FINDINGS and IMPRESSION, and sometimes others before them.

    The same findings and the same generator state give the same text; another state gives other words for the same
    facts. Without a lateral view the word "lateral" does not occur.

    Args:
        findings: what the study shows; an empty tuple is a normal study.
        generator: every choice of words is drawn from it.
        has_lateral: whether the study has a lateral view, which the wording may refer to.

    Returns:
        Lines of the form `HEADER: sentences.`, in English.
    """
    present = frozenset(finding.name for finding in findings)
    impression = "IMPRESSION: " + _impression(findings, present, generator, has_lateral)
    positives = [
        (
            statements.REGION_OF.get(finding.name, "lungs"),
            _describe(finding, phrases.DESCRIPTIONS, generator, has_lateral),
        )
        for finding in findings
    ]
    header = _header_lines(generator, has_lateral)
    words = 1 + sum(_word_count(text) for text in (impression, *header, *(text for _, text in positives)))
    goal = min(MAX_WORDS, max(MIN_WORDS, words + 4) + int(generator.random() * 36))
    normals: list[tuple[str, str]] = []
    for region, text in _true_statements(findings, present, generator):
        length = _word_count(text)
        if words >= goal:
            break
        if words + length <= MAX_WORDS:
            normals.append((region, text))
            words += length
    lines = [*header, "FINDINGS: " + " ".join(_ordered(positives, normals, generator))]
    return "\n".join([impression, *lines] if generator.random() < 0.08 else [*lines, impression])


def write_phrase(finding: Finding, generator: np.random.Generator) -> str:
    """Writes what an IMPRESSION says of one finding, as a sentence of its own: `Small left pleural effusion.`"""
    return _describe(finding, phrases.SUMMARIES, generator, has_lateral=False)


def _pick(options: Sequence[str], generator: np.random.Generator) -> str:
    return options[int(generator.random() * len(options))]


@cache
def _parts(template: str) -> tuple[tuple[bool, str], ...]:
    """Splits a template into (is_slot, text), once for each template."""
    pieces = _SLOT.split(template)
    return tuple((position % 2 == 1, piece) for position, piece in enumerate(pieces) if piece)


def _fill(template: str, slots: Mapping[str, Sequence[str]], generator: np.random.Generator) -> str:
    return "".join(
        _fill(_pick(slots[piece], generator), slots, generator) if is_slot else piece
        for is_slot, piece in _parts(template)
    )


def _sentence(options: Sequence[str], slots: Mapping[str, Sequence[str]], generator: np.random.Generator) -> str:
    """Draws one option, fills it, and makes it a sentence."""
    text = _LOOSE_SPACE.sub("", _fill(_pick(options, generator), slots, generator).strip())
    text = _A_BEFORE_VOWEL.sub("an", text)
    return f"{text[0].upper()}{text[1:]}."


def _word_count(text: str) -> int:
    return text.count(" ") + 1


def _describe(
    finding: Finding, table: Mapping[str, Sequence[str]], generator: np.random.Generator, has_lateral: bool
) -> str:
    """Writes the sentence of one finding, from `DESCRIPTIONS` or `SUMMARIES`."""
    name, side, severity = finding.name, finding.side, finding.severity
    grades = phrases.GRADES["moderate_volume" if name in _VOLUMES and severity == "moderate" else severity]
    slots = {
        **_GENERAL_SLOTS,
        **phrases.EFFUSION_PLACES.get(finding.place, {}),
        "side": (side,),
        "grade": grades,
        "some": (*grades, *("" for _ in grades)),
        "hedge": phrases.NATURE if name in _OPACITIES else phrases.ORIGIN,
        "cause": phrases.CAUSES.get(name, ()),
        "seen": statements.SEEN_WITH_LATERAL if has_lateral else ("",),
        "level": (finding.place,),
    }
    if severity not in ("mild", "small"):
        slots["certain"] = ("",)
    if severity in phrases.ADVERBS:
        slots["adverb"] = phrases.ADVERBS[severity]
    if (side, finding.place) in phrases.AREAS:
        slots["area"], slots["zone"] = phrases.AREAS[side, finding.place], phrases.ZONES[side, finding.place]
    if finding.size_mm:
        slots["size"] = _sizes(finding.size_mm)
    if name == "rib_fracture":
        slots["rib"], slots["displaced"] = phrases.RIBS[finding.place], phrases.DISPLACEMENTS[severity]
    key = finding.kind or (f"{name}_both" if f"{name}_both" in table and side == "both" else name)
    return _sentence(table[key], slots, generator)


@cache
def _sizes(size_mm: int) -> tuple[str, ...]:
    centimetres = f"{size_mm / 10:.1f}"
    return (f"{size_mm} mm", f"{size_mm}-mm", f"{centimetres} cm", f"{centimetres} cm")


def _impression(
    findings: tuple[Finding, ...], present: frozenset[str], generator: np.random.Generator, has_lateral: bool
) -> str:
    if not findings:
        return _sentence(statements.NORMAL_IMPRESSIONS, _GENERAL_SLOTS, generator)
    if generator.random() < 0.12:
        return _sentence(statements.BRIEF_IMPRESSIONS, _GENERAL_SLOTS, generator)
    ranked = sorted(findings, key=_rank)
    shown = ranked[: 2 if len(ranked) == 4 or generator.random() < 0.2 else 3]
    items = [_describe(finding, phrases.SUMMARIES, generator, has_lateral) for finding in shown]
    if len(shown) < len(ranked) and generator.random() < 0.6:
        items.append(_sentence(statements.MORE_IMPRESSIONS, _GENERAL_SLOTS, generator))
    elif not present & statements.CARDIOPULMONARY_FINDINGS and generator.random() < 0.7:
        items.append(_sentence(statements.NO_ACUTE_IMPRESSIONS, _GENERAL_SLOTS, generator))
    if len(items) > 1 and generator.random() < 0.5:
        items = [f"{number}. {item}" for number, item in enumerate(items, start=1)]
    return " ".join(items)


def _rank(finding: Finding) -> tuple[bool, int, int]:
    is_device = finding.name == "support_device"
    return is_device, _SEVERITY[finding.severity], _URGENCY.index(finding.name)


def _header_lines(generator: np.random.Generator, has_lateral: bool) -> list[str]:
    """Draws up to two of the sections that say nothing about the picture."""
    sections = (
        (("INDICATION: ", "HISTORY: ", "REASON FOR EXAM: "), statements.INDICATIONS),
        (
            ("TECHNIQUE: ", "EXAMINATION: "),
            statements.TECHNIQUES_WITH_LATERAL if has_lateral else statements.TECHNIQUES_FRONTAL_ONLY,
        ),
        (("COMPARISON: ",), statements.COMPARISONS),
    )
    lines = [
        _pick(headers, generator) + _sentence(options, _GENERAL_SLOTS, generator)
        for headers, options in sections
        if generator.random() < 0.3
    ]
    return lines[:2]


def _true_statements(
    findings: tuple[Finding, ...], present: frozenset[str], generator: np.random.Generator
) -> list[tuple[str, str]]:
    """Draws (region, sentence) of what is normal or absent and of remarks, the most usual ones first."""
    early = [("pleura", text) for text in (_denial(statements.COMMON_ABSENCES, 3, present, generator),) if text]
    sides = {finding.side for finding in findings if finding.name in statements.CHEST_FINDINGS}
    if len(sides) == 1 and sides <= {"left", "right"}:
        other = "left" if sides == {"right"} else "right"
        early.append(("lungs", f"The {other} lung is clear."))
    late: list[tuple[str, str]] = []
    reserve: list[tuple[str, str]] = []
    for statement in statements.STATEMENTS:
        if not statement.untrue_with & present:
            chosen = late if generator.random() < 0.6 else reserve
            chosen.append((statement.region, _sentence(statement.phrasings, _GENERAL_SLOTS, generator)))
    if generator.random() < 0.35:
        late.append(("other", _sentence(statements.REMARKS, _GENERAL_SLOTS, generator)))
    denial = _denial(statements.OTHER_ABSENCES, 2, present, generator) if generator.random() < 0.5 else ""
    late.extend([("other", denial)] if denial else [])
    cut = int(generator.random() * (len(late) + 1))  # a rotation is cheaper than a shuffle and varied enough
    rotated = late[cut:] + late[:cut]
    return (early + rotated if generator.random() < 0.75 else rotated + early) + reserve


def _denial(
    absences: Sequence[tuple[frozenset[str], Sequence[str]]],
    most: int,
    present: frozenset[str],
    generator: np.random.Generator,
) -> str:
    """Writes one negation of up to `most` findings that are absent; "" when all are present."""
    absent = [nouns for untrue_with, nouns in absences if not untrue_with & present]
    if not absent:
        return ""
    start = int(generator.random() * len(absent))
    count = 1 + int(generator.random() * min(most, len(absent)))
    nouns = [_pick(options, generator) for options in (absent[start:] + absent[:start])[:count]]
    joined = " or ".join(nouns) if count < 3 else f"{', '.join(nouns[:-1])}, or {nouns[-1]}"
    return _sentence(statements.DENIALS, {"nouns": (joined,)}, generator)


def _ordered(
    positives: list[tuple[str, str]], normals: list[tuple[str, str]], generator: np.random.Generator
) -> list[str]:
    """Orders the sentences: by region as in a systematic report, positives first, or anyhow."""
    sentences = positives + normals
    style = generator.random()
    if style < 0.5:
        sentences.sort(key=lambda sentence: statements.REGIONS.index(sentence[0]))
    elif style < 0.75:
        sentences = [sentences[position] for position in generator.permutation(len(sentences))]
    return [text for _, text in sentences]
