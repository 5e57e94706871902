"""Which patients pre-training has seen, so that no task tests on them unawares."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flvlp.baselines import GivenEncoders
    from flvlp.data.studies import StudySource

log = logging.getLogger(__name__)

SEEN = "seen.npz"
SEEN_PARTS = {"trained": "train", "selected": "validation"}


def write_seen(folder: Path, source: "StudySource") -> None:
    """Writes hashes of the studies that pre-training trains on and selects on, for the tasks that test its encoders."""
    path = folder / SEEN
    if not path.exists():
        parts: dict[str, Any] = {
            name: _study_hashes(source, source.splits.get(part, ())) for name, part in SEEN_PARTS.items()
        }
        temporary = path.with_name(f".{SEEN}.tmp.npz")
        np.savez(temporary, **parts)
        temporary.rename(path)


def seen_patients(encoders: Path, source: "StudySource") -> dict[str, set[str]] | None:
    """Returns the patients of a data set that pre-training `trained` on and `selected` its best epoch by.

    A study is known again by its id and report, so one patient of a data set is not taken for that of another.

    Args:
        encoders: folder of saved encoders in their run folder.
        source: the data set as it is now.

    Returns:
        None where the run left no list.
    """
    path = encoders.resolve().parent / SEEN
    if not path.is_file():
        return None
    hashes = _study_hashes(source, range(len(source.studies)))
    with np.load(path) as held:
        known = {name: np.isin(hashes, held[name]) for name in SEEN_PARTS}
    return {
        name: {study.patient_id for study, flag in zip(source.studies, is_seen, strict=True) if flag}
        for name, is_seen in known.items()
    }


def _study_hashes(source: "StudySource", positions: Iterable[int]) -> "np.ndarray":
    from flvlp.data.dataset import stable_hash

    studies = (source.studies[position] for position in positions)
    return np.array([stable_hash(f"{study.study_id} {study.report}") for study in studies], dtype=np.int64)


def count_seen(
    given: "GivenEncoders", source: "StudySource", tested: set[str], *, is_allowed: bool
) -> dict[str, int] | None:
    """Counts the test patients that pre-training has seen.

    Args:
        given: the encoders; those that were not pre-trained here have seen nobody.
        source: the data set that they are tested on.
        tested: patients of its test part.
        is_allowed: False refuses to test on patients that were trained on.

    Returns:
        Patients that it `trained` on and that it `selected` its best epoch by; None where the run left no list.

    Raises:
        ValueError: it has trained on some, and that is not allowed.
    """
    if given.folder is None:
        return {"trained": 0, "selected": 0}
    seen = seen_patients(given.folder, source)
    if seen is None:
        return None
    counts = {name: len(tested & patients) for name, patients in seen.items()}
    if counts["trained"] and not is_allowed:
        raise ValueError(
            f"dataset.split: {counts['trained']} of {len(tested)} test patients are in the training part of the "
            f"pre-training of {given.name}; pre-train and test with the same dataset.split, dataset.test_fraction and "
            "dataset.validation_fraction, or set allow_seen=true (the result row says so)"
        )
    if any(counts.values()):
        log.warning(
            "of %d test patients pre-training trained on %d and chose its best epoch by %d",
            *(len(tested), counts["trained"], counts["selected"]),
        )
    return counts
