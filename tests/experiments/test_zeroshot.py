"""Zero-shot classification from the command line to the result row."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn.metrics import f1_score

from tests.experiments.conftest import result_of

QUICK = ("task.num_workers=0", "task.precision=fp32")
Task = Callable[..., Path]


def test_a_row_names_its_prompts_and_thresholds_come_from_validation(task: Task) -> None:
    folder = task("zeroshot", *QUICK, "dataset.standin_studies=90")
    row = result_of(folder)
    assert (row["task"], row["prompts"], row["view"]) == ("zeroshot", "findings", "fused")
    assert row["figures"]["macro_auroc"] > 0
    assert row["figures"]["classes_with_threshold"] > 0
    with (folder / "predictions.csv").open() as file:
        lines = list(csv.DictReader(file))
    name = next(name for name in {line["class"] for line in lines} if row["figures"][f"f1/{name}"] is not None)
    own = [line for line in lines if line["class"] == name and line["target"]]
    targets, scores = [int(line["target"]) for line in own], [float(line["score"]) for line in own]
    best_on_test = max(f1_score(targets, [score >= cut for score in scores]) for cut in scores)
    assert row["figures"][f"f1/{name}"] <= best_on_test + 1e-9


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
