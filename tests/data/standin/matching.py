"""Which phantom a picture of a stand-in shows, found by the picture alone: nothing repeats how ids are written."""

import numpy as np

from flvlp.data.phantom.source import PhantomSource
from flvlp.data.studies import StudySource


def phantom_of(pixels: np.ndarray, phantoms: PhantomSource, view: str = "frontal") -> int:
    """Returns the phantom that a picture shows; the next one must be much less like it."""
    errors = [
        np.abs(getattr(phantoms, view)(index).astype(float) - pixels).mean()
        if view == "frontal" or plan.has_lateral
        else np.inf
        for index, plan in enumerate(phantoms.plans)
    ]
    best, second = np.argsort(errors)[:2]
    assert errors[best] < 0.75 * errors[second], (
        f"{errors[best]:.1f} grey levels away, the next one {errors[second]:.1f}"
    )
    return int(best)


def numbers_of(source: StudySource, phantoms: PhantomSource) -> list[int]:
    return [phantom_of(source.frontal(index), phantoms) for index in range(len(source.studies))]
