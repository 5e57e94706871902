"""A phantom study: the two pictures, and the mask and boxes that come from the same geometry."""

from dataclasses import dataclass

import numpy as np

from flvlp.data.phantom import pathology
from flvlp.data.phantom.anatomy import LEFT, RIGHT, WATER, Patient, Thorax, draw_patient
from flvlp.data.phantom.clouds import joined
from flvlp.data.phantom.film import develop, draw_exposure
from flvlp.data.phantom.findings import Finding
from flvlp.data.phantom.organs import build_thorax, chest_wall
from flvlp.data.phantom.projection import Pose, View, integrate
from flvlp.data.phantom.skeleton import ribs, shoulder_girdle, spine, sternum
from flvlp.data.phantom.vessels import airways, pulmonary_vessels

Box = tuple[int, int, int, int]
_BOX_QUANTILES = (0.015, 0.985)
_FIELD = {"frontal": (318.0, 374.0), "lateral": (292.0, 338.0)}  # mm, side of the picture for a standard adult
_LATERAL_TURN = 1.5  # degrees
_AIR_SHARE = {"frontal": 0.8, "lateral": 1.05}  # mean path in the lungs, relative to the thickness of one lung


@dataclass(frozen=True, slots=True)
class Rendering:
    """A rendered study.

    Attributes:
        frontal: (size, size) uint8, 0-255, air dark; the patient's right is on the left.
        lateral: (size, size) uint8, 0-255; the patient faces left. All zero without a lateral view.
        pneumothorax_mask: (size, size) bool, True where the frontal view shows pleural air without lung before it.
        opacity_boxes: x, y, width, height in frontal pixels, one for each consolidation, even behind the heart; as in
            RSNA's pneumonia data, nodules, masses, effusions, atelectasis and edema get none.
        finding_boxes: view name -> (finding or device name, box) of what has a place of its own (consolidation,
            atelectasis, nodule, mass, hernia, vertebral fracture, device), of the heart of a cardiomegaly, and for each
            side of effusion, haze of edema and seen air of a pneumothorax; empty for a view not rendered. A small
            effusion has its box behind the dome too, where the frontal view hardly shows it.
    """

    frontal: np.ndarray
    lateral: np.ndarray
    pneumothorax_mask: np.ndarray
    opacity_boxes: tuple[Box, ...]
    finding_boxes: dict[str, tuple[tuple[str, Box], ...]]


def render(
    findings: tuple[Finding, ...],
    patient_seed: tuple[int, ...],
    study_seed: tuple[int, ...],
    size: int,
    with_lateral: bool,
) -> Rendering:
    """Renders a study; equal arguments give equal bytes.

    Args:
        findings: what the study shows.
        patient_seed: the anatomy is drawn from it, equal in all studies of a patient.
        study_seed: posture, exposure, noise and the exact place of findings are drawn from it.
        size: pixels a side.
        with_lateral: whether to render the lateral view; the frontal view does not depend on it.
    """
    patient = draw_patient(np.random.default_rng(patient_seed))
    posture, places, *view_generators = np.random.default_rng(study_seed).spawn(4)
    inspiration = float(np.clip(posture.normal(0, 6), -12, 12))
    changes = pathology.changes(findings)
    wall = chest_wall(changes.inflation)
    thorax = build_thorax(patient, changes, inspiration)
    courses = np.random.default_rng(patient.ribs)
    bones = [
        ribs(wall, changes, patient.bone, courses),
        spine(wall, changes, patient.bone),
        sternum(wall, patient.bone),
    ]
    tree = np.random.default_rng(patient.tree)
    vessels = {side: pulmonary_vessels(thorax.lungs[side], tree, changes.vessels) for side in (RIGHT, LEFT)}
    marks = pathology.add_findings(pathology.Scene(thorax, vessels, patient), findings, places)
    inside = [airways(), *vessels.values()]
    always, inserts = joined([*thorax.sharp, *inside, *bones]), thorax.inserts
    pictures: dict[str, np.ndarray] = {}
    boxes: dict[str, tuple[tuple[str, Box], ...]] = {}
    mask = np.zeros((size, size), bool)
    for name, generator in zip(("frontal", "lateral"), view_generators, strict=True):
        pose = _draw_pose(name, patient, generator)
        exposure = draw_exposure(generator, *_window(name, patient, thorax))
        if name == "lateral" and not with_lateral:
            pictures[name], boxes[name] = np.zeros((size, size), np.uint8), ()
            continue
        view = View(pose, size)
        girdle, humeri = shoulder_girdle(patient.bone, name == "lateral")
        thorax.sharp, thorax.inserts = [always, *girdle], [*inserts, *humeri]
        integral = integrate(view, thorax)
        pictures[name] = develop(integral.attenuation, exposure, generator)
        boxes[name] = (*_boxes(view, marks), *_air_boxes(integral.pleural_air))
        if name == "frontal":
            mask = integral.pleural_air
    opacities = tuple(box for name, box in boxes["frontal"] if name in pathology.OPACITIES)
    return Rendering(pictures["frontal"], pictures["lateral"], mask, opacities, boxes)


def _draw_pose(name: str, patient: Patient, generator: np.random.Generator) -> Pose:
    """Draws how the patient stands before the detector."""
    height = float(patient.scale[2])
    turn = np.clip(generator.normal(0, 2.0), -5, 5)
    if name == "lateral":  # hardly anybody stands so that both sides' ribs coincide
        turn = turn + np.copysign(_LATERAL_TURN, turn)
    return Pose(
        name=name,
        scale=patient.scale,
        turn=float(np.deg2rad(turn)),
        tilt=float(np.clip(generator.normal(0, 0.012), -0.03, 0.03)),
        bend=patient.curvature,
        field=float(generator.uniform(*_FIELD[name])) * (0.35 + 0.65 * max(height, float(patient.scale[0]))),
        centre=(
            float(generator.normal(0 if name == "frontal" else -8, 5)),
            78 * height + float(generator.normal(0, 7)),
        ),
    )


def _window(name: str, patient: Patient, thorax: Thorax) -> tuple[float, float]:
    """Returns the attenuation of free lung and of the abdomen, from the outlines: what automatic exposure aims at."""
    along = 3 if name == "frontal" else 2  # squared semi-axis along the rays
    scale = float(patient.scale[1 if name == "frontal" else 0])
    body = thorax.body[name].at(np.array([95.0, -60.0]))[along]
    lung = thorax.lungs[RIGHT].cavity.at(np.array([95.0]))[along]
    thick, thickest = 2 * scale * np.sqrt(body)
    air = 2 * scale * float(np.sqrt(lung[0])) * _AIR_SHARE[name] * (1 - patient.lung_density)
    return WATER * float(thick - air), WATER * float(thickest)


def _boxes(view: View, marks: list[tuple[str, np.ndarray]]) -> tuple[tuple[str, Box], ...]:
    """Returns the boxes in pixels around the marked points, cut at the picture's edges; none for what lies outside."""
    boxes = []
    for name, points in marks:
        if not len(points):
            continue
        column, row = view.pixels(points)
        # The outermost points of a soft opacity are not seen.
        left, right = np.clip(np.rint(np.quantile(column, _BOX_QUANTILES)), 0, view.size).astype(int).tolist()
        top, bottom = np.clip(np.rint(np.quantile(row, _BOX_QUANTILES)), 0, view.size).astype(int).tolist()
        if right > left and bottom > top:
            boxes.append((name, (left, top, right - left, bottom - top)))
    return tuple(boxes)


def _air_boxes(air: np.ndarray) -> tuple[tuple[str, Box], ...]:
    """Returns the box around the seen air of a pneumothorax, (size, size) bool; none where there is none."""
    rows, columns = np.flatnonzero(air.any(axis=1)), np.flatnonzero(air.any(axis=0))
    if not len(rows):
        return ()
    left, top = int(columns[0]), int(rows[0])
    return (("pneumothorax", (left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)),)
