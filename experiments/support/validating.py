"""What pre-training does between two epochs: judges the model on held-out studies, and saves its encoders."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.board import Board

if TYPE_CHECKING:
    from flvlp.data.loaders import Loaders
    from flvlp.data.tokenizer import ReportTokenizer
    from flvlp.engine.train import Training
    from flvlp.validation import HeldOut

log = logging.getLogger(__name__)


def hold_out(args: Any, loaders: "Loaders") -> "HeldOut | None":
    """Returns this rank's held-out studies, None where there are none or engine.validate=false."""
    from flvlp.validation import HeldOut

    source = loaders.source
    if not args.engine.validate or not len(source.splits.get("validation", ())):
        log.warning("no validation: encoders/ will hold the last epoch")
        return None
    own, shuffled, is_swapped = loaders.validation(source.splits["validation"])
    patients = [study.patient_id for study in source.studies]
    return HeldOut(own, shuffled, is_swapped, patients, source.labels.values if source.labels else None)


def judge(
    args: Any, training: "Training", tokenizer: "ReportTokenizer", held_out: "HeldOut | None", board: Board
) -> OSError | None:
    """Validates, logs, draws, and saves the encoders: always to `encoders_last`, the best epoch's to `encoders`.

    Returns:
        what kept the encoders from the disk on rank 0, such as that it is full; None where nothing did. Those of a
        later epoch may find room, so that a run ends with it only where they are the last.
    """
    from flvlp import distributed
    from flvlp.validation import format_figures, validate

    state, model = training.state, training.bare_model
    validated, figures = None, {}
    if held_out is not None:
        validated = validate(model, held_out, args.loss, training.device, training.dtype)
        figures = validated.figures
        training.run_log.write("validation", state.step, state.epoch, figures)
        log.info("validation after step %d\n%s", state.step, format_figures(figures))
        if args.engine.best_metric not in figures:
            log.warning("engine.best_metric: %s is not measured; encoders/ holds the last", args.engine.best_metric)
    value = figures.get(args.engine.best_metric)
    is_best = value is None or state.best is None or value > state.best
    names = ["encoders_last"] + ["encoders"] * is_best
    unsaved = _save(names, training, tokenizer, board.folder, figures) if distributed.is_main() else None
    if value is not None and is_best and unsaved is None:
        state.best = value
    if validated is not None:
        board.show(training, validated)  # last: what cannot be drawn must not cost the encoders
    return unsaved


def _save(
    names: list[str], training: "Training", tokenizer: "ReportTokenizer", folder: Path, figures: dict[str, float]
) -> OSError | None:
    """Saves the encoders under these names; returns what was in the way."""
    from flvlp.saved_encoders import save_encoders

    state, model = training.state, training.bare_model
    provenance = {"step": state.step, "epoch": state.epoch, "validation": figures}
    try:
        for name in names:
            save_encoders(folder / name, model.encoders, tokenizer, "itc" in model.terms, provenance)
    except OSError as error:
        log.error("encoders of step %d are NOT written (%s); make room on the disk", state.step, error)  # noqa: TRY400
        return error
    return None
