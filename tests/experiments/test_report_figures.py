"""Cells of a report whose figures are known: means, best ones, paired differences, and the three tables."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from support.reporting.figures import Column
from support.reporting.tables import csv_text, latex, markdown
from tests.experiments.made_runs import (
    AUROC,
    LABELS,
    SEEDS,
    STUDIES,
    VALID_R1,
    change_result,
    make,
    names,
    pretrain,
    write_task,
)

R1, GAP = Column("retrieve", "fused/r1"), Column("validation", "mlm_gap")


def test_mean_and_standard_deviation_of_a_cell_are_those_of_its_seeds(sweep: Path) -> None:
    cell = make(sweep).cells["full", VALID_R1]
    assert list(cell.values.values()) == pytest.approx([0.55, 0.56, 0.57])
    assert (cell.mean, cell.sd) == pytest.approx((0.56, 0.01)), f"{cell.mean} ± {cell.sd}, with n - 1"


def test_the_interval_leaves_out_0_for_the_planted_gain_and_holds_it_for_the_same_again(sweep: Path) -> None:
    cells = make(sweep).cells
    better, same = cells["full", AUROC].difference, cells["random", AUROC].difference
    assert better and same
    assert better.low > 0.1 and not better.why_not, f"{better}"
    assert same.low < 0 < same.high, f"{same}"
    gain = cells["full", AUROC].mean - cells["itc", AUROC].mean
    assert better.mean == pytest.approx(gain), f"{better.mean}, means differ by {gain}"
    assert (better.seeds, better.studies) == (SEEDS, STUDIES)


def test_recall_is_drawn_from_ranks(sweep: Path) -> None:
    difference = make(sweep).cells["full", R1].difference
    assert difference and difference.mean == pytest.approx(0.8) and difference.low < 0.8 < difference.high


def test_a_figure_of_validation_has_the_spread_of_its_seeds_and_says_so(sweep: Path) -> None:
    difference = make(sweep).cells["full", VALID_R1].difference
    assert difference and difference.mean == pytest.approx(0.2) and np.isnan(difference.low)
    assert difference.sd == pytest.approx(0, abs=1e-9) and "validation" in difference.why_not


def test_what_a_row_does_not_measure_is_empty_and_compared_with_nothing(sweep: Path) -> None:
    cells = make(sweep).cells
    assert not cells["itc", GAP].values and cells["full", GAP].difference is None


def test_the_best_of_a_column_is_the_highest_of_a_rank_the_lowest_and_of_a_loss_none(sweep: Path) -> None:
    columns = ["validation/mlm", "validation/mlm_gap", "fused/image_to_text/mean_rank", "macro_auroc"]
    report = make(sweep, figures=columns)
    best = {
        column.figure: [row for row in names(report) if report.cells[row, column].is_best] for column in report.columns
    }
    assert best == {"mlm": [], "mlm_gap": [], "fused/image_to_text/mean_rank": ["full"], "macro_auroc": ["full"]}
    table = markdown(report.rows, report.columns, report.cells)
    assert "validation/mlm, validation/mlm_gap: measured with each row's own masking" in table


def test_rows_that_a_task_judged_by_another_view_are_named(sweep: Path) -> None:
    for seed in SEEDS:
        change_result(sweep / "full" / f"seed_{seed}" / "tasks" / "zeroshot", view="fused")
        change_result(sweep / "itc" / f"seed_{seed}" / "tasks" / "zeroshot", view="frontal")
        change_result(sweep / "random" / f"seed_{seed}" / "tasks" / "zeroshot", view="fused")
    report = make(sweep)
    said = markdown(report.rows, report.columns, report.cells)
    assert "not by the same view (frontal: itc; fused: full, random)" in said and said.count("same view") == 1


def spoil_targets(folder: Path) -> None:
    path = folder / "predictions.csv"
    path.write_text(re.sub(r"(s0,Edema),(\d)", lambda found: f"{found[1]},{1 - int(found[2])}", path.read_text()))
    scores = np.array([float(line["score"]) for line in csv.DictReader(path.open())]).reshape(LABELS.shape)
    from flvlp.metrics.classification import auroc

    labels = LABELS.astype(np.float64)
    labels[0, 0] = 1 - labels[0, 0]
    change_result(folder, figures={"macro_auroc": float(np.mean(auroc(labels, scores)))})


def cut(path: Path, lines: int) -> None:
    """Puts half a line in the place of the last ones of a table."""
    kept = path.read_text().splitlines()[:-lines]
    path.write_text("\n".join([*kept, "s79,Mass"]) + "\n")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "predictions.csv").unlink(), "not there"),
        (lambda folder: change_result(folder, figures={"macro_auroc": 0.5}), "where result.json says 0.5"),
        (spoil_targets, "other studies"),
        (lambda folder: cut(folder / "predictions.csv", 1), "seed_1/tasks/zeroshot is damaged (TypeError)"),
        (lambda folder: cut(folder / "predictions.csv", 50), "every class of every study once"),
        (lambda folder: cut(folder / "tested.csv", 50), "seed_1/tasks/zeroshot is damaged (KeyError)"),
        (
            lambda folder: (folder / "tested.csv").write_bytes(b"\xff"),
            "tasks/zeroshot is damaged (UnicodeDecodeError)",
        ),
    ],
    ids=[
        "no predictions",
        "another figure",
        "other data",
        "half a line",
        "half a table",
        "half of the patients",
        "no text",
    ],
)
def test_what_cannot_be_paired_by_study_is_marked_with_the_reason(
    sweep: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(sweep / "full" / "seed_1" / "tasks" / "zeroshot")
    difference = make(sweep).cells["full", AUROC].difference
    assert difference and np.isnan(difference.low) and reason in difference.why_not, f"{difference}"
    assert difference.seeds == SEEDS


def test_only_the_studies_of_both_are_compared(sweep: Path) -> None:
    folder = sweep / "itc" / "seed_0" / "tasks" / "retrieval"
    lines = (folder / "predictions.csv").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("s0,")]
    (folder / "predictions.csv").write_text("\n".join(kept) + "\n")
    figures = json.loads((folder / "result.json").read_text())["figures"]
    ranks = [int(line.split(",")[4]) for line in kept[1:]]
    change_result(folder, figures=figures | {"fused/r1": float(np.mean(np.array(ranks) <= 1))})
    difference = make(sweep).cells["full", R1].difference
    assert difference and difference.studies == STUDIES - 1


def test_the_three_tables_hold_the_same_numbers(sweep: Path) -> None:
    report = make(sweep)
    content = report.rows, report.columns, report.cells
    lines = list(csv.DictReader(io.StringIO(csv_text(*content))))
    plain = r"-?\d+\.\d+"
    expected = []
    for line in lines:  # figures first, then differences, row by row
        expected += [f"{float(line[key]):.3f}" for key in ("mean", "sd") if line[key]]
    for line in lines:
        keys = ("diff", "low", "high", "diff_sd") if line["interval"] == "patients" else ("diff", "diff_sd")
        expected += [f"{float(line[key]):.3f}" for key in keys if line["diff"] and line[key]]
    table = markdown(*content).split("## What sets")[0]
    tables = [line for line in table.splitlines() if line.startswith("|")]
    tex = [line for line in latex(*content).splitlines() if line.endswith("\\\\") and "±" not in line]
    for text in ("\n".join(tables), "\n".join(tex)):
        assert re.findall(plain, text) == expected
    assert len(lines) == len(report.rows) * len(report.columns)
    bold = [line["row"] for line in lines if line["is_best"] == "1"]
    assert bold and markdown(*content).count("**") == 2 * len(bold) and latex(*content).count(r"\textbf{") == len(bold)


def test_a_name_is_escaped_in_latex_and_keeps_its_column_in_markdown(tmp_path: Path) -> None:
    pretrain(tmp_path / "a", name="50_% & a|b", fused=(0.1,))
    report = make(tmp_path)
    content = report.rows, report.columns, report.cells
    assert r"50\_\% \& a|b & " in latex(*content)
    line = next(line for line in markdown(*content).splitlines() if line.startswith("| 50_%"))
    assert line.count("|") == len(report.columns) + 2, line


@pytest.mark.parametrize(
    "figure",
    [
        "chance_r1",
        "frontal/chance_p",
        "macro_chance_pointing",
        "chance_cnr/Edema",
        "phrases/frontal",
        "negatives_left_empty",
        "score_threshold",
        "macro_auroc_of_draws_sd",
    ],
)
def test_a_count_and_what_chance_gives_are_neither_better_nor_worse(figure: str) -> None:
    assert Column("explain", figure).better == 0
    assert Column("explain", "pointing/Edema").better == 1


def test_grounding_is_paired_by_phrase_and_drawn_by_patient(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, gain in (("itc", 0.0), ("full", 1.0)):
        for seed in (0, 1):
            hits, contrast = (rng.random(2 * STUDIES) < 0.3 + 0.5 * gain).astype(float), rng.normal(size=2 * STUDIES)
            contrast[::7] = np.nan
            lines = [("id", "view", "category", "phrase", "pointing", "cnr")]
            for row in range(2 * STUDIES):  # two phrases a study
                view, category = ("lateral" if row % 8 == 0 else "frontal"), ("Edema" if row % 3 else "Mass")
                lines.append((f"s{row // 2}", view, category, "", str(hits[row]), str(contrast[row])))
            is_mass = np.arange(2 * STUDIES) % 3 == 0
            figures = {"pointing": hits.mean(), "cnr": np.nanmean(contrast), "pointing/Mass": hits[is_mass].mean()}
            folder = pretrain(tmp_path / name / f"seed_{seed}", name=name, seed=seed, loss={"mlm": gain})
            write_task(folder / "tasks" / "where", "explain", figures, lines, seed=seed)
    report = make(tmp_path, figures=["pointing", "cnr", "pointing/Mass"])
    found = {column.figure: report.cells["full", column].difference for column in report.columns}
    assert all(one and not one.why_not and one.seeds == (0, 1) for one in found.values()), found
    pointing, contrast_gain, of_mass = (found[name] for name in ("pointing", "cnr", "pointing/Mass"))
    assert pointing and of_mass and contrast_gain
    assert 0.3 < pointing.low < pointing.mean < pointing.high < 0.7 and pointing.studies == 2 * STUDIES
    assert of_mass.low > 0.2 and of_mass.studies == int(is_mass.sum()) and contrast_gain.low < 0 < contrast_gain.high
