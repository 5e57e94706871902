"""Texts of the Indiana collection in their three forms: a table, Open-i's XML files, R2Gen's annotation.json."""

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from flvlp.data.readers.bounded import LARGEST, TooLargeError, open_bounded, read_json
from flvlp.data.readers.tables import Table, listed, read_table, shown
from flvlp.data.reports import Sections, compose_report

ARCHIVES = ("NLMCXR_reports.tgz", "NLMCXR_reports.tar.gz")
XML_FOLDERS = ("ecgen-radiology", "reports", ".")
_MOST_SECTIONS = 100  # of one report; the published ones have 4
_LARGEST_FILE = 1 << 20  # bytes of one report file; the published ones have at most 12,000
# What damaged archives and hostile headers lead to in tarfile: numbers that are none, headers of headers of headers.
_TAR_ERRORS = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, LookupError, RecursionError)
# R2Gen's parts; one copy of its file in circulation names the third by four spaces.
_PARTS = {"train": "train", "val": "validation", "test": "test", "": "test"}


@dataclass(frozen=True, slots=True)
class Text:
    """One report: uid, composed text, line of its table (0 for a file), R2Gen's part and pictures where it has them."""

    uid: str
    report: str
    row: int = 0
    part: str = ""
    pictures: tuple[str, ...] = ()


def csv_texts(path: Path, policy: str, hides: bool) -> list[Text]:
    """Reads `indiana_reports.csv`.

    Raises:
        FileNotFoundError: no such table.
        ValueError: a missing column, or a uid that is blank or listed twice.
    """
    names = ("uid", "findings", "impression")
    table = read_table(path, "dataset.reports", {name: name for name in names}, hides=hides)
    _check_uids(table, hides)
    columns = (table.columns[name] for name in names)
    return [
        Text(uid, compose_report(Sections(findings, impression, ""), policy), int(line))
        for line, uid, findings, impression in zip(table.lines, *columns, strict=True)
    ]


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


def find_xml(root: Path) -> Path | None:
    """Returns the archive or the folder of Open-i's report files below `root`, None where there is none."""
    archives = (root / name for name in ARCHIVES)
    folders = (root / name for name in XML_FOLDERS)
    found = (path for path in archives if path.is_file())
    return next(found, None) or next((folder for folder in folders if any(folder.glob("*.xml"))), None)


def xml_texts(path: Path, policy: str, hides: bool = False) -> list[Text]:
    """Reads Open-i's report files from a folder or from the archive as it is downloaded; nothing is unpacked to disk.

    Raises:
        ValueError: a file that is too large, no XML, of more than `_MOST_SECTIONS`, or without a uid; a uid twice; no
            report at all; an archive that is damaged or holds more than `open_bounded` gives.
    """
    texts = {}
    for name, content in _xml_files(path, hides):
        file = shown(name, hides) if hides else name
        if len(content) > _LARGEST_FILE or b"<!ENTITY" in content.replace(b"\0", b""):  # UTF-16 too
            raise ValueError(
                f"{path}: {file} has {len(content)} bytes or defines entities; a report file has at most "
                f"{_LARGEST_FILE} and defines none; take the published files"
            )
        try:
            tree = ElementTree.fromstring(content)
        except (ElementTree.ParseError, LookupError, ValueError) as error:  # the latter of encodings
            raise ValueError(f"{path}: {file} is no XML ({error}); take the published files") from error
        uid = _uid(tree)
        if not uid or uid in texts:
            raise ValueError(
                f"{path}: {file} has the uid {shown(uid, hides)}; every file has one of its own, as in "
                '<uId id="CXR1"/>; take the published files'
            )
        nodes = list(tree.iter("AbstractText"))
        if len(nodes) > _MOST_SECTIONS:  # of sections within sections each would be read with all that it holds
            raise ValueError(
                f"{path}: {file} has {len(nodes)} sections; a report has at most {_MOST_SECTIONS}; take the published "
                "files"
            )
        sections = {str(node.get("Label")).upper(): " ".join("".join(node.itertext()).split()) for node in nodes}
        report = compose_report(Sections(sections.get("FINDINGS", ""), sections.get("IMPRESSION", ""), ""), policy)
        texts[uid] = Text(uid, report)
    if not texts:
        raise ValueError(f"{path}: holds no .xml file; it must hold Open-i's reports; set dataset.root")
    return [texts[uid] for uid in sorted(texts, key=lambda uid: (len(uid), uid))]


def _xml_files(path: Path, hides: bool) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.glob("*.xml")):
            with file.open("rb") as opened:
                yield file.name, opened.read(_LARGEST_FILE + 1)
        return
    try:
        # As a stream: a header of tar may also ask for more than there should be.
        with open_bounded(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
            for member in archive:
                # A header may send tarfile back, or so far on that it reads beyond the end for years.
                if member.size < 0 or not member.offset < archive.offset <= LARGEST:
                    raise tarfile.ReadError(f"a member of {member.size} bytes that ends at {archive.offset}")
                if member.isfile() and member.name.endswith(".xml"):
                    opened_member = archive.extractfile(member)
                    assert opened_member is not None
                    yield member.name, opened_member.read(_LARGEST_FILE + 1)
            # gzip compares its checksum at the end of the file, which lies behind the end mark of tar.
            while unpacked.read(_LARGEST_FILE):
                pass
    except TooLargeError:
        raise
    except _TAR_ERRORS as error:
        reason = type(error).__name__ if hides else error
        raise ValueError(f"{path}: cannot be read as an archive ({reason}); download it again") from (
            None if hides else error
        )


def _uid(tree: ElementTree.Element) -> str:
    node = tree.find(".//uId")
    return "" if node is None else str(node.get("id", "")).removeprefix("CXR")


def r2gen_texts(path: Path, policy: str, hides: bool) -> list[Text]:
    """Reads R2Gen's `annotation.json`: reports of one section (the findings), parts, two pictures a study.

    Raises:
        ValueError: another structure, or an id twice.
    """
    try:
        content = read_json(path)
        entries = [(part.strip(), entry) for part, values in content.items() for entry in values]
        texts = [
            Text(
                uid=str(entry["id"]),
                report=compose_report(Sections(str(entry["report"] or ""), "", ""), policy),
                part=_PARTS[part],
                pictures=tuple(str(name) for name in entry["image_path"]),
            )
            for part, entry in entries
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not R2Gen's annotation ({type(error).__name__}{'' if hides else f': {error}'}); it maps train, "
            "val and test to lists of id, report, image_path; take the published file"
        ) from (None if hides else error)
    if len({text.uid for text in texts}) != len(texts):
        raise ValueError(f"{path}: an id is listed twice; every study has one of its own; take the published file")
    return texts
