"""From the rows of a table to studies whose pictures are there."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flvlp.data.readers.config import FilesConfig
from flvlp.data.readers.tables import hides_ids, listed
from flvlp.data.readers.tree import Tree, leaves_root
from flvlp.data.studies import Study

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Record:
    """What a reader says of one study; paths start from the root of its tree.

    Attributes:
        study_id, patient_id, report, row: see `Study`.
        frontal: path of the first frontal view, "" where there is none.
        lateral: path of the first lateral view, "" where there is none.
        others: paths of its further views.
    """

    study_id: str
    patient_id: str
    frontal: str
    lateral: str = ""
    others: tuple[str, ...] = ()
    report: str = ""
    row: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The studies that can be used.

    Attributes:
        studies: in the order of the records.
        frontal_paths, lateral_paths: file of each view, below the root; "" for a study without a lateral.
        other_paths: files of the further views.
        kept: (n,) int64, the record of each study.
        tally: what was dropped and why -> how many.
    """

    studies: list[Study]
    frontal_paths: list[str]
    lateral_paths: list[str]
    other_paths: list[tuple[str, ...]]
    kept: np.ndarray
    tally: dict[str, int]


def list_studies(
    config: FilesConfig, table: Path, records: Sequence[Record], tree: Tree, *, needs_report: bool = False
) -> Listing:
    """Keeps the records whose pictures are there.

    Dropped, with a logged tally: records without a frontal view, with `needs_report` those without text and, with
    `missing_images=drop`, those whose frontal file is not there; a missing lateral file then means that the study has
    no lateral view.

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
    tally = {"without a frontal view": 0, "without text": 0, "whose frontal file is missing": 0}
    lost_laterals = 0
    missing: list[tuple[int, str]] = []
    kept: list[int] = []
    made = Listing([], [], [], [], np.zeros(0, np.int64), tally)
    for number, record in enumerate(records):
        if needs_report and not record.report:
            tally["without text"] += 1
            continue
        if not record.frontal:
            tally["without a frontal view"] += 1
            continue
        frontal, lateral = tree.find(record.frontal), tree.find(record.lateral) if record.lateral else ""
        missing += [
            (record.row, path)
            for path, file in ((record.frontal, frontal), (record.lateral, lateral))
            if path and not file
        ]
        if not frontal:
            tally["whose frontal file is missing"] += 1
            continue
        lost_laterals += bool(record.lateral and not lateral)
        kept.append(number)
        has_lateral = lateral != ""
        made.studies.append(Study(record.study_id, record.patient_id, record.report, has_lateral, record.row))
        made.frontal_paths.append(frontal)
        made.lateral_paths.append(lateral)
        made.other_paths.append(tuple(file for path in record.others if (file := tree.find(path))))
    if missing and config.missing_images == "raise":
        raise FileNotFoundError(
            f"{table}: {listed(sorted(missing), hides, 'missing image file')}; paths start from {tree.root}, and every "
            "listed picture must be there; complete the folder, set dataset.root, or set dataset.missing_images=drop"
        )
    words = ", ".join(f"{count} {what}" for what, count in tally.items())
    log.info(
        "%s: kept %d of %d studies; dropped: %s; %d lateral files are missing",
        *(table, len(kept), len(records), words, lost_laterals),
    )
    if not kept:
        raise ValueError(
            f"{table}: no study is left of {len(records)} (dropped: {words}); a study needs a frontal file"
            f"{' and a text (dataset.report_policy)' if needs_report else ''}; complete the folder or set dataset.root"
        )
    tally["lateral files missing"] = lost_laterals
    return Listing(made.studies, made.frontal_paths, made.lateral_paths, made.other_paths, np.array(kept), tally)


def _check_records(table: Path, records: Sequence[Record], tree: Tree, hides: bool) -> None:
    outside = [
        (record.row, path)
        for record in records
        for path in (record.frontal, record.lateral, *record.others)
        if not tree.is_open and leaves_root(path)
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
