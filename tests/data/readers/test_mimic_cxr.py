"""The reader of MIMIC-CXR-JPG, on small folders in the publisher's layout."""

import logging
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from flvlp.data.readers.labels import CHEXPERT14
from flvlp.data.readers.mimic_cxr import LABELS, METADATA, SPLIT
from flvlp.data.readers.mimic_reports import LONGEST_REPORT
from tests.data.readers.mimic_folder import METADATA_HEADER, VIEWS, MimicFolder, table_text


@pytest.fixture
def folder(tmp_path: Path) -> MimicFolder:
    made = MimicFolder(tmp_path)
    made.write_reports()
    return made


def test_each_study_with_a_frontal_is_a_sample_of_its_patient(folder: MimicFolder) -> None:
    source = folder.read()
    studies = source.studies
    assert [study.study_id for study in studies] == ["s50000101", "s50000102", "s50000301", "s50000401"]
    assert [study.patient_id for study in studies] == ["p10000001", "p10000001", "p11000003", "p11000004"]
    assert [study.row for study in studies] == [2, 7, 10, 12]
    assert len(source.listing.dropped["without a frontal view"]) == 1


def test_pa_comes_before_ap_and_lateral_before_ll_and_the_first_listed_of_equal_views(folder: MimicFolder) -> None:
    source = folder.read()
    # The value of a pixel is the number of the picture in the table.
    assert [source.frontal(index)[0, 0] for index in range(4)] == [1, 5, 8, 11]
    assert [study.has_lateral for study in source.studies] == [True, False, True, False]
    assert [source.lateral(index)[0, 0] for index in (0, 2)] == [3, 9]


def test_further_views_and_blank_and_rare_ones_are_the_others_of_the_study(folder: MimicFolder) -> None:
    others = [[Path(path).stem for path in paths] for paths in folder.read().listing.other_paths]
    assert others == [["d-ap", "d-ll", "d-blank"], ["d-ap2"], [], ["d-axial"]]


def test_a_study_with_blank_views_alone_has_no_frontal(tmp_path: Path) -> None:
    folder = MimicFolder(tmp_path, [*VIEWS, ("d-no-view", "11000005", "50000501", "")])
    folder.write_reports()
    assert "s50000501" not in [study.study_id for study in folder.read().studies]


@pytest.mark.parametrize("below", ["", "mimic-cxr-reports", "mimic-cxr/2.0.0"])
def test_reports_are_found_in_the_usual_trees(tmp_path: Path, below: str) -> None:
    folder = MimicFolder(tmp_path)
    folder.write_reports(below)
    assert folder.read().studies[0].report == "Normal. Clear lungs, study 101."


@pytest.mark.parametrize("reports", ["texts/files", "texts", ""])
def test_a_folder_of_reports_may_be_that_of_the_patients_groups(tmp_path: Path, reports: str) -> None:
    folder = MimicFolder(tmp_path)
    folder.write_reports("texts" if reports else "mimic-cxr-reports")
    if not reports:
        for group in (tmp_path / "mimic-cxr-reports/files").iterdir():
            shutil.move(group, tmp_path / "mimic-cxr-reports")
    assert folder.read(reports=reports).studies[0].report == "Normal. Clear lungs, study 101."


def test_a_zip_file_of_reports_may_lack_the_folder_files(tmp_path: Path) -> None:
    folder = MimicFolder(tmp_path)
    texts = {name.removeprefix("files/"): data for name, data in folder.texts().items()}
    with zipfile.ZipFile(tmp_path / "mimic-cxr-reports.zip", "w") as file:
        for name, data in texts.items():
            file.writestr(f"mimic-cxr-reports/{name}", data)
    assert [study.report[-4:-1] for study in folder.read().studies] == ["101", "102", "301", "401"]


@pytest.mark.parametrize("prefix", ["", "mimic-cxr-reports/"])
def test_reports_are_read_from_the_zip_file_with_or_without_a_prefix(tmp_path: Path, prefix: str) -> None:
    folder = MimicFolder(tmp_path)
    folder.write_zip(prefix=prefix)
    assert [study.report[-4:-1] for study in folder.read().studies] == ["101", "102", "301", "401"]


def test_a_named_folder_or_zip_file_is_used_alone(folder: MimicFolder) -> None:
    folder.write_zip("other.zip", s50000101=b"IMPRESSION: From the zip file.")
    assert folder.read(reports="other.zip").studies[0].report == "From the zip file."
    assert "no such folder or zip file" in folder.failure(FileNotFoundError, reports="none")


def test_the_policy_chooses_the_sections(folder: MimicFolder) -> None:
    assert folder.read(report_policy="impression").studies[0].report == "Normal."
    assert folder.read(report_policy="longer").studies[0].report == "Clear lungs, study 101."


def test_a_missing_report_drops_the_study_with_a_tally_unless_none_is_needed(tmp_path: Path) -> None:
    folder = MimicFolder(tmp_path)
    folder.write_reports(without="s50000102")
    source = folder.read()
    assert [study.study_id for study in source.studies] == ["s50000101", "s50000301", "s50000401"]
    assert len(source.listing.dropped["without text"]) == 1
    assert source.labels is not None
    assert source.labels.values.shape == (3, 14)
    assert [study.report for study in folder.read(needs_report=False).studies][1] == ""


def test_no_report_at_all_is_an_error_that_names_the_places(tmp_path: Path) -> None:
    message = MimicFolder(tmp_path).failure(FileNotFoundError)
    assert "no report of its 5 studies is there" in message
    assert "mimic-cxr-reports.zip" in message
    assert "needs_report=false" in message
    assert len(MimicFolder(tmp_path).read(needs_report=False).studies) == 4


def test_bytes_that_are_not_utf_8_become_a_mark_and_their_reports_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = MimicFolder(tmp_path)
    folder.write_zip(s50000101=b"IMPRESSION: No change\xe9 at all.")
    with caplog.at_level(logging.INFO, logger="flvlp"):
        assert folder.read().studies[0].report == "No change\ufffd at all."
    assert "in 1 of these, bytes that are not UTF-8 become U+FFFD" in caplog.text


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_report_beyond_a_megabyte_is_an_error(tmp_path: Path, is_zip: bool) -> None:
    folder = MimicFolder(tmp_path)
    long = b"IMPRESSION: normal. " + b"x" * LONGEST_REPORT
    if is_zip:
        folder.write_zip(s50000102=long)
    else:
        folder.write_reports()
        (tmp_path / "files/p10/p10000001/s50000102.txt").write_bytes(long)
    message = folder.failure(ValueError)
    assert "the report of row 7 (#" in message
    assert f"is longer than {LONGEST_REPORT} bytes" in message


def test_a_damaged_zip_file_is_named(tmp_path: Path) -> None:
    folder = MimicFolder(tmp_path)
    (tmp_path / "mimic-cxr-reports.zip").write_bytes(b"PK no zip")
    assert "mimic-cxr-reports.zip: cannot be read as a zip file (BadZipFile)" in folder.failure(ValueError)


def test_the_official_parts_are_followed_and_all_studies_of_a_patient_are_in_one(folder: MimicFolder) -> None:
    source = folder.read()
    assert source.split_name == "mimic_cxr/official"
    assert {part: rows.tolist() for part, rows in source.splits.items()} == {
        "train": [0, 1],
        "validation": [2],
        "test": [3],
    }


def test_a_study_in_two_parts_and_an_unknown_part_are_errors(folder: MimicFolder) -> None:
    header = ("dicom_id", "study_id", "subject_id", "split")
    folder.write(SPLIT, table_text(header, [("a", "50000101", "1", "train"), ("b", "50000101", "1", "test")]))
    assert "study in two parts in 1 row: row 3 (#" in folder.failure(ValueError)
    folder.write(SPLIT, table_text(header, [("a", "50000101", "1", "dev")]))
    assert "unknown split in 1 row: row 2 ('dev'); known: train, validate, test" in folder.failure(
        ValueError, log_ids=True
    )


def test_without_the_split_table_other_splits_can_be_made(folder: MimicFolder) -> None:
    (folder.root / f"{SPLIT}.gz").unlink()
    assert f"needs the publisher's lists, and {SPLIT} is not in" in folder.failure(ValueError)
    assert folder.read(split="mimic_cxr/patient").split_name == "mimic_cxr/patient"


def test_labels_follow_the_policies_and_are_missing_for_studies_that_are_not_listed(folder: MimicFolder) -> None:
    folder.labels = {"50000101": {"Edema": "-1.0", "Fracture": "1.0", "Pneumonia": "0.0"}}
    folder.write_tables()
    zeros, ignored = folder.read().labels, folder.read(uncertain="ignore", unmentioned="ignore").labels
    assert zeros is not None
    assert ignored is not None
    columns = [CHEXPERT14.index(name) for name in ("Edema", "Fracture", "Pneumonia", "Atelectasis")]
    np.testing.assert_array_equal(zeros.values[0, columns], [0, 1, 0, 0])
    np.testing.assert_array_equal(ignored.values[0, columns], [np.nan, 1, 0, np.nan])
    assert np.isnan(zeros.values[1:]).all()


def test_without_the_label_table_there_are_no_labels(folder: MimicFolder) -> None:
    (folder.root / f"{LABELS}.gz").unlink()
    assert folder.read().labels is None


def test_plain_tables_and_the_tree_of_wget_are_read_too(tmp_path: Path) -> None:
    folder = MimicFolder(tmp_path, is_packed=False)
    folder.write_reports("mimic-cxr/2.0.0")
    release = tmp_path / "mimic-cxr-jpg" / "2.1.0"
    release.mkdir(parents=True)
    for name in ("files", METADATA, SPLIT, LABELS):
        shutil.move(tmp_path / name, release / name)
    source = folder.read()
    assert source.frontal(0)[0, 0] == 1
    assert source.studies[0].report == "Normal. Clear lungs, study 101."


def test_a_converted_copy_is_found(folder: MimicFolder) -> None:
    path = folder.picture("10000001", "50000101", "d-pa")
    path.rename(path.with_suffix(".png"))
    assert folder.read().listing.frontal_paths[0].endswith("d-pa.png")


def test_a_missing_table_a_wrong_header_and_a_wrong_separator_are_named(folder: MimicFolder) -> None:
    folder.write(METADATA, table_text(METADATA_HEADER, []).replace(",", ";"))
    assert "separated by semicolons" in folder.failure(ValueError, log_ids=True)
    folder.write(METADATA, table_text(METADATA_HEADER[1:], []))
    assert "no column 'dicom_id'" in folder.failure(ValueError, log_ids=True)
    (folder.root / f"{METADATA}.gz").unlink()
    assert f"{METADATA}: no such CSV file" in folder.failure(FileNotFoundError)
    assert "dataset.root: no such folder" in folder.failure(FileNotFoundError, root=str(folder.root / "none"))


def test_an_id_that_is_no_number_and_a_path_that_leaves_the_root_are_errors(folder: MimicFolder) -> None:
    folder.views[0] = ("d", "../../x", "50000101", "PA")
    folder.write_tables()
    assert "no ids in 1 row: row 2 ('../../x 50000101 d')" in folder.failure(ValueError, log_ids=True)
    folder.views[0] = ("../../../../../x", "10000001", "50000101", "PA")
    folder.write_tables()
    assert "image path outside the root in 1 row: row 2" in folder.failure(ValueError)


def test_a_study_of_two_patients_is_an_error(folder: MimicFolder) -> None:
    folder.views[1] = ("d-pa", "10000002", "50000101", "PA")
    folder.write_tables()
    assert "study of two patients in 1 row: row 3 (#" in folder.failure(ValueError)
