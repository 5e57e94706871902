"""The splits that test on a pool, through the readers of CheXpert and MIMIC-CXR."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from flvlp.data.readers.files import FileSource
from flvlp.data.readers.labels import CHEXPERT5, CHEXPERT14
from flvlp.data.splits.pools import pool_classes
from tests.data.readers.chexpert_folder import CheXpertFolder
from tests.data.readers.mimic_folder import MimicFolder

# Each class has four patients of two studies: one shows it alone, in the other Pneumonia is uncertain.
PATIENTS = {f"patient{number:05d}": CHEXPERT14[number % 14] for number in range(56)}
TRAIN = {
    f"train/{patient}/study{study}": ("view1_frontal.jpg", "view2_lateral.jpg")
    for patient in PATIENTS
    for study in (1, 2)
}
LABELS = {
    study: {PATIENTS[study.split("/")[1]]: "1.0"} | ({"Pneumonia": "-1.0"} if study.endswith("2") else {})
    for study in TRAIN
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CheXpertFolder:
    return CheXpertFolder(tmp_path_factory.mktemp("chexpert"), train=TRAIN, labels=LABELS)


def pool_ids(source: FileSource) -> list[str]:
    return [source.studies[row].study_id for row in source.splits["test"]]


def patients_of(source: FileSource, part: str) -> set[str]:
    return {source.studies[row].patient_id for row in source.splits[part]}


@pytest.mark.parametrize("unit", ["study", "frontal", "image"])
def test_a_pool_is_drawn_from_the_training_part_and_its_patients_leave_it(folder: CheXpertFolder, unit: str) -> None:
    source = folder.read(split="chexpert/5x200", unit=unit)
    assert source.split_name == "chexpert/5x2-drawn"
    assert len(pool_ids(source)) == 10
    assert source.labels is not None
    assert source.labels.values[source.splits["test"]].sum(axis=0).tolist() == [2] * 5
    assert len(patients_of(source, "test")) == 10
    assert patients_of(source, "train") == set(PATIENTS) - patients_of(source, "test")
    assert patients_of(source, "validation") == {"patient64541"}


def test_uncertain_counts_as_neither_and_laterals_are_not_drawn(folder: CheXpertFolder) -> None:
    ids = pool_ids(folder.read(split="chexpert/5x200", unit="image", uncertain="u_zeros"))
    assert all(name.endswith("/study1/view1_frontal") for name in ids)


def test_the_eight_classes_of_convirt_are_drawn_too(folder: CheXpertFolder) -> None:
    source = folder.read(split="chexpert/8x200", classes="all")
    assert source.labels is not None
    shown = source.labels.values[source.splits["test"]].sum(axis=0)
    names = {name for name, count in zip(CHEXPERT14, shown.tolist(), strict=True) if count}
    assert names >= set(pool_classes("chexpert/8x200")) - {"Pneumonia"}


def test_the_seed_of_the_split_draws_another_pool(folder: CheXpertFolder) -> None:
    labels = {study: {PATIENTS[study.split("/")[1]]: "1.0"} for study in TRAIN}
    folder = CheXpertFolder(folder.root / "both", train=TRAIN, labels=labels)
    pools = {tuple(pool_ids(folder.read(split="chexpert/5x200", split_seed=seed))) for seed in (0, 0, 1)}
    assert len(pools) == 2


@pytest.mark.parametrize("unit", ["study", "frontal"])
@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_list_names_the_pool_whatever_the_release(folder: CheXpertFolder, unit: str, suffix: str) -> None:
    listed = ("train/patient00003/study2", "train/patient00007/study1")
    path = folder.root / f"pool{suffix}"
    paths = [f"{study}/view1_frontal.jpg" for study in listed]
    path.write_text(
        json.dumps({str(row): {"image_path": name} for row, name in enumerate(paths)})
        if suffix == ".json"
        else "\n".join(["Path", *(f"CheXpert-v1.0/{name}" for name in paths)])
    )
    source = folder.read(split="chexpert/5x200", unit=unit, pool=str(path))
    assert source.split_name == "chexpert/5x200"
    assert [name[: len(listed[0])] for name in pool_ids(source)] == list(listed)
    assert patients_of(source, "train") == set(PATIENTS) - {"patient00003", "patient00007"}


@pytest.mark.parametrize(("view", "is_told"), [("view1_frontal", False), ("view2_lateral", True)])
def test_a_pool_of_other_pictures_than_those_that_stand_for_studies_is_a_warning(
    folder: CheXpertFolder, caplog: pytest.LogCaptureFixture, view: str, is_told: bool
) -> None:
    path = folder.root / "pictures.csv"
    path.write_text("\n".join(["Path", *(f"CheXpert-v1.0/{study}/{view}.jpg" for study in list(TRAIN)[:3])]))
    knobs = {"split": "chexpert/5x200", "pool": str(path)}
    with caplog.at_level(logging.WARNING, logger="flvlp"):
        assert len(pool_ids(folder.read(**knobs))) == 3
    told = "of 3 studies in the pool, 3 are tested on another picture than the listed one"
    assert (told in caplog.text) == is_told, caplog.text
    caplog.clear()
    assert [name.rpartition("/")[2] for name in pool_ids(folder.read(**knobs, unit="image"))] == [view] * 3
    assert "another picture" not in caplog.text


def test_lists_of_pictures_are_warned_of_where_a_sample_is_a_study(
    folder: CheXpertFolder, caplog: pytest.LogCaptureFixture
) -> None:
    lists = folder.root / "lists"
    lists.mkdir(exist_ok=True)
    for name, study in zip(("train_list", "val_list", "test_list"), list(TRAIN)[::2], strict=False):
        (lists / f"{name}.txt").write_text(f"CheXpert-v1.0-small/{study}/view1_frontal.jpg 0\n")
    for unit, is_told in (("study", True), ("frontal", False)):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="flvlp"):
            folder.read(split="chexpert/lists", split_lists=str(lists), unit=unit)
        assert ("a study is looked up by its first frontal alone" in caplog.text) == is_told


def test_a_list_for_a_split_without_a_pool_is_an_error(folder: CheXpertFolder) -> None:
    assert "tests on no pool; set dataset.split=chexpert/5x200" in folder.failure(ValueError, pool="pool.csv")


def test_a_missing_list_is_an_error(folder: CheXpertFolder) -> None:
    assert "no such list" in folder.failure(
        FileNotFoundError, split="chexpert/5x200", pool=str(folder.root / "none.csv")
    )


@pytest.fixture
def mimic(tmp_path: Path) -> MimicFolder:
    views = [
        (f"d{patient}{study}", f"120000{patient:02d}", f"510000{patient:02d}{study}", "PA")
        for patient in range(20)
        for study in (1, 2)
    ]
    made = MimicFolder(
        tmp_path, [*views, ("d-valid", "11000003", "50000301", "PA"), ("d-test", "11000004", "50000401", "PA")]
    )
    made.labels = {study: {CHEXPERT5[int(study[6:8]) % 5]: "1.0"} for _, _, study, _ in views}
    made.write_tables()
    made.write_reports()
    return made


def test_mimic_draws_a_pool_of_the_training_part(mimic: MimicFolder) -> None:
    source = mimic.read(split="mimic_cxr/5x200")
    assert source.split_name == "mimic_cxr/5x2-drawn"
    assert len(patients_of(source, "test")) == 10
    assert patients_of(source, "validation") == {"p11000003"}


def test_mimic_reads_a_list_of_study_ids_and_leaves_its_patients_out(mimic: MimicFolder, tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text(
        "Path,dicom_id,subject_id,study_id,Report\nPATH,x,12000003,510000031,R\nPATH,x,12000004,s510000042,R\n"
    )
    source = mimic.read(split="mimic_cxr/5x200", pool=str(path))
    assert pool_ids(source) == ["s510000031", "s510000042"]
    assert not {"p12000003", "p12000004"} & patients_of(source, "train")
    np.testing.assert_array_equal(source.splits["train"], np.delete(np.arange(40), [6, 7, 8, 9]))


def test_mimic_needs_its_labels_to_draw(mimic: MimicFolder) -> None:
    (mimic.root / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    assert "a pool is drawn by its labels" in mimic.failure(FileNotFoundError, split="mimic_cxr/5x200")
