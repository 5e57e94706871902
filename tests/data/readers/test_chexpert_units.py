"""What a sample of CheXpert is: a study, a frontal picture, or any picture."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.readers.chexpert_folder import CheXpertFolder


@pytest.fixture
def folder(tmp_path: Path) -> CheXpertFolder:
    return CheXpertFolder(tmp_path)


def test_a_study_is_its_first_frontal_its_first_lateral_and_the_others(folder: CheXpertFolder) -> None:
    source = folder.read(unit="study")
    listing = source.listing
    assert [study.has_lateral for study in source.studies] == [True, False, True, False]
    assert source.studies[2].row == 5
    assert [Path(listing.frontal_paths[2]).name, Path(listing.lateral_paths[2]).name] == [
        "view1_frontal.jpg",
        "view3_lateral.jpg",
    ]
    assert [Path(path).name for path in listing.other_paths[2]] == ["view2_frontal.jpg", "view4_lateral.jpg"]
    assert [source.frontal(2)[0, 0], source.lateral(2)[0, 0]] == [4, 3]


def test_a_study_with_a_lateral_alone_is_dropped_with_a_tally(folder: CheXpertFolder) -> None:
    source = folder.read(unit="study")
    assert "patient00003" not in [study.patient_id for study in source.studies]
    assert len(source.listing.dropped["without a frontal view"]) == 1


def test_every_frontal_picture_is_a_sample_of_its_own(folder: CheXpertFolder) -> None:
    source = folder.read(unit="frontal")
    assert [study.study_id for study in source.studies] == [
        "train/patient00001/study1/view1_frontal",
        "train/patient00001/study2/view1_frontal",
        "train/patient00002/study1/view1_frontal",
        "train/patient00002/study1/view2_frontal",
        "valid/patient64541/study1/view1_frontal",
    ]
    assert not any(study.has_lateral for study in source.studies)
    assert [study.row for study in source.studies] == [2, 4, 6, 7, 2]


def test_with_image_a_lateral_stands_as_the_picture(folder: CheXpertFolder) -> None:
    source = folder.read(unit="image")
    assert len(source.studies) == 9
    assert source.studies[1].study_id == "train/patient00001/study1/view2_lateral"
    assert source.frontal(1)[0, 0] == 1
    assert "train/patient00003/study1/view1_lateral" in [study.study_id for study in source.studies]


@pytest.mark.parametrize("unit", ["study", "frontal", "image"])
def test_labels_follow_their_samples_and_patients_stay_whole(folder: CheXpertFolder, unit: str) -> None:
    source = folder.read(unit=unit)
    assert source.labels is not None
    edema = source.labels.values[:, source.labels.names.index("Edema")]
    shows_edema = [study.patient_id == "patient00001" for study in source.studies]
    np.testing.assert_array_equal(edema, np.array(shows_edema, dtype=np.float32))
    drawn = folder.read(unit=unit, split="chexpert/patient", validation_fraction=0.4)
    patients = [{drawn.studies[row].patient_id for row in rows} for rows in drawn.splits.values()]
    assert not patients[0] & patients[1]


def relabelled(folder: CheXpertFolder, row: int, old: str, new: str) -> None:
    lines = (folder.base / "train.csv").read_text().splitlines()
    assert old in lines[row], lines[row]
    lines[row] = lines[row].replace(old, new)
    (folder.base / "train.csv").write_text("\n".join(lines))


@pytest.mark.parametrize("unit", ["study", "frontal", "image"])
def test_labels_of_one_value_in_two_spellings_are_the_same(folder: CheXpertFolder, unit: str) -> None:
    expected = folder.read(unit=unit).labels
    relabelled(folder, 2, "1.0,", "1,")  # -1.0 too
    found = folder.read(unit=unit).labels
    assert expected is not None
    assert found is not None
    np.testing.assert_array_equal(found.values, expected.values)


def test_other_labels_in_a_study_stop_the_reader_only_where_a_study_is_a_sample(folder: CheXpertFolder) -> None:
    relabelled(folder, 2, ",0.0,", ",1.0,")  # consolidation
    assert "other labels than an earlier picture" in folder.failure(ValueError, unit="study")
    labels = folder.read(unit="image").labels
    assert labels is not None
    assert labels.values[:2, labels.names.index("Consolidation")].tolist() == [0, 1]
    assert len(folder.read(unit="frontal").studies) == 5


def test_several_studies_of_a_patient_share_its_id(folder: CheXpertFolder) -> None:
    assert [study.patient_id for study in folder.read().studies][:2] == ["patient00001", "patient00001"]
