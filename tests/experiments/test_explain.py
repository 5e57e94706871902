"""Explaining from the command line: pictures of one study, and phrase grounding to the result row."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from explain import Args, GroundingConfig, is_study
from flvlp.data.readers.base_config import DatasetConfig
from flvlp.models.encoders import ViewEncoders
from flvlp.types import ImageFeatures
from tests.conftest import PHANTOMS
from tests.experiments.conftest import result_of

GROUND = ("action=grounding", "task.num_workers=0")
MS_CXR = (*GROUND, "dataset=ms_cxr", "task.part=all")
Task = Callable[..., Path]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_phrases_of_the_stand_in_are_grounded_beside_chance(task: Task) -> None:
    folder = task("explain", *MS_CXR, "dataset.log_text=true", "dataset.log_images=true", "pictures=3")
    row, lines = result_of(folder), rows_of(folder)
    figures = row["figures"]
    assert (row["task"], row["mode"], row["headline"], row["part"]) == ("explain", "grounding", "pointing", "all")
    assert row["split"] == "ms_cxr/official@phantom"
    assert figures["phrases"] == len(lines) > 10
    assert figures["pointing"] == pytest.approx(np.mean([float(line["pointing"]) for line in lines]))
    assert figures["iou"] == pytest.approx(np.mean([float(line["iou"]) for line in lines]))
    assert 0 < figures["chance_pointing"] < 0.5
    categories = {line["category"] for line in lines}
    assert {f"pointing/{category}" for category in categories} <= figures.keys()
    assert figures["macro_pointing"] == pytest.approx(np.mean([figures[f"pointing/{one}"] for one in categories]))
    assert all(line["phrase"] for line in lines)
    assert len(list((folder / "grounding").glob("*.png"))) == 3
    assert row["images"]["tested"] == len({line["id"] for line in lines})


def test_a_credentialed_set_leaves_no_phrase_id_or_picture_behind(task: Task, standin_root: Path) -> None:
    folder = task("explain", *MS_CXR)
    table = next(standin_root.glob("ms_cxr-*/MS_CXR*.csv"))
    with table.open() as file:
        told = list(csv.DictReader(file))
    secrets = {line[column] for line in told for column in ("label_text", "dicom_id", "path")}
    secrets -= {line["category_name"] for line in told}  # "Cardiomegaly" may be a phrase, and is the name of a class
    assert len(secrets) > 50, f"{len(secrets)}"
    lines = rows_of(folder)
    assert lines
    assert not any(line["phrase"] for line in lines)
    assert all(line["id"].startswith("#") for line in lines)
    assert not list(folder.rglob("*.png"))
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        leaked = [secret for secret in secrets if len(secret) > 8 and secret.encode() in content]
        assert not leaked, f"{path.name} holds {leaked}"


def test_sets_without_phrases_are_asked_for_a_sentence_a_class(task: Task) -> None:
    for name, sentence in (("rsna", "Lung opacity."), ("siim", "Pneumothorax.")):
        lines = rows_of(task("explain", *GROUND, f"dataset={name}", "pictures=0", "task.part=all"))
        assert {line["phrase"] for line in lines} == {sentence}
        assert {line["view"] for line in lines} == {"frontal"}


def test_phantoms_are_grounded_on_both_views(task: Task, phantom_root: Path) -> None:
    data = ("dataset=phantom", f"dataset.root={phantom_root}", *PHANTOMS, "dataset.size=64")
    folder = task("explain", *GROUND, *data, "dataset.test_fraction=0.4", "pictures=2")
    figures, lines = result_of(folder)["figures"], rows_of(folder)
    by_view = {
        view: [float(line["pointing"]) for line in lines if line["view"] == view] for view in ("frontal", "lateral")
    }
    for view, hits in by_view.items():
        assert figures[f"phrases/{view}"] == len(hits) > 0
        assert figures[f"pointing/{view}"] == pytest.approx(np.mean(hits))


def paint(folder: Path, shape: tuple[int, int], middles: list[tuple[float, float]]) -> list[str]:
    """Writes grey pictures with a bright square each, at a share of height and width, and their masks; returns rows."""
    rows = []
    for number, (down, along) in enumerate(middles):
        mask = np.zeros(shape, dtype=np.uint8)
        reach = max(shape) // 6  # wider than a patch, so that the middle of the brightest patch lies in it
        row, column = round(down * shape[0]), round(along * shape[1])
        mask[max(0, row - reach) : row + reach, max(0, column - reach) : column + reach] = 255
        Image.fromarray(40 + mask // 2).save(folder / f"p{number}.png")
        Image.fromarray(mask).save(folder / f"m{number}.png")
        rows.append(f"p{number}.png,m{number}.png,1,{'train' if number == 0 else 'test'},q{number}")
    return rows


@pytest.mark.parametrize("shape", [(96, 96), (150, 90), (90, 150)], ids=["square", "upright", "lying"])
def test_encoders_that_look_at_what_is_bright_point_at_it_wherever_it_is(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    """The whole way: crop, patches, heat map, back to the picture, and the mask of the data set."""

    def brightness(self: ViewEncoders, pixels: torch.Tensor) -> ImageFeatures:
        pooled = torch.nn.functional.adaptive_avg_pool2d(pixels.float() / 255, self.grids[0]).flatten(1)
        patches = torch.stack([pooled, 1 - pooled], dim=2)  # (B, P, 2)
        return ImageFeatures(patches, patches.mean(dim=1), self.grids[0])

    monkeypatch.setattr(ViewEncoders, "encode_image", brightness)
    monkeypatch.setattr("support.heat.encode_phrases", lambda given, phrases: torch.tensor([[1.0, 0.0]] * len(phrases)))
    middles = [(0.5, 0.5), (0.3, 0.3), (0.3, 0.7), (0.7, 0.3), (0.7, 0.65)]
    rows = paint(tmp_path, shape, middles)
    (tmp_path / "t.csv").write_text("\n".join(["Path_frontal,mask,Pneumothorax,part,patient", *rows]) + "\n")
    columns = ("mask_column=mask", "label_columns=[Pneumothorax]", "split_column=part", "patient_column=patient")
    more = (f"dataset.csv={tmp_path / 't.csv'}", "dataset.lateral_column=''", "dataset.report_column=''")
    folder = task(
        *("explain", *GROUND, "dataset=pairs", *more, *(f"dataset.{column}" for column in columns)),
        *("encoder.resize=64", "encoder.crop=56", "pictures=1"),
    )
    lines = rows_of(folder)
    assert [line["id"] for line in lines] == [f"row-{number}" for number in (3, 4, 5, 6)], [
        line["id"] for line in lines
    ]
    assert all(float(line["pointing"]) == 1 and float(line["cnr_signed"]) > 1 for line in lines), lines


def test_a_study_of_files_becomes_a_picture_and_its_heat_maps(task: Task, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, shape in (("a", (80, 60)), ("b", (50, 70))):
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    files = (f"frontal={tmp_path / 'a.png'}", f"lateral={tmp_path / 'b.png'}")
    folder = task("explain", *files, "phrase=left pleural effusion")
    with Image.open(folder / "explain.png") as picture:
        assert picture.size == (int((2 * 3.2 + 0.9) * 110), int((2 * 3.2 + 2 * 0.5) * 110))
    with np.load(folder / "explain.npz") as held:
        assert held["phrases"].tolist() == ["left pleural effusion"]
        assert held["frontal"].shape[0] == held["lateral"].shape[0] == 1
        assert np.abs(held["frontal"]).max() <= 1
    report = tmp_path / "r.txt"
    report.write_text(
        "INDICATION: Cough. FINDINGS: 1. Small left effusion. 2. The heart is enlarged. IMPRESSION: Sick."
    )
    alone = task("explain", files[0], f"report={report}")
    with np.load(alone / "explain.npz") as held:
        assert held["phrases"].tolist() == ["Sick.", "Small left effusion.", "The heart is enlarged."]
        assert set(held) == {"phrases", "frontal"}


def test_without_files_a_study_of_the_stand_in_is_shown_with_both_views(task: Task) -> None:
    with np.load(task("explain") / "explain.npz") as held:
        assert set(held) == {"phrases", "frontal", "lateral"}
        assert len(held["phrases"]) > 1


def test_a_study_of_a_credentialed_set_is_shown_only_where_that_is_allowed(task: Task) -> None:
    with pytest.raises(ValueError, match=r"log_images=true and dataset\.log_text=true"):
        task("explain", "action=study", "dataset=ms_cxr", "dataset.log_images=true")
    allowed = ("dataset.log_images=true", "dataset.log_text=true")
    assert (task("explain", "action=study", "dataset=ms_cxr", *allowed) / "explain.png").is_file()


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("iu_xray", {}, True),  # the default
        ("ms_cxr", {}, False),
        ("ms_cxr", {"phrase": "x"}, True),
        ("ms_cxr", {"frontal": "a.png", "phrase": "x"}, True),
        ("ms_cxr", {"action": "study"}, True),
        ("pairs", {"action": "grounding"}, False),
    ],
)
def test_a_set_with_places_is_grounded_unless_something_else_is_asked_for(
    name: str, given: dict[str, Any], expected: bool
) -> None:
    assert is_study(Args(**given, dataset=DatasetConfig(name=name))) is expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frontal": "a.png"}, "nothing to look for"),
        ({"lateral": "b.png", "phrase": "x"}, "without frontal"),
        ({"frontal": "a.png", "phrase": "x", "report": "y"}, "together with report"),
        ({"action": "grounding", "phrase": "x"}, "takes pictures and phrases from the data set"),
        ({"action": "explain"}, "study, grounding"),
        ({"label_fraction": 0.1}, "nothing is trained"),
        ({"index": -1}, "index: must lie in"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Args(**given)


def test_a_threshold_out_of_range_and_an_unknown_part_are_refused() -> None:
    with pytest.raises(ValueError, match=r"task\.threshold: must lie in \(0, 1\], got 0"):
        GroundingConfig(threshold=0)
    with pytest.raises(ValueError, match=r"task\.part.*test, all"):
        GroundingConfig(part="train")


def test_a_set_without_places_and_encoders_without_text_are_refused(task: Task) -> None:
    with pytest.raises(ValueError, match="no boxes, and no masks"):
        task("explain", *GROUND, "dataset=chexpert")
    with pytest.raises(ValueError, match="has no text encoder"):
        task("explain", *MS_CXR, "encoders=timm:resnet18", "encoders_weights=random")


def test_the_result_row_is_plain_json(task: Task) -> None:
    row = result_of(task("explain", *MS_CXR, "limit_test=5"))
    assert json.loads(json.dumps(row)) == row


def test_limit_test_limits_all_studies_too(task: Task) -> None:
    row = result_of(task("explain", *MS_CXR, "task.part=all", "limit_test=5"))
    assert 0 < row["images"]["tested"] <= 5, row["images"]
