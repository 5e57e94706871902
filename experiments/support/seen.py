"""Which patients pre-training has seen, so that no task tests on them unawares."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flvlp.baselines import GivenEncoders
    from flvlp.data.readers.base_config import DatasetConfig
    from flvlp.data.studies import StudySource

log = logging.getLogger(__name__)

SEEN = "seen_patients.npz"
SAME_PATIENTS = {"ms_cxr": "mimic_cxr"}  # data set -> that whose patients it has, under the same ids
SEEN_PARTS = {"trained": "train", "selected": "validation"}


def write_seen(folder: Path, config: "DatasetConfig", source: "StudySource", init_from: str | None = None) -> None:
    """Writes hashes of the patients that pre-training trains on and selects on, for the tasks that test its encoders.

    Args:
        folder: run folder; a list that is there stays.
        config, source: the data set.
        init_from: encoders that this run starts from: what they have seen, these have seen too. Where that is not
            known, nothing is written, and a task says that it is not known.
    """
    path = folder / SEEN
    if path.exists():
        return
    hashes = _hashes(config, source)
    parts = {name: hashes[source.splits.get(part, np.empty(0, np.int64))] for name, part in SEEN_PARTS.items()}
    if init_from is not None:
        earlier = _read(Path(init_from))
        if earlier is None:
            log.warning("init_from: %s has no %s beside it; what these encoders have seen is unknown", init_from, SEEN)
            return
        parts = {name: np.concatenate([values, earlier[name]]) for name, values in parts.items()}
    temporary = path.with_name(f".{SEEN}.tmp.npz")
    arrays: dict[str, Any] = {name: np.unique(values) for name, values in parts.items()}
    np.savez(temporary, **arrays)
    temporary.rename(path)


def seen_patients(encoders: Path, config: "DatasetConfig", source: "StudySource") -> dict[str, set[str]] | None:
    """Returns the patients of a data set that pre-training `trained` on and `selected` its best epoch by.

    Args:
        encoders: folder of saved encoders in their run folder, or that run folder.
        config, source: the data set as it is now.

    Returns:
        None where the run left no list.
    """
    held = _read(encoders)
    if held is None:
        return None
    hashes = _hashes(config, source)
    return {
        name: {
            study.patient_id
            for study, is_seen in zip(source.studies, np.isin(hashes, held[name]), strict=True)
            if is_seen
        }
        for name in SEEN_PARTS
    }


def _read(encoders: Path) -> dict[str, np.ndarray] | None:
    """Returns the hashes that a run left, None where it left none."""
    place = encoders.resolve()
    path = (place.parent if (place / "encoders.safetensors").is_file() else place) / SEEN
    if not path.is_file():
        return None
    with np.load(path) as held:
        return {name: held[name] for name in SEEN_PARTS}


def _hashes(config: "DatasetConfig", source: "StudySource") -> np.ndarray:
    """Returns the hash (n,) int64 of what each study's patient is known by, whatever is read of the reports.

    That is the name of the data set (of MS-CXR that of MIMIC-CXR, whose pictures it is about) and the patient; of
    phantoms also their seed. Two CSV files of `pairs` may call
    different people by the same name, so there it is the frontal picture, by its path under the root.
    """
    from flvlp.data.dataset import stable_hash
    from flvlp.data.readers.base_config import PHANTOM_ROOT, PublishedConfig
    from flvlp.data.readers.config import PairsConfig, PhantomConfig

    if isinstance(config, PairsConfig):
        paths, root = source.listing.frontal_paths, source.root  # type: ignore[attr-defined]
        keys = [f"pairs {os.path.relpath(path, root)}" for path in paths]
    else:
        made = ""
        if isinstance(config, PhantomConfig):
            made = f" {config.seed}"
        elif isinstance(config, PublishedConfig) and config.root == PHANTOM_ROOT:
            made = f" of phantoms {config.standin_seed}"
        name = SAME_PATIENTS.get(config.name, config.name)
        keys = [f"{name}{made} {study.patient_id}" for study in source.studies]
    return np.array([stable_hash(key) for key in keys], dtype=np.int64)


def count_seen(
    given: "GivenEncoders", config: "DatasetConfig", source: "StudySource", tested: set[str], *, is_allowed: bool
) -> dict[str, int] | None:
    """Counts the test patients that pre-training has seen.

    Args:
        given: the encoders; those that were not pre-trained here have seen nobody.
        config, source: the data set that they are tested on.
        tested: patients of its test part.
        is_allowed: False refuses to test on patients that were trained on.

    Returns:
        Patients that it `trained` on and that it `selected` its best epoch by; None where the run left no list.

    Raises:
        ValueError: it has trained on some, and that is not allowed.
    """
    if given.folder is None:
        return {"trained": 0, "selected": 0}
    seen = seen_patients(given.folder, config, source)
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
