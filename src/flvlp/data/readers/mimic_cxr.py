"""Reads MIMIC-CXR-JPG as published, with the reports of MIMIC-CXR: one study a sample, all its views listed.

The set is credentialed: unless `log_ids` says otherwise, no message holds an id, a path below the root, or text.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from flvlp.data.readers.config import MimicCxrConfig
from flvlp.data.readers.files import FileSource, open_root
from flvlp.data.readers.labels import CHEXPERT14, chexpert_labels
from flvlp.data.readers.layout import Expected
from flvlp.data.readers.listing import Listing, Record, list_studies
from flvlp.data.readers.mimic_reports import REPORT_FOLDERS, REPORTS_ZIP, Reports, open_reports
from flvlp.data.readers.pool_split import split_or_pool
from flvlp.data.readers.privacy import without_details
from flvlp.data.readers.tables import Table, find_table, hides_ids, listed, read_table
from flvlp.data.readers.tree import Tree
from flvlp.data.reports import compose_report, split_sections
from flvlp.data.splits.making import Split
from flvlp.data.studies import Labels

log = logging.getLogger(__name__)

# Release 2.1.0 keeps the names of 2.0.0.
METADATA, SPLIT, LABELS = (f"mimic-cxr-2.0.0-{table}.csv" for table in ("metadata", "split", "chexpert"))
# Of tables and pictures, below the root: the release itself, or the tree that wget makes.
FOLDERS = ("", "mimic-cxr-jpg/2.1.0", "mimic-cxr-jpg/2.0.0")
PARTS = {"train": "train", "validate": "validation", "test": "test"}
# The order in which a view is chosen; any other (blank, AP AXIAL, SWIMMERS, ...) is only among a study's others.
FRONTALS, LATERALS = ("PA", "AP"), ("LATERAL", "LL")
_RANK = {view: rank for rank, view in enumerate((*FRONTALS, *LATERALS))}
_METADATA_COLUMNS = ("dicom_id", "subject_id", "study_id", "ViewPosition")
_SPLIT_COLUMNS = ("study_id", "split")


def _under(folders: Sequence[str], *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" if folder else name for name in names for folder in folders)


def layout(config: MimicCxrConfig) -> tuple[Expected, ...]:
    """Returns what a download holds; `reports` names their folder or zip file."""
    # A tree of pictures that holds no text takes long to search, so the root comes last.
    folders = (config.reports,) if config.reports else tuple(reversed(dict.fromkeys((*FOLDERS, *REPORT_FOLDERS))))
    reports = _under(folders, REPORTS_ZIP, "files/p1*/p*/s*.txt", "p1*/p*/s*.txt")
    if config.reports.lower().endswith(".zip"):
        reports = (config.reports,)
    no_split = "dataset.split=mimic_cxr/official"
    return (
        Expected("table of pictures", _under(FOLDERS, METADATA), _METADATA_COLUMNS),
        Expected("pictures", _under(FOLDERS, "files/p1*/p*/s*/*"), is_pictures=True),
        Expected("reports", reports, is_required=config.needs_report, without="reports"),
        Expected("official split", _under(FOLDERS, SPLIT), _SPLIT_COLUMNS, is_required=False, without=no_split),
        Expected("labels", _under(FOLDERS, LABELS), ("study_id", *CHEXPERT14), is_required=False, without="labels"),
    )


@dataclass(slots=True)
class _Pictures:
    """The pictures of one study: subject, first line, and (rank of the view, dicom id) in the order of the table."""

    subject: str
    row: int
    views: list[tuple[int, str]]


def read_mimic_cxr(config: MimicCxrConfig) -> FileSource:
    """Reads the data set; each study is a sample, in the order of the metadata table.

    The frontal is the first PA, else the first AP; the lateral the first LATERAL, else the first LL; all further
    pictures are the study's others. Ids are those of the folders: `s50414267` of patient `p10000032`. Labels are those
    of CheXpert's labeller, missing for a study that its table does not list.

    A study without a report file is one without text: dropped with a tally, or kept with `needs_report=false`.

    Raises:
        FileNotFoundError: a missing root, metadata table, report folder or (with `missing_images=raise`) picture, or no
            report at all.
        ValueError: a missing column, an id that is no number, a study of two patients or two parts, an unknown split or
            label, a report that cannot be read, or no study left.
    """
    root, hides = open_root(config, f"{METADATA}.gz and files/p10/..."), hides_ids(config)
    base, path = next(
        ((root / folder, path) for folder in FOLDERS if (path := find_table(root / folder, (METADATA,)))), (root, None)
    )
    columns = {name: name for name in _METADATA_COLUMNS}
    table = read_table(path or root / METADATA, "dataset.root", columns, hides=hides)
    pictures = _group(table, hides)
    with open_reports(config, root, base, hides) as reports:
        records = [_record(study, found, reports, config.report_policy) for study, found in pictures.items()]
    _tell(config, table.path, reports, len(records))
    with without_details(hides, f"{base}: a folder below it may not be listed; allow reading it", PermissionError):
        listing = list_studies(config, table.path, records, Tree(base), needs_report=config.needs_report)
    label_path = find_table(base, (LABELS,))
    label_columns = {name: name for name in ("study_id", *CHEXPERT14)}
    label_table = read_table(label_path, "dataset.root", label_columns, hides=hides) if label_path else None
    labels = partial(_labels, label_table, listing, hides=hides) if label_table else None
    return FileSource(
        base,
        listing,
        _split(config, records, listing, base, labels),
        hides,
        labels=labels(config.uncertain, config.unmentioned) if labels else None,
    )


def _group(table: Table, hides: bool) -> dict[str, _Pictures]:
    """Maps each study id, as published, to its pictures."""
    studies: dict[str, _Pictures] = {}
    bad: list[tuple[int, str]] = []
    torn: list[tuple[int, str]] = []
    for line, dicom, subject, study, view in zip(
        table.lines.tolist(), *(table.columns[name] for name in _METADATA_COLUMNS), strict=True
    ):
        # Folders are made of these ids.
        if not (subject.isdecimal() and study.isdecimal() and dicom):
            bad.append((line, f"{subject} {study} {dicom}"))
            continue
        found = studies.get(study)
        if found is None:
            found = studies[study] = _Pictures(subject, line, [])
        elif found.subject != subject:
            torn.append((line, study))
        found.views.append((_RANK.get(view, len(_RANK)), dicom))
    if bad:
        raise ValueError(
            f"{table.path}: no ids in {listed(bad, hides)}; subject_id and study_id are numbers and dicom_id is not "
            "blank; correct the table"
        )
    if torn:
        raise ValueError(f"{table.path}: study of two patients in {listed(torn, hides)}; correct the table")
    return studies


def _record(study: str, pictures: _Pictures, reports: Reports, policy: str) -> Record:
    patient = f"files/p{pictures.subject[:2]}/p{pictures.subject}"
    # Stable: of equal views, the first of the table comes first.
    views = [
        (rank, f"{patient}/s{study}/{dicom}.jpg") for rank, dicom in sorted(pictures.views, key=lambda view: view[0])
    ]
    text = reports.text(pictures.row, f"{patient}/s{study}.txt")
    return Record(
        f"s{study}",
        f"p{pictures.subject}",
        tuple(path for rank, path in views if rank < len(FRONTALS)),
        tuple(path for rank, path in views if len(FRONTALS) <= rank < len(_RANK)),
        tuple(path for rank, path in views if rank == len(_RANK)),
        compose_report(split_sections(text), policy) if text else "",
        pictures.row,
    )


def _tell(config: MimicCxrConfig, table: Path, reports: Reports, studies: int) -> None:
    """Logs how many reports are there; stops where they are needed and there is none."""
    if config.needs_report and not reports.found:
        raise FileNotFoundError(
            f"{table}: no report of its {studies} studies is there; looked for files/p10/...txt in "
            f"{', '.join(map(str, reports.looked_in))}; reports come with MIMIC-CXR, not MIMIC-CXR-JPG: set "
            f"dataset.reports to their folder or to {REPORTS_ZIP}, or set dataset.needs_report=false"
        )
    log.info(
        "%s: %d of %d studies have a report file; in %d of these, bytes that are not UTF-8 become U+FFFD",
        *(table, reports.found, studies, reports.undecodable),
    )


def _split(
    config: MimicCxrConfig,
    records: Sequence[Record],
    listing: Listing,
    base: Path,
    labels: Callable[[str, str], Labels] | None,
) -> Split:
    hides = hides_ids(config)
    path = find_table(base, (SPLIT,))
    columns = {name: name for name in _SPLIT_COLUMNS}
    part_of = _parts(read_table(path, "dataset.root", columns, hides=hides), hides) if path else {}

    def pool_labels() -> Labels:
        if labels is None:
            raise FileNotFoundError(
                f"{base / LABELS}: no such table; a pool is drawn by its labels; add it, or set dataset.pool to a list"
            )
        return labels("ignore", "zero")

    return split_or_pool(
        config,
        records,
        listing,
        published=[part_of.get(record.study_id, "") for record in records] if part_of else [],
        no_lists=f"{SPLIT} is not in {base}",
        keys=[record.study_id for record in records],
        pool_columns=("study_id",),
        pool_key=lambda name: f"s{name.removeprefix('s')}",
        pool_keys=[study.study_id for study in listing.studies],
        pool_labels=pool_labels,
        can_be_drawn=[study.report != "" for study in listing.studies],
    )


def _parts(table: Table, hides: bool) -> dict[str, str]:
    """Maps study id to its official part; the table lists pictures, and all pictures of a study are in one part."""
    part_of: dict[str, str] = {}
    unknown, torn = [], []
    for line, study, name in zip(table.lines.tolist(), table.columns["study_id"], table.columns["split"], strict=True):
        part = PARTS.get(name, "")
        if not part:
            unknown.append((line, name))
        elif part_of.setdefault(f"s{study}", part) != part:
            torn.append((line, study))
    if unknown:
        raise ValueError(
            f"{table.path}: unknown split in {listed(unknown, hides)}; known: {', '.join(PARTS)}; correct the table"
        )
    if torn:
        raise ValueError(
            f"{table.path}: study in two parts in {listed(torn, hides)}; all pictures of a study are in one; correct "
            "the table"
        )
    return part_of


def _labels(table: Table, listing: Listing, uncertain: str, unmentioned: str, hides: bool) -> Labels:
    """Returns the labels of the kept studies, missing for those that the table does not list."""
    values = chexpert_labels(table, CHEXPERT14, uncertain, unmentioned, hides).values
    position = {f"s{study}": row for row, study in enumerate(table.columns["study_id"])}
    if len(position) < len(values):
        raise ValueError(f"{table.path}: {len(values) - len(position)} rows repeat a study; copy the table again")
    # The last row, -1, is for a study that is not listed.
    values = np.concatenate([values, np.full((1, len(CHEXPERT14)), np.nan, dtype=np.float32)])
    return Labels(CHEXPERT14, values[[position.get(study.study_id, -1) for study in listing.studies]])
