"""Archives are read member by member: no name or link leads out of them, nothing is unpacked, damage has one error."""

import gzip
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flvlp.data.readers.iu_reports import xml_texts
from tests.data.damaged import damaged
from tests.data.readers.mimic_folder import MimicFolder

EXAMPLES = 40
OUTSIDE = "A sentence that is in no archive."
UP = "../../../../../../../.."


def xml(uid: str, text: str = "Clear lungs.") -> bytes:
    return f'<e><uId id="CXR{uid}"/><AbstractText Label="FINDINGS">{text}</AbstractText></e>'.encode()


def packed(members: list[tuple[str, bytes, bytes, str]], suffix: str = "gz") -> bytes:
    """Returns a tar of (name, type, content, target of a link)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{suffix}", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for name, kind, content, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), target
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A report beside the folder that the archive is in."""
    path = tmp_path / "outside.xml"
    path.write_bytes(xml("99", OUTSIDE))
    return path


@pytest.fixture
def tgz(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root" / "NLMCXR_reports.tgz"


def test_names_that_lead_out_of_a_tgz_are_names_alone(tgz: Path, outside: Path) -> None:
    names = ["../outside.xml", str(outside), f"{UP}/etc/passwd.xml", "/etc/hostname.xml", "a/../../b.xml"]
    tgz.write_bytes(packed([(name, tarfile.REGTYPE, xml(str(number)), "") for number, name in enumerate(names)]))
    before = files(tgz.parents[1])
    assert [text.uid for text in xml_texts(tgz, "both")] == ["0", "1", "2", "3", "4"]
    assert files(tgz.parents[1]) == before, "something was unpacked"
    assert OUTSIDE.encode() in outside.read_bytes()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_members_that_are_no_files_are_not_followed(kind: bytes, tgz: Path, outside: Path) -> None:
    links = [("1.xml", kind, b"", "../outside.xml"), ("2.xml", kind, b"", str(outside)), ("3.xml", kind, b"", "0.xml")]
    tgz.write_bytes(packed([("0.xml", tarfile.REGTYPE, xml("0"), ""), *links]))
    before = files(tgz.parents[1])
    texts = xml_texts(tgz, "both")
    assert [(text.uid, text.report) for text in texts] == [("0", "Clear lungs.")]
    assert files(tgz.parents[1]) == before


@pytest.fixture
def mimic(tmp_path: Path) -> MimicFolder:
    (tmp_path / "root").mkdir()
    return MimicFolder(tmp_path / "root")


@pytest.mark.parametrize("prefix", ["../", f"{UP}/", "/", "/tmp/", "a/../../"])
def test_names_that_lead_out_of_a_zip_file_are_names_alone(prefix: str, mimic: MimicFolder) -> None:
    mimic.write_zip(prefix=prefix)
    before = files(mimic.root.parent)
    assert [study.report for study in mimic.read().studies][:1] == ["Normal. Clear lungs, study 101."]
    assert files(mimic.root.parent) == before, "something was unpacked"


def test_a_link_in_a_zip_file_is_not_followed(mimic: MimicFolder) -> None:
    outside = mimic.root.parent / "outside.txt"
    outside.write_text(f"FINDINGS: {OUTSIDE}")
    name = next(iter(mimic.texts()))
    with zipfile.ZipFile(mimic.root / "mimic-cxr-reports.zip", "w") as file:
        for member, data in mimic.texts().items():
            info = zipfile.ZipInfo(member)
            if member == name:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, str(outside) if member == name else data)
    reports = [study.report for study in mimic.read().studies]
    assert not any(OUTSIDE in report for report in reports), reports
    assert any("Clear lungs" in report for report in reports)


WHOLE = packed([(f"{uid}.xml", tarfile.REGTYPE, xml(str(uid)), "") for uid in range(3)], "")
NAMES = st.text(max_size=300) | st.sampled_from([f"{UP}/a.xml", "/a.xml", "..", "", "a.xml", "x" * 5000 + ".xml"])
TYPES = st.binary(min_size=1, max_size=1) | st.sampled_from([b"0", b"1", b"2", b"g", b"x", b"L", b"K", b"S", b"D"])


PAX = st.tuples(
    st.sampled_from(["path", "size", "linkpath", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major", "hdrcharset"])
    | st.sampled_from(["GNU.sparse.minor", "GNU.sparse.offset", "GNU.sparse.numbytes", "GNU.sparse.name", "mtime"]),
    st.sampled_from(["0", "1", "-1", "1,2", "1,x", "x", "9" * 30, "9" * 5000, "a.xml", "BINARY", "nan", ""]),
).map(lambda pair: pax(*pair))


def pax(key: str, value: str) -> bytes:
    """Returns a record of an extended header, which begins with its own length."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + len(str(len(rest) + 3))
    return str(length).encode() + rest


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    """A tar of members of any type and name, whose headers say any size; maybe damaged besides."""
    content = b""
    for _ in range(draw(st.integers(0, 5))):
        member = tarfile.TarInfo(draw(NAMES))
        records = st.lists(PAX, max_size=4).map(b"".join)
        member.type, data = draw(TYPES), draw(st.binary(max_size=40) | st.just(xml("7")) | records)
        member.size = draw(st.just(len(data)) | st.integers(-3, 2**70) | st.integers(-(2**62), -1))
        try:
            content += member.tobuf(draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])))
        except (ValueError, UnicodeError, OverflowError):
            continue
        content += data + bytes(-len(data) % 512)
    return content + bytes(1024)


def test_any_tar_is_read_or_refused_with_an_error_that_names_it(tgz: Path) -> None:
    path = tgz
    before = files(path.parents[1]) | {path}

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(content=tars() | tars().flatmap(damaged) | damaged(WHOLE) | st.binary(max_size=2000))
    def check(content: bytes) -> None:
        path.write_bytes(gzip.compress(content, 1))
        try:
            xml_texts(path, "both")
        except ValueError as error:
            assert str(path) in str(error), repr(error)
        assert files(path.parents[1]) == before

    check()


HEADERS = {
    "600 headers in a row": [pax("path", "a.x")] * 600,
    "a length of 5,000 digits": [b"9" * 5000 + b" path=a.xml\n"],
    "a map of words": [pax("GNU.sparse.map", "a,b") + pax("GNU.sparse.size", "1")],
    "a size of words": [pax("GNU.sparse.major", "1") + pax("GNU.sparse.minor", "0") + pax("GNU.sparse.realsize", "x")],
    "more bytes than there are stars": [pax("size", str(2**70))],
    "fewer bytes than none": [pax("size", "-512")],
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_hostile_header_of_a_tar_is_refused(what: str, tgz: Path) -> None:
    content = b""
    for records in HEADERS[what]:
        header = tarfile.TarInfo("a")
        header.type, header.size = tarfile.XHDTYPE, len(records)
        content += header.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)
    tgz.write_bytes(gzip.compress(content + WHOLE))
    for hides in (False, True):
        with pytest.raises(
            ValueError, match=r"NLMCXR_reports\.tgz: cannot be read as an archive .*; download it again"
        ):
            xml_texts(tgz, "both", hides)


def test_a_directory_of_a_zip_file_that_is_damaged_is_an_error_without_its_names(mimic: MimicFolder) -> None:
    path = mimic.root / "mimic-cxr-reports.zip"
    for prefix, place in (("files/p10/p10000001/\u00e9", b"\xc3\xa9"), ("", b"PK\5\6")):
        mimic.write_zip(prefix=prefix)
        content = path.read_bytes()
        at = content.rfind(place) + 12 * (place[:2] == b"PK")  # a name that is no UTF-8; the size of the directory
        path.write_bytes(content[:at] + b"\xff\xff\xff" + content[at + 3 :])
        message = mimic.failure(ValueError)
        assert f"{path}: cannot be read as a zip file" in message
        assert "p10000001" not in message


def test_any_zip_file_is_read_or_refused_with_an_error_that_is_documented(mimic: MimicFolder) -> None:
    mimic.write_zip()
    path = mimic.root / "mimic-cxr-reports.zip"
    whole = path.read_bytes()
    at = whole.find(b"PK\1\2")
    before = files(mimic.root.parent)

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(
        content=damaged(whole)
        | damaged(whole[at:], (b"PK\1\2", b"PK\5\6", b"\xff" * 4)).map(lambda directory: whole[:at] + directory)
        | st.binary(max_size=300)
    )
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            mimic.read(missing_images="drop")
        except (FileNotFoundError, ValueError) as error:
            assert str(path) in str(error) or "report" in str(error).replace(path.name, ""), repr(error)
            assert not any(secret in str(error) for secret in ("1000000", "5000010", "Clear")), repr(error)
        assert files(mimic.root.parent) == before

    check()
