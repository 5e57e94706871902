"""The pictures of a study where a data set has several views of it, and its quirks."""

from dataclasses import dataclass

import numpy as np

from flvlp.data.phantom.layouts.chance import is_turn
from flvlp.data.phantom.source import PhantomSource

# Turns, see `is_turn`.
_REPEATED = (10, 4)  # one study in ten has a second frontal
_LATERAL_FIRST = (12, 5)
_WITHOUT_FRONTAL = (20, 5)  # of those with a lateral, one in twenty has nothing else
_BRIGHTER = 1.06


@dataclass(frozen=True, slots=True)
class View:
    """One picture.

    Attributes:
        kind: `frontal` or `lateral`.
        is_repeat: of an exposure that was taken a second time.
    """

    kind: str
    is_repeat: bool = False


def views_of(phantoms: PhantomSource) -> list[list[View]]:
    """Returns the views of each study, in the order in which they were taken.

    Most have a frontal, and a lateral if the phantom has one. Some have a second frontal, some have the lateral first,
    a few have a lateral only.
    """
    all_views = []
    laterals = 0
    for plan in phantoms.plans:
        views = [View("frontal")]
        if is_turn(plan.index, _REPEATED):
            views.append(View("frontal", is_repeat=True))
        if plan.has_lateral:
            views.append(View("lateral"))
            if is_turn(laterals, _WITHOUT_FRONTAL):
                views = views[-1:]
            elif is_turn(plan.index, _LATERAL_FIRST):
                views = [*views[-1:], *views[:-1]]
            laterals += 1
        all_views.append(views)
    return all_views


def pixels_of(phantoms: PhantomSource, index: int, view: View) -> np.ndarray:
    """Returns a picture, (S, S) uint8; a repeated exposure is a little brighter and lower."""
    pixels = phantoms.frontal(index) if view.kind == "frontal" else phantoms.lateral(index)
    if not view.is_repeat:
        return pixels
    shift = max(1, phantoms.size // 64)
    lower = np.concatenate([np.repeat(pixels[:1], shift, axis=0), pixels[:-shift]])
    return np.clip(np.rint(lower * _BRIGHTER), 0, 255).astype(np.uint8)
