"""No id, path or text of MIMIC-CXR is in a message, a traceback or a log line, whatever is wrong with the files."""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flvlp.data.readers import tree
from flvlp.data.readers.labels import CHEXPERT14
from flvlp.data.readers.mimic_cxr import LABELS, METADATA, SPLIT
from flvlp.data.readers.mimic_reports import LONGEST_REPORT
from tests.data.readers.mimic_folder import METADATA_HEADER, VIEWS, MimicFolder, table_text

SUBJECTS, STUDIES = ("10000001", "10000002", "1100000"), ("5000010", "5000020", "5000030", "5000040")
SECRETS = (*SUBJECTS, *STUDIES, "d-pa", "d-ap", "d-l", "Clear lungs", "leak")
ROWS = [(dicom, subject, study, "CHEST", view, "4") for dicom, subject, study, view in VIEWS]


@pytest.fixture
def folder(tmp_path: Path) -> MimicFolder:
    made = MimicFolder(tmp_path)
    made.write_reports()
    return made


def table_without_header(folder: MimicFolder) -> dict[str, Any]:
    folder.write(METADATA, table_text(ROWS[0], ROWS[1:]))
    return {}


def row_of_too_many_fields(folder: MimicFolder) -> dict[str, Any]:
    folder.write(METADATA, table_text(METADATA_HEADER, [(*row, "leak") for row in ROWS]))
    return {}


def table_in_latin_1(folder: MimicFolder) -> dict[str, Any]:
    folder.is_packed = False
    folder.write_tables()
    (folder.root / METADATA).write_bytes(b"dicom_id,subject_id,study_id,ViewPosition\nd-pa\xe9,10000001,50000101,PA\n")
    return {}


def id_that_is_no_number(folder: MimicFolder) -> dict[str, Any]:
    folder.write(METADATA, table_text(METADATA_HEADER, [*ROWS, ("leak", "p10000001", "50000101", "", "PA", "")]))
    return {}


def path_that_leaves_the_root(folder: MimicFolder) -> dict[str, Any]:
    row = ("../../../../../leak", "10000001", "50000102", "", "PA", "")
    folder.write(METADATA, table_text(METADATA_HEADER, [row]))
    return {}


def label_column_with_ids(folder: MimicFolder) -> dict[str, Any]:
    folder.write(LABELS, table_text(("subject_id", "study_id", *CHEXPERT14), [("1", "50000101", *["10000001"] * 14)]))
    return {}


def part_column_with_ids(folder: MimicFolder) -> dict[str, Any]:
    folder.write(SPLIT, table_text(("study_id", "split"), [("train", "50000101")]))
    return {}


def missing_picture(folder: MimicFolder) -> dict[str, Any]:
    folder.picture("10000001", "50000101", "d-pa").unlink()
    return {}


def no_picture(folder: MimicFolder) -> dict[str, Any]:
    for dicom, subject, study, _ in VIEWS:
        folder.picture(subject, study, dicom).unlink()
    return {"missing_images": "drop"}


def report_that_is_a_folder(folder: MimicFolder) -> dict[str, Any]:
    path = folder.root / "files/p10/p10000001/s50000102.txt"
    path.unlink()
    path.mkdir()
    return {}


def report_that_is_too_long(folder: MimicFolder) -> dict[str, Any]:
    (folder.root / "files/p10/p10000001/s50000102.txt").write_bytes(b"Clear lungs" * LONGEST_REPORT)
    return {}


def damaged_zip_member(folder: MimicFolder) -> dict[str, Any]:
    folder.write_zip()
    path = folder.root / "mimic-cxr-reports.zip"
    content = bytearray(path.read_bytes())
    first = content.index(b"s50000101.txt") + len("s50000101.txt")
    content[first + 2 : first + 30] = bytes(28)
    path.write_bytes(content)
    return {"reports": "mimic-cxr-reports.zip"}


def lists_of_other_studies(folder: MimicFolder) -> dict[str, Any]:
    for name in ("train.txt", "val.txt", "test.txt"):
        (folder.root / name).write_text("s50000999 leak\n")
    return {"split": "mimic_cxr/lists", "split_lists": str(folder.root)}


def pool_without_header(folder: MimicFolder) -> dict[str, Any]:
    (folder.root / "pool.csv").write_text("d-pa,10000001,50000101\n")
    return {"split": "mimic_cxr/5x200", "pool": str(folder.root / "pool.csv")}


def pool_of_other_studies(folder: MimicFolder) -> dict[str, Any]:
    (folder.root / "pool.csv").write_text("study_id,Report\n50000999,leak\n")
    return {"split": "mimic_cxr/5x200", "pool": str(folder.root / "pool.csv")}


def pool_that_cannot_be_drawn(_: MimicFolder) -> dict[str, Any]:
    return {"split": "mimic_cxr/5x200"}


DAMAGES = (
    *(table_without_header, row_of_too_many_fields, table_in_latin_1, id_that_is_no_number, path_that_leaves_the_root),
    *(label_column_with_ids, part_column_with_ids, missing_picture, no_picture, report_that_is_a_folder),
    *(report_that_is_too_long, damaged_zip_member, lists_of_other_studies, pool_without_header, pool_of_other_studies),
    pool_that_cannot_be_drawn,
)


def shown_by(folder: MimicFolder, caplog: pytest.LogCaptureFixture, **knobs: Any) -> str:
    """Returns all that a run would show of a failure: log, message and traceback."""
    with caplog.at_level(logging.DEBUG), pytest.raises((ValueError, OSError)) as caught:
        folder.read(**knobs)
    lines = traceback.format_exception(caught.value)
    # The lines of code that a traceback quotes are ours, and the paths of the files are the user's own words.
    return (caplog.text + "".join(line for line in lines if not line.startswith("  File"))).replace(
        str(folder.root), ""
    )


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_nothing_of_a_patient_is_shown(
    folder: MimicFolder, caplog: pytest.LogCaptureFixture, damage: Callable[[MimicFolder], dict[str, Any]]
) -> None:
    words = shown_by(folder, caplog, **damage(folder))
    assert not [secret for secret in SECRETS if secret in words], words


def test_with_log_ids_the_details_are_shown(folder: MimicFolder, caplog: pytest.LogCaptureFixture) -> None:
    assert "d-pa" in shown_by(folder, caplog, **missing_picture(folder), log_ids=True)


def test_a_folder_that_may_not_be_listed_is_not_named(
    folder: MimicFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> set[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(tree, "file_names", refuse)
    words = shown_by(folder, caplog)
    assert "may not be listed" in words
    assert not [secret for secret in SECRETS if secret in words], words


def test_a_picture_that_cannot_be_read_is_named_by_its_row(folder: MimicFolder) -> None:
    folder.picture("10000001", "50000101", "d-pa").write_bytes(b"no picture")
    source = folder.read()
    with pytest.raises(ValueError, match=r"study #\w+, row 2: an image cannot be read") as caught:
        source.frontal(0)
    words = "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in SECRETS if secret in words], words


def test_a_good_folder_is_read_without_an_id_in_the_log(folder: MimicFolder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        folder.read(split="mimic_cxr/patient", validation_fraction=0.3)
    assert "kept 4 of 5 studies" in caplog.text
    words = caplog.text.replace(str(folder.root), "")
    assert not [secret for secret in SECRETS if secret in words], words
