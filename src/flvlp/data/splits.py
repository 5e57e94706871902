"""Splits a data set by patient."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np


def split_by_patient(patient_ids: Sequence[str], validation_fraction: float, seed: int) -> dict[str, np.ndarray]:
    """Holds out a share of the patients for validation, all studies of a patient in one part.

    Patients are ordered by a seeded hash of their id and the first ones are held out. So the parts depend on the set of
    ids, the fraction and the seed alone: not on the order of the rows, the platform or a library's random numbers. A
    larger fraction keeps every patient that a smaller one held out. With a fraction above 0 and at least two patients,
    validation gets at least one patient.

    Args:
        patient_ids: the patient of each study, one a position.
        validation_fraction: share of patients (not of studies) in [0, 1), rounded to the nearest number of patients.
        seed: another seed gives another draw.

    Returns:
        `train` and `validation`: sorted positions in `patient_ids`, int64; they cover every position once.

    Raises:
        ValueError: if the fraction lies outside [0, 1), or if no patient is left for training.
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(
            f"split_by_patient: validation fraction {validation_fraction} lies outside [0, 1); "
            "set dataset.validation_fraction to the share of patients to hold out, for example 0.1"
        )
    patients = sorted(set(patient_ids), key=lambda patient: (_hash(patient, seed), patient))
    held_out = round(validation_fraction * len(patients))
    if validation_fraction > 0 and len(patients) >= 2:
        held_out = max(1, held_out)
    if held_out >= len(patients):
        raise ValueError(
            f"split_by_patient: no patient is left for training ({len(patients)} patients, {held_out} held out); "
            "at least one must stay; lower dataset.validation_fraction or add patients"
        )
    chosen = set(patients[:held_out])
    is_validation = np.fromiter((patient in chosen for patient in patient_ids), dtype=bool, count=len(patient_ids))
    return {"train": np.flatnonzero(~is_validation), "validation": np.flatnonzero(is_validation)}


def _hash(patient: str, seed: int) -> bytes:
    return blake2b(f"{seed}:{patient}".encode(), digest_size=16).digest()
