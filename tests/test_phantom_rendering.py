"""The phantom's pictures: equal bytes for equal seeds, findings on their side and in the view that shows them."""

import numpy as np
import pytest

from flvlp.data.phantom import rendering
from flvlp.data.phantom.anatomy import LEFT, Changes, Thorax
from flvlp.data.phantom.findings import DEVICES, Finding, draw_findings
from flvlp.data.phantom.organs import chest_wall
from flvlp.data.phantom.projection import Integral, View, integrate
from flvlp.data.phantom.rendering import Rendering, render
from flvlp.data.phantom.skeleton import ribs
from flvlp.data.phantom.solids import XX

SIZE = 224
PATIENTS = (3, 8, 21)
NOISE = 6  # grey levels; quantum noise of one seed is the same with and without a finding, so less is a real change

SMALL_EFFUSION = Finding("pleural_effusion", "left", "posterior", "small")
HERNIA = Finding("hiatal_hernia", "midline", "retrocardiac", "moderate")
HIDDEN_PNEUMONIA = Finding("consolidation", "left", "retrocardiac", "moderate")
WEDGED_VERTEBRA = Finding("vertebral_fracture", "midline", "T9", "severe")
SMALL_PNEUMOTHORAX = Finding("pneumothorax", "left", "apical", "small")

SIDED = {
    "effusion": ("pleural_effusion", "basal", "large", 0),
    "pneumothorax": ("pneumothorax", "apical", "moderate", 0),
    "upper consolidation": ("consolidation", "upper", "moderate", 0),
    "lower consolidation": ("consolidation", "lower", "large", 0),
    "atelectasis": ("atelectasis", "lower", "moderate", 0),
    "nodule": ("nodule", "mid", "small", 20),
    "mass": ("mass", "upper", "large", 45),
    "rib fracture": ("rib_fracture", "rib_6", "severe", 0),
}


def rendered(*findings: Finding, patient: int = 3, study: int = 0, size: int = SIZE) -> Rendering:
    return render(findings, (1, patient), (2, patient, study), size, with_lateral=True)


def change(view: str, finding: Finding, patient: int) -> np.ndarray:
    """Returns by how many grey levels a finding changes a view, (SIZE, SIZE)."""
    with_it, without = rendered(finding, patient=patient), rendered(patient=patient)
    return np.abs(getattr(with_it, view).astype(int) - getattr(without, view))


def peak(finding: Finding, view: str) -> float:
    """Returns the 50th largest change of grey in a view, a mean over patients: what a reader would notice."""
    return float(np.mean([np.sort(change(view, finding, patient), axis=None)[-50] for patient in PATIENTS]))


@pytest.mark.parametrize("size", [64, 224])
def test_a_study_has_two_square_byte_pictures_and_a_boolean_mask(size: int) -> None:
    study = rendered(SMALL_PNEUMOTHORAX, size=size)
    for picture in (study.frontal, study.lateral):
        assert picture.shape == (size, size)
        assert picture.dtype == np.uint8
        assert picture.std() > 30, "a picture without contrast"
    assert study.pneumothorax_mask.shape == (size, size)
    assert study.pneumothorax_mask.dtype == bool


@pytest.mark.parametrize("size", [64, 224])
def test_equal_seeds_give_equal_bytes(size: int) -> None:
    findings = draw_findings(np.random.default_rng(11))
    first, second = (rendered(*findings, patient=5, size=size) for _ in range(2))
    assert first.frontal.tobytes() == second.frontal.tobytes()
    assert first.lateral.tobytes() == second.lateral.tobytes()
    assert first.opacity_boxes == second.opacity_boxes
    assert first.finding_boxes == second.finding_boxes


def test_the_frontal_does_not_depend_on_with_lateral() -> None:
    for patient in PATIENTS:
        findings = draw_findings(np.random.default_rng(patient))
        both, alone = (render(findings, (1, patient), (2,), SIZE, with_lateral) for with_lateral in (True, False))
        assert both.frontal.tobytes() == alone.frontal.tobytes()
        assert both.opacity_boxes == alone.opacity_boxes
        assert np.array_equal(both.pneumothorax_mask, alone.pneumothorax_mask)
        assert not alone.lateral.any()


def test_other_patients_and_other_studies_look_different() -> None:
    first = rendered().frontal
    assert np.abs(first.astype(int) - rendered(patient=4).frontal).mean() > NOISE
    assert np.abs(first.astype(int) - rendered(study=1).frontal).mean() > 1


def test_a_patient_keeps_the_size_of_the_thorax_in_another_study(monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[float] = []

    def measured(view: View, thorax: Thorax) -> Integral:
        rows = view.rows(thorax.lungs[LEFT].cavity)
        widths.append(float(np.sqrt(rows[XX].max())))
        return integrate(view, thorax)

    monkeypatch.setattr(rendering, "integrate", measured)
    for patient, study in ((3, 0), (3, 1), (3, 2), (8, 0)):
        render((), (1, patient), (2, study), 64, with_lateral=False)
    same, other = widths[:3], widths[3]
    assert max(same) - min(same) < 1, f"half widths of the left lung in mm: {same}"  # posture turns it a little
    assert abs(other - same[0]) > 1, f"another patient has {other:.1f} mm, this one {same[0]:.1f} mm"


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("what", SIDED)
def test_a_finding_changes_the_frontal_on_its_own_side(what: str, side: str) -> None:
    name, place, severity, size_mm = SIDED[what]
    finding = Finding(name, side, place, severity, size_mm=size_mm)
    grey = change("frontal", finding, patient=8)
    right, left = grey[:, : SIZE // 2].sum(), grey[:, SIZE // 2 :].sum()  # the patient's right is on the left
    own, other = (left, right) if side == "left" else (right, left)
    assert own > 3 * other + 1, f"{own} on its own side, {other} on the other"


@pytest.mark.parametrize("finding", [SMALL_EFFUSION, HERNIA, HIDDEN_PNEUMONIA, WEDGED_VERTEBRA], ids=lambda f: f.name)
def test_what_the_lateral_shows_is_hardly_seen_on_the_frontal(finding: Finding) -> None:
    lateral, frontal = peak(finding, "lateral"), peak(finding, "frontal")
    assert lateral > 1.5 * frontal, f"lateral {lateral:.1f}, frontal {frontal:.1f} grey levels"
    assert lateral > NOISE


def test_a_small_apical_pneumothorax_is_hardly_seen_on_the_lateral() -> None:
    lateral, frontal = peak(SMALL_PNEUMOTHORAX, "lateral"), peak(SMALL_PNEUMOTHORAX, "frontal")
    assert frontal > 1.8 * lateral, f"frontal {frontal:.1f}, lateral {lateral:.1f} grey levels"


@pytest.mark.parametrize("severity", ["small", "moderate", "large"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_pneumothorax_mask_lies_on_its_side_where_there_is_one(side: str, severity: str) -> None:
    for patient in PATIENTS:
        mask = rendered(Finding("pneumothorax", side, "apical", severity), patient=patient).pneumothorax_mask
        right, left = mask[:, : SIZE // 2].sum(), mask[:, SIZE // 2 :].sum()
        own, other = (left, right) if side == "left" else (right, left)
        assert own > 150
        assert other < 0.02 * own, f"{own} pixels on its own side, {other} on the other"


def test_there_is_no_pneumothorax_mask_without_a_pneumothorax() -> None:
    for seed in range(12):
        findings = tuple(f for f in draw_findings(np.random.default_rng(seed)) if f.name != "pneumothorax")
        assert not rendered(*findings, patient=seed).pneumothorax_mask.any()


@pytest.mark.parametrize("name", ["cardiomegaly", "edema", "emphysema"])
def test_a_severe_finding_changes_more_than_a_mild_one(name: str) -> None:
    grades = ("mild", "severe")
    mild, severe = (change("frontal", Finding(name, "both", "diffuse", grade), patient=8).mean() for grade in grades)
    assert severe > 1.3 * mild > 0, f"mild {mild:.2f}, severe {severe:.2f} grey levels"


@pytest.mark.parametrize("kind", DEVICES)
def test_a_device_is_brighter_than_what_it_covers(kind: str) -> None:
    device = Finding("support_device", "left", "diffuse", "moderate", kind=kind)
    difference = rendered(device).frontal.astype(int) - rendered().frontal
    assert np.sort(difference, axis=None)[-20] > NOISE


def test_boxes_lie_inside_the_picture_and_hold_the_opacity() -> None:
    for seed in range(40):
        study = rendered(*draw_findings(np.random.default_rng(seed)), patient=seed, size=64)
        boxes = [box for view in study.finding_boxes.values() for _, box in view]
        for x, y, width, height in (*study.opacity_boxes, *boxes):
            assert min(x, y) >= 0
            assert min(width, height) > 0
            assert max(x + width, y + height) <= 64
    finding = Finding("consolidation", "right", "mid", "large")
    grey = change("frontal", finding, patient=8)
    ((x, y, width, height),) = rendered(finding, patient=8).opacity_boxes
    inside = grey[y : y + height, x : x + width].sum() / grey.sum()
    assert inside > 0.75, f"{inside:.2f} of the change lies in the box"


def test_the_ribs_of_the_two_sides_do_not_coincide_on_the_lateral() -> None:
    bones = ribs(chest_wall(0.0), Changes(), 1.0, np.random.default_rng(0)).points.reshape(2, -1, 3)
    apart = np.abs(bones[0, :, 2] - bones[1, :, 2])
    assert 1 < apart.mean() < 10, f"{apart.mean():.1f} mm in height"


def test_each_finding_that_can_be_drawn_can_be_rendered() -> None:
    for seed in range(60):
        findings = draw_findings(np.random.default_rng((9, seed)))
        assert rendered(*findings, patient=seed, size=64).frontal.std() > 20, findings
