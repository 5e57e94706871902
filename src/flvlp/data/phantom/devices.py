"""Support devices as clouds: tubes, lines, leads, wires, and a pacemaker's generator."""

import numpy as np

from flvlp.data.phantom.clouds import Cloud, curve, tubes

METAL = 0.5  # mm⁻¹, steel or platinum at the mean energy of a chest radiograph
PLASTIC = 0.05  # mm⁻¹, tube wall with contrast filler
STRIPE = 0.35  # mm⁻¹, the radiopaque line of a tube
_STEPS = 160


def _line(knots: list[tuple[float, float, float]], radius: float, attenuation: float) -> Cloud:
    return tubes(curve(knots, _STEPS), np.array(radius), attenuation)


def device(kind: str, side: int) -> list[Cloud]:
    """Builds a device.

    Args:
        kind: one of `findings.DEVICES`.
        side: 1 left, -1 right, of the vein that a line or lead enters.

    Raises:
        ValueError: for an unknown kind.
    """
    match kind:
        case "endotracheal_tube":
            path = [(1.0, 4.0, 345.0), (0.0, -6.0, 270.0), (1.0, -15.0, 215.0), (2.0, -24.0, 172.0)]
            return [_line(path, 4.5, PLASTIC), _line([(x + 3, y, z) for x, y, z in path], 0.9, STRIPE)]
        case "central_line":
            return [_line(_venous_path(side), 1.5, STRIPE)]
        case "pacemaker":
            return _pacemaker(side)
        case "nasogastric_tube":
            path = [(2, -10, 345), (0, -32, 230), (2, -42, 170), (8, -48, 110), (10, -46, 40), (12, -36, -12)]
            stomach = [(30.0, -8.0, -34.0), (58.0, 8.0, -52.0), (66.0, 12.0, -70.0)]
            return [_line([*path, *stomach], 2.2, 2 * PLASTIC), _line([*path, *stomach], 0.8, STRIPE)]
        case "sternotomy_wires":
            return [_sternotomy()]
    raise ValueError(f"device: no device {kind!r}; known: see findings.DEVICES")


def _venous_path(side: int) -> list[tuple[float, float, float]]:
    """Returns the way of a line: jugular vein on the right, subclavian vein on the left, tip in the superior cava."""
    if side < 0:
        return [(-48, 22, 262), (-36, 24, 215), (-28, 22, 175), (-25, 16, 140), (-24, 12, 100)]
    return [(118, 46, 166), (84, 44, 178), (48, 40, 170), (12, 34, 158), (-18, 22, 144), (-24, 12, 104)]


def _pacemaker(side: int) -> list[Cloud]:
    """Builds a generator under the skin of the chest and two leads, to the right atrium and the right ventricle."""
    x, y, z = (grid.reshape(-1) for grid in np.meshgrid(*(np.linspace(-1, 1, n) for n in (27, 5, 25)), indexing="ij"))
    inside = np.abs(x) ** 3 + np.abs(z) ** 3 <= 1
    box = np.stack((24 * x, 4.5 * y, 21 * z), axis=1)[inside]
    box += np.random.default_rng(0).uniform(-0.9, 0.9, box.shape)
    centre = np.array((side * 98.0, 66.0, 146.0))
    mass = 0.12 * 48 * 9 * 42 * 0.88 / len(box)
    generator = Cloud((box + centre).astype(np.float32), np.full(len(box), mass, np.float32))
    vein = [
        (side * 84.0, 66.0, 166.0),
        (side * 98.0, 60.0, 180.0),
        (side * 62.0, 42.0, 176.0),
        (side * 20.0, 34.0, 160.0),
    ]
    down = [(-20.0, 22.0, 142.0), (-25.0, 12.0, 100.0)]
    atrial = [*vein, *down, (-24.0, 14.0, 62.0), (-16.0, 34.0, 52.0), (-18.0, 42.0, 64.0)]
    ventricular = [*vein, *down, (-22.0, 14.0, 40.0), (-6.0, 34.0, 14.0), (24.0, 62.0, 2.0), (44.0, 72.0, 0.0)]
    return [generator, _line(atrial, 0.9, METAL), _line(ventricular, 0.9, METAL)]


def _sternotomy() -> Cloud:
    """Builds six wire loops around the sternum, each with a twisted knot in front."""
    angle = np.linspace(0, 2 * np.pi, 40)
    loops = []
    for number, z in enumerate(np.linspace(146, 40, 6)):
        front = np.interp(z, (40, 70, 120, 160), (105, 100, 80, 52))
        lean = 3.0 * (-1) ** number
        loops.append(np.stack((12 * np.cos(angle), front + 8 * np.sin(angle), z + lean * np.cos(angle)), axis=1))
        knot = np.linspace(0, 1, 40)
        loops.append(np.stack((0.8 * np.cos(20 * knot), front + 8 + 0 * knot, z - 7 * knot), axis=1))
    return tubes(np.stack(loops), np.array(0.65), METAL * 1.6)
