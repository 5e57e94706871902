"""Pools by class: the test part as studies that show one of some classes each."""

import logging
from collections.abc import Sequence

import numpy as np

from support.downstream import Job

log = logging.getLogger(__name__)


def keep_one_class(job: Job, names: Sequence[str], key: str, task: str) -> np.ndarray:
    """Leaves in the test part the studies that show exactly one of the classes; returns which, (N,) int64.

    Args:
        job: its test part is made smaller where studies show none or several.
        names: of the C classes.
        key: of the configuration, that named them.
        task: what needs the labels, for the message of a data set that has none.

    Raises:
        ValueError: no labels, an unknown class, or no study that shows exactly one.
    """
    labels, tested = job.labels(task), job.parts["test"]
    unknown = [name for name in names if name not in labels.names]
    if unknown:
        advice = ", or set dataset.classes=all" if job.args.dataset.name == "chexpert" else ""
        raise ValueError(f"{key}: unknown {', '.join(unknown)}; choose from: {', '.join(labels.names)}{advice}")
    shows = labels.values[tested][:, [labels.names.index(name) for name in names]] == 1  # (N, C)
    has_one = shows.sum(axis=1) == 1
    if not has_one.all():
        log.warning(
            "%d of %d test studies show none or several of the classes and are left out of the pool; for a published "
            "list set dataset.uncertain to the policy it was made with",
            *((~has_one).sum(), len(has_one)),
        )
    if not has_one.any():
        raise ValueError(f"{key}: no test study shows exactly one of {', '.join(names)}; choose other classes")
    job.parts["test"] = tested[has_one]
    return shows[has_one].argmax(axis=1)
