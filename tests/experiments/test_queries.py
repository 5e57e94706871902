"""Sentences that search a pool by class: the list, its faults, and the precision of what is found."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from support.queries import read_queries, text_precision
from tests.experiments.conftest import result_of

CLASSES = ("Edema", "Pneumothorax")
LIST = 'Variable,Text\nPneumothorax,Pleural air is present.\nEdema,"Edema, mild."\n'
QUICK = ("task.num_workers=0", "task.precision=fp32")


def written(folder: Path, text: str) -> Path:
    path = folder / "query.csv"
    path.write_text(text)
    return path


def test_a_list_gives_sentences_and_their_classes(tmp_path: Path) -> None:
    sentences, classes = read_queries(written(tmp_path, LIST), CLASSES)
    assert sentences == ["Pleural air is present.", "Edema, mild."]
    assert classes.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Class,Text\nEdema,Edema.\n", "no column Variable"),
        ("Variable,Text\nEdema,Edema.\nFracture,A fracture.\n", r"line 3: class 'Fracture'"),
        ("Variable,Text\nEdema,\n", r"line 2: class 'Edema' with text ''"),
        ("Variable,Text\n", "holds no query"),
    ],
)
def test_a_list_that_does_not_fit_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_queries(written(tmp_path, text), CLASSES)


def test_precision_is_the_share_of_the_class_among_what_is_found() -> None:
    images = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.3], [0.0, 1.0], [0.1, 0.9], [0.2, 0.9]])
    features = torch.tensor([[1.0, 0.05], [0.05, 1.0]])
    given: Any = SimpleNamespace(encode_reports=lambda sentences: SimpleNamespace(report=features[: len(sentences)]))
    figures = text_precision(given, ["a", "b"], np.array([0, 1]), images, np.array([0, 1, 0, 1, 1, 1]))
    assert figures["text_to_image/p1"] == 1.0
    assert figures["text_to_image/p5"] == pytest.approx((2 / 5 + 4 / 5) / 2)
    assert figures["text_to_image/p10"] == pytest.approx((2 / 6 + 4 / 6) / 2), "a pool of six is taken whole"
    assert figures["queries"] == 2


def test_the_pool_of_a_split_is_searched(task: Callable[..., Path], tmp_path: Path) -> None:
    path = written(tmp_path, LIST.replace("Pneumothorax", "Atelectasis"))
    pool = ("dataset.split=chexpert/5x200", "dataset.standin_studies=400")
    figures = result_of(task("zeroshot", *QUICK, *pool, f"task.queries={path}"))["figures"]
    assert figures["queries"] == 2
    assert all(0 <= figures[f"text_to_image/p{k}"] <= 1 for k in (1, 5, 10))


def study_of(path: str) -> str:
    """Returns `patient00001/study1` of a path or id."""
    return "/".join(re.findall(r"patient\d+|study\d+", path))


@pytest.fixture
def eight(task: Callable[..., Path], standin_root: Path, tmp_path: Path) -> tuple[str, ...]:
    """Overrides of CheXpert-8x200 with a list: frontal pictures of a stand-in, some of them without any class."""
    base = ("dataset.standin_studies=400", "dataset.split=chexpert/8x200")
    with pytest.raises(ValueError, match=r"no pool of 8 classes|dataset.split: unknown"):
        task("zeroshot", *QUICK, *base)  # makes the stand-in
    table = max(standin_root.glob("chexpert-*/**/train.csv"), key=lambda path: path.stat().st_size)
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["Frontal/Lateral"] == "Frontal"]
    candidates = tmp_path / "candidate.csv"
    candidates.write_text("Path\n" + "\n".join(row["Path"] for row in rows[:150]) + "\n")
    return (*base, f"dataset.pool={candidates}")


def test_the_published_kind_of_list_is_searched_and_who_has_no_one_class_is_left_out(
    task: Callable[..., Path], eight: tuple[str, ...], standin_root: Path, tmp_path: Path
) -> None:
    path = written(tmp_path, LIST.replace("Edema", "Fracture"))
    folder = task("zeroshot", *QUICK, *eight, "dataset.classes=all", f"task.queries={path}")
    row = result_of(folder)
    assert row["headline"] == "accuracy"
    assert 20 < row["images"]["tested"] < 150, "some of the list show none of the classes, or several"
    assert 0 <= row["figures"]["text_to_image/p10"] <= 1
    table = max(standin_root.glob("chexpert-*/**/train.csv"), key=lambda path: path.stat().st_size)
    with table.open() as file:
        labels = {study_of(line["Path"]): line for line in csv.DictReader(file)}
    with (folder / "predictions.csv").open() as file:
        shown = [(line["id"], line["class"]) for line in csv.DictReader(file) if line["target"] == "1"]
    assert len(shown) == row["images"]["tested"]
    others = {(study, name): labels[study_of(study)][name] for study, name in shown}
    assert set(others.values()) <= {"1.0", "-1.0"}, f"judged by its own label (uncertain counts as one): {others}"


def test_the_eight_classes_need_all_labels_to_be_read(task: Callable[..., Path], eight: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"unknown Fracture.*dataset\.classes=all"):
        task("zeroshot", *QUICK, *eight)


def test_queries_need_a_pool_by_class(task: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"task\.queries.*chexpert/8x200"):
        task("zeroshot", *QUICK, f"task.queries={written(tmp_path, LIST)}")
