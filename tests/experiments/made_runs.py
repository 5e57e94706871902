"""Run folders with known figures, as pre-training and its tasks would leave them; nothing is trained."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from report import Args, make_report
from support.reporting.commands import Composer
from support.reporting.content import Report
from support.reporting.figures import Column

AUROC, VALID_R1 = Column("zeroshot", "macro_auroc"), Column("validation", "retrieval/fused/r1")
SEEDS = (0, 1, 2)
CLASSES = ("Edema", "Mass")
STUDIES = 80
PATIENTS = [f"p{number // 2}" for number in range(STUDIES)]
START = {
    "started": "2026-01-01T00:00:00+00:00",
    "command": ["/opt/venv/bin/python", "/opt/flvlp/experiments/pretrain.py", "loss=full", "seed=0"],
    "git_commit": "0123456789abcdef",
    "git_is_dirty": False,
    "python": "3.11.0",
    "packages": {"torch": "2.9.0"},
    "world_size": 1,
}
LABELS = (np.random.default_rng(0).random((STUDIES, len(CLASSES))) < 0.4).astype(int)


def pretrain(
    folder: Path,
    *,
    name: str = "",
    seed: int = 0,
    fused: Sequence[float] = (0.1, 0.2),
    loss: Mapping[str, float] | None = None,
) -> Path:
    """Writes a finished pre-training run whose validation R@1 after each epoch is `fused`; returns its folder.

    Args:
        folder: of the run.
        name, seed: of it.
        fused: `retrieval/fused/r1`, one an epoch.
        loss: keys of that group, as `mlm` 0.
    """
    folder.mkdir(parents=True)
    weights = {"itc": 1.0, "mlm": 1.0} | dict(loss or {})
    plain = {
        "name": name,
        "seed": seed,
        "loss": weights,
        "engine": {"best_metric": "retrieval/fused/r1", "epochs": len(fused), "num_workers": seed},
        "dataset": {"name": "phantom", "root": f"/tmp/{seed}", "credentialed": False},
    }
    write_config(folder, plain)
    records: list[dict[str, Any]] = []
    for epoch, value in enumerate(fused):
        step = 10 * (epoch + 1)
        records += [{"part": "train", "step": step, "epoch": epoch, "itc": 8.0 - value, "total": 9.0 - value}]
        gap = {"mlm": 5.0 - value, "mlm_gap": value / 2} if weights["mlm"] else {}
        records += [{"part": "validation", "step": step, "epoch": epoch, "retrieval/fused/r1": value, **gap}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "finished.json").write_text(json.dumps({"seconds": 12.5, "value": max(fused)}))
    (folder / "run.json").write_text(json.dumps([START | {"seed": seed}]))
    (folder / "encoders").mkdir()
    (folder / "encoders" / "encoders.safetensors").write_text(f"{folder.parent.name} {seed}")
    return folder


def write_config(folder: Path, plain: dict[str, Any]) -> None:
    """Writes `config.yaml`; JSON is YAML."""
    (folder / "config.yaml").write_text(json.dumps(plain))


def scores_of(gain: float, seed: int) -> np.ndarray:
    """Returns scores (N, C) that lie `gain` standard deviations higher where the label is 1."""
    return np.random.default_rng(seed + 1).normal(size=LABELS.shape) + gain * LABELS


def zeroshot(folder: Path, scores: np.ndarray, *, seed: int = 0, encoders: str = "given", **changes: Any) -> float:
    """Writes a finished zero-shot run with these scores; returns its macro AUROC.

    Args:
        folder: of the run.
        scores: (N, C).
        seed: of it.
        encoders: their name.
        changes: of the result row.
    """
    from flvlp.metrics.classification import auroc

    figure = float(np.mean(auroc(LABELS.astype(np.float64), scores)))
    rows = [
        (f"s{study}", name, LABELS[study, column], float(scores[study, column]))
        for study in range(len(scores))
        for column, name in enumerate(CLASSES)
    ]
    predictions = [("id", "class", "target", "score"), *rows]
    write_task(folder, "zeroshot", {"macro_auroc": figure}, predictions, seed=seed, encoders=encoders)
    change_result(folder, **changes)
    return figure


def retrieve(folder: Path, ranks: Sequence[int], *, seed: int = 0) -> float:
    """Writes a finished retrieval run, both directions with the same rank of each study; returns R@1."""
    rows = [
        (f"s{study}", direction, "fused", len(ranks), rank, 1)
        for direction in ("image_to_text", "text_to_image")
        for study, rank in enumerate(ranks)
    ]
    figures = {
        "fused/r1": float(np.mean(np.array(ranks) <= 1)),
        "fused/image_to_text/mean_rank": float(np.mean(ranks)),
        "fused/r1_low": 0.0,
    }
    predictions = [("id", "direction", "side", "pool", "rank", "group_size"), *rows]
    write_task(folder, "retrieve", figures, predictions, seed=seed)
    return figures["fused/r1"]


def write_task(
    folder: Path,
    task: str,
    figures: dict[str, float],
    predictions: Sequence[Sequence[Any]],
    *,
    seed: int,
    encoders: str = "given",
) -> None:
    """Writes what every task leaves behind: the first figure is the headline, the first prediction the header."""
    folder.mkdir(parents=True)
    plain = {
        "encoders": encoders,
        "seed": seed,
        "label_fraction": 1.0,
        "task": {"name": task},
        "dataset": {"name": "phantom", "credentialed": False},
    }
    write_config(folder, plain)
    result = {
        **{"task": task, "mode": task, "dataset": "phantom", "split": "phantom/patient", "label_fraction": 1.0},
        **{
            "encoders": encoders,
            "encoders_sha256": _digest_above(folder) or encoders,
            "seed": seed,
            "headline": next(iter(figures)),
        },
        "images": {"test": STUDIES, "trained": None, "tested": STUDIES},
        "patients": len(set(PATIENTS)),
        "figures": figures,
    }
    (folder / "result.json").write_text(json.dumps(result) + "\n")
    (folder / "run.json").write_text(json.dumps([START]))
    tested = [("id", "patient"), *((f"s{study}", patient) for study, patient in enumerate(PATIENTS))]
    for name, rows in (("predictions.csv", predictions), ("tested.csv", tested)):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)


def _digest_above(folder: Path) -> str:
    """Returns the sha256 of the encoders of the run that a task lies in, "" where it lies elsewhere."""
    files = [above / "encoders" / "encoders.safetensors" for above in folder.parents]
    return next((hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()), "")


def change_result(folder: Path, **changes: Any) -> None:
    """Changes keys of a result row."""
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes) + "\n")


def make(tmp_path: Path, **changes: object) -> Report:
    """Returns the report of the runs below a folder."""
    return make_report(Args(**({"runs": [str(tmp_path)], "draws": 100} | changes)))  # type: ignore[arg-type]


def names(report: Report) -> list[str]:
    """Returns the names of the rows in their order."""
    return [row.name for row in report.rows]


def write_sweep(tmp_path: Path) -> Path:
    """Writes rows of three seeds: full is better than itc by 2 standard deviations, random is itc again."""
    for row, loss, gain in (("full", {}, 2.5), ("itc", {"mlm": 0.0}, 0.5), ("random", {"itc": 0.5}, 0.5)):
        for seed in SEEDS:
            folder = tmp_path / row / f"seed_{seed}"
            pretrain(folder, name=row, seed=seed, fused=(0.1, 0.3 + 0.1 * gain + 0.01 * seed), loss=loss)
            zeroshot(folder / "tasks" / "zeroshot", scores_of(gain, seed + 10 * len(row)), seed=seed)
            retrieve(folder / "tasks" / "retrieval", [1 if study % 5 < gain * 2 else 7 for study in range(STUDIES)])
    return tmp_path


class NoComposer(Composer):
    """Knows of no choice and composes nothing, so that a command names every key."""

    def __init__(self) -> None:
        self.compose = lambda _: {}

    @staticmethod
    def choices(group: str) -> list[str]:
        """Returns no choice."""
        return []
