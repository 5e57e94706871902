"""From the rows of a table to studies whose pictures are there."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flvlp.data.columns import StudyColumns, Texts
from flvlp.data.readers.base_config import FilesConfig
from flvlp.data.readers.tables import hides_ids, listed
from flvlp.data.readers.tree import Tree, leaves_root

log = logging.getLogger(__name__)

NO_FRONTAL, NO_TEXT, NO_FILE = "without a frontal view", "without text", "whose frontal file is missing"


@dataclass(slots=True)
class Record:
    """What a reader says of one study; paths start from the root of its tree.

    Attributes:
        study_id, patient_id, report, row: see `Study`.
        frontals: paths of the frontal views, the one to read first; the next stands in for a file that is missing.
        laterals: of the lateral views, likewise.
        others: of views that are neither, or of which that is not known.
    """

    study_id: str
    patient_id: str
    frontals: tuple[str, ...]
    laterals: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    report: str = ""
    row: int = 0

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path once."""
        return tuple(dict.fromkeys((*self.frontals, *self.laterals, *self.others)))


@dataclass(frozen=True, slots=True)
class Listing:
    """The studies that can be used.

    Attributes:
        studies: in the order of the records.
        frontal_paths, lateral_paths: file of each view, below the root; "" for a study without a lateral.
        other_paths: files of the further views.
        kept: (n,) int64, the record of each study.
        dropped: why -> (n,) int64, the records that were dropped for it.
        incomplete: what is missing of the kept studies -> how many.
    """

    studies: StudyColumns
    frontal_paths: Texts
    lateral_paths: Texts
    other_paths: list[tuple[str, ...]]
    kept: np.ndarray
    dropped: dict[str, np.ndarray]
    incomplete: dict[str, int]


class _Files(NamedTuple):
    """The files of one study; a tuple, since a data set makes hundreds of thousands.

    Attributes:
        frontal, lateral: the first of each kind that is there, "" where none is.
        others: the further ones that are there.
        missing: the paths of those that are not.
        lost_laterals: 1 where all laterals are missing.
        replaced: how many of `frontal` and `lateral` are not the first of their kind, since that is missing.
    """

    frontal: str
    lateral: str
    others: tuple[str, ...]
    missing: tuple[str, ...]
    lost_laterals: int
    replaced: int


def list_studies(
    config: FilesConfig, table: Path, records: Sequence[Record], tree: Tree, *, needs_report: bool = False
) -> Listing:
    """Keeps the records whose pictures are there.

    Dropped, with a logged tally: records without a frontal view, with `needs_report` those without text and, with
    `missing_images=drop`, those of which no frontal file is there. Of the kept ones the next frontal or lateral then
    stands in for the first where that is missing; without any lateral file a study has no lateral view.

    Args:
        config: of the data set.
        table: the file that messages name.
        records: the studies, in the publisher's order.
        tree: finds the files.
        needs_report: whether a study without text is of no use.

    Raises:
        ValueError: a path that leaves the root, a study id listed twice, or no study left.
        FileNotFoundError: with `missing_images=raise`, a picture that is not there.
    """
    hides = hides_ids(config)
    _check_records(table, records, tree, hides)
    dropped: dict[str, list[int]] = {NO_FRONTAL: [], NO_TEXT: [], NO_FILE: []}
    missing: list[tuple[int, str]] = []
    kept: list[int] = []
    files: list[_Files] = []
    for number, record in enumerate(records):
        if needs_report and not record.report:
            dropped[NO_TEXT].append(number)
            continue
        if not record.frontals:
            dropped[NO_FRONTAL].append(number)
            continue
        found = _find(record, tree)
        missing += [(record.row, path) for path in found.missing]
        if not found.frontal:
            dropped[NO_FILE].append(number)
            continue
        kept.append(number)
        files.append(found)
    if missing and config.missing_images == "raise":
        raise FileNotFoundError(
            f"{table}: {listed(sorted(missing), hides, 'missing image file')}; paths start from {tree.root}, and every "
            "listed picture must be there; complete the folder, set dataset.root, or set dataset.missing_images=drop"
        )
    words = ", ".join(f"{len(rows)} {what}" for what, rows in dropped.items())
    incomplete = _count_missing(files)
    log.info(
        "%s: kept %d of %d studies; dropped: %s; of the kept ones: %s",
        *(table, len(kept), len(records), words, ", ".join(f"{count} {what}" for what, count in incomplete.items())),
    )
    if not kept:
        raise ValueError(
            f"{table}: no study is left of {len(records)} (dropped: {words}); a study needs a frontal file"
            f"{' and a text (dataset.report_policy)' if needs_report else ''}; complete the folder or set dataset.root"
        )
    chosen = [records[number] for number in kept]
    return Listing(
        StudyColumns(
            [record.study_id for record in chosen],
            [record.patient_id for record in chosen],
            [record.report for record in chosen],
            [found.lateral != "" for found in files],
            [record.row for record in chosen],
        ),
        Texts([found.frontal for found in files]),
        Texts([found.lateral for found in files]),
        [found.others for found in files],
        np.array(kept, dtype=np.int64),
        {what: np.array(rows, dtype=np.int64) for what, rows in dropped.items()},
        incomplete,
    )


def _find(record: Record, tree: Tree) -> _Files:
    if not record.others and len(record.frontals) == 1 and len(record.laterals) <= 1:  # most records: nothing to choose
        frontal = tree.find(record.frontals[0])
        lateral = tree.find(record.laterals[0]) if record.laterals else ""
        if frontal and (lateral or not record.laterals):
            return _Files(frontal, lateral, (), (), 0, 0)
    file_of = {path: tree.find(path) for path in record.paths}
    firsts = []
    replaced = 0
    for paths in (record.frontals, record.laterals):
        first = next((file_of[path] for path in paths if file_of[path]), "")
        replaced += bool(first) and not file_of[paths[0]]
        firsts.append(first)
    return _Files(
        frontal=firsts[0],
        lateral=firsts[1],
        others=tuple(dict.fromkeys(file for file in file_of.values() if file and file not in firsts)),
        missing=tuple(path for path, file in file_of.items() if not file),
        lost_laterals=int(bool(record.laterals) and not firsts[1]),
        replaced=replaced,
    )


def _count_missing(files: Sequence[_Files]) -> dict[str, int]:
    """Counts each missing file of the kept studies under what became of it."""
    lost = sum(found.lost_laterals for found in files)
    replaced = sum(found.replaced for found in files)
    return {
        "lateral files are missing": lost,
        "missing files have another view of their study in their place": replaced,
        "further files are missing": sum(len(found.missing) for found in files) - lost - replaced,
    }


def _check_records(table: Path, records: Sequence[Record], tree: Tree, hides: bool) -> None:
    outside = [
        (record.row, path) for record in (() if tree.is_open else records) for path in record.paths if leaves_root(path)
    ]
    if outside:
        raise ValueError(
            f"{table}: image path outside the root in {listed(outside, hides)}; a path stays under {tree.root}; "
            "correct the table"
        )
    seen: set[str] = set()
    repeated = []
    for record in records:
        if not record.study_id or not record.patient_id or record.study_id in seen:
            repeated.append((record.row, record.study_id))
        seen.add(record.study_id)
    if repeated:
        raise ValueError(
            f"{table}: blank or repeated id in {listed(repeated, hides)}; a study is listed once, with its patient; "
            "correct the table"
        )
