"""All draws of a bootstrap at once, which only a small set may have in memory."""

from typing import Any

import numpy as np

from flvlp.metrics.bootstrap import iter_patient_weights


def patient_weights(*args: Any, **keywords: Any) -> np.ndarray:
    """Returns the blocks of `iter_patient_weights` as one (draws, N) array."""
    return np.concatenate(list(iter_patient_weights(*args, **keywords)))
