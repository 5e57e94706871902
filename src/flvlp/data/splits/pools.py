"""Evaluation pools of retrieval and zero-shot classification: so many studies a class, each positive for it alone.

The pools of the field are lists (GLoRIA's CheXpert-5x200, ConVIRT's CheXpert-8x200, BenchX's MIMIC-5x200): the user has
the file, and `read_pool` reads it. Without one, `draw_pool` draws a pool of the same kind from the user's own tables;
figures on it cannot be compared with those on a published list, so its name ends in `-drawn`.

A pool is the test part of its split, and its patients are in no other part. GLoRIA and MGCA leave only the listed
pictures out of training; CXR-CLIP leaves out their patients.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flvlp.data.readers.bounded import read_json
from flvlp.data.readers.labels import CHEXPERT5
from flvlp.data.readers.tables import read_table
from flvlp.data.splits.lists import read_list
from flvlp.data.splits.patients import hash_of
from flvlp.data.studies import Labels

log = logging.getLogger(__name__)

PER_CLASS = 200
# Kind of pool -> its classes; a split `<data set>/<kind>` tests on one. Eight: ConVIRT.
POOLS = {
    "5x200": CHEXPERT5,
    "8x200": (
        *("Atelectasis", "Cardiomegaly", "Edema", "Fracture", "No Finding", "Pleural Effusion", "Pneumonia"),
        "Pneumothorax",
    ),
}


def pool_classes(split: str) -> tuple[str, ...]:
    """Returns the classes of the pool that a split tests on, () for a split without one."""
    return POOLS.get(split.partition("/")[2], ())


def draw_pool(
    labels: Labels,
    candidates: Sequence[int] | np.ndarray,
    classes: Sequence[str],
    per_class: int,
    seed: int,
    *,
    study_ids: Sequence[str],
    patient_ids: Sequence[str],
) -> np.ndarray:
    """Draws studies that are 1 for one of `classes` and 0 for every other class of `labels`.

    A missing label (uncertain, under the policy `ignore`) rules a study out: it may show the class or not. At most one
    study of a patient is taken, because pictures of one patient find each other whatever they show; the published lists
    hold up to a few. The order is a seeded hash of the study id, so that neither row order nor machine matter.

    Args:
        labels: of every study of the source.
        candidates: positions to draw from.
        classes: of the pool.
        per_class: studies of each. Where a class has fewer (a small copy), half of what the scarcest has is drawn of
            each, so that some are left for training, with a warning.
        seed: another seed gives another draw.
        study_ids, patient_ids: of every study of the source.

    Returns:
        Ascending positions, int64, equally many a class.

    Raises:
        ValueError: a class that no candidate shows alone.
    """
    is_alone = (labels.values == 1).sum(axis=1) == 1
    is_alone &= ~np.isnan(labels.values).any(axis=1)
    order = sorted(
        (int(position) for position in candidates if is_alone[position]),
        key=lambda position: (hash_of(study_ids[position], seed), study_ids[position]),
    )
    taken: set[str] = set()
    drawn: dict[str, list[int]] = {name: [] for name in classes}
    for name, positions in drawn.items():
        shows = labels.values[:, labels.names.index(name)] == 1
        for position in order:
            if len(positions) < per_class and shows[position] and patient_ids[position] not in taken:
                positions.append(position)
                taken.add(patient_ids[position])
    counts = {name: len(positions) for name, positions in drawn.items()}
    words = ", ".join(f"{name} {count}" for name, count in counts.items())
    smallest = min(counts.values())
    if not smallest:
        raise ValueError(
            f"dataset.pool: no pool of {len(classes)} classes can be drawn from {len(candidates)} studies (patients "
            f"with that class alone: {words}); each needs one; set dataset.pool to a list, or choose another split"
        )
    wanted = per_class
    if smallest < per_class:
        wanted = max(1, smallest // 2)
        log.warning(
            "a pool of %d x %d is drawn, not of %d a class, since that many patients show it alone: %s",
            *(len(classes), wanted, per_class, words),
        )
    return np.array(sorted(row for positions in drawn.values() for row in positions[:wanted]), dtype=np.int64)


def read_pool(path: Path, columns: Sequence[str]) -> list[str]:
    """Reads what a list names: a CSV file, a JSON file, or a text with one picture a line.

    The CSV files of GLoRIA, ALTA and ConVIRT (candidate and query) name pictures in `Path`, MedCLIP's in `imgpath`,
    BenchX's MIMIC-5x200 studies in `study_id` (its `Path` is a placeholder). PRIOR's JSON has an object of objects with
    `image_path`. Other columns, which may hold report text, are not kept.

    Args:
        path: of the list.
        columns: names that the wanted column may have, the best first.

    Returns:
        Paths or ids as they are written, in the order of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no column or key of these names, or nothing in it.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such list; dataset.pool must name a .csv, .json or .txt file; set dataset.pool"
        )
    match path.suffix.lower():
        case ".json":
            names = _read_json(path, columns)
        case ".txt":
            names = read_list(path, folders=3)
        case _:
            found = read_table(path, "dataset.pool", {}, optional=columns).columns
            names = next((found[column] for column in columns if column in found), [])
    names = [name for name in names if name]
    if not names:
        raise ValueError(
            f"{path}: names nothing; a pool has one study a row in a column {' or '.join(map(repr, columns))}; set "
            "dataset.pool to such a list"
        )
    return names


def _read_json(path: Path, columns: Sequence[str]) -> list[str]:
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: no JSON file ({type(error).__name__}); save the list again") from error
    entries = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path}: no list of studies; every entry is an object with {' or '.join(map(repr, columns))}")
    return [str(next((entry[column] for column in columns if column in entry), "")) for entry in entries]


def find_pool(path: Path, listed: Sequence[str], keys: Sequence[str]) -> np.ndarray:
    """Returns the positions, ascending int64, of the studies that a list names.

    Several listed pictures of one study are one position. Listed studies that are not there are counted in the log.

    Args:
        path: of the list, for messages.
        listed: what it names, as keys.
        keys: of every study of the source.

    Raises:
        ValueError: none of them is there.
    """
    wanted = set(listed)
    positions = np.array([position for position, key in enumerate(keys) if key in wanted], dtype=np.int64)
    if not len(positions):
        raise ValueError(
            f"{path}: none of its {len(wanted)} studies is in the data set; the list must be of this data set, which "
            "lists training pictures; set dataset.pool"
        )
    lost = len(wanted) - len({keys[position] for position in positions})
    log.log(
        logging.WARNING if lost else logging.INFO,
        "%s: a pool of %d studies; %d listed ones are not in the data set",
        *(path, len(positions), lost),
    )
    return positions


def parts_around(pool: np.ndarray, published: Sequence[str], patient_ids: Sequence[str]) -> list[str]:
    """Returns the part of each study: `test` for the pool, "" for other studies of its patients, else as published.

    Args:
        pool: positions.
        published: part of each study by the publisher's lists; without any, all are for training. Its test part is in
            no part here.
        patient_ids: of each study.
    """
    patients = {patient_ids[position] for position in pool}
    parts = [
        "" if part == "test" or patient in patients else part
        for part, patient in zip(published or ["train"] * len(patient_ids), patient_ids, strict=True)
    ]
    for position in pool:
        parts[position] = "test"
    return parts


def drawn_name(split: str, pool: np.ndarray) -> str:
    """Returns what a split is called whose pool was drawn: `chexpert/5x200-drawn`, with the true number a class."""
    classes = pool_classes(split)
    return f"{split.partition('/')[0]}/{len(classes)}x{len(pool) // len(classes)}-drawn"
