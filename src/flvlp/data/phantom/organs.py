"""The large solids of a thorax: body outline, pleural cavities, domes, heart and great vessels."""

import numpy as np

from flvlp.data.phantom.anatomy import (
    APEX_Z,
    CARINA_Z,
    LEFT,
    RIGHT,
    TRACHEA_RADIUS,
    WATER,
    Changes,
    Lung,
    Patient,
    Thorax,
)
from flvlp.data.phantom.solids import YY, Z_GRID, Loft, Y, ellipsoid, loft, paraboloid, profile, smoothed

LUNG_POWER = 2.6  # cross-sections between an ellipse and a rectangle
BODY_POWER = 2.4
_BOWEL_SHARE = 0.4  # of patients with stomach gas have a gas-filled loop beside it
_FLAT_DROP = 0.45  # share of the dome's height that is left in the most severe emphysema


def chest_wall(inflation: float) -> dict[str, np.ndarray]:
    """Returns the inner wall on `Z_GRID`, mm: `side` (|x|), `front`, `back` (y); inflation 1 is severe emphysema."""
    side = profile(
        (-140, 118), (-85, 128), (-40, 137), (20, 138), (70, 134), (115, 124), (150, 110), (180, 93), (205, 78)
    )
    barrel = inflation * profile((-60, 8), (60, 20), (140, 20), (190, 6))
    front = profile((-140, 86), (-60, 96), (10, 100), (70, 92), (120, 72), (160, 44), (195, 12), (215, -10)) + barrel
    back = profile((-140, -70), (-80, -84), (0, -101), (60, -108), (120, -102), (165, -82), (200, -58), (220, -38))
    return {"side": side, "front": front, "back": back - 0.3 * barrel}


def _lung_cavity(side: int, wall: dict[str, np.ndarray]) -> Loft:
    """Builds one pleural cavity: narrow at the apex, closed above it; the medial part is cut off later."""
    centre_x = profile((-140, 36), (120, 36), (170, 42), (215, 47))
    # The squared axes run through zero at the apex, which rounds it.
    left = np.clip((APEX_Z - Z_GRID) / 48.0, -1, 1)
    closing = np.sign(left) * (1 - (1 - np.abs(left)) ** 2)
    half_depth = 0.5 * (wall["front"] - wall["back"])
    squares = ((wall["side"] - centre_x) ** 2 * closing, np.maximum(half_depth, 20) ** 2 * closing)
    return loft(side * centre_x, 0.5 * (wall["front"] + wall["back"]), *squares, power=LUNG_POWER)


def _dome(side: int, patient: Patient, changes: Changes, inspiration: float) -> Loft:
    """Builds one dome of the diaphragm, deeper behind than in front."""
    lowered = inspiration + 26 * changes.inflation
    top = (0.0 if side == RIGHT else -patient.dome_difference) - lowered + changes.raised[side]
    drop = 56 * (1 - (1 - _FLAT_DROP) * changes.inflation)
    centre = (side * (62 if side == RIGHT else 66), 26.0, top)
    return paraboloid(centre, (76, 92), drop, roundness=1.25)


def _body(patient: Patient, wall: dict[str, np.ndarray]) -> dict[str, Loft]:
    """Builds the outline of the body with the arms down and with the arms up."""
    fat = patient.fat
    chest = np.where(Z_GRID < 90, wall["side"] + 14 + 0.6 * fat, 0)
    shoulders = profile(
        (60, 0),
        (100, 176),
        (140, 196),
        (185, 198),
        (205, 178),
        (222, 128),
        (240, 80),
        (262, 60),
        (330, 58),
        smooth_mm=14,
    )
    shoulders = shoulders + np.where(shoulders > 0, 0.4 * fat, 0)
    flank = profile(
        (-160, 142 + 1.0 * fat), (-60, 150 + 0.8 * fat), (40, 158 + 0.7 * fat), (110, 168 + 0.5 * fat), smooth_mm=20
    )
    half_width = np.maximum(np.maximum(chest, flank * (Z_GRID < 120)), shoulders)
    half_width = smoothed(half_width, 8)
    front = wall["front"] + 16 + 0.45 * fat
    front = np.where(Z_GRID > 190, profile((150, 80), (190, 62), (225, 50), (300, 48)), front)
    front = smoothed(front, 10)
    front += profile((-160, 30 + 0.5 * fat), (-60, 20 + 0.15 * fat), (-10, 8), (40, 0))  # the belly
    back = wall["back"] - 24 - 0.4 * fat
    back = np.where(Z_GRID > 200, profile((160, -118), (200, -106), (240, -80), (300, -68)), back)
    back = smoothed(back, 10)
    down = loft(0, 0.5 * (front + back), half_width**2, (0.5 * (front - back)) ** 2, BODY_POWER)
    # With the arms up the shoulders rise: no neck is seen from the side, and the flanks end at the axilla.
    raised_width = np.minimum(half_width, profile((60, 160), (140, 158), (200, 150), (260, 90)) + 0.5 * fat)
    raised_width = np.maximum(raised_width, profile((60, 0), (150, 158), (200, 146), (260, 80)))
    raised_front = np.maximum(front, profile((110, 70), (150, 84), (200, 62), (250, 50)) + 0.35 * fat)
    raised_back = np.minimum(back, profile((100, -100), (150, -124), (200, -118), (250, -92)) - 0.35 * fat)
    raised_front, raised_back = smoothed(raised_front, 14), smoothed(raised_back, 14)
    up = loft(
        0,
        0.5 * (raised_front + raised_back),
        raised_width**2,
        (0.5 * (raised_front - raised_back)) ** 2,
        BODY_POWER,
    )
    return {"frontal": down, "lateral": up}


def _breast(x: float, half_width: float, patient: Patient, skin: np.ndarray) -> Loft:
    """Builds soft tissue that tapers upwards and hangs at its lower border; `skin` is y of the body's front, mm."""
    sag = 0.3 * patient.breast
    shape = profile((130, 0), (95, 0.1), (60, 0.32), (28, 0.72), (4, 0.97), (-20, 1), (-35, 0.8), (-46, 0.35), (-52, 0))
    shape = np.interp(Z_GRID + sag * np.clip((100 - Z_GRID) / 100, 0, 1), Z_GRID, shape)
    root = np.sqrt(shape)
    return loft(x, skin - 30, (half_width * root) ** 2, (26 * root + patient.breast * shape) ** 2)


def _raised_arm(side: int, patient: Patient) -> Loft:
    """Builds shoulder muscles and upper arm as they are held in the lateral view."""
    lean = patient.arms[side == LEFT]
    thick = 42 + 0.35 * patient.fat
    root = np.sqrt(profile((150, 0), (195, 1), (400, 1)))
    forward = lean * (smoothed(np.maximum(Z_GRID - 192, 0), 10))
    return loft(side * 146, -16 + forward, ((thick + 14) * root) ** 2, (thick * np.hypot(1, 0.8 * lean) * root) ** 2)


def _organs(
    patient: Patient, changes: Changes, inspiration: float, wall: dict[str, np.ndarray]
) -> dict[str, tuple[Loft, ...]]:
    """Builds what displaces lung, ordered from back to front."""
    size = patient.heart * changes.heart * (1 - 0.14 * changes.inflation)
    sink = -0.5 * inspiration - 27 * changes.inflation
    aorta = patient.aorta
    spine_y = wall["back"] + 28
    # The muscles beside the vertebrae taper off.
    spine = loft(0, spine_y - 5, 44.0**2, 29.0**2, power=1.4)
    arched = aorta**2 * np.clip((154 - Z_GRID) / 24, 0, 1)  # its upper end is inside the knob
    descending = loft(
        profile((-140, 4), (-40, 10), (60, 22), (120, 24)),
        spine_y + profile((-140, 30), (60, 22), (140, 30)),
        arched,
        arched,
    )
    knob = ellipsoid((19, -26, 136), (aorta + 3, 34, aorta + 4))
    width = profile((-140, 16), (60, 20), (110, 22), (150, 18), (185, 14), (205, 17), (225, 28))
    middle = loft(
        profile((60, -2), (110, -6), (150, -6), (190, -2)),
        profile((-140, 10), (60, 6), (150, -12), (215, -28)),
        width**2,
        profile((-140, 42), (60, 46), (110, 38), (150, 27), (215, 22)) ** 2,
    )
    caval = np.where(Z_GRID > 40, profile((60, 12), (150, 11), (185, 8), (205, 3)), 0)  # superior vena cava
    cava = loft(profile((60, -20), (150, -20), (200, -10)), 4, caval**2, caval**2)
    trunk = ellipsoid((25, 14, 92 + 0.5 * sink), (16 * size, 40, 38))
    appendage = ellipsoid((32 * size, 4, 66 + 0.8 * sink), (17 * size, 30 * size, 28 * size))
    left_atrium = ellipsoid((4, -21, 52 + sink), (25 * size, 29 * size, 32 * size))
    right_atrium = ellipsoid((-23 * size, 16, 32 + sink), (20 * size, 42 * size, 52 * size))
    ventricle = ellipsoid(
        (20 * size, 40 - 14 * (size - 1), 26 + sink),
        (76 * size, 52 * size, 46 * size * (1 + 0.2 * changes.inflation)),
        axis=(0.8, 0.3, -0.52),
    )
    # Fat under the heart fills what is left above the lower dome.
    pad = ellipsoid((20, 52, sink - 4), (52 * size, 44 * size, 34))
    return {
        "spine": (spine,),
        "aorta": (descending,),
        "heart": (middle, cava, knob, trunk, appendage, left_atrium, right_atrium, ventricle, pad),
    }


def build_thorax(patient: Patient, changes: Changes, inspiration: float) -> Thorax:
    """Builds the solids of a study; `inspiration` is how many mm the domes stand lower than the patient's mean."""
    wall = chest_wall(changes.inflation)
    density = patient.lung_density * (1 - 0.28 * changes.inflation)
    lungs = {
        side: Lung(side, _lung_cavity(side, wall), _dome(side, patient, changes, inspiration), density)
        for side in (RIGHT, LEFT)
    }
    body = _body(patient, wall)
    skin = body["lateral"].table[Y] + np.sqrt(body["lateral"].table[YY])
    outside = {"frontal": [], "lateral": [_raised_arm(side, patient) for side in (RIGHT, LEFT)]}
    if patient.breast:
        outside["frontal"] = [_breast(side * 78, 68, patient, skin) for side in (RIGHT, LEFT)]
        # From the side the gap between them would let the edge of the chest be seen through them as a hard line.
        outside["lateral"].append(_breast(0, 140, patient, skin))
    windpipe = np.where(Z_GRID > CARINA_Z, TRACHEA_RADIUS**2, 0)
    course = profile((120, 5), (190, 1), (260, 0)), profile((120, -33), (190, -20), (260, -8), (330, -6))
    inserts = [(loft(*course, windpipe, windpipe), -WATER)]
    if patient.has_stomach_gas:
        generator = np.random.default_rng(patient.bowel)
        width = generator.uniform(12, 26)
        top = -patient.dome_difference - inspiration - 26 * changes.inflation + changes.raised[LEFT] - 9
        place, floor = generator.uniform(48, 74), top - generator.uniform(10, 30)
        inserts.append((ellipsoid((place, 5, top - 18), (width, 30, 18), floor=floor), -WATER))
        if generator.random() < _BOWEL_SHARE:
            beside = (place + generator.uniform(24, 40), -20, top - 30)
            inserts.append((ellipsoid(beside, (0.6 * width, 20, 13), floor=floor - 20), -WATER))
    return Thorax(body, lungs, _organs(patient, changes, inspiration, wall), outside, inserts)
