"""A run that torchrun starts again (`--max-restarts`) goes on in the folder of its first start."""

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


def restarted_run(made: Path) -> Path | None:
    """Returns the folder that an earlier start under the same torchrun trained in; None where this is the first.

    Rank 0 of the first start leaves a note of its folder beside it, under torchrun's own id.

    Args:
        made: folder that Hydra made for this start.
    """
    run_id = os.environ.get("TORCHELASTIC_RUN_ID")
    if run_id is None:
        return None
    note = made.parent / f".torchrun-{Path(run_id).name}"
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        if os.environ.get("RANK") == "0":
            made.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(str(made.resolve()))
        return None
    folder = Path(note.read_text()) if note.is_file() else None
    if folder is None or not any((folder / "checkpoints").glob("step_*.pt")):
        return None
    log.info("torchrun has started this run again: it goes on in %s", folder)
    return folder


def forget_restarts(made: Path) -> None:
    """Removes the note of a run that is over."""
    run_id = os.environ.get("TORCHELASTIC_RUN_ID")
    if run_id is not None and os.environ.get("RANK") == "0":
        (made.parent / f".torchrun-{Path(run_id).name}").unlink(missing_ok=True)
