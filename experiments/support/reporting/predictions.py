"""What a downstream run left behind of each test study, as figures that are computed again for draws of patients."""

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from support.reporting.runs import TaskRun

if TYPE_CHECKING:
    from flvlp.metrics.paired import MacroAuroc, Ratio

TOLERANCE = 1e-5  # of a figure computed again: ranks are written with six digits
DIRECTIONS = ("image_to_text", "text_to_image")


@dataclass(frozen=True, slots=True)
class Tested:
    """A figure of the N test studies of a run.

    Attributes:
        ids: N, each once.
        truth: N, what is true of each study; runs whose truths differ were tested on other data.
        figure: in the order of `ids`.
        patients: N ids.
    """

    ids: list[str]
    truth: list[str]
    figure: "MacroAuroc | Ratio"
    patients: list[str]


def read_tested(task: TaskRun, figure: str) -> Tested | str:
    """Reads what a figure is made of, or says why it cannot be computed again for other studies.

    Args:
        task: a downstream run.
        figure: its name in `result.json`.
    """
    readers: dict[str, Callable[[TaskRun, str], Tested | str]] = {
        "classify": _classified,
        "zeroshot": _classified,
        "retrieve": _retrieved,
        "segment": _segmented,
        "explain": _grounded,
    }
    kind = task.result["task"]
    if kind not in readers:
        return f"{kind} leaves no figure of each study"
    if not all((task.folder / name).exists() for name in ("predictions.csv", "tested.csv")):
        return "predictions.csv or tested.csv is not there"
    tested = readers[kind](task, figure)
    if isinstance(tested, str):
        return tested
    again, reported = float(tested.figure.of(np.ones((1, len(tested.ids))))[0]), task.figures.get(figure, np.nan)
    if not abs(again - reported) <= TOLERANCE:
        return f"predictions.csv gives {again:.5f} where result.json says {reported:.5f}"
    return tested


def _patients(folder: Path) -> dict[str, str]:
    return {line["id"]: line["patient"] for line in _lines(folder / "tested.csv")}


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _classified(task: TaskRun, figure: str) -> Tested | str:
    """Reads findings, or exclusive classes: `macro_auroc`, `auroc/<name>`, and of the latter `accuracy`."""
    from flvlp.metrics.paired import MacroAuroc, Ratio

    lines = _lines(task.folder / "predictions.csv")
    ids, names = (list(dict.fromkeys(line[key] for line in lines)) for key in ("id", "class"))
    if len(lines) != len(ids) * len(names):
        return "predictions.csv does not hold every class of every study once"
    known = np.array([float(line["target"] or "nan") for line in lines]).reshape(len(ids), len(names))
    scores = np.array([float(line["score"]) for line in lines]).reshape(len(ids), len(names))
    patients = _patients(task.folder)
    truth = ["".join("?" if np.isnan(one) else str(int(one)) for one in row) for row in known]
    whole: MacroAuroc | Ratio
    if figure == "macro_auroc":
        whole = MacroAuroc(known, scores)
    elif figure.startswith("auroc/") and figure.removeprefix("auroc/") in names:
        column = [names.index(figure.removeprefix("auroc/"))]
        whole = MacroAuroc(known[:, column], scores[:, column])
    elif figure == "accuracy":  # of exclusive classes; findings have one a class
        whole = Ratio((known.argmax(axis=1) == scores.argmax(axis=1)).astype(np.float64), np.ones(len(ids)))
    else:
        return f"{figure} is not computed again from predictions.csv"
    return Tested(ids, truth, whole, [patients[one] for one in ids])


def _retrieved(task: TaskRun, figure: str) -> Tested | str:
    """Reads ranks: `<side>/r<k>`, `<side>/<direction>/r<k>` and `<side>/<direction>/mean_rank`.

    A rank between two whole numbers is one of answers that are tied; whether one of them counts is not known then, and
    the figure that comes out differs from the one that was measured.
    """
    from flvlp.metrics.paired import Ratio

    side, *middle, what = figure.split("/")
    directions = middle or list(DIRECTIONS)
    by_study: dict[str, list[float]] = defaultdict(list)
    truth: dict[str, str] = {}
    is_recall = what.startswith("r") and what[1:].isdigit()
    if not is_recall and not (what == "mean_rank" and middle):
        return f"{figure} is not computed again from ranks"
    for line in _lines(task.folder / "predictions.csv"):
        if line["side"] == side and line["direction"] in directions:
            rank = float(line["rank"])
            by_study[line["id"]].append(float(rank <= int(what[1:])) if is_recall else rank)
            truth[line["id"]] = f"{line['group_size']} of {line['pool']}"
    if any(len(values) != len(directions) for values in by_study.values()) or not by_study:
        return f"predictions.csv does not hold one rank of every study for {figure}"
    patients = _patients(task.folder)
    values = np.array([np.mean(values) for values in by_study.values()])
    ids = list(by_study)
    return Tested(ids, [truth[one] for one in ids], Ratio(values, np.ones(len(ids))), [patients[one] for one in ids])


def _segmented(task: TaskRun, figure: str) -> Tested | str:
    """Reads pixels: `dice_all`, `dice_positives`, `iou_positives`, `iou_pixels`."""
    from flvlp.metrics.paired import Ratio

    lines = _lines(task.folder / "predictions.csv")
    columns = ("truth_pixels", "predicted_pixels", "intersection", "dice", "iou")
    true, predicted, both, dice, iou = (np.array([float(line[name]) for line in lines]) for name in columns)
    is_positive = (true > 0).astype(np.float64)
    parts = {
        "dice_all": (dice, np.ones(len(lines))),
        "dice_positives": (dice * is_positive, is_positive),
        "iou_positives": (iou * is_positive, is_positive),
        "iou_pixels": (both, true + predicted - both),
    }
    if figure not in parts:
        return f"{figure} is not computed again from predictions.csv"
    patients = _patients(task.folder)
    ids = [line["id"] for line in lines]
    return Tested(ids, [f"{one:g}" for one in true], Ratio(*parts[figure]), [patients[one] for one in ids])


def _grounded(task: TaskRun, figure: str) -> Tested | str:
    """Reads phrases: `pointing`, `cnr`, `iou`, ... of all of them, and `<name>/<category or view>`.

    A study with several phrases stands once for each, as `<id> <view> <number>`.
    """
    from flvlp.metrics.paired import Ratio

    name, _, group = figure.partition("/")
    lines = [
        line
        for line in _numbered(_lines(task.folder / "predictions.csv"))
        if group in ("", line["category"], line["view"])
    ]
    if not lines or name not in lines[0]:
        return f"{figure} is not computed again from predictions.csv"
    values = np.array([float(line[name]) for line in lines])
    is_known = np.isfinite(values)
    patients = _patients(task.folder)
    return Tested(
        [f"{line['id']} {line['view']} {line['number']}" for line in lines],
        [line["category"] for line in lines],
        Ratio(np.where(is_known, values, 0.0), is_known.astype(np.float64)),
        [patients[line["id"]] for line in lines],
    )


def _numbered(lines: list[dict[str, str]]) -> list[dict[str, str]]:
    """Returns lines with how many of the same picture stand before each."""
    seen = defaultdict[tuple[str, str], int](int)
    for line in lines:
        picture = line["id"], line["view"]
        line["number"] = str(seen[picture])
        seen[picture] += 1
    return lines
