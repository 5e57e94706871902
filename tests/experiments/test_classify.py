"""Classification from the command line to the result row."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.engine.test_log import events
from tests.experiments.conftest import result_of

QUICK = ("task.fit.epochs=3", "task.fit.batch_size=16", "task.fit.num_workers=0", "task.fit.precision=fp32")
Task = Callable[..., Path]
PROJECTED = "task.head.features=projected"


def read_predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_linear_probe_writes_a_row_that_its_predictions_give_again(task: Task) -> None:
    folder = task("classify", *QUICK)
    row, lines = result_of(folder), read_predictions(folder)
    assert row["split"] == "nih14/official@phantom"
    assert set(row["split_sha256"]) == {"train", "validation", "test"}
    assert all(len(digest) == 64 for digest in [row["encoders_sha256"], *row["split_sha256"].values()])
    assert (row["task"], row["mode"], row["view"], row["label_fraction"], row["seed"]) == (
        *("classify", "linear_probe", "frontal"),
        *(1.0, 0),
    )
    assert {"git_commit", "versions", "patients", "headline", "figures"} <= set(row)
    assert row["images"]["trained"] == row["images"]["train"] > row["images"]["test"]
    assert row["images"]["tested"] == row["images"]["test"] == len({line["id"] for line in lines})
    names = sorted({line["class"] for line in lines})
    areas = {}
    for name in names:
        own = [line for line in lines if line["class"] == name]
        targets = [int(line["target"]) for line in own]
        if 0 < sum(targets) < len(targets):
            areas[name] = roc_auc_score(targets, [float(line["score"]) for line in own])
        else:
            assert row["figures"][f"auroc/{name}"] is None, f"{name} has one label only"
    assert len(areas) == row["figures"]["classes_averaged"] > 3
    for name, area in areas.items():
        assert row["figures"][f"auroc/{name}"] == pytest.approx(area, abs=1e-6)
    assert row["figures"]["macro_auroc"] == pytest.approx(np.mean(list(areas.values())), abs=1e-6)
    assert row["figures"]["macro_auroc_low"] <= row["figures"]["macro_auroc"] <= row["figures"]["macro_auroc_high"]


def test_the_same_seed_gives_the_same_row(task: Task) -> None:
    first = result_of(task("classify", *QUICK, "task.fit.epochs=1"))
    second = result_of(task("classify", *QUICK, "task.fit.epochs=1"))
    assert first["figures"] == second["figures"]


@pytest.mark.parametrize(("view", "overrides"), [("both", ()), ("lateral", ()), ("fused", (PROJECTED,))])
def test_a_probe_takes_every_view_that_the_set_has(task: Task, view: str, overrides: tuple[str, ...]) -> None:
    chexpert = ("dataset=chexpert", "dataset.standin_studies=90")
    row = result_of(task("classify", *QUICK, *chexpert, f"task.head.view={view}", *overrides))
    assert row["view"] == view
    assert row["figures"]["macro_auroc"] > 0


def test_fine_tuning_takes_both_views_and_weights(task: Task) -> None:
    overrides = ("task=finetune", *QUICK, "task.fit.max_steps=2", "task.head.class_weights=true")
    row = result_of(
        task("classify", *overrides, "dataset=chexpert", "dataset.standin_studies=90", "task.head.view=both")
    )
    assert (row["mode"], row["view"]) == ("finetune", "both")


def test_exclusive_classes_are_judged_by_accuracy(task: Task) -> None:
    folder = task("classify", *QUICK, "dataset=covidx")
    row, lines = result_of(folder), read_predictions(folder)
    assert row["headline"] == "accuracy"
    assert {path.name for path in (folder / "figures").iterdir()} == {"roc.png", "precision_recall.png"}
    compared = {tag for tag in events(folder).Tags()["scalars"] if tag.startswith("result/")}
    assert compared == {f"result/{name}" for name in ("accuracy", "macro_f1", "macro_auroc", "mcc")}
    assert events(folder).Scalars("result/accuracy")[0].value == pytest.approx(row["figures"]["accuracy"])
    studies = sorted({line["id"] for line in lines})
    of = {(line["id"], line["class"]): line for line in lines}
    names = sorted({line["class"] for line in lines})
    right = [
        max(names, key=lambda name: float(of[study, name]["score"]))
        == max(names, key=lambda name: int(of[study, name]["target"]))
        for study in studies
    ]
    assert row["figures"]["accuracy"] == pytest.approx(np.mean(right))
    assert np.allclose([sum(float(of[study, name]["score"]) for name in names) for study in studies], 1, atol=1e-5)


def test_a_label_fraction_trains_on_fewer_and_tests_on_the_same(task: Task) -> None:
    whole = result_of(task("classify", *QUICK, "task.fit.epochs=1"))
    part = result_of(task("classify", *QUICK, "task.fit.epochs=1", "label_fraction=0.5"))
    assert part["images"]["train"] < whole["images"]["train"]
    assert part["split_sha256"]["test"] == whole["split_sha256"]["test"]
    assert part["split_sha256"]["train"] != whole["split_sha256"]["train"]


def test_a_trunk_of_timm_stands_in_for_the_encoders(task: Task) -> None:
    row = result_of(task("classify", *QUICK, "encoders=timm:resnet18", "encoders_weights=random", "task.fit.epochs=1"))
    assert row["encoders"] == "timm:resnet18"
    assert row["encoder"]["frontal"] == {"backbone": "resnet18", "norm": "group", "weights": "random"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("dataset=iu_xray",), "iu_xray has no labels"),
        (("dataset.split=nih14/patient",), "no test part"),
        (("encoders=nowhere",), "no such folder"),
        (("task.head.view=lateral",), "view=lateral"),
        (
            ("encoders=timm:resnet18", "encoders_weights=random", "task.head.view=fused", PROJECTED),
            "no fused feature",
        ),
    ],
)
def test_what_cannot_be_done_says_what_to_do(task: Task, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        task("classify", *QUICK, *overrides)


def test_a_credentialed_set_leaves_no_id_behind(task: Task) -> None:
    overrides = ("dataset=mimic_cxr", "dataset.needs_report=false", "task.fit.epochs=1")
    folder = task("classify", *QUICK, *overrides)
    assert all(line["id"].startswith("#") for line in read_predictions(folder))
    named = task("classify", *QUICK, *overrides, "dataset.log_ids=true")
    with (named / "tested.csv").open() as file:
        secrets = {value for line in csv.DictReader(file) for value in (line["id"], line["patient"])}
    assert len(secrets) > 5
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        leaked = [secret for secret in secrets if secret.encode() in content]
        assert not leaked, f"{path.name} holds {leaked}"


def test_a_hidden_patient_has_the_same_number_whatever_is_tested(task: Task) -> None:
    """Two views of one data set test on other studies; who is joined by number must be the same person."""

    def patients(*overrides: str) -> dict[str, str]:
        folder = task("classify", *QUICK, "dataset=mimic_cxr", "dataset.needs_report=false", *overrides)
        with (folder / "tested.csv").open() as file:
            return {line["id"]: line["patient"] for line in csv.DictReader(file)}

    whole, part = patients("task.fit.epochs=1"), patients("task.fit.epochs=1", "task.head.view=lateral")
    assert 0 < len(part) < len(whole)
    assert part == {study: whole[study] for study in part}


@pytest.mark.parametrize(
    ("override", "key"),
    [("label_fraction=0", "label_fraction"), ("draws=0", "draws"), ("limit_test=0", "limit_test"), ("seed=-1", "seed")],
)
def test_a_wrong_common_value_stops_before_any_work(task: Task, override: str, key: str) -> None:
    with pytest.raises(ValueError, match=key):
        task("classify", *QUICK, override)


def test_weights_of_a_trunk_are_refused_for_other_encoders_and_named_in_the_row(task: Task) -> None:
    with pytest.raises(ValueError, match="encoders_weights: random is for"):
        task("classify", *QUICK, "encoders_weights=random")


@pytest.mark.parametrize(
    ("overrides", "view"),
    [
        (("dataset=chexpert", "dataset.standin_studies=90"), "both"),
        (("dataset=chexpert", "dataset.standin_studies=90", "encoder/lateral=none"), "frontal"),
        ((), "frontal"),  # NIH14 has no laterals
    ],
)
def test_view_auto_takes_both_where_encoders_and_data_have_a_lateral(
    task: Task, overrides: tuple[str, ...], view: str
) -> None:
    row = result_of(task("classify", *QUICK, "task.head.view=auto", *overrides))
    assert row["view"] == view
