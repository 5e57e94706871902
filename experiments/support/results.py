"""What a downstream task leaves behind: predictions, and the one row that says what was measured."""

import csv
import json
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flvlp.engine.lines import replace_text
from support.downstream import Job
from support.entry import hyperparameters
from support.inputs import shown_names

if TYPE_CHECKING:
    import numpy as np

    from flvlp.data.studies import Labels

log = logging.getLogger(__name__)

# figures that are numbers of something
COUNTS = ("images", "positives", "known", "classes_", "pool", "boxes", "predictions", "queries", "phrases")


def named(job: Job, positions: Iterable[int]) -> list[str]:
    """Returns how predictions name each study; see `shown_names`."""
    return shown_names(job.args.dataset, job.source, positions)


def write_tested(job: Job) -> None:
    """Writes `tested.csv`: the patient of each study of the test part, a number where ids must not be left behind."""
    from flvlp.data.readers.tables import hides_ids

    positions = job.parts["test"]
    patients = job.patients(positions)
    if hides_ids(job.args.dataset):
        everyone = dict.fromkeys(study.patient_id for study in job.source.studies)  # the same numbers in every run
        numbers = {patient: f"#{number}" for number, patient in enumerate(everyone)}
        patients = [numbers[patient] for patient in patients]
    write_table(job.folder / "tested.csv", ("id", "patient"), zip(named(job, positions), patients, strict=True))


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_predictions(job: Job, labels: "Labels", positions: "np.ndarray", scores: "np.ndarray") -> None:
    """Writes `predictions.csv`, one line a study and class: scores (n, C) of the studies at `positions` (n,)."""
    from flvlp import distributed

    if not distributed.is_main():
        return
    ids, values = named(job, positions), labels.values[positions]
    rows = (
        (study, name, "" if math.isnan(target) else int(target), float(score))
        for study, targets, line in zip(ids, values, scores, strict=True)
        for name, target, score in zip(labels.names, targets, line, strict=True)
    )
    write_table(job.folder / "predictions.csv", ("id", "class", "target", "score"), rows)


def result_row(
    job: Job, mode: Mapping[str, Any], headline: str, figures: Mapping[str, float], tested: int
) -> dict[str, Any]:
    """Returns the one row that says what was measured, on what, with what.

    Args:
        job: the run.
        mode: what else tells rows apart: `mode`, `view`, `decoder`, ...
        headline: name of the figure that a table shows first.
        figures: all of them.
        tested: pictures or studies that were tested on; fewer than the part has where some could not be read.
    """
    from flvlp.data.splits.patients import list_hash
    from flvlp.engine.log import provenance

    args, source = job.args, job.source
    run = provenance(args.seed)
    hashes = {
        part: list_hash([source.studies[position].study_id for position in positions])
        for part, positions in job.parts.items()
    }
    return {
        "task": job.task,
        **mode,
        "dataset": args.dataset.name,
        "split": source.split_name,
        "split_sha256": hashes,
        "label_fraction": args.label_fraction,
        "encoders": job.given.name,
        "encoders_sha256": job.given.sha256,
        "encoder": job.given.describe(),
        "seen_in_pretraining": job.seen,
        "seed": args.seed,
        "images": {part: len(positions) for part, positions in job.parts.items()}
        | {"trained": job.trained, "tested": tested},
        "patients": len(set(job.patients(job.parts["test"]))),
        "headline": headline,
        "figures": {name: None if math.isnan(value) else value for name, value in figures.items()},
        "git_commit": run["git_commit"],
        "git_is_dirty": run["git_is_dirty"],
        "versions": run["packages"],
        "world_size": run["world_size"],
        "seconds": round(time.monotonic() - job.started, 1),
    }


def close_job(
    job: Job,
    mode: Mapping[str, Any],
    headline: str,
    figures: Mapping[str, float],
    tested: int,
    *,
    table: str | None = None,
) -> dict[str, Any]:
    """Writes `result.json`, logs the figures as a table, and leaves the process group; returns the row.

    Args:
        job, mode, headline, figures, tested: see `result_row`.
        table: what the console shows instead of one figure a line.
    """
    from flvlp import distributed

    row = result_row(job, mode, headline, figures, tested)
    measured = {name: value for name, value in figures.items() if not math.isnan(value)}
    job.run_log.write("test", 0, 0, measured)
    job.run_log.hyperparameters(hyperparameters(job.args), _compared(headline, measured), 0)
    job.run_log.close()
    if distributed.is_main():
        write_tested(job)
        replace_text(job.folder / "result.json", json.dumps(row) + "\n")
    log.info("%s\n%s", " ".join(str(value) for value in (job.task, *mode.values())), table or format_row(row))
    log.info("written: %s", job.folder / "result.json")
    distributed.barrier()
    distributed.stop()
    return row


def _compared(headline: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Returns the figures that runs are compared by: the headline, and those of no single class, side or direction."""
    plain = [
        name for name in figures if not ("/" in name or name.startswith(COUNTS) or name.endswith(("_low", "_high")))
    ]
    return {name: figures[name] for name in dict.fromkeys([headline, *plain]) if name in figures}


def format_row(row: Mapping[str, Any]) -> str:
    """Returns a result row as the table that the console shows; figures without a value print n/a."""
    figures = row["figures"]
    lines = [
        f"  {row['dataset']}, split {row['split']}, {row['images']['tested']} of {row['images']['test']} test studies "
        f"({row['patients']} patients), "
        f"label fraction {row['label_fraction']:g}, encoders {row['encoders']}, seed {row['seed']}"
    ]
    for name, value in figures.items():
        if name.endswith(("_low", "_high")):
            continue
        text = "n/a" if value is None else f"{value:.0f}" if name.startswith(COUNTS) else f"{value:.3f}"
        low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
        interval = f"  [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
        lines.append(f"{'->' if name == row['headline'] else '  '} {name:36s} {text}{interval}")
    return "\n".join(lines)
