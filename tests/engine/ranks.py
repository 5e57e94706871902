"""What one of two processes computes for `test_fit.py` and `test_predict.py`."""

from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from flvlp import distributed
from flvlp.data.config import ImageConfig
from flvlp.data.features import FeatureBatch
from flvlp.data.loaders import PictureLoaders
from flvlp.data.pictures import CollateLabels, ViewDataset
from flvlp.engine.predict import predict
from flvlp.types import LabelledPictures
from tests.builders import CROP, HandMadeSource
from tests.engine.small_tasks import (
    Linear,
    classifier,
    cut,
    drawn,
    fit_epochs,
    picture_criterion,
    pictures,
    step_gradients,
)

RANKS = 2
# Rows of each rank, micro-batch by micro-batch: unequal numbers of rows and of known labels.
CUTS = {"one batch": [[5], [2]], "accumulated": [[1, 3], [2, 1]], "nothing known": [[6], [1]]}
# Who has a lateral, rank by rank: on the second nobody.
LATERALS = ([True, False, True], [False, False])
# Positions that are asked for, and which studies cannot be read; of `one` the second rank has none.
SETS: dict[str, tuple[list[int], tuple[int, ...]]] = {
    "some": ([0, 1, 2, 4, 5, 6, 7], (4,)),
    "one": ([3], ()),
    "a rank of nothing but damaged": (list(range(8)), (1, 3, 5, 7)),
}
BATCH_SIZES = (1, 3)
# Each rank's own figures: the second would go on for ever.
FIGURES = ([0.5, 0.4, 0.4, 0.4, 0.4, 0.4], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def rank_parts(name: str, rank: int) -> list[FeatureBatch]:
    """Returns the micro-batches of a rank; in `nothing known` the second rank has no label at all."""
    batch, sizes = whole(name), CUTS[name]
    return cut(cut(batch, [sum(part) for part in sizes])[rank], sizes[rank])


def whole(name: str) -> FeatureBatch:
    """Returns the rows of both ranks."""
    batch = drawn(7)
    if name == "nothing known":
        batch.labels[-1] = float("nan")
    return batch


def predicted(name: str, batch_size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns what `predict` gives for a set of studies, of which this rank reads its share."""
    positions, unreadable = SETS[name]
    source, image = HandMadeSource(8, unreadable), ImageConfig(resize=64, crop=CROP)
    dataset = ViewDataset(source, image, with_lateral=True, seed=0, is_training=False, on_error="skip")
    loaders = PictureLoaders(
        CollateLabels(CROP, 0), 0, batch_size, 0, rank=distributed.rank(), world_size=distributed.world_size()
    )
    return predict(outputs, loaders.evaluation(dataset, np.array(positions)), torch.device("cpu"))


def outputs(batch: LabelledPictures) -> dict[str, Tensor]:
    """Stands for a model: one tensor of floats and one of whole numbers."""
    means = batch.frontal.double().flatten(1).mean(dim=1, keepdim=True)
    return {"scores": torch.cat([means, -means], dim=1), "has_lateral": batch.has_lateral}


def work(rank: int, folder: str) -> None:
    """Runs everything on one of the two ranks and leaves the results in `folder`."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    # A rank that waits for ever fails within seconds.
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS, timeout=timedelta(seconds=30))
    try:
        results: dict[str, Any] = {name: step_gradients(Linear(), rank_parts(name, rank)) for name in CUTS}
        for lateral in ("", "shared"):
            parts = [pictures(LATERALS[rank], seed=rank)]
            results[f"pictures {lateral}"] = step_gradients(classifier(lateral), parts, picture_criterion)
        course = fit_epochs(FIGURES[rank], patience=2)
        results["stopped"] = (course.fitted.best_epoch, course.fitted.epochs, course.model.head.weight.detach())
        for name in SETS:
            for size in BATCH_SIZES:
                results[f"{name}, {size}"] = predicted(name, size)
        torch.save(results, Path(folder) / f"rank{rank}.pt")
    finally:
        dist.destroy_process_group()


def read(folder: Path) -> list[dict[str, Any]]:
    """Returns the results of both ranks."""
    return [cast(dict[str, Any], torch.load(folder / f"rank{rank}.pt", weights_only=True)) for rank in range(RANKS)]
