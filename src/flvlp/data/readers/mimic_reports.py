"""Finds the reports of MIMIC-CXR: a tree of text files, or the zip file that PhysioNet ships."""

import lzma
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile, ZipFile, ZipInfo

from flvlp.data.readers.bounded import TooLargeError, largest_content, too_large
from flvlp.data.readers.config import MimicCxrConfig
from flvlp.data.readers.tables import shown

REPORTS_ZIP = "mimic-cxr-reports.zip"
# Below the root; of a download by wget, the two data sets lie side by side.
REPORT_FOLDERS = ("", "mimic-cxr-reports", "mimic-cxr/2.1.0", "mimic-cxr/2.0.0")
# Bytes. A published report has a few thousand; more is another file, or a member that was made to fill the memory.
LONGEST_REPORT = 1_000_000
# What the zip module raises on a damaged directory (ValueError, struct.error), and on a damaged, encrypted
# (RuntimeError) or unknown member (one of its subclasses); several of these messages hold its name.
_ZIP_ERRORS = (
    *(BadZipFile, RuntimeError, ValueError, LookupError, EOFError, OSError),
    *(zlib.error, lzma.LZMAError, struct.error),
)


class Place(Protocol):
    """Where reports may lie."""

    def read(self, name: str) -> bytes | None:
        """Returns the start of a file, a byte more than `LONGEST_REPORT` at most; None where there is none."""
        ...


class TextTree:
    """Reports as text files below a folder that holds `p10` and further ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def read(self, name: str) -> bytes | None:
        """See `Place`."""
        try:
            with open(f"{self.folder}/{_tail(name)}", "rb") as file:  # noqa: PTH123 (pathlib takes seconds for 200,000 names)
                return file.read(LONGEST_REPORT + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None


class ReportsZip:
    """Reports inside a zip file, whatever folder they lie in there; members are read one by one, none is unpacked.

    Attributes:
        path: of the file.
        limit: bytes of all reports together.
    """

    def __init__(self, file: ZipFile, path: Path) -> None:
        self.file, self.path = file, path
        self.limit = self._left = largest_content(path.stat().st_size)
        self.members: dict[str, ZipInfo] = {_tail(member.filename): member for member in file.infolist()}

    def read(self, name: str) -> bytes | None:
        """See `Place`."""
        member = self.members.get(_tail(name))
        if member is None:
            return None
        # The size in the zip file's own directory may be a lie; the stream is cut instead.
        with self.file.open(member) as opened:
            data = opened.read(LONGEST_REPORT + 1)
        self._left -= len(data)
        if self._left < 0:
            raise too_large(self.path, self.limit)
        return data


def _tail(name: str) -> str:
    """Returns `p10/p10000032/s50414267.txt` of a report's name: what lies above differs from copy to copy."""
    return "/".join(name.split("/")[-3:])


class Reports:
    """The text of one study after the other.

    Attributes:
        places: where to look, in this order; from the first report that is found, only where it was.
        looked_in: the folders and files that were looked for, for messages.
        undecodable: how many reports held bytes that are not UTF-8.
    """

    def __init__(self, places: Sequence[Place], looked_in: Sequence[Path], hides_ids: bool) -> None:
        self.places, self.looked_in, self.hides_ids = list(places), list(looked_in), hides_ids
        self.found = self.undecodable = 0

    def text(self, row: int, name: str) -> str:
        """Returns the report `files/p10/p10000032/s50414267.txt`, "" where it is missing.

        A byte that is not UTF-8 becomes U+FFFD, which the tokenizer drops: a stray byte is no reason to lose a report.

        Args:
            row: of the study, for messages.
            name: of the report.

        Raises:
            ValueError: a report that cannot be read or is longer than `LONGEST_REPORT`, or a zip file that holds more
                than `largest_content` allows; where ids are hidden it names the row and a salted hash.
        """
        data = None
        for place in self.places:
            try:
                data = place.read(name)
            except TooLargeError:
                raise
            except _ZIP_ERRORS as error:
                # `from None`: the original message holds the path.
                raise ValueError(
                    f"{self._where(row, name)}: cannot be read ({type(error).__name__}); copy the reports again"
                ) from None
            if data is not None:
                self.places = [place]
                break
        if data is None:
            return ""
        if len(data) > LONGEST_REPORT:
            raise ValueError(
                f"{self._where(row, name)}: is longer than {LONGEST_REPORT} bytes; a report has a few thousand; set "
                "dataset.reports to the reports of MIMIC-CXR"
            )
        self.found += 1
        text = data.decode("utf-8-sig", errors="replace")
        self.undecodable += "\ufffd" in text
        return text

    def _where(self, row: int, name: str) -> str:
        return f"the report of row {row} ({shown(name, self.hides_ids)})"


@contextmanager
def open_reports(config: MimicCxrConfig, root: Path, base: Path, hides_ids: bool) -> Iterator[Reports]:
    """Finds where the reports lie: `config.reports` below the root (a folder or a zip file), or every usual place.

    A folder holds `files/p10/...txt`, or `p10/...txt` itself.

    Args:
        config: of the data set.
        root: folder of the download.
        base: folder of the tables and pictures, below the root or the root itself.
        hides_ids: keeps ids out of messages.

    Raises:
        FileNotFoundError: `config.reports` is not there.
        ValueError: a zip file that cannot be read.
    """
    if config.reports:
        wanted = root / config.reports
        if not wanted.exists():
            raise FileNotFoundError(
                f"dataset.reports: no such folder or zip file ({wanted}); it must hold files/p10/...txt; set "
                "dataset.reports, or leave it empty to look in the usual places"
            )
        looked_in = [wanted, wanted / REPORTS_ZIP]
    else:
        folders = dict.fromkeys([*(root / folder for folder in REPORT_FOLDERS), base])
        looked_in = [*(folder / REPORTS_ZIP for folder in folders), *folders]
    places = (place for path in looked_in for place in (path / "files", path))
    trees = [TextTree(place) for place in places if any(place.glob("p1?"))]
    with ExitStack() as stack:
        zips = [ReportsZip(stack.enter_context(_open_zip(path)), path) for path in looked_in if path.is_file()]
        yield Reports([*zips, *trees], looked_in, hides_ids)


def _open_zip(path: Path) -> ZipFile:
    try:
        return ZipFile(path)
    except _ZIP_ERRORS as error:
        raise ValueError(f"{path}: cannot be read as a zip file ({type(error).__name__}); copy it again") from None
