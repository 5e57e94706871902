"""Reads a CSV with one study a row: paths of a frontal and maybe a lateral view, and a report."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flvlp.data.readers.config import PairsConfig
from flvlp.data.readers.files import FileSource
from flvlp.data.readers.labels import known_values
from flvlp.data.readers.listing import Record, list_studies
from flvlp.data.readers.masks import FileMasks
from flvlp.data.readers.privacy import without_details
from flvlp.data.readers.tables import Table, hides_ids, listed, read_table, shown
from flvlp.data.readers.tree import Tree
from flvlp.data.reports import compose_report, split_sections
from flvlp.data.splits.making import Split, restricted
from flvlp.data.splits.patients import split_by_patient
from flvlp.data.studies import Labels

SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "validate": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
_LABELS = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": float("nan")}


def read_pairs(config: PairsConfig) -> FileSource:
    """Reads the table and checks all of it before any training: columns, paths, files, reports, splits.

    A study's id is `row-<line>`, since the table has none; so is its patient when no patient column is named. A blank
    lateral means that there is none. Reports are put in the order IMPRESSION, FINDINGS (`flvlp.data.reports`); studies
    without text are dropped, with a logged tally. With a split column the parts are as it says, `test` being a part of
    its own; otherwise `split_by_patient`.

    Paths stay under the root, absolute ones unless `outside_root`. They are compared as they are written: a symbolic
    link below the root is followed wherever it leads, for whoever made that folder put it there.

    Returns:
        The studies in the order of the rows.

    Raises:
        FileNotFoundError: for a missing CSV file, root folder or image file.
        ValueError: for a missing column, a blank frontal path, patient or report, a path that leaves the root, an
            unknown split, a patient in two splits, or no study (for training).
        PermissionError: if an image folder may not be listed.
    """
    table, root = _open(config)
    hides = hides_ids(config)
    texts = table.columns.get("dataset.report_column", [""] * len(table.lines))
    reports = [compose_report(split_sections(text), config.report_policy) for text in texts]
    patients = table.columns.get("dataset.patient_column", [f"row-{line}" for line in table.lines])
    _check_filled(table, "dataset.frontal_column", config.frontal_column, "a study needs a frontal view")
    _check_filled(table, "dataset.patient_column", config.patient_column, "a patient column names everyone")
    frontals, laterals, masks = (
        _resolved(config, table, root, table.columns.get(f"dataset.{key}_column", [""] * len(reports)))
        for key in ("frontal", "lateral", "mask")
    )
    records = [
        Record(f"row-{line}", patient, (frontal,), (lateral,) if lateral else (), report=report, row=int(line))
        for line, patient, frontal, lateral, report in zip(
            table.lines, patients, frontals, laterals, reports, strict=True
        )
    ]
    tree = Tree(Path(), is_open=True)
    with without_details(
        hides, f"{table.path}: a folder of images may not be listed; allow reading it", PermissionError
    ):
        listing = list_studies(config, table.path, records, tree, needs_report=bool(config.report_column))
        _check_masks(table, masks, listing.kept, hides)
    labels = [known_values(table, name, _LABELS, hides)[listing.kept] for name in config.label_columns]
    return FileSource(
        root,  # of the pixel cache; the paths are absolute
        listing,
        _split(config, table, patients, listing.kept),
        hides,
        labels=Labels(tuple(config.label_columns), np.stack(labels, axis=1)) if labels else None,
        masks=FileMasks([masks[row] for row in listing.kept], table.lines[listing.kept].tolist(), hides)
        if config.mask_column
        else None,
    )


def _split(config: PairsConfig, table: Table, patients: Sequence[str], kept: np.ndarray) -> Split:
    if "dataset.split_column" in table.columns:
        split = Split("pairs/column", _named_splits(table, config, patients, hides_ids(config)))
    else:
        split = Split(
            "pairs/patient",
            split_by_patient(patients, config.validation_fraction, config.split_seed, config.test_fraction),
        )
    return restricted(split, kept)


def _open(config: PairsConfig) -> tuple[Table, Path]:
    """Reads the columns that the config names, and finds the folder that relative paths start from."""
    if not config.csv:
        raise ValueError("dataset.csv: is empty; it must name a CSV file; set dataset.csv")
    optional = {
        "dataset.lateral_column": config.lateral_column,
        "dataset.report_column": config.report_column,
        "dataset.patient_column": config.patient_column,
        "dataset.split_column": config.split_column,
        "dataset.mask_column": config.mask_column,
    }
    columns = {
        "dataset.frontal_column": config.frontal_column,
        **{key: name for key, name in optional.items() if name},
    }
    keys: dict[str, str] = {}
    for key, name in columns.items():
        if name in keys:
            raise ValueError(f"{key}: names the column {name!r} of {keys[name]}; each needs one of its own; set {key}")
        keys[name] = key
    columns |= {name: name for name in config.label_columns}
    path = Path(config.csv)
    table = read_table(path, "dataset.csv", columns, hides=hides_ids(config))
    root = (Path(config.root) if config.root else path.parent).absolute()
    if not root.is_dir():
        raise FileNotFoundError(
            f"dataset.root: no such folder ({root}); relative image paths start from it; set dataset.root"
        )
    if not len(table.lines):
        raise ValueError(f"{path}: no study; every line after the header is one; add rows or set dataset.csv")
    return table, root


def _check_filled(table: Table, key: str, column: str, rule: str) -> None:
    values = table.columns.get(key, ["-"] * len(table.lines))  # a column that no key names is not asked for
    blank = [(int(line), None) for line, value in zip(table.lines, values, strict=True) if not value]
    if blank:
        raise ValueError(
            f"{table.path}: blank {column!r} ({key}) in {listed(blank, hides=False)}; {rule}; "
            "fill the value or delete the row"
        )


def _resolved(config: PairsConfig, table: Table, root: Path, values: Sequence[str]) -> list[str]:
    """Makes paths absolute, relative ones from the root, "" staying ""; refuses those that leave it."""
    hides = hides_ids(config)
    # Neither pathlib nor os.path for each: they take seconds for 400,000 rows.
    start = str(root).rstrip("/") + "/"
    climbing = [
        (int(line), value)
        for line, value in zip(table.lines, values, strict=True)
        if value[:1] != "/" and ".." in value and os.path.normpath(value).split(os.sep, 1)[0] == ".."
    ]
    if climbing:
        raise ValueError(
            f"{table.path}: image path outside the root in {listed(climbing, hides)}; a relative path stays under "
            f"{root}; set dataset.root to the common folder, or write absolute paths and set dataset.outside_root=true"
        )
    starts = tuple({start, *(folder.rstrip("/") + "/" for folder in (os.path.normpath(root), os.path.realpath(root)))})
    elsewhere = [
        (int(line), value)
        for line, value in zip(table.lines, values, strict=True)
        if value[:1] == "/" and not (os.path.normpath(value) if ".." in value else value).startswith(starts)
    ]
    if elsewhere and not config.outside_root:
        raise ValueError(
            f"{table.path}: absolute image path outside the root in {listed(elsewhere, hides)}; the root is {root}; "
            "set dataset.root to the common folder, or dataset.outside_root=true if the table may name any file"
        )
    return [value if value[:1] in ("", "/") else start + value for value in values]


def _check_masks(table: Table, paths: Sequence[str], kept: np.ndarray, hides: bool) -> None:
    tree = Tree(Path(), is_open=True)
    missing = [
        (int(table.lines[row]), paths[row]) for row in kept if paths[row] and tree.find(paths[row]) != paths[row]
    ]
    if missing:
        raise FileNotFoundError(
            f"{table.path}: {listed(missing, hides, 'missing mask file')}; a blank cell means that nothing is marked; "
            "correct the paths or dataset.root"
        )


def _named_splits(table: Table, config: PairsConfig, patients: Sequence[str], hides: bool) -> dict[str, np.ndarray]:
    """Follows the split column; always has `train` and `validation`, and `test` where a row says so."""
    values = table.columns["dataset.split_column"]
    names = [SPLIT_NAMES.get(value.lower(), "") for value in values]
    unknown = [(int(line), value) for line, value, name in zip(table.lines, values, names, strict=True) if not name]
    where = f"{table.path}: column {config.split_column!r} (dataset.split_column)"
    if unknown:
        raise ValueError(
            f"{where}: unknown split in {listed(unknown, hides, longest=20)}; known: {', '.join(SPLIT_NAMES)}; "
            "correct the values or set dataset.split_column"
        )
    rows_of: dict[str, dict[str, int]] = defaultdict(dict)
    for line, patient, name in zip(table.lines, patients, names, strict=True):
        rows_of[patient].setdefault(name, int(line))
    torn = [(patient, rows) for patient, rows in rows_of.items() if len(rows) > 1]
    if torn:
        examples = "; ".join(
            f"{shown(patient, hides)} in " + " and ".join(f"{name} (row {row})" for name, row in rows.items())
            for patient, rows in torn[:5]
        )
        raise ValueError(
            f"{where}: {len(torn)} patient{'s' * (len(torn) > 1)} in two splits: {examples}; all studies of a patient "
            "belong to one; correct the column, or set dataset.split_column= to split by patient"
        )
    splits = {part: np.flatnonzero(np.array(names) == part) for part in ("train", "validation", "test")}
    if not len(splits["train"]):
        raise ValueError(f"{where}: no study is left for training; a row must say train; correct the column")
    return {part: rows for part, rows in splits.items() if part != "test" or len(rows)}
