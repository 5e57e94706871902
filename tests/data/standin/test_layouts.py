"""Stand-ins look like what publishers ship: names, header lines, ids, values, file types."""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import get_frame

FolderOf = Callable[[str], Path]

CHEXPERT_CLASSES = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
MIMIC_CLASSES = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,"
    "No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)
NIH_CLASSES = {
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia", "No Finding"),
}
# First lines as published.
HEADERS = {
    ("nih14", "Data_Entry_2017_v2020.csv"): (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    ),
    ("nih14", "BBox_List_2017.csv"): "Image Index,Finding Label,Bbox [x,y,w,h],,,",
    ("rsna", "stage_2_train_labels.csv"): "patientId,x,y,width,height,Target",
    ("rsna", "stage_2_detailed_class_info.csv"): "patientId,class",
    ("rsna", "stage_2_sample_submission.csv"): "patientId,PredictionString",
    ("siim", "train-rle.csv"): "ImageId, EncodedPixels",
    ("object_cxr", "train.csv"): "image_name,annotation",
    ("ms_cxr", "MS_CXR_Local_Alignment_v1.1.0.csv"): (
        "dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height,split"
    ),
    ("object_cxr", "dev.csv"): "image_name,annotation",
    ("chexpert", "train.csv"): f"Path,Sex,Age,Frontal/Lateral,AP/PA,{CHEXPERT_CLASSES}",
    ("chexpert", "valid.csv"): f"Path,Sex,Age,Frontal/Lateral,AP/PA,{CHEXPERT_CLASSES}",
    ("chexpert", "groundtruth.csv"): f"Study,{CHEXPERT_CLASSES}",
    ("mimic_cxr", "mimic-cxr-2.0.0-metadata.csv.gz"): (
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
        "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
    ),
    ("mimic_cxr", "mimic-cxr-2.0.0-split.csv.gz"): "dicom_id,study_id,subject_id,split",
    ("mimic_cxr", "mimic-cxr-2.0.0-chexpert.csv.gz"): f"subject_id,study_id,{MIMIC_CLASSES}",
    ("iu_xray", "indiana_reports.csv"): "uid,MeSH,Problems,image,indication,comparison,findings,impression",
    ("iu_xray", "indiana_projections.csv"): "uid,filename,projection",
}
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def text_of(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text_of(path))))[1:]


@pytest.mark.parametrize(("name", "file"), HEADERS)
def test_a_table_begins_with_the_published_header(name: str, file: str, folder_of: FolderOf) -> None:
    text = text_of(folder_of(name) / file)
    assert text.split("\n", 1)[0] == HEADERS[name, file]
    assert "\r" not in text


def test_nih_rows_lists_and_boxes_have_the_published_form(folder_of: FolderOf) -> None:
    folder = folder_of("nih14")
    rows = rows_of(folder / "Data_Entry_2017_v2020.csv")
    for name, labels, visit, patient, *_ in rows:
        assert name == f"{int(patient):08d}_{int(visit):03d}.png"
        assert NIH_CLASSES.issuperset(labels.split("|")), labels
        assert labels.split("|") == sorted(labels.split("|"))
    lists = [(folder / name).read_text().splitlines() for name in ("train_val_list.txt", "test_list.txt")]
    assert sorted(lists[0] + lists[1]) == sorted(row[0] for row in rows)
    assert {row[0] for row in rows_of(folder / "BBox_List_2017.csv")} <= set(lists[1])
    for box in rows_of(folder / "BBox_List_2017.csv"):
        assert len(box) == 6
        assert box[1] in (NIH_CLASSES | {"Infiltrate"}) - {"Infiltration"}
    pictures = sorted(folder.glob("images_*/images/*.png"))
    assert sorted(path.name for path in pictures) == sorted(row[0] for row in rows)
    assert {Image.open(path).mode for path in pictures} == {"L", "RGBA"}, "a few are published with alpha"


def test_rsna_writes_a_row_for_each_box_and_commas_for_none(folder_of: FolderOf) -> None:
    folder = folder_of("rsna")
    rows, classes = (rows_of(folder / f"stage_2_{name}.csv") for name in ("train_labels", "detailed_class_info"))
    for name, *box, target in rows:
        assert re.fullmatch(UUID, name)
        assert all(re.fullmatch(r"\d+\.0", number) for number in box) if target == "1" else not any(box)
    assert [row[0] for row in classes] == [row[0] for row in rows]
    assert {row[1] for row in classes} == {"Lung Opacity", "No Lung Opacity / Not Normal", "Normal"}
    trained = {path.stem for path in (folder / "stage_2_train_images").iterdir()}
    assert trained == {row[0] for row in rows}
    hidden = {path.stem for path in (folder / "stage_2_test_images").iterdir()}
    mapping = json.loads((folder / "pneumonia-challenge-dataset-mappings_2018.json").read_text())
    assert {entry["subset_img_id"] for entry in mapping} == trained | hidden


def test_siim_writes_minus_one_runs_and_several_rows_of_a_picture(folder_of: FolderOf) -> None:
    folder = folder_of("siim")
    lines = text_of(folder / "train-rle.csv").splitlines()[1:]
    names = [line.split(",")[0] for line in lines]
    assert len(set(names)) < len(names), "no picture has two rows"
    for line in lines:
        assert re.fullmatch(r"1\.2\.276\.0\.7230010\.3\.1\.4\.8323329\.\d+\.\d{10}\.\d{6},(-1|\d+( \d+)+)", line), line
    present = {path.stem for path in folder.glob("dicom-images-train/*/*/*.dcm")}
    assert set(names) < present, "a few pictures have no row"
    assert list(folder.glob("dicom-images-test/*/*/*.dcm"))


@pytest.mark.parametrize("name", ["rsna", "siim"])
def test_dicom_files_are_jpeg_baseline_of_eight_bits(name: str, folder_of: FolderOf) -> None:
    path = sorted(folder_of(name).rglob("*.dcm"))[0]
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert (dataset.PhotometricInterpretation, dataset.BitsAllocated, dataset.BitsStored) == ("MONOCHROME2", 8, 8)
    assert (dataset.Modality, dataset.ConversionType, dataset.BodyPartExamined) == ("CR", "WSD", "CHEST")
    assert dataset.ViewPosition in ("AP", "PA")
    assert re.fullmatch(UUID, dataset.PatientID)
    assert dataset.SOPInstanceUID.startswith("1.2.276.0.7230010.3.1.4.8323329.")
    assert path.stem == (dataset.PatientID if name == "rsna" else dataset.SOPInstanceUID)
    assert get_frame(dataset.PixelData, 0, number_of_frames=1).startswith(b"\xff\xd8")


def test_object_cxr_draws_all_three_shapes_in_whole_pixels(folder_of: FolderOf) -> None:
    folder = folder_of("object_cxr")
    kinds = set()
    for part in ("train", "dev"):
        rows = rows_of(folder / f"{part}.csv")
        assert {row[0] for row in rows} == {path.name for path in (folder / part).iterdir()}
        for name, annotation in rows:
            assert re.fullmatch(r"\d{5}\.jpg", name)
            for one in filter(None, annotation.split(";")):
                assert re.fullmatch(r"[01]( \d+){4}|2( \d+ \d+){3,}", one), one
                kinds.add(one[0])
    assert kinds == {"0", "1", "2"}


def test_covidx_lists_have_no_header_and_some_spaces(folder_of: FolderOf) -> None:
    folder = folder_of("covidx")
    fields = set()
    for part in ("train", "test"):
        for line in (folder / f"{part}_COVIDx9A.txt").read_text().splitlines():
            assert re.fullmatch(r"\S+( \S+){3}|COVID \d+ COVID \(\d+\)\S* \S+ \S+", line), line
            assert line.split()[-2] in ("normal", "pneumonia", "COVID-19")
            fields.add(len(line.split()))
    assert fields == {4, 6}


def test_chexpert_paths_values_and_views_have_the_published_form(folder_of: FolderOf) -> None:
    folder = folder_of("chexpert")
    values = {}
    for part in ("train", "valid"):
        rows = rows_of(folder / f"{part}.csv")
        for path, sex, _, view, position, *_ in rows:
            found = re.fullmatch(
                rf"CheXpert-v1\.0-small/({part}/patient\d{{5}}/study\d/view\d_(frontal|lateral)\.jpg)", path
            )
            assert found, path
            assert (folder / found[1]).is_file()
            assert view == found[2].capitalize()
            assert sex in ("Male", "Female")
            assert position in (("AP", "PA") if view == "Frontal" else ("",))
        values[part] = {value for row in rows for value in row[5:]}
    assert values == {"train": {"1.0", "0.0", "-1.0", ""}, "valid": {"1.0", "0.0"}}
    truth = text_of(folder / "groundtruth.csv")
    assert not truth.endswith("\n")
    for line in truth.splitlines()[1:]:
        assert re.fullmatch(r"CheXpert-v1\.0/test/patient\d{5}/study\d(,[01]){14}", line), line
        assert (folder / line.split("/", 1)[1].split(",")[0]).is_dir()


def test_mimic_ids_files_and_reports_have_the_published_form(folder_of: FolderOf) -> None:
    folder = folder_of("mimic_cxr")
    rows = rows_of(folder / "mimic-cxr-2.0.0-metadata.csv.gz")
    studies = set()
    for dicom, subject, study, _, view, *_ in rows:
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}", dicom)
        assert re.fullmatch(r"1\d{7} 5\d{7}", f"{subject} {study}")
        assert view in ("AP", "PA", "LATERAL", "LL", "")
        studies.add(f"files/p{subject[:2]}/p{subject}/s{study}")
        assert Image.open(folder / f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}.jpg").mode == "L"
    assert {row[4] for row in rows} == {"AP", "PA", "LATERAL", "LL", ""}
    assert {row[3] for row in rows_of(folder / "mimic-cxr-2.0.0-split.csv.gz")} == {"train", "validate", "test"}
    with ZipFile(folder / "mimic-cxr-reports.zip") as archive:
        assert set(archive.namelist()) == {f"{study}.txt" for study in studies}
        texts = [archive.read(name).decode() for name in archive.namelist()]
    assert all("FINAL REPORT" in text and "___" in text for text in texts)
    assert sum("FINDINGS:" in text for text in texts) > len(texts) / 2
    assert any("WET READ" in text for text in texts)
    assert max(len(line) for text in texts for line in text.splitlines()) <= 78


def test_iu_xray_comes_as_tables_xml_and_annotation(folder_of: FolderOf) -> None:
    folder = folder_of("iu_xray")
    reports = {row[0]: row for row in rows_of(folder / "indiana_reports.csv")}
    projections = rows_of(folder / "indiana_projections.csv")
    for uid, name, kind in projections:
        assert re.fullmatch(rf"{uid}_IM-\d{{4}}-\d{{4}}\.dcm\.png", name)
        assert kind in ("Frontal", "Lateral")
        assert (folder / "images/images_normalized" / name).is_file()
        assert uid in reports
    xml = {path.stem: ElementTree.parse(path) for path in (folder / "ecgen-radiology").glob("*.xml")}
    assert set(reports) < set(xml), "a few reports have no pictures, and are not in the tables"
    for uid, row in reports.items():
        sections = {node.get("Label"): node.text or "" for node in xml[uid].iter("AbstractText")}
        assert list(sections) == ["COMPARISON", "INDICATION", "FINDINGS", "IMPRESSION"]
        assert [sections["FINDINGS"], sections["IMPRESSION"]] == row[6:]
    assert any("XXXX" in row[6] for row in reports.values())
    assert any(not row[6] and row[7] for row in reports.values())
    annotation = json.loads((folder / "annotation.json").read_text())
    assert list(annotation) == ["train", "val", "test"]
    for entry in annotation["train"]:
        assert re.fullmatch(r"CXR\d+_IM-\d{4}", entry["id"])
        assert all((folder / "images" / path).is_file() for path in entry["image_path"])


def test_a_second_exposure_is_another_picture_of_the_same(folder_of: FolderOf) -> None:
    studies = sorted(folder_of("chexpert").glob("*/*/*/view2_frontal.jpg"))
    assert studies
    first, second = (
        np.asarray(Image.open(path), float) for path in (studies[0].with_name("view1_frontal.jpg"), studies[0])
    )
    assert 3 < np.abs(first - second).mean() < 40
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.95
