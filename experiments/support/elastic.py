"""A run that torchrun starts again (`--max-restarts`) goes on in the folder of its first start."""

import logging
import os
import socket
from pathlib import Path

log = logging.getLogger(__name__)

NAMELESS = "none"  # torchrun's id of a job that was given none


def restarted_run(made: Path) -> Path | None:
    """Returns the folder that an earlier start of the same torchrun job trained in; None where this is the first.

    Rank 0 has left a note of its folder (`note_run`); what it finds holds for all ranks. How often torchrun has
    restarted is not asked where the job has a name of its own (`--rdzv-id`): agents on several hosts do not count
    alike.

    Args:
        made: folder that Hydra made for this start.
    """
    note = _note(made)
    if note is None:
        return None
    folder = Path(note.read_text()) if note.is_file() and not _is_new_agent() else None
    if folder is not None and any((folder / "checkpoints").glob("step_*.pt")):
        log.info("torchrun has started this run before: it goes on in %s", folder)
        return folder
    return None


def note_run(made: Path, folder: Path) -> None:
    """Leaves a note for later starts of the same torchrun job.

    Args:
        made: folder that Hydra made for this start; the note lies beside it.
        folder: of the run.
    """
    note = _note(made)
    if note is not None and os.environ.get("RANK") == "0":
        made.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(str(folder.resolve()))


def same_run(asked: str | None, restarted: Path) -> str:
    """Returns the folder of a restarted run.

    Raises:
        ValueError: the command line asks for another one.
    """
    if asked not in (None, "latest") and Path(str(asked)).resolve() != restarted.resolve():
        raise ValueError(
            f"resume: {asked}, and this torchrun job has begun {restarted}; give the job another --rdzv-id, or leave "
            "resume out"
        )
    return str(restarted)


def forget_restarts(made: Path) -> None:
    """Removes the note of a run that is over."""
    note = _note(made)
    if note is not None and os.environ.get("RANK") == "0":
        note.unlink(missing_ok=True)


def _note(made: Path) -> Path | None:
    """Returns where the note of this job lies, None without torchrun.

    A job without a name, which torchrun calls `NAMELESS`, has that of the agent that started this process.

    Raises:
        ValueError: a job without a name on several hosts, whose agents do not know each other's restarts.
    """
    job = os.environ.get("TORCHELASTIC_RUN_ID")
    if job is None:
        return None
    hosts, restarts = (os.environ.get(name, "0") for name in ("GROUP_WORLD_SIZE", "TORCHELASTIC_MAX_RESTARTS"))
    if job == NAMELESS and int(hosts) > 1 and int(restarts) > 0:
        raise ValueError(
            f"torchrun: --max-restarts {restarts} on {hosts} hosts, and the job has no name by which a restart would "
            "find its run; give --rdzv-id"
        )
    name = f"{socket.gethostname()}-{os.getppid()}" if job == NAMELESS else Path(job).name
    return made.parent / f".torchrun-{name}"


def _is_new_agent() -> bool:
    """True at the first start of a job without a name: a note under the number of its agent is of another job."""
    return os.environ["TORCHELASTIC_RUN_ID"] == NAMELESS and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
