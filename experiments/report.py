"""Run folders into tables, plots and one HTML page.

python experiments/report.py                                                    # the sweep that `make ablation` leaves
python experiments/report.py 'runs=[runs/pretrain/sweeps/ablation_terms]' baseline=full
python experiments/report.py 'runs=["runs/pretrain/sweeps/*", runs/classify]'   # tasks join their encoders
python experiments/report.py 'figures=[macro_auroc,auroc/*,validation/mlm_gap]'
python experiments/report.py 'runs=[runs/classify/sweeps]' draws=5000           # downstream runs alone
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from flvlp.checks import SEEDS, check_fields
from support.entry import remove_if_empty, run_folder, typed
from support.reporting.commands import Composer
from support.reporting.content import Report, list_problems
from support.reporting.differences import make_cells
from support.reporting.figures import choose_columns
from support.reporting.finding import find_runs
from support.reporting.page import write_page
from support.reporting.plots import draw_all
from support.reporting.rows import Row, make_rows, sort_rows
from support.reporting.tables import csv_text, latex, markdown

log = logging.getLogger(__name__)

BASELINES = ("itc",)  # taken where nothing is asked for


@dataclass
class Args:
    """Everything that can be set.

    Attributes:
        runs: folders of runs or of sweeps, folders above them, patterns of the shell.
        baseline: name of the row that the others are compared with; None takes `itc` where there is one, else the
            first.
        figures: names or patterns, see `choose_columns`.
        draws, seed: of the bootstrap.
        pictures: on the page.
    """

    runs: list[str] = field(default_factory=list)
    baseline: str | None = None
    figures: list[str] | None = None
    draws: int = 1000
    pictures: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "", "[1, inf)", "draws")
        check_fields(self, "", "[0, inf)", "pictures")
        check_fields(self, "", SEEDS, "seed")


@hydra.main(version_base="1.3", config_path="../conf", config_name="report")
def main(cfg: DictConfig) -> None:
    """Composes the configuration and writes the report."""
    folder = run_folder()
    try:
        args = typed(Args, cfg)
        write_report(args, folder, OmegaConf.to_yaml(cfg))
    finally:
        remove_if_empty(folder)


def write_report(args: Args, folder: Path, config_yaml: str) -> Report:
    """Writes `table.md`, `table.csv`, `table.tex`, the plots and `report.html` into a folder."""
    from flvlp.engine import log as run_logs

    run_logs.set_up_console()
    report = make_report(args)
    run_logs.open_run(folder, config_yaml, args.seed, is_new=True, is_latest=True)
    content = report.rows, report.columns, report.cells
    table = markdown(*content)
    for kind, text in (("md", table), ("csv", csv_text(*content)), ("tex", latex(*content))):
        (folder / f"table.{kind}").write_text(text, encoding="utf-8")
    plots = draw_all(*content, folder)
    write_page(report, plots, folder, composer=Composer(), pictures=args.pictures)
    for problem in report.problems:
        log.warning("%s: %s (%s)", problem.state, problem.where, problem.reason)
    log.info("%s", table)
    log.info("written: %s", folder / "report.html")
    return report


def make_report(args: Args) -> Report:
    """Reads the runs and computes every cell."""
    found = find_runs(args.runs)
    rows, twice = make_rows(found)
    ordered = sort_rows(rows, choose_baseline(rows, args.baseline))
    columns = choose_columns(ordered, args.figures)
    if not columns:
        raise ValueError("figures: the runs have measured none; take runs that have validated or been judged by a task")
    runs = sum(len(row.members) for row in ordered)
    log.info("%d rows of %d runs, %d figures, baseline %s", len(ordered), runs, len(columns), ordered[0].name)
    cells = make_cells(ordered, columns, args.draws, args.seed)
    problems = [*found.problems, *twice, *list_problems(ordered, columns, cells)]
    title = ", ".join(dict.fromkeys(Path(one).name or one for one in args.runs))
    return Report(ordered, columns, cells, problems, args.draws, title)


def choose_baseline(rows: Sequence[Row], wanted: str | None) -> Row:
    """Returns the row that the others are compared with.

    Raises:
        ValueError: no row of that name.
    """
    by_name = {row.name: row for row in rows}
    if wanted is not None and wanted not in by_name:
        raise ValueError(f"baseline: no row is called {wanted!r}; choose one of: {', '.join(by_name)}")
    names = [wanted] if wanted is not None else [name for name in BASELINES if name in by_name]
    return by_name[names[0]] if names else rows[0]


if __name__ == "__main__":
    main()
