"""Zero-shot classification from the command line to the result row."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flvlp.metrics.classification import best_thresholds
from tests.engine.test_log import events
from tests.experiments.conftest import result_of

QUICK = ("task.num_workers=0", "task.precision=fp32")
Task = Callable[..., Path]


def test_a_row_names_its_prompts_and_thresholds_come_from_validation(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, chosen = [], []

    def choose(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        seen.append(len(labels))
        chosen.extend(best_thresholds(labels, scores).tolist())
        return np.array(chosen)

    monkeypatch.setattr("flvlp.metrics.classification.best_thresholds", choose)
    row = result_of(task("zeroshot", *QUICK, "dataset.standin_studies=90"))
    assert (row["task"], row["prompts"], row["view"]) == ("zeroshot", "findings", "fused")
    assert row["figures"]["macro_auroc"] > 0
    assert row["figures"]["classes_with_threshold"] > 0
    assert row["images"]["validation"] != row["images"]["test"], "the sizes cannot tell the parts apart"
    assert seen == [row["images"]["validation"]]
    written = [value for name, value in row["figures"].items() if name.startswith("threshold/")]
    assert [value for value in written if value is not None] == [value for value in chosen if not np.isnan(value)]


def test_a_pool_by_class_is_judged_by_the_best_of_its_classes(task: Task) -> None:
    folder = task("zeroshot", *QUICK, "dataset.split=chexpert/5x200", "dataset.standin_studies=400")
    row = result_of(folder)
    with (folder / "predictions.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert row["headline"] == "accuracy"
    assert len({line["class"] for line in lines}) == 5
    assert (folder / "figures" / "roc.png").is_file()
    assert len([tag for tag in events(folder).Tags()["tensors"] if tag.startswith("test/")]) == 5, "a PR curve a class"
    studies = {line["id"] for line in lines}
    assert all(sum(int(line["target"]) for line in lines if line["id"] == study) == 1 for study in studies)


def test_drawn_prompts_report_their_spread_and_are_written(task: Task) -> None:
    folder = task("zeroshot", *QUICK, "dataset.standin_studies=90", "prompts=medclip", "prompts.draws=3")
    row, prompts = result_of(folder), json.loads((folder / "prompts.json").read_text())
    assert len(prompts) == 3
    assert prompts[0] != prompts[1]
    assert row["figures"]["macro_auroc_of_draws_sd"] >= 0


def test_exclusive_classes_compete(task: Task) -> None:
    row = result_of(task("zeroshot", *QUICK, "dataset=covidx"))
    assert row["headline"] == "accuracy"


def test_encoders_without_text_are_refused(task: Task) -> None:
    with pytest.raises(ValueError, match="has no text encoder"):
        task("zeroshot", *QUICK, "encoders=timm:resnet18", "encoders_weights=random")


def test_an_unknown_prompt_set_names_the_known_ones(task: Task) -> None:
    with pytest.raises(Exception, match="chexzero"):
        task("zeroshot", *QUICK, "prompts=nowhere")
