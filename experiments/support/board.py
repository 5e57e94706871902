"""What a pre-training shows of itself: figures in TensorBoard and `figures/`, embedding projector, hyperparameters."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from support.entry import hyperparameters
from support.inputs import show_studies, shown_names, shows_images, shows_text

if TYPE_CHECKING:
    from torch import Tensor

    from flvlp.data.loaders import Loaders
    from flvlp.data.tokenizer import EncodedReport
    from flvlp.engine.train import Training
    from flvlp.types import Batch
    from flvlp.validation import Validated
    from support.study_figures import Shown

log = logging.getLogger(__name__)

FIGURES = "figures"
THUMBNAIL, FRAME = 48, 3  # pixels: pictures of the projector, and the frame around them
FRAMES = {"image": (0, 114, 178), "report": (200, 76, 0)}  # tells images from reports
TERMS = ("itc", "mlm", "mlm_gap", "view_alignment", "view_alignment_gap", "prototype")
RETRIEVAL = tuple(f"retrieval/{side}/r{k}" for side in ("frontal", "fused", "lateral") for k in (1, 5))
# Validation figure -> its name in the table of runs, which TensorBoard sorts by name; it opens with the first five.
COMPARED = {name: name for name in RETRIEVAL} | {name: f"terms/{name}" for name in TERMS}


@dataclass
class Board:
    """Where a run shows what its model looks at; only rank 0 draws.

    Attributes:
        args: of the entry point.
        loaders: their source and tokenizer are shown.
        folder: of the run.
        batch, reports: the studies that are looked into, on the host, and their words; None and empty for no figures.
        validated: what the last validation found.
        is_drawn: whether it has been drawn.
    """

    args: Any
    loaders: "Loaders"
    folder: Path
    batch: "Batch | None" = None
    reports: "list[EncodedReport]" = field(default_factory=list)
    validated: "Validated | None" = None
    is_drawn: bool = False

    def show(self, training: "Training", validated: "Validated") -> None:
        """Takes what a validation found, and draws it where `engine.figures_every` says so."""
        every = self.args.engine.figures_every
        self.validated, self.is_drawn = validated, False
        if every and (training.state.epoch + 1) % every == 0:
            self._try(self._draw, training)

    def _try(self, draw: "Callable[[Training], None]", training: "Training") -> None:
        """Draws; a disk that is full costs figures and no run."""
        try:
            draw(training)
        except OSError as error:
            log.error("figures of step %d are NOT written (%s); make room on the disk", training.state.step, error)  # noqa: TRY400

    def close(self, training: "Training") -> None:
        """Leaves the last figures, the embedding projector and the run's line in the table of runs; closes the log."""
        from flvlp import distributed

        if distributed.is_main():
            if self.validated is not None and not self.is_drawn and self.args.engine.figures_every:
                self._try(self._draw, training)
            if self.validated is not None and self.args.engine.projector:
                self._try(self._project, training)
            if self.validated is None and self.args.engine.validate:
                log.info("figures: nothing was left to validate, so that the last ones and the projector are not made")
            best = json.loads((self.folder / "encoders" / "config.json").read_text())["training"]["validation"]
            figures = {shown: best[name] for name, shown in COMPARED.items() if name in best}
            training.run_log.hyperparameters(hyperparameters(self.args), figures, training.state.step)
        training.run_log.close()

    def _draw(self, training: "Training") -> None:
        from flvlp import distributed
        from flvlp.data.png import png_bytes
        from flvlp.engine.lines import replace_bytes

        assert self.validated is not None
        self.is_drawn = True
        if not distributed.is_main():
            return
        step = training.state.step
        for name, picture in (*self._studies(training), *self._prototypes(training, self.validated)):
            content = png_bytes(picture.permute(1, 2, 0).numpy(), effort=1)  # encoded once, it is most of the time
            training.run_log.png(f"{FIGURES}/{name}", content, step)
            path = self.folder / FIGURES / f"{name.replace('/', '-')}.png"
            path.parent.mkdir(exist_ok=True)
            replace_bytes(path, content)

    def _studies(self, training: "Training") -> "Iterator[tuple[str, Tensor]]":
        """Yields the figures of single studies with their names."""
        from flvlp.data.masking import load_entities
        from support import study_figures

        studies = self._inspect(training)
        entities = load_entities(self.args.masking.entities)
        if studies and all(study.found.is_kept is not None for study in studies):
            yield "key_patches", study_figures.key_patches(studies)
        for number, study in enumerate(studies):
            if study.words and study.found.masked:
                decode = self.loaders.tokenizer.decode
                yield f"masked_words/{number}", study_figures.masked_words(study, decode, entities)
            if study.words and study.found.asked:
                yield f"words_in_both_views/{number}", study_figures.words_in_both_views(study, entities)

    def _inspect(self, training: "Training") -> "list[Shown]":
        """Returns the fixed studies with what the model makes of them now, without what must not be shown."""
        import torch

        from flvlp.inspection import inspect_studies
        from support.study_figures import Shown

        if self.batch is None:
            return []
        batch, dataset = self.batch, self.args.dataset
        with torch.autocast(training.device.type, dtype=training.dtype, enabled=training.dtype is not None):
            found = inspect_studies(
                training.bare_model, batch.to(training.device), [report.word_of for report in self.reports]
            )
        names = shown_names(dataset, self.loaders.source, batch.study_index.tolist())
        laterals = dict(zip(batch.lateral_rows.tolist(), batch.lateral[:, 0].numpy(), strict=True))
        return [
            Shown(
                name=names[row],
                words=self.reports[row].words if shows_text(dataset) else (),
                frontal=batch.frontal[row, 0].numpy() if shows_images(dataset) else None,
                lateral=laterals.get(row) if shows_images(dataset) else None,
                found=one,
            )
            for row, one in zip(torch.nonzero(batch.is_valid).flatten().tolist(), found, strict=True)
        ]

    def _prototypes(self, training: "Training", validated: "Validated") -> "Iterator[tuple[str, Tensor]]":
        """Yields the figures of prototypes with their names."""
        from support import prototype_figures

        if "prototype" not in training.bare_model.terms:
            return
        usage = prototype_figures.usage_of(validated.features, training.bare_model.prototypes.detach())
        yield "prototype_usage", prototype_figures.usage_histogram(usage)
        if shows_images(self.args.dataset):
            rows = prototype_figures.sheet_rows(usage)
            pictures = {row: self._thumbnail(int(validated.studies[row]), prototype_figures.THUMBNAIL) for row in rows}
            names = shown_names(self.args.dataset, self.loaders.source, validated.studies)
            labels = self.loaders.source.labels
            known = None if labels is None else (labels.names, labels.values[validated.studies])
            yield "prototype_studies", prototype_figures.nearest_studies(usage, pictures, names, known)

    def _thumbnail(self, position: int, side: int) -> np.ndarray:
        """Returns a frontal (side, side) uint8, as the model sees it but for its size."""
        from flvlp.data.images import ImageReadError
        from flvlp.data.scaling import scaled
        from flvlp.data.transforms import crop_view

        try:
            frontal = self.loaders.source.frontal(position)
        except ImageReadError:
            if self.args.dataset.on_error == "raise":
                raise
            return np.zeros((side, side), dtype=np.uint8)
        return scaled(crop_view(frontal, self.loaders.image, None), side)

    def _project(self, training: "Training") -> None:
        """Writes image and report features of some held-out studies, spread evenly, for the embedding projector."""
        import torch
        from torch.nn import functional

        assert self.validated is not None
        validated = self.validated
        source, dataset = self.loaders.source, self.args.dataset
        count = min(self.args.engine.projector, len(validated.studies))
        chosen = np.unique(np.linspace(0, len(validated.studies) - 1, count).round().astype(np.int64))
        image = 2 if "itc" in training.bare_model.terms else 0  # fused, or frontal where nothing trains that
        features = functional.normalize(validated.features[torch.from_numpy(chosen)][:, [image, 3]].cpu(), dim=-1)
        positions = validated.studies[chosen]
        names, laterals = shown_names(dataset, source, positions), validated.has_lateral[chosen]
        classes = () if source.labels is None else source.labels.names
        rows, thumbnails = [], []
        for name, has_lateral, position in zip(names, laterals, positions, strict=True):
            values = [] if source.labels is None else source.labels.values[position]
            known = ["" if np.isnan(value) else f"{value:g}" for value in values]
            found = ", ".join(one for one, value in zip(classes, values, strict=True) if value == 1) or "none"
            rows += [[name, side, "yes" if has_lateral else "no", found, *known] for side in FRAMES]
            if shows_images(dataset):
                thumbnail = self._thumbnail(int(position), THUMBNAIL)
                thumbnails += [framed(thumbnail, colour) for colour in FRAMES.values()]
        pictures = torch.from_numpy(np.stack(thumbnails)).permute(0, 3, 1, 2) if thumbnails else None
        header = ("study", "side", "lateral", "findings", *classes)
        training.run_log.embedding("joint_space", features.flatten(0, 1), header, rows, pictures)


def open_board(args: Any, loaders: "Loaders", training: "Training", folder: Path) -> Board:
    """Returns the board of a run; a new run shows a few studies as the model sees them.

    What is left out of a credentialed data set is said once.
    """
    from flvlp import distributed

    board, source = Board(args, loaders, folder), loaders.source
    if training.state.step == 0:
        show_studies(args.dataset, loaders.image, source, training.run_log, args.engine.log_pictures)
    if not (distributed.is_main() and args.engine.validate and args.engine.figures_every and args.engine.log_pictures):
        return board
    hidden = [
        f"{what} (dataset.{key}=true shows them)"
        for what, key in (("words", "log_text"), ("pictures", "log_images"), ("ids", "log_ids"))
        if args.dataset.credentialed and not getattr(args.dataset, key)
    ]
    if hidden:
        log.info("figures: %s is credentialed; left out: %s", args.dataset.name, ", ".join(hidden))
    positions = source.splits.get("validation", np.empty(0, dtype=np.int64))
    has_lateral = np.array([source.studies[position].has_lateral for position in positions], dtype=bool)
    count = min(args.engine.log_pictures, args.engine.batch_size)
    shown = positions[np.argsort(~has_lateral, kind="stable")[:count]]
    if len(shown):
        board.batch = next(iter(loaders.whole(shown)))
        board.reports = [loaders.tokenizer.encode(source.studies[position].report) for position in shown]
    return board


def framed(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Returns a grey picture (H, W) uint8 in a coloured frame, (H, W, 3) uint8."""
    drawn = np.repeat(picture[..., None], 3, axis=2)
    for edge in (drawn[:FRAME], drawn[-FRAME:], drawn[:, :FRAME], drawn[:, -FRAME:]):
        edge[...] = colour
    return drawn
