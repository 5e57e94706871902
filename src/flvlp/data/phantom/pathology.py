"""Findings as changes of the anatomy and as extra solids and clouds, placed in 3-D."""

from dataclasses import dataclass

import numpy as np

from flvlp.data.phantom.anatomy import APEX_Z, LEFT, RIGHT, WATER, Changes, Lung, Patient, Thorax, vertebra_z
from flvlp.data.phantom.clouds import Cloud, ball, tubes
from flvlp.data.phantom.devices import device
from flvlp.data.phantom.extent import fluid, heart, in_lung
from flvlp.data.phantom.findings import Finding
from flvlp.data.phantom.solids import XX, YY, Z_GRID, Loft, X, Y, ellipsoid, paraboloid
from flvlp.data.phantom.vessels import HILUM

# RSNA boxes opacities that may be pneumonia: not nodules, masses, effusions, atelectasis, or edema.
OPACITIES = ("consolidation",)
Mark = tuple[str, np.ndarray]  # finding name, (n, 3) points that its box goes around

_GRADES = {"mild": 0, "moderate": 1, "severe": 2, "small": 0, "large": 2}
_SIDES = {"left": (LEFT,), "right": (RIGHT,), "both": (RIGHT, LEFT), "midline": (LEFT,)}
_HEART, _CALIBRE = (1.16, 1.3, 1.45), (1.15, 1.3, 1.45)  # factors on the heart's size and the vessels' radii
_INFLATION = (0.4, 0.7, 1.0)
_RAISED = (6.0, 13.0, 20.0)  # mm, dome over atelectasis
_WEDGE = (0.35, 0.5, 0.7)  # share of the front height lost
_STEP_OFF = (6.0, 9.0, 13.0)  # mm between the ends of a broken rib
# Effusion: apex of the bowl above the fluid (|x|, y, z), its rise, its radii at that rise (mm), roundness.
_BOWLS = (
    ((70.0, 32.0, -104.0), 58.0, (128.0, 108.0), 1.85),
    ((52.0, 32.0, -72.0), 88.0, (88.0, 122.0), 1.5),
    ((46.0, 30.0, 12.0), 90.0, (92.0, 135.0), 1.5),
)
_ORDER = {"pneumothorax": 0, "pleural_effusion": 1}
_APICAL_GAP, _LATERAL_GAP = (30.0, 55.0, 92.0), (7.0, 24.0, 58.0)  # mm, pneumothorax
_DEPTH_SHARE = (0.0, 0.2, 0.3)  # how much of the lateral gap lies in front and behind
_ROUNDED = (1.0, 20.0, 45.0)  # mm over which the top of a collapsed lung is rounded
_LOWER_SHARE = (1.0, 0.95, 0.72)  # height of the collapsed lung below the hilum
_COLLAPSED_DENSITY = (1.0, 1.2, 1.9)
_CLOUD_RADIUS = (19.0, 31.0, 46.0)  # mm, consolidation
_PLACES = {  # |x|, y, z of opacities, mm
    "upper": (66.0, -20.0, 150.0),
    "mid": (82.0, -10.0, 92.0),
    "lower": (88.0, -22.0, 36.0),
    "retrocardiac": (38.0, -60.0, 22.0),
}
_CLOUD_POINTS = 5000
_HERNIA_RADIUS = (21.0, 30.0, 42.0)  # mm
_HAZE = (0.1, 0.19, 0.3)  # density that edema adds at the hila, relative to water


def changes(findings: tuple[Finding, ...]) -> Changes:
    """Returns what the findings change in the anatomy before it is built."""
    changed = Changes()
    for finding in findings:
        grade = _GRADES[finding.severity]
        match finding.name:
            case "cardiomegaly":
                changed.heart = _HEART[grade]
            case "emphysema":
                changed.inflation = _INFLATION[grade]
            case "atelectasis":
                for side in _SIDES[finding.side]:
                    changed.raised[side] = _RAISED[grade]
            case "edema":
                changed.vessels = _CALIBRE[grade]
            case "vertebral_fracture":
                changed.wedge[int(finding.place.removeprefix("T"))] = _WEDGE[grade]
            case "rib_fracture":
                for side in _SIDES[finding.side]:
                    changed.broken[side, int(finding.place.removeprefix("rib_"))] = _STEP_OFF[grade]
    return changed


@dataclass(slots=True)
class Scene:
    """What findings are added to; all but the patient is changed in place.

    Attributes:
        thorax: gains solids and clouds; its lungs may collapse or hold fluid.
        vessels: by side; they follow a collapsing lung.
        patient: gives the scale of sizes in mm.
    """

    thorax: Thorax
    vessels: dict[int, Cloud]
    patient: Patient


def add_findings(scene: Scene, findings: tuple[Finding, ...], generator: np.random.Generator) -> list[Mark]:
    """Adds the findings to a scene, which is changed.

    Each finding draws from a generator of its own, so that it does not move when another one's numbers change.
    """
    marks: list[Mark] = []
    pairs = zip(findings, generator.spawn(len(findings)), strict=True)
    # What shapes the cavity comes first: clouds are clipped to the lung.
    for finding, own in sorted(pairs, key=lambda pair: _ORDER.get(pair[0].name, len(_ORDER))):
        for side in _SIDES[finding.side]:
            mark = _add(scene, finding, side, own)
            if mark is not None:
                marks.append(mark)
    return marks


def _add(scene: Scene, finding: Finding, side: int, generator: np.random.Generator) -> Mark | None:
    """Adds one finding on one side."""
    thorax, lung, grade = scene.thorax, scene.thorax.lungs[side], _GRADES[finding.severity]
    mark: Mark | None = None
    match finding.name:
        case "cardiomegaly":
            mark = finding.name, heart(thorax)
        case "pleural_effusion":
            (x, y, z), rise, radii, roundness = _BOWLS[grade]
            lung.bowl = paraboloid((side * x, y, z + generator.uniform(-6, 6)), radii, rise, roundness, opens_up=True)
            scene.vessels[side] = scene.vessels[side].where(lung.bowl.contains(scene.vessels[side].points))
            mark = finding.name, fluid(thorax, side)
        case "pneumothorax":
            scene.vessels[side] = _collapse(lung, scene.vessels[side], grade, generator)
        case "consolidation":
            mark = _consolidation(thorax, finding, side, generator)
        case "atelectasis":
            mark = _bands(thorax, finding, side, generator)
        case "edema":
            mark = finding.name, _edema(thorax, side, grade, generator)
        case "nodule" | "mass":
            mark = _nodule(scene, finding, side, generator)
        case "hiatal_hernia":
            mark = _hernia(thorax, grade, generator)
        case "vertebral_fracture":
            z = vertebra_z(float(finding.place.removeprefix("T")))
            middle = np.array([0.0, thorax.blocks["spine"][0].at(np.array(z))[Y], z])
            mark = finding.name, middle + np.array([[-19, -17, -12], [19, 17, 12]])
        case "support_device":
            clouds = device(finding.kind, side)
            thorax.sharp += clouds
            mark = finding.kind, np.concatenate([cloud.points for cloud in clouds])
    return mark


def _collapse(lung: Lung, vessels: Cloud, grade: int, generator: np.random.Generator) -> Cloud:
    """Lets a lung shrink to its hilum and returns its vessels there."""
    share = generator.uniform(0.9, 1.1)
    hilum_z = HILUM[lung.side][2]
    upper = 1 - _APICAL_GAP[grade] * share / (APEX_Z - hilum_z)
    source = hilum_z + (Z_GRID - hilum_z) / np.where(hilum_z < Z_GRID, upper, _LOWER_SHARE[grade])
    table = np.stack([np.interp(source, Z_GRID, row) for row in lung.cavity.table]).astype(np.float32)
    gap = _LATERAL_GAP[grade] * share * np.clip((Z_GRID + 70) / 160, 0.15, 1)
    half_x, half_y = np.sqrt(np.maximum(table[XX], 0)), np.sqrt(np.maximum(table[YY], 0))
    below_top = np.clip((hilum_z + (APEX_Z - hilum_z) * upper - Z_GRID) / _ROUNDED[grade], 0, 1)
    rounding = np.sqrt(1 - (1 - below_top) ** 2)
    narrow_x = np.maximum(half_x - 0.5 * gap, 0.3 * half_x) * rounding
    narrow_y = np.maximum(half_y - _DEPTH_SHARE[grade] * gap, 0.5 * half_y) * rounding
    table[X] -= lung.side * (half_x - narrow_x)  # the medial edge stays
    table[XX], table[YY] = narrow_x**2, narrow_y**2
    lung.tissue = Loft(table, lung.cavity.power)
    lung.density = min(lung.density * _COLLAPSED_DENSITY[grade], 0.9)
    before = lung.cavity.at(vessels.points[:, 2])
    shrinkage = np.where(vessels.points[:, 2] > hilum_z, upper, _LOWER_SHARE[grade]).astype(np.float32)
    points, mass = vessels.points.copy(), vessels.mass * shrinkage
    points[:, 2] = hilum_z + (points[:, 2] - hilum_z) * shrinkage
    after = lung.tissue.at(points[:, 2])
    for axis, square in ((X, XX), (Y, YY)):
        ratio = np.sqrt(np.maximum(after[square], 0) / np.maximum(before[square], 1))
        points[:, axis] = after[axis] + (points[:, axis] - before[axis]) * ratio
        mass *= ratio  # a collapsed lung holds less blood
    return Cloud(points, mass)


def _nodule(scene: Scene, finding: Finding, side: int, generator: np.random.Generator) -> Mark:
    """Adds a slightly lobulated ball; its size in mm is the patient's, not that of the standard adult."""
    x, y, z = _PLACES[finding.place] + generator.uniform(-1, 1, 3) * (16, 24, 14)
    centre = np.array((side * x, y, z))
    radius = 0.5 * finding.size_mm / scene.patient.scale
    attenuation = WATER * (1 - scene.thorax.lungs[side].density)
    scene.thorax.inserts.append((ellipsoid(centre, 0.94 * radius), 0.8 * attenuation))
    for _ in range(3):
        shift = generator.uniform(-0.3, 0.3, 3) * radius
        scene.thorax.inserts.append((ellipsoid(centre + shift, 0.68 * radius), 0.2 * attenuation))
    return finding.name, centre + np.array([[-1, -1, -1], [1, 1, 1]]) * radius


def _consolidation(thorax: Thorax, finding: Finding, side: int, generator: np.random.Generator) -> Mark:
    """Fills the air spaces of a region with a patchy cloud that ends at the pleura."""
    radius = _CLOUD_RADIUS[_GRADES[finding.severity]] * generator.uniform(0.9, 1.1)
    is_hidden = finding.place == "retrocardiac"
    x, y, z = _PLACES[finding.place] + generator.uniform(-1, 1, 3) * ((3, 4, 5) if is_hidden else (10, 25, 10))
    stretch = np.array((0.8, 0.9, 1.05) if is_hidden else (1.2, 1.05, 0.85))
    patches = ball(generator, (side * x, y, z), 0.75 * radius * stretch, 16, softness=0.0)
    scatter = ball(generator, (0, 0, 0), 0.65 * radius * stretch, _CLOUD_POINTS, softness=0.4)
    points = patches[generator.integers(0, len(patches), _CLOUD_POINTS)] + scatter
    points = points[in_lung(thorax, side, points)]
    volume = 4 / 3 * np.pi * (radius * stretch).prod()
    mass = 1.25 * WATER * (1 - thorax.lungs[side].density) * volume / _CLOUD_POINTS
    thorax.soft.append(Cloud(points, np.full(len(points), mass, np.float32)))
    return finding.name, points


def _bands(thorax: Thorax, finding: Finding, side: int, generator: np.random.Generator) -> Mark:
    """Adds plates of airless lung, more and thicker with the grade."""
    grade = _GRADES[finding.severity]
    lung = thorax.lungs[side]
    clouds = []
    base = 24.0 + 0.6 * _RAISED[grade] if finding.place == "lower" else 88.0
    for number in range(1 + grade):
        semi_axes = np.array((generator.uniform(20, 36) + 6 * grade, generator.uniform(24, 38), 1.6 + 0.7 * grade))
        points = ball(generator, (0, 0, 0), semi_axes, 1800, softness=0.0)
        slope = generator.normal(-side * 0.15, 0.3)
        points[:, 2] += slope * points[:, 0] + generator.normal(0, 0.12) * points[:, 1]
        level = base + generator.uniform(10, 26) * number
        points += np.array((side * generator.uniform(72, 92), generator.uniform(-30, 10), level), np.float32)
        mass = WATER * (1 - lung.density) * 4 / 3 * np.pi * semi_axes.prod() / len(points)
        clouds.append(Cloud(points, np.full(len(points), mass, np.float32)))
    kept = [cloud.where(in_lung(thorax, side, cloud.points)) for cloud in clouds]
    thorax.sharp += kept
    return finding.name, np.concatenate([cloud.points for cloud in kept])


def _edema(thorax: Thorax, side: int, grade: int, generator: np.random.Generator) -> np.ndarray:
    """Adds haze around the hilum, which is returned, and short septal lines at the base; vessels are already wider."""
    x, y, z = HILUM[side]
    radius = np.array((62.0, 62.0, 74.0))
    points = ball(generator, (1.7 * x, y, z - 22), radius, _CLOUD_POINTS, softness=0.6)
    points = points[in_lung(thorax, side, points)]
    mass = WATER * _HAZE[grade] * 4 / 3 * np.pi * radius.prod() / _CLOUD_POINTS
    thorax.soft.append(Cloud(points, np.full(len(points), mass, np.float32)))
    count = 5 + 4 * grade
    outer = np.stack((side * generator.uniform(128, 134, count), generator.uniform(-45, 45, count)), axis=1)
    level = np.linspace(-28, 34, count) + generator.normal(0, 1.5, count)
    along = np.linspace(0, 1, 12)[None, :, None] * np.array((-side * 17.0, 0.0, 3.0))
    lines = np.concatenate((outer, level[:, None]), axis=1)[:, None] + along
    thorax.sharp.append(tubes(lines, np.array(1.0 + 0.2 * grade), WATER * 2))
    return points


def _hernia(thorax: Thorax, grade: int, generator: np.random.Generator) -> Mark:
    """Adds a pouch of stomach behind the heart, with gas above a fluid level."""
    radius = _HERNIA_RADIUS[grade] * generator.uniform(0.93, 1.07)
    centre = np.array((8 + generator.uniform(-4, 6), -44.0, -16 + radius + generator.uniform(-3, 3)))
    semi_axes = radius * np.array((1.05, 0.85, 1.0))
    pouch = ellipsoid(centre, semi_axes)
    # Rays along y meet it between the aorta and the heart.
    heart = thorax.blocks.pop("heart")
    thorax.blocks |= {"hernia": (pouch,), "heart": heart}
    thorax.inserts.append((ellipsoid(centre, semi_axes - 4.0, floor=float(centre[2] + 0.12 * radius)), -WATER))
    return "hiatal_hernia", centre + np.array([[-1, -1, -1], [1, 1, 1]]) * semi_axes
