"""The Indiana collection as Open-i's report files, in a folder or in their archive."""

import gzip
import io
import logging
import tarfile
from pathlib import Path

import pytest

from flvlp.data.readers.iu_reports import xml_texts
from tests.data.readers.iu_folders import failure, read, write_pictures, write_views

TEXTS = {"2": ("Clear lungs.", "Normal."), "10": ("Large\n heart  and a long text.", ""), "3": ("", "")}
VIEWS = (
    ("2", "2_IM-0002-1001.dcm.png", "Lateral"),
    ("2", "2_IM-0002-2001.dcm.png", "Frontal"),
    ("10", "10_IM-0010-1001.dcm.png", "Frontal"),
    ("3", "3_IM-0003-1001.dcm.png", "Frontal"),
)


def xml(uid: str, findings: str = "", impression: str = "") -> bytes:
    """One report file as Open-i has it."""
    return f"""<?xml version="1.0" encoding="utf-8"?>
<eCitation><meta type="rr"/><uId id="CXR{uid}"/><pmcId id="{uid}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText><AbstractText Label="INDICATION">cough</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText><AbstractText Label="IMPRESSION">{impression}</AbstractText>
</Abstract></Article></MedlineCitation><MeSH><major>normal</major></MeSH>
<parentImage id="CXR{uid}_IM-0001-1001"><figureId>F1</figureId><caption>Xray &amp; more</caption></parentImage>
</eCitation>""".encode()


FILES = {f"{uid}.xml": xml(uid, *text) for uid, text in TEXTS.items()}


def write_archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        folder = tarfile.TarInfo("ecgen-radiology")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(f"ecgen-radiology/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_folder(root: Path, files: dict[str, bytes], name: str = "ecgen-radiology") -> None:
    (root / name).mkdir(exist_ok=True)
    for file, content in files.items():
        (root / name / file).write_bytes(content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Pictures and their table; a test adds the texts."""
    write_pictures(tmp_path / "images", [name for _, name, _ in VIEWS])
    write_views(tmp_path, VIEWS)
    return tmp_path


@pytest.mark.parametrize("form", ["ecgen-radiology", "reports", ".", "NLMCXR_reports.tgz", "NLMCXR_reports.tar.gz"])
def test_report_files_are_read_from_a_folder_and_from_the_archive(form: str, root: Path) -> None:
    write_archive(root / form, FILES) if form.startswith("NLM") else write_folder(root, FILES, form)
    source = read(root)
    assert [study.study_id for study in source.studies] == ["2", "10"]
    assert [study.report for study in source.studies] == ["Normal. Clear lungs.", "Large heart and a long text."]
    assert [study.has_lateral for study in source.studies] == [True, False]
    assert [study.row for study in source.studies] == [0, 0]
    assert sorted(path.name for path in root.iterdir()).count("ecgen-radiology") == (form == "ecgen-radiology")


def test_a_frontal_that_is_second_by_name_is_found_through_the_table(root: Path) -> None:
    write_folder(root, FILES)
    source = read(root)
    assert source.frontal(0)[0, 0] == 1
    assert source.lateral(0)[0, 0] == 0


@pytest.mark.parametrize(
    ("policy", "reports"),
    [
        ("both", ["Normal. Clear lungs.", "Large heart and a long text."]),
        ("findings", ["Clear lungs.", "Large heart and a long text."]),
        ("impression", ["Normal."]),
        ("longer", ["Clear lungs.", "Large heart and a long text."]),
    ],
)
def test_the_report_policy_holds_for_report_files(policy: str, reports: list[str], root: Path) -> None:
    write_folder(root, FILES)
    source = read(root, report_policy=policy, validation_fraction=0.0)  # too few are left to hold one out
    assert [study.report for study in source.studies] == reports


def test_report_files_need_the_table_of_views(root: Path) -> None:
    write_folder(root, FILES)
    (root / "indiana_projections.csv").unlink()
    assert "set dataset.projections" in failure(root, FileNotFoundError)


def test_the_table_of_reports_is_taken_before_report_files_unless_told_otherwise(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(root, FILES)
    (root / "indiana_reports.csv").write_text("uid,findings,impression\n2,From the table.,\n")
    with caplog.at_level(logging.INFO):
        assert [study.report for study in read(root).studies] == ["From the table."]
    assert "reports are read from the form 'csv'" in caplog.text
    assert len(read(root, text="xml").studies) == 2


ENTITY = b'<?xml version="1.0"?><!DOCTYPE e [<!ENTITY a "lol">]><eCitation><uId id="CXR7"/>&a;</eCitation>'
BAD_FILES = {
    "an entity definition": (ENTITY, f"7.xml has {len(ENTITY)} bytes or defines entities"),
    "an encoding that nobody knows": (b'<?xml version="1.0" encoding="utf-9"?><eCitation/>', "7.xml is no XML"),
    "an encoding that XML cannot have": (b'<?xml version="1.0" encoding="gbk"?><eCitation/>', "7.xml is no XML"),
    "sections within sections": (
        b'<eCitation><uId id="CXR7"/>' + b"<AbstractText>" * 101 + b"</AbstractText>" * 101 + b"</eCitation>",
        "7.xml has 101 sections; a report has at most 100",
    ),
    "an entity definition in UTF-16": (ENTITY.decode().encode("utf-16"), "or defines entities"),
    "more than a megabyte": (xml("7", "word " * 300_000), "a report file has at most 1048576"),
    "an open tag": (xml("7")[:-20], "7.xml is no XML"),
    "no content": (b"", "7.xml is no XML"),
    "no uid": (b"<eCitation/>", "7.xml has the uid ''"),
    "a uid of another file": (xml("10"), "7.xml has the uid '10'"),
}


@pytest.mark.parametrize("as_archive", [False, True])
@pytest.mark.parametrize("what", BAD_FILES)
def test_a_report_file_that_cannot_be_right_is_an_error_that_names_it(what: str, as_archive: bool, root: Path) -> None:
    content, words = BAD_FILES[what]
    files = {**FILES, "7.xml": content}
    write_archive(root / "NLMCXR_reports.tgz", files) if as_archive else write_folder(root, files)
    message = failure(root)
    assert words in message
    assert "take the published files" in message
    assert str(root) in message


DAMAGED = {
    "cut": lambda content: content[: len(content) // 2],
    "nothing": lambda _: b"",
    "another file": lambda _: b"<html>not found</html>",
    "no tar inside": lambda _: gzip.compress(b"x" * 2000),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_archive_is_an_error_that_says_to_download_it_again(damage: str, root: Path) -> None:
    path = root / "NLMCXR_reports.tgz"
    write_archive(path, FILES)
    path.write_bytes(DAMAGED[damage](path.read_bytes()))
    message = failure(root)
    assert f"{path}: cannot be read as an archive" in message
    assert "download it again" in message


def test_no_changed_byte_of_an_archive_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "NLMCXR_reports.tgz"
    write_archive(path, {f"{uid}.xml": xml(str(uid), f"{uid} nodules.") for uid in range(30)})
    content = path.read_bytes()
    for place in range(64, len(content), 5):  # behind the name and the time in the header of gzip
        path.write_bytes(content[:place] + b"\xff" * 4 + content[place + 4 :])
        with pytest.raises(ValueError, match=str(path)):
            xml_texts(path, "both")


def test_an_archive_without_reports_and_a_form_that_is_not_there_are_errors(root: Path) -> None:
    assert "no report files" in failure(root, FileNotFoundError, text="xml")
    write_archive(root / "NLMCXR_reports.tgz", {"readme.txt": b"x"})
    assert "holds no .xml file" in failure(root)


def test_other_forms_name_no_parts(root: Path) -> None:
    write_folder(root, FILES)
    message = failure(root, split="iu_xray/r2gen")
    assert "only R2Gen's annotation names parts (dataset.text=r2gen)" in message
    assert "no such file" in failure(root, FileNotFoundError, text="r2gen")


@pytest.mark.parametrize("prefix", ["", "CXR"])
def test_pictures_are_found_in_the_nested_folder_of_the_kaggle_copy(prefix: str, tmp_path: Path) -> None:
    write_views(tmp_path, VIEWS)
    write_folder(tmp_path, FILES)
    names = [f"images_normalized/{prefix}{name}" for _, name, _ in VIEWS]
    write_pictures(tmp_path / "images", names)
    source = read(tmp_path)
    assert [*source.listing.frontal_paths] == [names[1], names[2]]
    assert source.frontal(1)[0, 0] == 2
