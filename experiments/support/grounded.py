"""Phrase grounding over a part of the data: heat maps, figures beside those of chance, the table, and pictures."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from flvlp.engine.config import EncodingConfig
from support.downstream import Job
from support.drawing import choose_rows, keep_picture
from support.results import named, write_table

if TYPE_CHECKING:
    from torch import Tensor

    from flvlp.data.grounding import Region
    from flvlp.types import BoxedPictures, ImageFeatures

log = logging.getLogger(__name__)

HEADLINE = "pointing"
CHANCE = "chance_"
KINDS = ("best", "median", "worst")
_CHANCE_FIGURES = ("pointing", "cnr", "iou", "dice")  # a mIoU in units of the cosine has no chance level


@dataclass(frozen=True, slots=True)
class Heat:
    """The heat map of one region: cosines (rows, columns), and height and width in pixels of its picture."""

    cosines: np.ndarray
    shape: tuple[int, int]


def heat_maps(job: Job, regions: "Sequence[Region]", task: EncodingConfig) -> list[Heat | None]:
    """Returns the heat map of each region, on every rank; None where the picture could not be read."""
    from flvlp.data.grounding import FRONTAL, LATERAL, RegionPictures
    from flvlp.data.pictures import CollateBoxes
    from flvlp.engine.optim import autocast_dtype
    from flvlp.engine.predict import predict
    from support.heat import encode_phrases

    given, image = job.given.with_text, job.given.image
    phrases = list(dict.fromkeys(region.phrase for region in regions))
    row_of = {phrase: row for row, phrase in enumerate(phrases)}
    texts = encode_phrases(given, phrases)[[row_of[region.phrase] for region in regions]]
    loaders = job.loaders(CollateBoxes(image.crop), task.batch_size, task.num_workers)
    dataset = RegionPictures(job.source, regions, image, job.args.dataset.on_error)
    encoders = given.encoders
    found: list[Heat | None] = [None] * len(regions)
    for view in (FRONTAL, LATERAL):
        numbers = np.array([number for number, region in enumerate(regions) if region.view == view], dtype=np.int64)
        if not len(numbers):
            continue
        encode, grid = (
            (encoders.encode_image, encoders.grids[0])
            if view == FRONTAL
            else (encoders.encode_lateral, encoders.grids[1])
        )
        read, rows = predict(
            partial(_cosines, encode, texts),
            loaders.evaluation(dataset, numbers),
            job.device,
            autocast_dtype(task.precision, job.device),
        )
        for number, heat, (height, width) in zip(read.tolist(), rows["heat"], rows["size"].tolist(), strict=True):
            found[number] = Heat(heat.numpy().reshape(grid), (height, width))
    return found


def _cosines(
    encode: "Callable[[Tensor], ImageFeatures]", texts: "Tensor", batch: "BoxedPictures"
) -> "dict[str, Tensor]":
    """Returns the heat map (B, P) of each row with its own phrase, and the size (B, 2) of its picture."""
    from support.heat import patch_cosines

    return {"heat": patch_cosines(encode(batch.frontal), texts[batch.study_index]), "size": batch.sizes}


def values_of(job: Job, regions: "Sequence[Region]", heats: Sequence[Heat], threshold: float) -> dict[str, np.ndarray]:
    """Returns the figures of each region, (n,) by name, and with `chance_` before it those of a map that knows nothing.

    Chance points anywhere in what the encoder saw; its other figures are of maps of noise on the same grid of patches.
    Maps are compared at the size of the picture as it was scaled for the encoder, without padding.
    """
    from flvlp.data.grounding import inside_of
    from flvlp.data.transforms import heat_on_picture
    from flvlp.metrics.grounding import grounding_values, pointing_hit

    image = job.given.image
    rows = []
    for number, (region, heat) in enumerate(zip(regions, heats, strict=True)):
        inside = inside_of(job.source, region, heat.shape, image.resize)
        noise = np.random.default_rng([job.args.seed, number]).standard_normal(heat.cosines.shape)
        on_picture, of_noise = (heat_on_picture(one, inside.shape, image) for one in (heat.cosines, noise))
        values = grounding_values(on_picture, inside, threshold)
        chance = grounding_values(of_noise, inside, threshold)
        chance["pointing"] = pointing_hit(np.where(np.isnan(on_picture), np.nan, 0.0), inside)
        rows.append(values | {f"{CHANCE}{name}": chance[name] for name in _CHANCE_FIGURES})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def figures_of(
    job: Job, regions: "Sequence[Region]", values: Mapping[str, np.ndarray]
) -> tuple[dict[str, float], list[str]]:
    """Returns all figures, and the names of the categories and, where there are two, of the views."""
    from flvlp.metrics.grounding import grounding_figures

    views = sorted({region.view for region in regions})
    subsets = {view: np.array([region.view == view for region in regions]) for view in views if len(views) > 1}
    categories = [region.category for region in regions]
    patients = job.patients([region.study for region in regions])
    figures = grounding_figures(values, categories, patients, subsets=subsets, draws=job.args.draws)
    return figures, [*sorted(set(categories)), *subsets]


def table_of(figures: Mapping[str, float], groups: Sequence[str]) -> str:
    """Returns what the console shows: a line for all phrases, the mean of the categories, and each group."""
    lines = [("", "phrases", "pointing", "", "chance", "CNR", "chance", "signed", "mIoU", "IoU", "Dice")]
    for label, name_of in (
        ("all phrases", "{}"),
        ("mean of categories", "macro_{}"),
        *((group, f"{{}}/{group}") for group in groups),
    ):
        shown = {
            name: _number(figures[name_of.format(name)])
            for name in ("pointing", "chance_pointing", "cnr", "chance_cnr", "cnr_signed", "miou", "iou", "dice")
        }
        low, high = (_number(figures[f"{name_of.format('pointing')}_{end}"]) for end in ("low", "high"))
        pointing = shown.pop("pointing")
        count = figures["phrases" if name_of == "macro_{}" else name_of.format("phrases")]
        lines.append((label, f"{count:.0f}", pointing, f"[{low}, {high}]", *shown.values()))  # type: ignore[arg-type]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  " + "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines
    )


def _number(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.3f}"


def write_regions(job: Job, regions: "Sequence[Region]", values: Mapping[str, np.ndarray]) -> None:
    """Writes `predictions.csv`, one line a phrase, on rank 0; phrases of reports only where text may be left behind."""
    from flvlp import distributed

    if not distributed.is_main():
        return
    ids = named(job, [region.study for region in regions])
    shows_text = may_show_text(job)
    rows = (
        (study, region.view, region.category, region.phrase if shows_text else "", *own)
        for study, region, own in zip(ids, regions, np.stack(list(values.values()), axis=1).tolist(), strict=True)
    )
    write_table(job.folder / "predictions.csv", ("id", "view", "category", "phrase", *values), rows)


def may_show_text(job: Job) -> bool:
    """Says whether phrases may be left behind: those of our prompts always, those of reports as the data set says."""
    from flvlp.data.grounding import classes_of

    config = job.args.dataset
    return not config.credentialed or config.log_text or bool(classes_of(job.source))


def draw_regions(
    job: Job, regions: "Sequence[Region]", heats: Sequence[Heat], values: Mapping[str, np.ndarray]
) -> None:
    """Draws some phrases with their heat maps and true places, on rank 0: the best, middle and worst by signed CNR."""
    from flvlp import distributed
    from flvlp.data.grounding import inside_of, picture_of
    from support.heat import draw_region

    if not distributed.is_main() or not job.shows_images:
        return
    image, shows_text = job.given.image, may_show_text(job)
    contrast = np.nan_to_num(values["cnr_signed"], nan=-np.inf)
    order = np.argsort(-contrast, kind="stable")
    middle = np.argsort(np.abs(np.arange(len(order)) - (len(order) - 1) / 2), kind="stable")
    orders = dict(zip(KINDS, (order.tolist(), order[middle].tolist(), order[::-1].tolist()), strict=True))
    for name, row in choose_rows(orders, job.args.pictures):
        region, heat = regions[row], heats[row]
        picture = picture_of(job.source, region)
        said = f"{region.category}: {region.phrase}" if shows_text else region.category
        title = f"{said} ({region.view}; pointing {values['pointing'][row]:.2f}, CNR {values['cnr_signed'][row]:.2f})"
        drawn = draw_region(
            picture, heat.cosines, inside_of(job.source, region, picture.shape, image.resize), title, image
        )
        keep_picture(job, "grounding", name, named(job, [region.study])[0], drawn)
