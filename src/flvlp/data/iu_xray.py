"""Reads the Indiana University (Open-i) chest X-ray collection as published in two CSV files and an image folder."""

import logging
from pathlib import Path

from flvlp.data.config import IUXrayConfig
from flvlp.data.files import FileSource, Table, file_names, hides_ids, listed, read_table
from flvlp.data.reports import Sections, compose_report
from flvlp.data.splits import split_by_patient
from flvlp.types import Study

PROJECTIONS = ("Frontal", "Lateral")
_PUBLISHED_SUFFIX = ".dcm.png"
_COPY_SUFFIXES = (".png", ".jpg", ".jpeg")

_logger = logging.getLogger(__name__)


def read_iu_xray(config: IUXrayConfig) -> FileSource:
    """Reads the collection; each uid is one study of one patient.

    Of several frontals (or laterals) of a uid the first listed one counts. Dropped, with a logged tally: studies whose
    findings and impression are both empty, studies without a frontal view and, with `missing_images=drop`, those whose
    frontal file is not there; a missing lateral file then means that the study has no lateral view. Besides the
    published name `54_IM-2145-1001.dcm.png` a converted copy is found as `54_IM-2145-1001` or `CXR54_IM-2145-1001`
    with `.png`, `.jpg` or `.jpeg`. `Study.row` is the line of the reports file.

    Returns:
        The studies in the order of the reports file, split by patient.

    Raises:
        FileNotFoundError: for a missing root, table or image folder, and with `missing_images=raise` an image file.
        ValueError: for a missing column, a uid that is blank or listed twice, an unknown projection, or no study left.
    """
    if not config.root or not Path(config.root).is_dir():
        raise FileNotFoundError(
            f"dataset.root: no such folder ({config.root!r}); it must hold {config.reports}, {config.projections} and "
            f"{config.images}; set dataset.root"
        )
    root, hides = Path(config.root), hides_ids(config)
    report_columns = {name: name for name in ("uid", "findings", "impression")}
    reports = read_table(root / config.reports, "dataset.reports", report_columns)
    projection_columns = {name: name for name in ("uid", "filename", "projection")}
    projections = read_table(root / config.projections, "dataset.projections", projection_columns)
    images = root / config.images
    if not images.is_dir():
        raise FileNotFoundError(f"dataset.images: no such folder ({images}); it holds the pictures; set dataset.images")
    views = _first_views(projections, hides)
    _check_uids(reports, hides)
    return _assemble(config, reports, views, images, hides)


def _check_uids(reports: Table, hides: bool) -> None:
    seen: set[str] = set()
    bad = []
    for line, uid in zip(reports.lines, reports.columns["uid"], strict=True):
        if not uid or uid in seen:
            bad.append((int(line), uid))
        seen.add(uid)
    if bad:
        raise ValueError(
            f"{reports.path}: blank or repeated uid in {listed(bad, hides)}; every report has a uid of its own; "
            "correct the column"
        )


def _first_views(projections: Table, hides: bool) -> dict[str, dict[str, tuple[int, str]]]:
    """Maps projection -> uid -> (line, file name) of the first listed picture."""
    views: dict[str, dict[str, tuple[int, str]]] = {name: {} for name in PROJECTIONS}
    unknown = []
    columns = (projections.columns[name] for name in ("uid", "filename", "projection"))
    for line, uid, name, projection in zip(projections.lines, *columns, strict=True):
        if projection in views:
            views[projection].setdefault(uid, (int(line), name))
        else:
            unknown.append((int(line), projection))
    if unknown:
        raise ValueError(
            f"{projections.path}: unknown projection in {listed(unknown, hides)}; known: {', '.join(PROJECTIONS)}; "
            "correct the column"
        )
    return views


def _assemble(
    config: IUXrayConfig,
    reports: Table,
    views: dict[str, dict[str, tuple[int, str]]],
    images: Path,
    hides: bool,
) -> FileSource:
    """Joins reports and pictures, dropping and counting what is incomplete."""
    present = file_names(images)
    dropped = {"without text": 0, "without a frontal view": 0, "whose frontal file is missing": 0}
    missing: list[tuple[int, str]] = []
    lost_laterals = 0
    studies: list[Study] = []
    frontal_paths: list[str] = []
    lateral_paths: list[str] = []
    columns = (reports.columns[name] for name in ("uid", "findings", "impression"))
    for line, uid, findings, impression in zip(reports.lines, *columns, strict=True):
        report = compose_report(Sections(findings, impression, ""))
        if not report:
            dropped["without text"] += 1
            continue
        if uid not in views["Frontal"]:
            dropped["without a frontal view"] += 1
            continue
        files = {name: _find(views[name][uid][1], present) for name in PROJECTIONS if uid in views[name]}
        missing.extend(views[name][uid] for name, file in files.items() if not file)
        if not files["Frontal"]:
            dropped["whose frontal file is missing"] += 1
            continue
        lateral = files.get("Lateral", "")
        lost_laterals += "Lateral" in files and not lateral
        studies.append(Study(uid, uid, report, has_lateral=lateral != "", row=int(line)))
        frontal_paths.append(str(images / files["Frontal"]))
        lateral_paths.append(str(images / lateral) if lateral else "")
    if missing and config.missing_images == "raise":
        raise FileNotFoundError(
            f"{images}: {listed(sorted(missing), hides, 'missing image file')} of {config.projections}; every listed "
            "picture must be there; complete the folder, set dataset.images, or set dataset.missing_images=drop"
        )
    tally = ", ".join(f"{count} {what}" for what, count in dropped.items())
    _logger.info(
        "%s: kept %d of %d studies; dropped: %s; %d lateral files are missing",
        *(reports.path, len(studies), len(reports.lines), tally, lost_laterals),
    )
    if not studies:
        raise ValueError(
            f"{reports.path}: no study is left of {len(reports.lines)} (dropped: {tally}); a study needs a text and a "
            "frontal file; complete the folder or set dataset.root"
        )
    splits = split_by_patient([study.patient_id for study in studies], config.validation_fraction, config.split_seed)
    return FileSource(studies, splits, frontal_paths, lateral_paths, hides)


def _find(name: str, present: set[str]) -> str:
    """Returns the name under which a picture is in the folder, "" if it is not."""
    stem = name.removesuffix(_PUBLISHED_SUFFIX)
    copies = (f"{prefix}{stem}{suffix}" for prefix in ("", "CXR") for suffix in _COPY_SUFFIXES)
    return next((candidate for candidate in (name, *copies) if candidate in present), "")
