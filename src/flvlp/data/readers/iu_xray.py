"""Reads the Indiana University (Open-i) chest X-ray collection in the forms that it is shipped in."""

import logging
from collections.abc import Sequence
from glob import escape
from pathlib import Path

from flvlp.data.readers.config import IUXrayConfig
from flvlp.data.readers.files import FileSource, open_root, split_of
from flvlp.data.readers.iu_reports import ARCHIVES, XML_FOLDERS, Text, csv_texts, find_xml, r2gen_texts, xml_texts
from flvlp.data.readers.layout import Expected
from flvlp.data.readers.listing import Record, list_studies
from flvlp.data.readers.tables import Table, find_table, hides_ids, listed, read_table
from flvlp.data.readers.tree import Tree

PROJECTIONS = ("Frontal", "Lateral")
_PROJECTION_COLUMNS = ("uid", "filename", "projection")
_FOLDERS = ("", "images_normalized")

_logger = logging.getLogger(__name__)
_Views = dict[str, list[tuple[int, str, str]]]  # uid -> (line, file name, projection)


def layout(config: IUXrayConfig) -> tuple[Expected, ...]:
    """Returns what a download holds, under the names that the configuration gives."""
    forms = {
        "csv": (config.reports,),
        "xml": (*ARCHIVES, *(f"{folder}/*.xml" for folder in XML_FOLDERS)),
        "r2gen": (config.annotation,),
    }
    reports = forms.get(config.text, tuple(name for names in forms.values() for name in names))
    images = escape(config.images)
    return (
        Expected("reports: table, Open-i's files, or R2Gen's", reports),
        Expected(
            "which picture is which view",
            (config.projections,),
            _PROJECTION_COLUMNS,
            is_required=config.text in ("csv", "xml"),
            without="everything but R2Gen's pictures, of which one in ten is then taken for the wrong view",
        ),
        # R2Gen's lie in a folder a study.
        Expected("pictures", tuple(f"{images}/{rest}" for rest in ("*", f"{_FOLDERS[1]}/*", "*/*")), is_pictures=True),
    )


def read_iu_xray(config: IUXrayConfig) -> FileSource:
    """Reads the collection; each uid is one study of one patient.

    Which picture shows which view is said by `indiana_projections.csv` alone: neither Open-i's report files nor R2Gen's
    annotation know it (by that table the first picture of a report file is a lateral in 12 % of the studies). Of
    several frontals (or laterals) of a uid the first listed one counts, the others are listed. Studies without text or
    without a frontal view are dropped, with a logged tally. Besides the published name `54_IM-2145-1001.dcm.png` a
    converted copy is found as `54_IM-2145-1001` or `CXR54_IM-2145-1001` with `.png`, `.jpg` or `.jpeg`.

    With `text=r2gen` the pictures `images/CXR1_IM-0001/0.png`, `1.png` are taken for the study's pictures in the order
    of their names; without the table `0` is taken for the frontal view, with a warning. Which two of three pictures
    R2Gen took is not known: such studies are counted in a warning too.

    Returns:
        The studies in the order of their texts. `Study.row` is the line of the reports table, 0 for other forms.

    Raises:
        FileNotFoundError: for a missing root, table, text or image folder, and with `missing_images=raise` an image.
        ValueError: for a missing column, a uid that is blank or listed twice, an unknown projection, or no study left.
    """
    root, hides = open_root(config, f"{config.reports}, {config.projections} and {config.images}"), hides_ids(config)
    kind, texts = _texts(config, root, hides)
    projections = find_table(root, (config.projections,)) or root / config.projections
    views: _Views = {}
    if kind != "r2gen" or projections.is_file():
        views = _views(_projections(projections, hides), hides)
    else:
        _logger.warning("%s is not there: picture 0 of a study is taken for its frontal view", projections)
    images = root / config.images
    if not images.is_dir():
        raise FileNotFoundError(f"dataset.images: no such folder ({images}); it holds the pictures; set dataset.images")
    tree = Tree(images)
    records = [_r2gen_record(text, views) if kind == "r2gen" else _record(text, views, tree) for text in texts]
    if kind == "r2gen" and views:
        _tell_guesses(projections, texts, views)
    where = root / (config.reports if kind == "csv" else config.annotation if kind == "r2gen" else ".")
    listing = list_studies(config, where, records, tree, needs_report=True)
    parts = [text.part for text in texts]
    return FileSource(
        images,
        listing,
        split_of(
            config,
            records,
            kept=listing.kept,
            published=parts,
            no_lists="only R2Gen's annotation names parts (dataset.text=r2gen)",
        ),
        hides,
    )


def _texts(config: IUXrayConfig, root: Path, hides: bool) -> tuple[str, list[Text]]:
    """Finds the texts: the form that the config names, or the first of table, report files, annotation."""
    xml, annotation = find_xml(root), root / config.annotation
    table = find_table(root, (config.reports,))
    kind = config.text
    if kind == "auto":
        there = {"csv": table is not None, "xml": xml is not None, "r2gen": annotation.is_file()}
        kind = next((form for form, is_there in there.items() if is_there), "csv")
        _logger.info("%s: reports are read from the form %r (dataset.text)", root, kind)
    if kind == "csv":
        return kind, csv_texts(table or root / config.reports, config.report_policy, hides)
    if kind == "xml":
        if xml is None:
            raise FileNotFoundError(
                f"dataset.text: no report files in {root}; xml needs {ARCHIVES[0]} or the folder ecgen-radiology; "
                "set dataset.root or dataset.text"
            )
        return kind, xml_texts(xml, config.report_policy, hides)
    if not annotation.is_file():
        raise FileNotFoundError(f"dataset.annotation: no such file ({annotation}); r2gen needs it; set dataset.text")
    return kind, r2gen_texts(annotation, config.report_policy, hides)


def _projections(path: Path, hides: bool) -> Table:
    return read_table(path, "dataset.projections", {name: name for name in _PROJECTION_COLUMNS}, hides=hides)


def _views(projections: Table, hides: bool) -> _Views:
    """Lists the pictures of each uid.

    Raises:
        ValueError: an unknown projection.
    """
    views: _Views = {}
    unknown = []
    columns = (projections.columns[name] for name in _PROJECTION_COLUMNS)
    for line, uid, name, projection in zip(projections.lines, *columns, strict=True):
        if projection in PROJECTIONS:
            views.setdefault(uid, []).append((int(line), name, projection))
        else:
            unknown.append((int(line), projection))
    if unknown:
        raise ValueError(
            f"{projections.path}: unknown projection in {listed(unknown, hides)}; known: {', '.join(PROJECTIONS)}; "
            "correct the column"
        )
    return views


def _record(text: Text, views: _Views, tree: Tree) -> Record:
    """Puts a text and its pictures together."""
    pictures = [(_on_disk(name, tree), projection) for _, name, projection in views.get(text.uid, [])]
    return _of_pictures(text.uid, text, pictures)


def _of_pictures(uid: str, text: Text, pictures: Sequence[tuple[str, str]]) -> Record:
    frontals, laterals = (tuple(name for name, projection in pictures if projection == kind) for kind in PROJECTIONS)
    return Record(text.uid, uid, frontals, laterals, report=text.report, row=text.row)


def _r2gen_record(text: Text, views: _Views) -> Record:
    """Takes R2Gen's numbered pictures for those of the study in the order of their names."""
    uid, _, _ = text.uid.removeprefix("CXR").partition("_")
    kinds = _r2gen_kinds(text, views) or PROJECTIONS
    record = _of_pictures(uid, text, list(zip(text.pictures, kinds, strict=False)))
    record.others = text.pictures[len(kinds) :]
    return record


def _r2gen_kinds(text: Text, views: _Views) -> list[str]:
    """Returns what the pictures of R2Gen's study show by the table, in the order of their names."""
    uid, _, film = text.uid.removeprefix("CXR").partition("_")
    of_uid = sorted((name, projection) for _, name, projection in views.get(uid, []))
    return [projection for _, projection in [view for view in of_uid if film in view[0]] or of_uid]


def _tell_guesses(projections: Path, texts: Sequence[Text], views: _Views) -> None:
    """Warns of studies whose pictures are not as many in the table as R2Gen has of them."""
    guesses = sum(len(_r2gen_kinds(text, views)) != len(text.pictures) for text in texts)
    if guesses:
        _logger.warning(
            "%s: %d of %d studies have another number of pictures there than in R2Gen's annotation; which view each of "
            "R2Gen's shows is a guess for them",
            *(projections, guesses, len(texts)),
        )


def _on_disk(name: str, tree: Tree) -> str:
    """Returns the path of a picture below the image folder: as published, or as kept with the prefix `CXR`."""
    candidates = [f"{folder}/{prefix}{name}".lstrip("/") for folder in _FOLDERS for prefix in ("", "CXR")]
    return next((found for candidate in candidates if (found := tree.find(candidate))), name)
