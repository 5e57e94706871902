"""The patient, drawn once, and the parts of a thorax.

All lengths are mm of a standard adult (x left, y front, z up; z = 0 is the top of the right dome in full inspiration,
the lung apex is near z = 215). The patient's own size is a scale that the projection applies to everything at once.
"""

from dataclasses import dataclass, field

import numpy as np

from flvlp.data.phantom.clouds import Cloud
from flvlp.data.phantom.solids import Loft

RIGHT, LEFT = -1, 1  # sign of x
WATER = 0.0205  # mm⁻¹, soft tissue at the mean energy of a chest radiograph
APEX_Z = 215.0
CARINA_Z, TRACHEA_RADIUS = 128.0, 8.5
VERTEBRA_STEP = 23.0  # T1 stands at the apex, T10 at the dome
_MALE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Patient:
    """What stays the same in all studies of a patient.

    Attributes:
        scale: (3,) size along x, y, z relative to the standard adult.
        fat: mm of skin, fat and muscle outside the ribs.
        breast: mm by which the breasts stand out from the chest; 0 for none.
        heart: size of the heart relative to the standard.
        aorta: radius of the aorta, mm.
        dome_difference: mm by which the right dome is higher.
        curvature: mm of side bend of the spine.
        lung_density: density of aerated lung relative to water.
        bone: mineral content relative to the standard.
        has_stomach_gas: whether gas lies under the left dome.
        bowel: seed of gas in the bowel.
        tree: seed of the vessels.
        ribs: seed of the ribs' courses.
        arms: mm forward per mm of height at which the right and the left arm are raised.
    """

    scale: np.ndarray
    fat: float
    breast: float
    heart: float
    aorta: float
    dome_difference: float
    curvature: float
    lung_density: float
    bone: float
    has_stomach_gas: bool
    bowel: int
    tree: int
    ribs: int
    arms: tuple[float, float]


@dataclass(slots=True)
class Changes:
    """What findings change in the anatomy before it is built; the defaults are a healthy patient.

    Attributes:
        heart: factor on the heart's size.
        inflation: emphysema from 0 (none) to 1 (severe).
        raised: mm by which each dome is raised, by side.
        wedge: share of height that a vertebra has lost at its front, by level (T1 = 1).
        broken: offset in mm of a broken rib, by (side, rib number).
        vessels: factor on the calibre of the lung's vessels.
    """

    heart: float = 1.0
    inflation: float = 0.0
    raised: dict[int, float] = field(default_factory=lambda: {RIGHT: 0.0, LEFT: 0.0})
    wedge: dict[int, float] = field(default_factory=dict)
    broken: dict[tuple[int, int], float] = field(default_factory=dict)
    vessels: float = 1.0


@dataclass(slots=True)
class Lung:
    """One pleural cavity and what it holds.

    Attributes:
        side: RIGHT or LEFT.
        cavity: outline of the pleural cavity; its medial part is cut off at |x| = `medial`.
        dome: the diaphragm, which fills the cavity from below.
        density: of its tissue relative to water.
        tissue: outline of a collapsed lung inside the cavity, None where the lung fills it.
        bowl: what lies above the surface of an effusion, None without one.
    """

    side: int
    cavity: Loft
    dome: Loft
    density: float
    tissue: Loft | None = None
    bowl: Loft | None = None
    medial: float = 4.0


@dataclass(slots=True)
class Thorax:
    """All solids and clouds of one study, before posture.

    Attributes:
        body: outline with the arms down (frontal) and up (lateral).
        lungs: by side.
        blocks: groups of organs of soft tissue that displace lung, ordered from back to front; the organs of a group
            overlap each other.
        outside: by view, soft tissue that sticks out of the body: breasts, raised arms.
        inserts: solids inside soft tissue, each with its attenuation above it in mm⁻¹ (gas below 0, bone above).
        sharp, soft: clouds projected with the detector's blur, and with an additional blur.
    """

    body: dict[str, Loft]
    lungs: dict[int, Lung]
    blocks: dict[str, tuple[Loft, ...]]
    outside: dict[str, list[Loft]]
    inserts: list[tuple[Loft, float]]
    sharp: list[Cloud] = field(default_factory=list)
    soft: list[Cloud] = field(default_factory=list)


def vertebra_z(level: float) -> float:
    """Returns the height of the middle of a vertebra, mm; level 1 is T1, 13 is L1, 0 is C7."""
    return APEX_Z - VERTEBRA_STEP * (level - 1)


def draw_patient(generator: np.random.Generator) -> Patient:
    """Draws a patient."""
    is_male = generator.random() < _MALE_SHARE
    overall = generator.normal(1.0 if is_male else 0.93, 0.035)
    shape = generator.normal(1.0, (0.03, 0.05, 0.035))
    fat = float(np.clip(generator.gamma(4.0, 4.0) + 9, 10, 48))
    breast = 0.0 if is_male else float(np.clip(generator.normal(2 + 0.9 * fat, 10), 0, 60))
    return Patient(
        scale=np.float32(overall) * np.clip(shape, 0.9, 1.12).astype(np.float32),
        fat=fat,
        breast=breast,
        heart=float(np.clip(generator.normal(1.0, 0.05), 0.88, 1.1)),
        aorta=float(generator.uniform(11, 16)),
        dome_difference=float(generator.uniform(8, 20)),
        curvature=float(generator.normal(0, 3)),
        lung_density=float(generator.uniform(0.22, 0.3)),
        bone=float(generator.uniform(0.75, 1.2)),
        has_stomach_gas=bool(generator.random() < 0.75),
        bowel=int(generator.integers(2**31)),
        tree=int(generator.integers(2**31)),
        ribs=int(generator.integers(2**31)),
        arms=(float(generator.uniform(0.5, 1.2)), float(generator.uniform(0.3, 1.0))),
    )
