"""Label fractions of a training part: nested, by patient, with every class kept."""

from collections.abc import Sequence

import numpy as np

from flvlp.data.splits.patients import hash_of
from flvlp.data.studies import Labels

_TIE = 1 << 128


def label_fraction(
    positions: np.ndarray, patient_ids: Sequence[str], labels: Labels | None, fraction: float, seed: int
) -> np.ndarray:
    """Takes a share of the training studies, all studies of a patient together.

    One seeded order of the patients serves every fraction, so that 1 % lies inside 10 %. In this order patients with
    the same set of positive labels are spread evenly, so that a beginning of it holds each common set in its proportion
    (sets that few patients have come by chance); and for each class, and for none, one patient stands first. These are
    taken whatever the share, so that no class is lost: a very small fraction of a small set may have more studies than
    its share.

    Args:
        positions: (n,) int64 of the training studies.
        patient_ids: of every study of the source.
        labels: of every study of the source; None stratifies nothing.
        fraction: share of the studies, in (0, 1]; patients are taken until it is reached.
        seed: another seed gives another draw.

    Returns:
        Ascending positions, at least one; all of them for 1.

    Raises:
        ValueError: a fraction out of range, or no study to take from.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"label_fraction: {fraction} lies outside (0, 1]; the usual ones are 0.01, 0.1 and 1.0")
    if not len(positions):
        raise ValueError("label_fraction: there is no training study to take a fraction of; check the split")
    studies_of: dict[str, list[int]] = {}
    for position in positions:
        studies_of.setdefault(patient_ids[position], []).append(int(position))
    wanted = max(1, round(fraction * len(positions)))
    taken: list[int] = []
    order, heads = _order(studies_of, labels, seed)
    for number, patient in enumerate(order):
        if len(taken) >= wanted and number >= heads:
            break
        taken += studies_of[patient]
    return np.array(sorted(taken), dtype=np.int64)


def _order(studies_of: dict[str, list[int]], labels: Labels | None, seed: int) -> tuple[list[str], int]:
    """Orders patients so that every beginning is stratified; also returns how many stand first for a class."""
    by_hash = sorted(studies_of, key=lambda patient: (hash_of(patient, seed), patient))
    if labels is None:
        return by_hash, 0
    is_positive = labels.values == 1
    # (N, C + 1) the last column is "no finding".
    is_positive = np.column_stack([is_positive, ~is_positive.any(axis=1)])
    # (patients, C + 1) True where some study of the patient shows the class.
    shows = np.stack([is_positive[studies_of[patient]].any(axis=0) for patient in by_hash])
    groups: dict[bytes, list[int]] = {}
    for number, row in enumerate(shows[:, :-1]):
        groups.setdefault(row.tobytes(), []).append(number)
    key = np.zeros(len(by_hash))
    for signature, members in groups.items():
        offset = int.from_bytes(hash_of(signature.hex(), seed)) / _TIE
        key[members] = (np.arange(len(members)) + offset) / len(members)
    order = sorted(range(len(by_hash)), key=lambda number: (key[number], number))
    shows = shows[order]
    first = dict.fromkeys(int(shows[:, column].argmax()) for column in range(shows.shape[1]) if shows[:, column].any())
    heads = sorted(first)
    rest = [place for place in range(len(order)) if place not in first]
    return [by_hash[order[place]] for place in [*heads, *rest]], len(heads)
