"""Curves of a tested task: a PNG and a picture of each kind, and the PR tab's numbers, missing labels left out."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from tensorboard.util import tensor_util

from flvlp.data.studies import Labels
from flvlp.engine.log import RunLog
from flvlp.metrics.curves import Curve, precision_recall_curves
from support.curves import curve_figure, show_curves
from tests.engine.test_log import events

NAMES = ("effusion", "a class without a positive", "mass")
VALUES = np.array([[1, 0, 0], [0, 0, 1], [1, 0, np.nan], [np.nan, 0, 1]], dtype=np.float32)
SCORES = np.array([[-3.0, 1, 0], [-9, 2, 9], [-5, 3, 50], [99, 4, 3]])


def run(folder: Path, values: np.ndarray, *, scores: np.ndarray = SCORES, is_exclusive: bool = False) -> Any:
    run_log = RunLog(folder)
    job: Any = SimpleNamespace(folder=folder, run_log=run_log)
    show_curves(job, Labels(NAMES, values, is_exclusive), np.arange(len(values)), scores[: len(values)])
    run_log.close()
    return events(folder)


def test_each_class_with_both_labels_has_its_curves(tmp_path: Path) -> None:
    found = run(tmp_path, VALUES)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["precision_recall.png", "roc.png"]
    assert found.Tags()["images"] == ["figures/roc", "figures/precision_recall"]
    assert sorted(found.Tags()["tensors"]) == ["test/effusion", "test/mass"]
    curve = tensor_util.make_ndarray(found.Tensors("test/effusion")[0].tensor_proto)
    assert curve[:4, 0].tolist() == [2, 1, 0, 0], "at the lowest threshold all three known studies are called positive"
    assert curve[4].max() == 1.0, "both positives score higher than the negative"


def test_the_curve_of_a_rare_class_has_a_point_at_each_of_its_positives(tmp_path: Path) -> None:
    studies, positives = 25_596, 86
    generator = np.random.default_rng(0)
    values = np.zeros((studies, 3), dtype=np.float32)
    values[:positives, 0] = 1
    scores = generator.normal(size=(studies, 3)) + 3 * values
    found = run(tmp_path, values, scores=scores)
    precision, recall = tensor_util.make_ndarray(found.Tensors("test/effusion")[0].tensor_proto)[4:]
    assert len(set(recall.tolist())) >= 0.95 * positives, (
        f"{len(set(recall.tolist()))} recalls of {positives} positives"
    )
    exact = precision_recall_curves(values[:, :1], scores[:, :1])[0]
    assert exact is not None
    for share, value in zip(recall, precision, strict=True):
        at = np.isclose(exact.x, share)
        assert np.isclose(exact.y[at], value, atol=1e-6).any(), f"precision {value} at recall {share}"


def test_exclusive_classes_are_drawn_against_the_rest(tmp_path: Path) -> None:
    found = run(tmp_path, np.eye(3, dtype=np.float32), is_exclusive=True)
    assert len(found.Tags()["tensors"]) == 3


def test_nothing_is_drawn_where_no_class_has_both_labels(tmp_path: Path) -> None:
    found = run(tmp_path, np.zeros((4, 3), dtype=np.float32))
    assert not (tmp_path / "figures").exists()
    assert found.Tags()["tensors"] == []


def test_many_classes_and_odd_names_find_room() -> None:
    names = [f"$a name^{{ {number} with more letters than the legend has" for number in range(40)]
    curves = [Curve(np.array([0.0, 1]), np.array([0.0, 1]), 0.5)] * 39
    picture = curve_figure(names, [*curves, None], ("recall", "precision"), "title")
    assert picture.dtype == torch.uint8
    below = picture[:, round(38.5 * 15) :, picture.shape[2] // 2 + 150 :]
    assert (below < 128).any(), "the last name has no room"
