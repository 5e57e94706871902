"""What a phantom study shows: the findings, their side, place, size, and how they are drawn at random.

A `Finding` is the single source that the 3-D geometry, the report, the labels, the masks and the boxes of a study are
made from. Sides are the patient's (the patient's right is the left of the frontal picture).
"""

from dataclasses import dataclass

import numpy as np

FINDING_NAMES = (
    "cardiomegaly",
    "pleural_effusion",
    "pneumothorax",
    "consolidation",
    "atelectasis",
    "edema",
    "nodule",
    "mass",
    "emphysema",
    "hiatal_hernia",
    "rib_fracture",
    "vertebral_fracture",
    "support_device",
)
DEVICES = ("endotracheal_tube", "central_line", "pacemaker", "nasogastric_tube", "sternotomy_wires")

NORMAL_SHARE = 0.25
# Weight of each finding among those of a study that has any; roughly the mix of a hospital's radiographs.
_WEIGHTS = {
    "cardiomegaly": 1.3,
    "pleural_effusion": 1.5,
    "pneumothorax": 0.9,
    "consolidation": 1.4,
    "atelectasis": 1.2,
    "edema": 1.0,
    "nodule": 0.8,
    "mass": 0.5,
    "emphysema": 0.7,
    "hiatal_hernia": 0.6,
    "rib_fracture": 0.6,
    "vertebral_fracture": 0.6,
    "support_device": 1.2,
}
_COUNT_SHARES = (0.45, 0.33, 0.16, 0.06)  # one to four findings

SMALL = ("small", "mild")
_BEHIND = ("hiatal_hernia", "vertebral_fracture")  # the mediastinum covers them on the frontal view


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a phantom.

    Attributes:
        name: one of `FINDING_NAMES`.
        side: the patient's side: `left`, `right`, `both`, or `midline`.
        place: `apical | upper | mid | lower | retrocardiac | posterior | basal | diffuse | perihilar`; for a rib
            fracture the rib (`rib_3` .. `rib_9`), for a vertebral fracture the level (`T6` .. `T12`).
        severity: `small | moderate | large` for what has a volume, `mild | moderate | severe` otherwise.
        kind: device name for `support_device`, else "".
        size_mm: diameter of a nodule or mass in mm, else 0.
    """

    name: str
    side: str
    place: str
    severity: str
    kind: str = ""
    size_mm: int = 0


def shows_on_frontal(finding: Finding) -> bool:
    """Returns whether the frontal view shows a finding; what it hardly shows has a box there all the same."""
    is_recess = finding.name == "pleural_effusion" and finding.severity in SMALL
    return finding.name not in _BEHIND and not is_recess


def draw_findings(generator: np.random.Generator) -> tuple[Finding, ...]:
    """Draws the findings of one study; an empty tuple is a normal study."""
    if generator.random() < NORMAL_SHARE:
        return ()
    count = 1 + int(generator.choice(len(_COUNT_SHARES), p=_COUNT_SHARES))
    weights = np.array(list(_WEIGHTS.values()))
    names = generator.choice(list(_WEIGHTS), size=count, replace=False, p=weights / weights.sum())
    ordered = sorted((str(name) for name in names), key=FINDING_NAMES.index)
    return tuple(_draw(name, generator) for name in ordered)


def _draw(name: str, generator: np.random.Generator) -> Finding:  # noqa: PLR0911, PLR0912 (one case a finding)
    """Draws side, place and size of one finding; which are allowed together is anatomy."""

    def pick(*choices: str, p: tuple[float, ...] | None = None) -> str:
        return str(generator.choice(choices, p=p))

    side = pick("left", "right")
    volume = pick("small", "moderate", "large", p=(0.4, 0.35, 0.25))
    grade = pick("mild", "moderate", "severe")
    match name:
        case "cardiomegaly":
            return Finding(name, "midline", "diffuse", grade)
        case "pleural_effusion":
            # A small effusion lies in the posterior recess: the lateral view shows it, the frontal hardly.
            side = pick("left", "right", "both", p=(0.35, 0.35, 0.3))
            return Finding(name, side, "posterior" if volume == "small" else "basal", volume)
        case "pneumothorax":
            return Finding(name, side, "apical", volume)
        case "consolidation":
            place = pick("upper", "mid", "lower", "retrocardiac", p=(0.25, 0.2, 0.3, 0.25))
            return Finding(name, "left" if place == "retrocardiac" else side, place, volume)
        case "atelectasis":
            side = pick("left", "right", "both", p=(0.4, 0.4, 0.2))
            return Finding(name, side, pick("lower", "mid", p=(0.75, 0.25)), grade)
        case "edema":
            return Finding(name, "both", "perihilar", grade)
        case "nodule":
            return Finding(name, side, pick("upper", "mid", "lower"), "small", size_mm=int(generator.integers(9, 29)))
        case "mass":
            return Finding(name, side, pick("upper", "mid", "lower"), "large", size_mm=int(generator.integers(32, 61)))
        case "emphysema":
            return Finding(name, "both", "diffuse", grade)
        case "hiatal_hernia":
            return Finding(name, "midline", "retrocardiac", volume)
        case "rib_fracture":
            return Finding(name, side, f"rib_{generator.integers(3, 10)}", grade)
        case "vertebral_fracture":
            return Finding(name, "midline", f"T{generator.integers(6, 13)}", grade)
        case "support_device":
            kind = pick(*DEVICES)
            device_side = side if kind in ("central_line", "pacemaker") else "midline"
            return Finding(name, device_side, "diffuse", "moderate", kind=kind)
    raise ValueError(f"_draw: no anatomy for the finding {name!r}; known: {', '.join(FINDING_NAMES)}")
