"""From a named rule and the studies of a data set to its parts."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flvlp.data.splits.lists import read_lists
from flvlp.data.splits.patients import PARTS, split_by_patient, torn_patients
from flvlp.data.splits.registry import SplitRule, names_of, rule_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SplitTable:
    """What a split is made from, one entry a study, in the publisher's order.

    Attributes:
        dataset: name of the data set.
        study_ids, patient_ids: see `Study`.
        published: part by the publisher's lists, "" where they name none; empty where there are no lists.
        no_lists: says which lists are missing.
        keys: how id lists name each study (`flvlp.data.splits.lists.key_of`).
        folders: how many folders such a key has.
    """

    dataset: str
    study_ids: Sequence[str]
    patient_ids: Sequence[str]
    published: Sequence[str]
    no_lists: str
    keys: Sequence[str]
    folders: int = 0


@dataclass(frozen=True, slots=True)
class Split:
    """A made split.

    Attributes:
        name: of the registry.
        parts: part -> positions of the studies, ascending int64.
        listed: the same of all that the publisher lists, where the studies are what was kept of it; None for a pool and
            where nothing was restricted.
    """

    name: str
    parts: dict[str, np.ndarray]
    listed: dict[str, np.ndarray] | None = None


def make_split(
    name: str, table: SplitTable, *, seed: int, validation_fraction: float, lists: str, test_fraction: float = 0.0
) -> Split:
    """Makes a named split.

    A patient in several parts stays in the last of them (test, then validation) and leaves the others, with a warning;
    so a published test part stays whole.

    Args:
        name: see `flvlp.data.splits.registry`.
        table: the studies.
        seed: of a draw by patient; `shuffle` has its own.
        validation_fraction, test_fraction: of `<data set>/patient`.
        lists: folder of the id lists of a `lists` split.

    Returns:
        The parts; studies that no list names are in none.

    Raises:
        ValueError: an unknown name, or lists that are not there or do not fit.
        FileNotFoundError: id lists that are not there.
    """
    rule = rule_of(name, table.dataset, validation_fraction, test_fraction)
    match rule.how:
        case "patients":
            parts = split_by_patient(table.patient_ids, rule.validation, seed, rule.test)
        case "shuffle":
            parts = _shuffled(name, rule, table)
        case "published":
            parts = _published(name, rule, table, seed)
        case "lists":
            if not lists:
                raise ValueError(
                    f"dataset.split_lists: is empty; {name} ({rule.note}) is made from id lists; set the folder of them"
                )
            parts = _of_names(read_lists(Path(lists), table.keys, table.folders))
        case _:
            raise ValueError(f"{name}: unknown way {rule.how!r} in the registry")
    parts = _without_torn(name, {part: parts[part] for part in PARTS if part in parts}, table.patient_ids)
    if not len(parts["train"]):
        raise ValueError(f"dataset.split: {name} leaves no study for training; choose another split, or other lists")
    left = len(table.study_ids) - sum(map(len, parts.values()))
    if left:
        log.info("%s: %d of %d studies are in no part", name, left, len(table.study_ids))
    absent = [
        part for part in PARTS[1:] if not len(parts.get(part, ())) and (part == "validation" or rule.how != "patients")
    ]
    if absent:
        log.warning("%s: there is no %s part", name, " and no ".join(absent))
    sizes = tuple(len(parts.get(part, ())) for part in PARTS)
    if rule.sizes and sizes != rule.sizes:
        log.info("%s: %s studies are listed, %s in the complete data set", name, _shown(sizes), _shown(rule.sizes))
    return Split(name, parts)


def restricted(split: Split, kept: np.ndarray) -> Split:
    """Returns the split of the studies at the positions `kept` (n,) ascending, counted anew; lost parts are left out.

    Raises:
        ValueError: no study is left for training.
    """
    parts = {part: np.flatnonzero(np.isin(kept, rows)) for part, rows in split.parts.items()}
    for part, rows in split.parts.items():
        if len(rows) and not len(parts[part]):
            log.warning("%s: of the %d studies of the %s part nothing is there", split.name, len(rows), part)
            del parts[part]
    if not len(parts.get("train", ())):
        raise ValueError(
            f"dataset.split: of the training part of {split.name} nothing is there; complete the folder, or choose "
            "another split"
        )
    return Split(split.name, parts, listed=split.parts)


def _shown(sizes: tuple[int, ...]) -> str:
    return " / ".join(f"{size:,}" for size in sizes)


def _of_names(names: Sequence[str]) -> dict[str, np.ndarray]:
    known = np.array(names)
    return {part: np.flatnonzero(known == part) for part in PARTS if part == "train" or part in names}


def _publishers(name: str, table: SplitTable) -> dict[str, np.ndarray]:
    if not any(table.published):
        others = ", ".join(other for other in names_of(table.dataset) if other != name)
        raise ValueError(
            f"dataset.split: {name} needs the publisher's lists, and {table.no_lists}; add them, or choose one of: "
            f"{others}"
        )
    return _of_names(table.published)


def _published(name: str, rule: SplitRule, table: SplitTable, seed: int) -> dict[str, np.ndarray]:
    parts = _publishers(name, table)
    if rule.test_part != "test":
        if rule.test_part not in parts:
            raise ValueError(
                f"dataset.split: {name} tests on the part {rule.test_part!r}, of which nothing is there; complete the "
                "folder, or choose another split"
            )
        parts = {"train": parts["train"], "test": parts[rule.test_part]}
    if rule.validation and "validation" not in parts and len(parts["train"]):
        drawn = split_by_patient([table.patient_ids[row] for row in parts["train"]], rule.validation, seed)
        parts |= {part: parts["train"][rows] for part, rows in drawn.items()}
    return parts


def _shuffled(name: str, rule: SplitRule, table: SplitTable) -> dict[str, np.ndarray]:
    """Repeats released code that calls scikit-learn's `train_test_split` with random_state 0.

    Where test is drawn too (RSNA), the pictures are in the order of their ids, and a first draw holds out both parts;
    a second one halves them, test being its first output. Otherwise the pictures are in the order of the publisher's
    training list.
    """
    if rule.test:
        order = np.array(sorted(range(len(table.study_ids)), key=table.study_ids.__getitem__))
        train, held_out = _train_test_split(order, rule.validation + rule.test)
        test, validation = _train_test_split(held_out, rule.test / (rule.validation + rule.test))
        parts = {"train": train, "validation": validation, "test": test}
    else:
        published = _publishers(name, table)
        train, validation = _train_test_split(published["train"], rule.validation)
        tested = published.get(rule.test_part, published.get("test", train[:0]))
        parts = {"train": train, "validation": validation, "test": tested}
    return {part: np.sort(rows) for part, rows in parts.items()}


def _train_test_split(rows: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """What `sklearn.model_selection.train_test_split(rows, test_size=share, random_state=0)` returns."""
    order = np.random.RandomState(0).permutation(len(rows))
    held_out = math.ceil(share * len(rows))
    return rows[order[held_out:]], rows[order[:held_out]]


def _without_torn(name: str, parts: dict[str, np.ndarray], patient_ids: Sequence[str]) -> dict[str, np.ndarray]:
    torn = torn_patients(parts, patient_ids)
    if not torn:
        return parts
    stays = {patient: max(places, key=PARTS.index) for patient, places in torn}
    kept = {
        part: np.array([row for row in rows if stays.get(patient_ids[row], part) == part], dtype=np.int64)
        for part, rows in parts.items()
    }
    lost = sum(len(parts[part]) - len(kept[part]) for part in parts)
    log.warning(
        "%s: %d patients are in more than one part; %d of their studies are left out, so that test stays whole, and "
        "validation beside it",
        *(name, len(torn), lost),
    )
    return kept
