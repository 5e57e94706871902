"""Draws parts by patient, and says when a patient is in two of them."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b, sha256

import numpy as np

PARTS = ("train", "validation", "test")


def split_by_patient(
    patient_ids: Sequence[str], validation_fraction: float, seed: int, test_fraction: float = 0.0
) -> dict[str, np.ndarray]:
    """Holds out shares of the patients for test and validation, all studies of a patient in one part.

    Patients are ordered by a seeded hash of their id; the first ones are held out, for `test` and then for
    `validation`. So the parts depend on the set of ids, the fractions and the seed alone: not on the order of the rows,
    the platform or a library's random numbers. Without a test part, a larger fraction keeps every patient that a
    smaller one held out. A part with a fraction above 0 gets at least one patient, where there are enough of them.

    Args:
        patient_ids: the patient of each study, one a position.
        validation_fraction, test_fraction: shares of patients (not of studies), rounded to the nearest number of
            patients; at least 0 each, less than 1 together.
        seed: another seed gives another draw.

    Returns:
        `train`, `validation` and, with a test fraction, `test`: ascending positions in `patient_ids`, int64; they
        cover every position once.

    Raises:
        ValueError: if the fractions are out of range, or if no patient is left for training.
    """
    if not (validation_fraction >= 0 and test_fraction >= 0 and validation_fraction + test_fraction < 1):
        raise ValueError(
            f"split_by_patient: validation fraction {validation_fraction} lies outside [0, 1), or leaves nothing "
            f"beside the test fraction {test_fraction}; set dataset.validation_fraction to the share of patients to "
            "hold out, for example 0.1"
        )
    patients = sorted(set(patient_ids), key=lambda patient: (hash_of(patient, seed), patient))
    held_out: dict[str, set[str]] = {}
    for part, fraction in (("test", test_fraction), ("validation", validation_fraction)):
        count = round(fraction * len(patients))
        if fraction > 0 and len(patients) >= 2:
            count = max(1, count)
        first = sum(map(len, held_out.values()))
        held_out[part] = set(patients[first : first + count])
    taken = sum(map(len, held_out.values()))
    if taken >= len(patients):
        raise ValueError(
            f"split_by_patient: no patient is left for training ({len(patients)} patients, {taken} held out); "
            "at least one must stay; lower dataset.validation_fraction or add patients"
        )
    names = np.full(len(patient_ids), "train", dtype="<U10")
    for part, chosen in held_out.items():
        names[np.fromiter((patient in chosen for patient in patient_ids), dtype=bool, count=len(patient_ids))] = part
    parts = PARTS if test_fraction > 0 else PARTS[:2]
    return {part: np.flatnonzero(names == part) for part in parts}


def hash_of(text: str, seed: int) -> bytes:
    """Returns 16 bytes that order patients at random, the same on every machine."""
    return blake2b(f"{seed}:{text}".encode(), digest_size=16).digest()


def torn_patients(splits: Mapping[str, np.ndarray], patient_ids: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Returns (patient, its parts) of every patient that is in more than one part, in the order of the parts."""
    parts_of: dict[str, list[str]] = {}
    for part, positions in splits.items():
        for patient in dict.fromkeys(patient_ids[position] for position in positions):
            parts_of.setdefault(patient, []).append(part)
    return [(patient, parts) for patient, parts in parts_of.items() if len(parts) > 1]


def list_hash(study_ids: Sequence[str]) -> str:
    """Returns the sha256 of a list of ids, whatever their order: what a result row names its split by."""
    return sha256("\n".join(sorted(study_ids)).encode()).hexdigest()
