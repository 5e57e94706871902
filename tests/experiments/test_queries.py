"""Sentences that search a pool by class: the list, its faults, and the precision of what is found."""

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


def test_queries_need_a_pool_by_class(task: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"task\.queries.*chexpert/8x200"):
        task("zeroshot", *QUICK, f"task.queries={written(tmp_path, LIST)}")
