"""Bad input ends with a clear message before training, and leaves nothing half-written."""

import csv
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Run


def write_pairs(folder: Path, count: int = 24) -> Path:
    """Writes a small pairs data set, every third study with a lateral."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        views = ["frontal", "lateral"] if number % 3 == 0 else ["frontal"]
        for view in views:
            picture = Image.fromarray(generator.integers(0, 256, (80, 70), dtype=np.uint8))
            picture.save(folder / f"{number}_{view}.png")
        lateral = f"{number}_lateral.png" if len(views) == 2 else ""
        rows.append(
            [f"{number}_frontal.png", lateral, f"Study {number}. No effusion. Heart size is normal.", number // 2]
        )
    path = folder / "studies.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["Path_frontal", "Path_lateral", "Report", "patient"], *rows])
    return path


def pairs(path: Path, *overrides: str) -> tuple[str, ...]:
    """Overrides that read the CSV instead of phantoms."""
    return ("dataset=pairs", f"dataset.csv={path}", "dataset.patient_column=patient", "engine.max_steps=2", *overrides)


def test_pairs_train_from_files(run: Run, tmp_path: Path) -> None:
    done = run(*pairs(write_pairs(tmp_path)), f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "24 studies" in done.stderr and "8 with a lateral" in done.stderr, done.stderr[-2000:]


@pytest.mark.parametrize("launch", ["launch=local", "launch=torchrun"])  # which starts ranks by multiprocessing
def test_an_unreadable_picture_ends_the_run_with_workers_that_wait_for_more(
    run: Run, tmp_path: Path, launch: str
) -> None:
    path = write_pairs(tmp_path)
    for number in range(0, 24, 2):
        (tmp_path / f"{number}_frontal.png").write_bytes(b"no picture")
    started = time.monotonic()
    folder = tmp_path / "run"
    done = run(*pairs(path), launch, "engine.num_workers=2", f"hydra.run.dir={folder}", cwd=tmp_path, is_fresh=True)
    assert done.returncode == 1
    assert "_frontal.png: cannot be read as an image" in done.stderr, done.stderr[-2000:]
    assert time.monotonic() - started < 120, "the process waited for its workers"


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_an_unreadable_picture_costs_no_step_that_was_taken(run: Run, tmp_path: Path, workers: int) -> None:
    path = write_pairs(tmp_path)
    settings = ("engine.max_steps=1", "engine.batch_size=1", "engine.epochs=1", "engine.validate=false")
    folder = tmp_path / "run"
    assert run(*pairs(path), *settings, f"hydra.run.dir={folder}", cwd=tmp_path).returncode == 0
    (tmp_path / "9_frontal.png").write_bytes(b"no picture")
    done = run(f"resume={folder}", "engine.max_steps=null", f"engine.num_workers={workers}", cwd=tmp_path)
    assert done.returncode == 1
    met = re.search(r"no data for step (\d+); resume=<run folder> goes on there", done.stderr)
    assert met is not None, done.stderr[-3000:]
    left = max((folder / "checkpoints").glob("step_*.pt")).stem
    assert int(left.removeprefix("step_")) == int(met[1]) - 1 > 1


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        ("missing image", ("5_frontal.png", "row 7", "studies.csv")),
        ("missing column", ("Reports", "dataset.report_column", "Path_frontal")),
        ("no report", ("no study is left of 24", "24 without text")),
    ],
)
def test_a_damaged_csv_names_file_and_row(run: Run, tmp_path: Path, damage: str, parts: tuple[str, ...]) -> None:
    path = write_pairs(tmp_path)
    overrides: tuple[str, ...] = ()
    if damage == "missing image":
        (tmp_path / "5_frontal.png").unlink()
    elif damage == "missing column":
        overrides = ("dataset.report_column=Reports",)
    else:
        path.write_text(re.sub(r"Study \d+. No effusion. Heart size is normal.", "  ", path.read_text()))
    done = run(*pairs(path, *overrides), f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode != 0
    for part in parts:
        assert part in done.stderr, f"{part!r} is not in the message: {done.stderr[-1500:]}"
    assert not (tmp_path / "run").exists(), "a run that never started left a folder behind"


def test_an_unreadable_image_is_skipped_and_listed_where_asked(run: Run, tmp_path: Path) -> None:
    path = write_pairs(tmp_path)
    for number in range(24):
        if number % 3:
            (tmp_path / f"{number}_frontal.png").write_bytes(b"not a picture")
    folder = tmp_path / "run"
    done = run(*pairs(path, "dataset.on_error=skip"), f"hydra.run.dir={folder}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    skipped = [json.loads(line) for line in (folder / "skipped-rank0.jsonl").read_text().splitlines()]
    assert skipped and all("row" in record["study"] for record in skipped), skipped
    train = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    counted = [record["skipped"] for record in train if record["part"] == "train"][-1]
    assert counted == len(skipped), f"counted {counted}, listed {len(skipped)}"
    done = run(*pairs(path), f"hydra.run.dir={tmp_path / 'other'}", cwd=tmp_path)
    assert done.returncode != 0 and "_frontal.png" in done.stderr, done.stderr[-1500:]


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("encoder.frontal.weights=/nowhere.pt", "no such file (/nowhere.pt)"),
        pytest.param(
            *(f"encoder.frontal.weights={__file__}", f"encoder.<view>.weights: {__file__} cannot be read (Unpickling"),
            id="weights that are none",
        ),
        ("encoder.frontal.backbone=resnetfoo", "timm knows no 'resnetfoo'"),
        ("encoder.width=100", "no multiple of heads.head_width"),
        (
            "loss.prototype.weight=0 loss.mlm.weight=0 loss.view_alignment.weight=0 loss.itc.weight=0",
            "every term has weight 0",
        ),
    ],
)
def test_a_model_that_cannot_be_built_leaves_no_run_folder(run: Run, tmp_path: Path, override: str, part: str) -> None:
    done = run(*override.split(), f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode != 0
    assert part in done.stderr, done.stderr[-1500:]
    assert not list(tmp_path.iterdir()), f"left behind: {list(tmp_path.iterdir())}"
