"""All runs below some folders: those that count, with their downstream runs, and why the others do not."""

from collections.abc import Sequence
from dataclasses import dataclass

from support.reporting.folders import folders_below
from support.reporting.reading import broken_task, read_run
from support.reporting.runs import PretrainRun, Problem, TaskRun


@dataclass(frozen=True, slots=True)
class Found:
    """What lies below the folders that were asked for: downstream runs of no pre-training run are `loose`."""

    pretraining: list[PretrainRun]
    loose: list[TaskRun]
    problems: list[Problem]


def find_runs(wanted: Sequence[str]) -> Found:
    """Reads every run below some folders.

    Args:
        wanted: run folders, folders above them, patterns of the shell.

    Raises:
        FileNotFoundError: a folder that is not there, or no run below any of them.
    """
    pretraining, tasks, problems = list[PretrainRun](), list[TaskRun](), list[Problem]()
    for folder in folders_below(wanted):
        if any(problem.folder and folder.is_relative_to(problem.folder) for problem in problems):
            continue  # what lies below a run that is not counted is not counted either
        found = read_run(folder)
        if isinstance(found, Problem):
            problems.append(found)
        elif isinstance(found, PretrainRun):
            pretraining.append(found)
        elif found is not None:
            tasks.append(found)
    if not pretraining and not tasks:
        states = "".join(f"; {one.where} is {one.state} ({one.reason})" for one in problems[:5])
        raise FileNotFoundError(
            f"runs: no finished run below {', '.join(wanted) or 'nothing'}{states}; give folders of runs or of sweeps, "
            "such as the one that `make ablation` leaves"
        )
    loose, left_out = _join(pretraining, tasks)
    broken = [problem for run in pretraining if (problem := broken_task(run.folder))]
    return Found(pretraining, loose, [*problems, *left_out, *broken])


def _join(pretraining: Sequence[PretrainRun], tasks: Sequence[TaskRun]) -> tuple[list[TaskRun], list[Problem]]:
    """Gives each run the tasks on its encoders; returns those of no run, and those that are left out."""
    by_encoders = {run.sha256: run for run in pretraining if run.sha256}
    loose, left_out = list[TaskRun](), list[Problem]()
    for task in tasks:
        own = next((run for run in pretraining if task.folder.is_relative_to(run.folder)), None)
        digest = task.result.get("encoders_sha256")
        if own and own.sha256 and digest and own.sha256 != digest:  # such as those before the run was resumed
            reason = "of other encoders than the run that it lies in now has"
            left_out.append(Problem(task.folder, "left out", reason))
            continue
        run = own or by_encoders.get(str(digest))
        (loose if run is None else run.tasks).append(task)
    return loose, left_out
