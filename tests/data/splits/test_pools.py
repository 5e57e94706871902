"""Evaluation pools: how they are drawn, which lists are read, and who leaves the other parts."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flvlp.data.readers.labels import CHEXPERT5
from flvlp.data.splits.pools import POOLS, draw_pool, drawn_name, find_pool, parts_around, pool_classes, read_pool
from flvlp.data.studies import Labels

COUNT = 400
COLUMNS = ("Path", "image_path", "imgpath")
PATH = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"


class Studies:
    """Studies at random; a third of the labels is 1, some are missing, and a patient has about two studies."""

    def __init__(self, seed: int, count: int = COUNT) -> None:
        random = np.random.default_rng(seed)
        values = random.choice([0, 1, np.nan], (count, 6), p=[0.8, 0.17, 0.03]).astype(np.float32)
        self.labels = Labels((*CHEXPERT5, "Fracture"), values)
        self.patients = [f"p{number}" for number in random.integers(0, count // 2, count)]
        self.ids = [f"s{number}" for number in range(count)]

    def draw(self, candidates: np.ndarray | None = None, per_class: int = 5, seed: int = 0) -> np.ndarray:
        chosen = np.arange(len(self.ids)) if candidates is None else candidates
        return draw_pool(self.labels, chosen, CHEXPERT5, per_class, seed, study_ids=self.ids, patient_ids=self.patients)

    def shuffled(self, order: np.ndarray) -> "Studies":
        other = Studies(0)
        other.labels = Labels(self.labels.names, self.labels.values[order])
        other.patients = [self.patients[row] for row in order]
        other.ids = [self.ids[row] for row in order]
        return other


@given(st.integers(0, 20), st.integers(0, 5))
def test_each_study_shows_one_class_and_every_other_label_is_0(data_seed: int, seed: int) -> None:
    studies = Studies(data_seed)
    values = studies.labels.values[studies.draw(seed=seed)]
    assert (values.sum(axis=1) == 1).all()
    assert values[:, :5].sum(axis=0).tolist() == [5] * 5


@given(st.integers(0, 20), st.integers(0, 5))
def test_no_patient_is_drawn_twice(data_seed: int, seed: int) -> None:
    studies = Studies(data_seed)
    patients = [studies.patients[row] for row in studies.draw(seed=seed)]
    assert len(set(patients)) == len(patients) == 25


@given(st.integers(0, 20), st.integers(0, 1000))
def test_the_order_of_the_rows_does_not_matter(data_seed: int, order_seed: int) -> None:
    studies = Studies(data_seed)
    other = studies.shuffled(np.random.default_rng(order_seed).permutation(COUNT))
    assert {studies.ids[row] for row in studies.draw()} == {other.ids[row] for row in other.draw()}


def test_another_seed_gives_another_pool_and_the_same_seed_the_same() -> None:
    studies = Studies(0)
    pools = {tuple(studies.draw(seed=seed)) for seed in range(8)}
    assert len(pools) == 8
    assert tuple(studies.draw(seed=3)) in pools


def test_the_pool_is_the_same_on_every_machine_and_in_every_version() -> None:
    labels = Labels(("a", "b"), np.array([[1, 0], [0, 1]] * 6, dtype=np.float32))
    names = [f"s{number}" for number in range(12)]
    assert draw_pool(labels, range(12), ("a", "b"), 2, 0, study_ids=names, patient_ids=names).tolist() == [4, 5, 10, 11]


def test_only_candidates_are_drawn() -> None:
    studies = Studies(1)
    candidates = np.arange(0, COUNT, 2)
    assert set(studies.draw(candidates, per_class=3)) <= set(candidates)


def test_a_scarce_class_makes_every_class_smaller_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    studies = Studies(2)
    with caplog.at_level(logging.WARNING, logger="flvlp"):
        pool = studies.draw(per_class=200)
    counts = studies.labels.values[pool][:, :5].sum(axis=0)
    assert len(set(counts)) == 1
    assert f"a pool of 5 x {int(counts[0])} is drawn, not of 200 a class" in caplog.text
    scarcest = min(int(text.split()[-1]) for text in caplog.messages[0].rpartition(": ")[2].split(", "))
    assert counts[0] == scarcest // 2
    assert drawn_name("chexpert/5x200", pool) == f"chexpert/5x{int(counts[0])}-drawn"


def test_a_class_that_nobody_shows_alone_is_an_error_with_the_counts() -> None:
    labels = Labels(("a", "b"), np.array([[1, 0], [1, 1], [0, np.nan]], dtype=np.float32))
    with pytest.raises(ValueError, match=r"no pool of 2 classes .* \(patients with that class alone: a 1, b 0\)"):
        draw_pool(labels, range(3), ("a", "b"), 2, 0, study_ids="xyz", patient_ids="xyz")


def test_a_split_tells_whether_it_tests_on_a_pool() -> None:
    assert pool_classes("chexpert/5x200") == pool_classes("mimic_cxr/5x200") == CHEXPERT5
    assert len(pool_classes("chexpert/8x200")) == 8
    assert pool_classes("chexpert/official") == pool_classes("") == ()
    assert set(POOLS) == {"5x200", "8x200"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chexpert_5x200.csv", f"Path,Sex,Atelectasis\n{PATH},Male,1.0\n"),
        ("alta.csv", f',Path,Sex,Report Impression\n0,{PATH},Male,"Two\nlines, quoted"\n'),
        ("query.csv", f"Variable,Path\nAtelectasis,{PATH}\n"),
        ("medclip.csv", f",imgpath,subject_id\n0,{PATH},patient00001-study1\n"),
        ("prior.json", json.dumps({"7": {"image_path": PATH, "label": [1, 0, 0, 0, 0]}})),
    ],
)
def test_the_lists_of_the_field_are_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_pool(tmp_path / name, COLUMNS) == [PATH]


def test_a_plain_list_and_the_ids_of_benchx_are_read(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{PATH}\n")
    assert read_pool(tmp_path / "list.txt", COLUMNS) == ["train/patient00001/study1/view1_frontal"]
    (tmp_path / "ids.csv").write_text("Path,dicom_id,subject_id,study_id,Report\nPATH,d,10000032,50414267,REPORT\n")
    assert read_pool(tmp_path / "ids.csv", ("study_id",)) == ["50414267"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("pool.csv", "Image\na\n", "names nothing; a pool has one study a row in a column 'Path' or 'image_path'"),
        ("pool.csv", "Path\n", "names nothing"),
        ("pool.json", "{", "no JSON file"),
        ("pool.json", "[" * 100_000, "no JSON file"),
        ("pool.json", "[1]", "no list of studies"),
        ("pool.json", '{"1": {"label": []}}', "names nothing"),
    ],
)
def test_a_file_that_is_no_list_is_an_error(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=words):
        read_pool(tmp_path / name, COLUMNS)
    with pytest.raises(FileNotFoundError, match=r"no such list; dataset\.pool must name"):
        read_pool(tmp_path / "none.csv", COLUMNS)


def test_listed_studies_are_found_once_and_lost_ones_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="flvlp"):
        positions = find_pool(Path("list"), ["c", "a", "c", "z"], ["a", "b", "c"])
    assert positions.tolist() == [0, 2]
    assert "a pool of 2 studies; 1 listed ones are not in the data set" in caplog.text
    with pytest.raises(ValueError, match="none of its 1 studies is in the data set"):
        find_pool(Path("list"), ["z"], ["a"])


def test_patients_of_the_pool_and_the_published_test_part_are_in_no_other_part() -> None:
    published = ["train", "train", "validation", "test", "train", ""]
    patients = ["p", "p", "q", "r", "s", "t"]
    assert parts_around(np.array([1]), published, patients) == ["", "test", "validation", "", "train", ""]
    assert parts_around(np.array([1]), [], patients) == ["", "test", "train", "train", "train", "train"]
