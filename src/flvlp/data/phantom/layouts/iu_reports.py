"""Reports as those of the Indiana collection: fields, MeSH terms, `XXXX` for removed words, and Open-i's XML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from flvlp.data.phantom.findings import Finding
from flvlp.data.phantom.layouts.chance import is_turn, pick, share
from flvlp.data.phantom.making import PhantomPlan
from flvlp.data.reports import split_sections

NORMAL = "normal"
# Turns, see `is_turn`.
_NO_INDEXING = (43, 20)  # reports that were given no terms
_EMPTY = (40, 19)
_IMPRESSION_ONLY = (8, 6)
_FINDINGS_ONLY = (60, 33)
_MARKED_SHARE = 0.45
# The removal of names took harmless words along; of these, two at most in a report.
_REMOVABLE = re.compile(r"\b(?:chest|structures|bony|seen|noted|evidence|visualized|thoracic|view|silhouette)\b")
_AGE = re.compile(r"\b\d+-year-old\b|\baged \d+\b")
_IMAGES = (
    *("Xray Chest PA and Lateral",) * 3,
    *("Chest, 2 views, frontal and lateral", "PA and lateral chest x-XXXX XXXX at XXXX hours. "),
    "CHEST 2V FRONTAL/LATERAL XXXX, XXXX XXXX PM ",
)
_COMPARISONS = ("None.", "None.", "", "None", "XXXX, XXXX.", "XXXX", "None available.")
_TERMS = {
    "cardiomegaly": "Cardiomegaly/{severity}",
    "pleural_effusion": "Pleural Effusion/{side}/{severity}",
    "pneumothorax": "Pneumothorax/apex/{side}/{severity}",
    "consolidation": "Consolidation/lung/{place}/{side}",
    "atelectasis": "Pulmonary Atelectasis/base/{side}/{severity}",
    "edema": "Pulmonary Edema/{severity}",
    "nodule": "Nodule/lung/{place}/{side}",
    "mass": "Mass/lung/{place}/{side}",
    "emphysema": "Pulmonary Emphysema/{severity}",
    "hiatal_hernia": "Hernia, Hiatal/{severity}",
    "rib_fracture": "Fractures, Bone/ribs/{side}",
    "vertebral_fracture": "Fractures, Bone/thoracic vertebrae/{severity}",
    "support_device": "Implanted Medical Device/{side}",
}
_PLACES = {"upper": "upper lobe", "mid": "middle lobe", "lower": "lower lobe", "retrocardiac": "lower lobe"}
_SIDES = {"both": "bilateral"}


@dataclass(frozen=True, slots=True)
class Report:
    """The fields of one report; `terms` are its MeSH terms, `image` says what was taken."""

    terms: tuple[str, ...]
    image: str
    indication: str
    comparison: str
    findings: str
    impression: str


def report_of(raw: str, plan: PhantomPlan, seed: int) -> Report:
    """Puts a phantom's report into the collection's fields.

    Ages and some harmless words are `XXXX`. Some reports have no findings (all stands in the impression), a few no
    impression, a few neither.
    """
    sections = split_sections(raw)
    lines = dict(line.split(": ", 1) for line in raw.splitlines())
    reason = next((lines[name] for name in ("INDICATION", "HISTORY", "REASON FOR EXAM") if name in lines), "")
    findings, impression = sections.findings, sections.impression
    if is_turn(plan.index, _EMPTY):
        findings, impression = "", ""
    elif is_turn(plan.index, _IMPRESSION_ONLY):
        findings, impression = "", f"{impression} {findings}"
    elif is_turn(plan.index, _FINDINGS_ONLY):
        findings, impression = f"{findings} {impression}", ""
    if share(seed, "marks", plan.index) < _MARKED_SHARE:
        findings, impression = (_REMOVABLE.sub("XXXX", text, count=2) for text in (findings, impression))
    terms = tuple(map(_term, plan.findings)) or (NORMAL,)
    return Report(
        terms=("No Indexing",) if is_turn(plan.index, _NO_INDEXING) else terms,
        image=pick(_IMAGES, seed, "image", plan.index),
        indication=_AGE.sub("XXXX-year-old", reason),
        comparison=pick(_COMPARISONS, seed, "comparison", plan.index),
        findings=findings,
        impression=impression,
    )


def _term(finding: Finding) -> str:
    side = _SIDES.get(finding.side, finding.side)
    place = _PLACES.get(finding.place, finding.place)
    return _TERMS[finding.name].format(side=side, place=place, severity=finding.severity)


def xml_text(uid: int, report: Report, pictures: Sequence[str]) -> str:
    """Returns a report file of Open-i; it names the pictures, not their views."""
    sections = ("comparison", "indication", "findings", "impression")
    abstract = "".join(
        f'            <AbstractText Label="{name.upper()}">{escape(getattr(report, name))}</AbstractText>\n'
        for name in sections
    )
    terms = "".join(f"      <major>{escape(term)}</major>\n" for term in report.terms)
    images = "".join(
        f'   <parentImage id="CXR{name}">\n'
        f"      <figureId>F{number}</figureId>\n"
        f"      <caption>{escape(report.image)}</caption>\n"
        '      <panel type="single">\n'
        f"         <url>/hadoop/storage/radiology/extract/CXR{name}.jpg</url>\n"
        "         <imgModality>7</imgModality>\n"
        "      </panel>\n"
        "   </parentImage>\n"
        for number, name in enumerate(pictures, start=1)
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        "<eCitation>\n"
        '   <meta type="rr"/>\n'
        f'   <uId id="CXR{uid}"/>\n'
        f'   <pmcId id="{uid}"/>\n'
        "   <docSource>CXR</docSource>\n"
        f'   <IUXRId id="{uid}"/>\n'
        "   <specialty>pulmonary diseases</specialty>\n"
        "   <subset>CXR</subset>\n"
        '   <MedlineCitation Owner="Phantom" Status="a stand-in, no patient">\n'
        '      <Article PubModel="Electronic">\n'
        "         <ArticleTitle>Chest X-ray collection of phantoms</ArticleTitle>\n"
        f"         <Abstract>\n{abstract}         </Abstract>\n"
        "         <Language>eng</Language>\n"
        "      </Article>\n"
        "   </MedlineCitation>\n"
        f"   <MeSH>\n{terms}   </MeSH>\n"
        f"{images}"
        "</eCitation>"
    )
