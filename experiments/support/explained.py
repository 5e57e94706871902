"""One study: heat maps of phrases over its views, from files or from a data set."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from flvlp.models.config import EncoderConfig
from support.downstream import PRETRAINING
from support.entry import is_sweep
from support.inputs import read_source

if TYPE_CHECKING:
    from flvlp.saved_encoders import LoadedEncoders

log = logging.getLogger(__name__)

MOST_ROWS = 8  # of heat maps in a figure
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_NUMBER = re.compile(r"\d{1,2}[.)]")  # of a list


class StudyArgs(Protocol):
    """What is asked for, of the arguments of the entry point."""

    encoders: str
    encoders_weights: str
    encoder: EncoderConfig
    dataset: Any
    seed: int
    deterministic: bool
    frontal: str
    lateral: str
    phrase: str
    report: str
    index: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A study: what it is called, its pictures (H, W) uint8 by view, and the phrases that are looked for."""

    name: str
    pictures: dict[str, np.ndarray]
    phrases: list[str]


def explain_study(args: StudyArgs, folder: Path, config_yaml: str) -> float:
    """Writes `explain.png` and `explain.npz` of one study; returns the highest cosine."""
    from flvlp import distributed
    from flvlp.baselines import find_encoders
    from flvlp.engine import log as run_logs
    from flvlp.engine.seed import seed_everything
    from support.heat import draw_study

    run_logs.set_up_console()
    device = distributed.start()
    seed_everything(args.seed, args.deterministic)

    @cache
    def study(side: int) -> Shown:
        return from_files(args) if args.frontal else from_data(args, side)

    given = find_encoders(
        args.encoders,
        args.encoder,
        weights=args.encoders_weights,
        seed=args.seed,
        pretraining=PRETRAINING,
        texts=lambda: study(args.encoder.resize).phrases,
    )
    shown = study(given.image.resize)
    loaded = given.with_text
    loaded.encoders.to(device)
    pictures = dict(shown.pictures)
    if not loaded.encoders.has_lateral_encoder and pictures.pop("lateral", None) is not None:
        log.warning("encoders: %s have no lateral encoder; the lateral view is left out", given.name)
    heats = {view: heat_of(loaded, view, picture, shown.phrases) for view, picture in pictures.items()}
    highest = max(float(heat.max()) for heat in heats.values())
    if distributed.is_main():
        run_logs.open_run(folder, config_yaml, args.seed, is_new=True, is_latest=not is_sweep())
        draw_study(pictures, shown.phrases, heats, loaded.image).savefig(folder / "explain.png")
        arrays: dict[str, Any] = {**heats, "phrases": np.array(shown.phrases)}
        np.savez(folder / "explain.npz", **arrays)
        log.info("encoders: %s, sha256 %s; %s", given.name, given.sha256[:12], shown.name)
        for view, heat in heats.items():
            log.info("%s: %d x %d patches, cosines %.3f to %.3f", view, *heat.shape[1:], heat.min(), heat.max())
        log.info("written: %s, and the cosines of each patch beside it (.npz)", folder / "explain.png")
    distributed.barrier()
    distributed.stop()
    return highest


def heat_of(loaded: "LoadedEncoders", view: str, picture: np.ndarray, phrases: Sequence[str]) -> np.ndarray:
    """Returns the cosine of each patch of a picture (H, W) uint8 with R phrases, (R, rows, columns) float32."""
    import torch

    from flvlp.types import ImageFeatures
    from support.heat import encode_phrases, patch_cosines

    encoders = loaded.encoders
    with torch.no_grad():
        pixels = loaded.pixels(picture).to(encoders.fusion.no_lateral.device)
        features = encoders.encode_image(pixels) if view == "frontal" else encoders.encode_lateral(pixels)
        repeated = ImageFeatures(features.patches.expand(len(phrases), -1, -1), features.pooled, features.grid)
        return patch_cosines(repeated, encode_phrases(loaded, phrases)).cpu().numpy().reshape(-1, *features.grid)


def from_files(args: StudyArgs) -> Shown:
    """Reads a study from picture files; ImageReadError names a file that is none."""
    from flvlp.data.images import read_image

    files = {"frontal": args.frontal, "lateral": args.lateral}
    pictures = {view: read_image(Path(file)) for view, file in files.items() if file}
    return Shown(", ".join(Path(file).name for file in files.values() if file), pictures, phrases_of(args, ""))


def from_data(args: StudyArgs, side: int) -> Shown:
    """Takes a study of the data set's test part, of the validation part where there is none.

    Args:
        args: of the entry point.
        side: of the pictures in pixels, for the pixel cache.

    Raises:
        ValueError: a data set whose pictures or text must not be left behind, no such study, or nothing to look for.
    """
    from flvlp.data.grounding import find_regions

    config = args.dataset
    needs_text = not (args.phrase or args.report)
    if config.credentialed and not (config.log_images and (config.log_text or not needs_text)):
        raise ValueError(
            f"dataset.name: {config.name} is credentialed, and this writes a picture"
            f"{' with its phrases' if needs_text else ''} into the run folder; set dataset.log_images=true"
            f"{' and dataset.log_text=true' if needs_text else ''} where your agreement allows it"
        )
    source = read_source(config, side)
    part = next((part for part in ("test", "validation", "train") if len(source.splits.get(part, ()))), "train")
    positions = sorted(source.splits[part].tolist(), key=lambda position: not source.studies[position].has_lateral)
    if args.index >= len(positions):
        raise ValueError(f"index: {args.index}, and the {part} part has {len(positions)} studies; the last is one less")
    position = positions[args.index]
    study = source.studies[position]
    phrases = phrases_of(args, study.report)
    if not phrases and source.boxes is not None and source.boxes.phrases:
        phrases = [region.phrase for region in find_regions(source, [position], {})]
    if not phrases:
        raise ValueError(f'phrase: {config.name} has no report to look for; give phrase="left pleural effusion"')
    pictures = {"frontal": source.frontal(position)}
    if study.has_lateral:
        pictures["lateral"] = source.lateral(position)
    hides = config.credentialed and not config.log_ids
    name = f"{part} study {args.index}" if hides else f"{part} study {study.study_id}"
    return Shown(f"{name} of {source.split_name}", pictures, phrases)


def phrases_of(args: StudyArgs, report: str) -> list[str]:
    """Returns what is looked for: the phrase, or the sentences of the report that is given, else of the study's own.

    Raises:
        ValueError: a report without a sentence.
    """
    if args.phrase:
        return [args.phrase]
    given = Path(args.report).read_text() if is_file(args.report) else args.report
    sentences = split_sentences(given or report)
    if args.report and not sentences:
        raise ValueError("report: holds no sentence; give text, or a file of it")
    if len(sentences) > MOST_ROWS:
        log.info("the first %d of %d sentences are shown; phrase=... shows any other", MOST_ROWS, len(sentences))
    return sentences[:MOST_ROWS]


def is_file(text: str) -> bool:
    """Says whether a text is the path of a file; a report may be longer than a path can be."""
    try:
        return bool(text) and Path(text).is_file()
    except OSError:
        return False


def split_sentences(report: str) -> list[str]:
    """Returns the sentences of IMPRESSION and FINDINGS, each once, without the numbers of a list."""
    from flvlp.data.reports import compose_report, split_sections

    text = compose_report(split_sections(report)) or report
    pieces = [piece.strip() for piece in _SENTENCE_END.split(text)]
    return list(dict.fromkeys(piece for piece in pieces if piece and not _NUMBER.fullmatch(piece)))
