"""From a phantom's findings to the classes of the data sets, as explicit tables.

A class that no phantom shows has no positives: `Pleural Other` of CheXpert and MIMIC-CXR, `Fibrosis` and
`Pleural_Thickening` of NIH.
"""

from collections.abc import Sequence

from flvlp.data.phantom.findings import SMALL, Finding
from flvlp.data.phantom.layouts.chance import share

CHEXPERT = {
    "cardiomegaly": ("Cardiomegaly",),
    "pleural_effusion": ("Pleural Effusion",),
    "pneumothorax": ("Pneumothorax",),
    "consolidation": ("Consolidation", "Lung Opacity"),
    "atelectasis": ("Atelectasis", "Lung Opacity"),
    "edema": ("Edema", "Lung Opacity"),
    "nodule": ("Lung Lesion", "Lung Opacity"),
    "mass": ("Lung Lesion", "Lung Opacity"),
    "emphysema": (),
    "hiatal_hernia": (),
    "rib_fracture": ("Fracture",),
    "vertebral_fracture": ("Fracture",),
    "support_device": ("Support Devices",),
}
# Besides, for a finding that is neither small nor mild.
CHEXPERT_LARGER = {"consolidation": "Pneumonia", "cardiomegaly": "Enlarged Cardiomediastinum"}
NO_FINDING = "No Finding"
# What reports deny; the labeller writes 0 for it.
_DENIED = ("Cardiomegaly", "Edema", "Consolidation", "Pneumonia", "Pneumothorax", "Pleural Effusion", "Fracture")
_DENIED_SHARE = 0.3
_UNCERTAIN_SHARE = 0.4  # of the small and mild findings
# What a finding implies, and a terse report does not name. Without terse reports no study would show consolidation,
# atelectasis or edema alone, and no 5x200 could be drawn.
_IMPLIED = ("Lung Opacity", "Pneumonia", "Enlarged Cardiomediastinum")
_TERSE_SHARE = 0.5

NIH = {
    "cardiomegaly": ("Cardiomegaly",),
    "pleural_effusion": ("Effusion",),
    "pneumothorax": ("Pneumothorax",),
    "consolidation": ("Consolidation",),
    "atelectasis": ("Atelectasis",),
    "edema": ("Edema",),
    "nodule": ("Nodule",),
    "mass": ("Mass",),
    "emphysema": ("Emphysema",),
    "hiatal_hernia": ("Hernia",),
    "rib_fracture": (),
    "vertebral_fracture": (),
    "support_device": (),
}


def chexpert_classes(findings: Sequence[Finding]) -> set[str]:
    """Returns the positive ones of CheXpert's 14 classes; `No Finding` for a phantom with devices at most."""
    positive = {name for finding in findings for name in CHEXPERT[finding.name]}
    positive |= {
        CHEXPERT_LARGER[finding.name]
        for finding in findings
        if finding.name in CHEXPERT_LARGER and finding.severity not in SMALL
    }
    if all(finding.name == "support_device" for finding in findings):
        positive.add(NO_FINDING)
    return positive


def labelled(findings: Sequence[Finding], seed: int, study: int) -> dict[str, str]:
    """Returns what CheXpert's labeller would write of a report: `1.0`, `0.0`, `-1.0` (uncertain); blanks are left out.

    A small consolidation makes pneumonia uncertain, and some small or mild findings are uncertain themselves. A terse
    report leaves out what its findings imply. Some of what is absent is denied, the rest not mentioned.
    """
    positive = chexpert_classes(findings)
    values = dict.fromkeys(positive, "1.0")
    for finding in findings:
        if finding.severity not in SMALL:
            continue
        if finding.name == "consolidation":
            values["Pneumonia"] = "-1.0"
        if CHEXPERT[finding.name] and share(seed, "uncertain", study, finding.name) < _UNCERTAIN_SHARE:
            values[CHEXPERT[finding.name][0]] = "-1.0"
    if share(seed, "terse", study) < _TERSE_SHARE:
        values = {name: value for name, value in values.items() if name not in _IMPLIED}
    for name in _DENIED:
        if name not in values and name not in positive and share(seed, "denied", study, name) < _DENIED_SHARE:
            values[name] = "0.0"
    return values


def nih_classes(findings: Sequence[Finding]) -> set[str]:
    """Returns the positive ones of NIH's 14 classes.

    A consolidation is also `Pneumonia`, a small one `Infiltration`. Fractures and devices have no class there.
    """
    positive = {name for finding in findings for name in NIH[finding.name]}
    return positive | {nih_opacity(finding) for finding in findings if finding.name == "consolidation"}


def nih_opacity(consolidation: Finding) -> str:
    """Returns the class of a consolidation's box."""
    return "Infiltration" if consolidation.severity in SMALL else "Pneumonia"
