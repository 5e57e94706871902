"""No file gives more than a table, list or archive may hold, however small it is packed."""

import gzip
import io
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from flvlp.data.readers import bounded, tables
from flvlp.data.readers.bounded import open_bounded, read_bounded, read_json
from flvlp.data.readers.covidx import read_entries
from flvlp.data.readers.iu_reports import xml_texts
from flvlp.data.readers.tables import MOST_COLUMNS, Table, read_table
from flvlp.data.splits.lists import read_list
from tests.data.readers.mimic_folder import MimicFolder

MIB = 2**20


def bomb(path: Path, size: int, row: bytes = b"1,2\n", start: bytes = b"id,value\n") -> Path:
    """Packs `size` bytes of equal rows to a thousandth."""
    path.write_bytes(gzip.compress(start + row * (size // len(row)), 9))
    return path


def as_table(path: Path) -> Table:
    return read_table(path, "dataset.root", {"id": "id"})


READERS: dict[str, Callable[[Path], object]] = {
    "t.csv.gz": as_table,
    "t.txt.gz": lambda path: read_entries(path, "train"),
    "t.tgz": lambda path: xml_texts(path, "both"),
    "t.tar.gz": lambda path: xml_texts(path, "both"),
    "t.gz": read_bounded,
}


@pytest.mark.parametrize("name", READERS)
def test_a_bomb_is_an_error_that_names_the_file_and_both_limits(name: str, tmp_path: Path) -> None:
    path = bomb(tmp_path / name, 40 * MIB, start=b"id,value\n" if name == "t.csv.gz" else b"")
    if name in ("t.tgz", "t.tar.gz"):  # the bomb is the header of a member, which tarfile reads at once
        member = tarfile.TarInfo("a.xml")
        member.type, member.size = tarfile.GNUTYPE_LONGNAME, 40 * MIB
        path.write_bytes(gzip.compress(member.tobuf() + bytes(40 * MIB), 9))
    assert path.stat().st_size < 60_000
    with pytest.raises(ValueError, match="holds more than 16,777,216 bytes") as caught:
        READERS[name](path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "at most 2,147,483,648, and 200 times what it is packed to; take the published file" in message


@pytest.mark.parametrize("content", ["a,b\n" * 20_000, "a,b\n" * 5_000_000], ids=["small", "of a high ratio"])
def test_what_is_allowed_is_given_whole(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "HIGHEST_RATIO", 1100)
    (tmp_path / "t.gz").write_bytes(gzip.compress(content.encode()))
    assert read_bounded(tmp_path / "t.gz") == content.encode()
    (tmp_path / "t.csv").write_text(content)
    assert read_bounded(tmp_path / "t.csv") == content.encode()


@pytest.mark.parametrize(("more", "is_refused"), [(0, False), (1, True)])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_the_largest_file_is_whole_and_a_byte_more_is_an_error(
    name: str, more: int, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "LARGEST", 100_000)
    content = bytes(100_000 + more)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    if not is_refused:
        assert read_bounded(tmp_path / name) == content
        return
    with (
        pytest.raises(ValueError, match="holds more than 100,000 bytes"),
        open_bounded(tmp_path / name) as file,
    ):
        while file.read(777):
            pass


def test_a_large_table_that_packs_well_is_read(tmp_path: Path) -> None:
    report = "FINDINGS: The lungs are clear. IMPRESSION: Normal. " * 3  # the same in every row, as no true table has it
    text = "id,Report\n" + "".join(f"images/{number:08d}.png,{report}\n" for number in range(100_000))
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(text.encode(), 9))
    assert len(text) > max(bounded.ALWAYS_ALLOWED, 30 * path.stat().st_size)
    assert len(read_table(path, "dataset.root", {"id": "id"}).lines) == 100_000


WIDE = {
    "a header": b"," * 4_000_000,
    "a first row": b"id,value\n" + b"," * 4_000_000,
    "quoted line breaks": b'id,"\n' + b'","\n' * 1_000_000 + b'"',
    "behind a long value": b"id,value\n" + b'"' + b"x" * 200_000 + b'"' + b"," * 4_000_000,
}


@pytest.mark.parametrize("what", WIDE)
def test_millions_of_columns_are_refused_at_once(what: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(WIDE[what], 9))
    started = time.monotonic()
    with pytest.raises(ValueError, match=rf"columns; a table has at most {MOST_COLUMNS}") as caught:
        as_table(path)
    assert str(path) in str(caught.value)
    assert time.monotonic() - started < 20, "pandas took the rows, which takes a minute and more"


@pytest.mark.parametrize("row", [b"", b"1", b"," * 9])
def test_rows_that_hold_nothing_are_counted(row: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_CELLS", 1000)
    path = tmp_path / "t.csv.gz"
    header = ",".join(["id", *map(str, range(9))]).encode()
    path.write_bytes(gzip.compress(header + (b"\n" + row) * 100 + b"\n"))
    assert len(as_table(path).lines) == (100 if row == b"1" else 0)
    path.write_bytes(gzip.compress(header + (b"\n" + row) * 101 + b"\n"))
    with pytest.raises(ValueError, match="more than 100 rows of 10 columns; a table has at most 1,000 cells") as caught:
        as_table(path)
    assert str(path) in str(caught.value)


def test_millions_of_blank_lines_below_many_columns_are_refused_in_time(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"id" + b"," * 99 + b"\n" * 10_000_000, 9))
    started = time.monotonic()
    with pytest.raises(ValueError, match="more than 200,000 rows of 100 columns"):
        as_table(path)
    assert time.monotonic() - started < 20, "pandas took them all"


def test_reports_of_a_zip_file_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = MimicFolder(tmp_path)
    folder.write_zip()
    assert len(folder.read().studies) > 2
    folder.write_zip(s50000101=b"FINDINGS: " + b"clear " * 100_000, s50000102=b"FINDINGS: " + b"clear " * 100_000)
    assert len(folder.read().studies) > 2
    monkeypatch.setattr(bounded, "ALWAYS_ALLOWED", MIB)
    path = tmp_path / "mimic-cxr-reports.zip"
    assert f"{path}: holds more than 1,048,576 bytes" in folder.failure(ValueError)


def test_a_member_of_a_zip_file_that_is_a_bomb_is_an_error(tmp_path: Path) -> None:
    folder = MimicFolder(tmp_path)
    folder.write_zip(s50000101=bytes(100 * MIB))
    assert zipfile.ZipFile(tmp_path / "mimic-cxr-reports.zip").testzip() is None
    assert "is longer than 1000000 bytes" in folder.failure(ValueError)


def test_an_archive_of_many_members_is_bounded_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "NLMCXR_reports.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for number in range(40):
            member = tarfile.TarInfo(f"{number}.txt")
            member.size = MIB
            archive.addfile(member, io.BytesIO(bytes(MIB)))
    with pytest.raises(ValueError, match="holds more than 16,777,216 bytes"):
        xml_texts(path, "both")


JSON = {
    "brackets": ("[" * 100_000, "nested too deeply"),
    "objects": ('{"a":' * 100_000, "nested too deeply"),
    "half a surrogate pair": (r'["\ud800"]', "surrogates not allowed"),
    "no end": ("[1", "Expecting ',' delimiter"),
}


@pytest.mark.parametrize("what", JSON)
def test_what_is_no_json_is_a_value_error(what: str, tmp_path: Path) -> None:
    content, words = JSON[what]
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        read_json(tmp_path / "a.json")


def test_json_is_read_with_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    for mark in ("", "\ufeff"):
        (tmp_path / "a.json").write_text(mark + '{"a": ["\\ud83d\\ude00", 1.5, null]}', encoding="utf-8")
        assert read_json(tmp_path / "a.json") == {"a": ["\U0001f600", 1.5, None]}


def test_a_list_of_pictures_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.txt").write_text("a.png\n" * 100)
    assert len(read_list(tmp_path / "train.txt")) == 100
    monkeypatch.setattr(bounded, "LARGEST", 599)
    with pytest.raises(ValueError, match=r"train\.txt: holds more than 599 bytes"):
        read_list(tmp_path / "train.txt")
