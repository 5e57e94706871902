"""Loaders of one rank: which studies, drawn how, in what batches."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from flvlp.data.columns import laterals_of
from flvlp.data.config import ImageConfig, MaskingConfig
from flvlp.data.dataset import Collator, StudyDataset, derange
from flvlp.data.pictures import Collate, PictureDataset, PictureSample
from flvlp.data.processes import kill_workers_at_exit, outlive_sigterm
from flvlp.data.sampler import EpochSampler, ShardSampler
from flvlp.data.studies import StudySource
from flvlp.data.tokenizer import ReportTokenizer
from flvlp.types import Batch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaders:
    """Makes the loaders of a source.

    Attributes:
        source, tokenizer, masking, image: what is read and how.
        seed: of the training draws.
        on_error: `raise` or `skip` for an image that cannot be read.
        with_lateral: False hides every lateral.
        batch_size: B, per rank and micro-batch.
        num_workers: reading processes of this rank.
        rank, world_size: of this process.
    """

    source: StudySource
    tokenizer: ReportTokenizer
    masking: MaskingConfig
    image: ImageConfig
    seed: int
    on_error: str
    with_lateral: bool
    batch_size: int
    num_workers: int
    rank: int
    world_size: int

    def training(
        self, accumulate: int, limit_studies: int | None, bucket_steps: int = 0
    ) -> tuple[DataLoader[Batch], EpochSampler]:
        """Returns the training loader and its sampler (`start` it first).

        Args:
            accumulate: micro-batches per optimiser step.
            limit_studies: train on the first n; None for all.
            bucket_steps: steps whose reports are sorted by length (`EpochSampler`); 0 for none.
        """
        words = [len(study.report.split()) for study in self.source.studies] if bucket_steps else None
        sampler = EpochSampler(
            self.source.splits["train"][:limit_studies],
            batch_size=self.batch_size,
            accumulate=accumulate,
            seed=self.seed,
            rank=self.rank,
            world_size=self.world_size,
            lengths=None if words is None else np.array(words),
            bucket_steps=max(bucket_steps, 1),
        )
        if sampler.dropped:
            log.info(
                "%d of %d training studies fill no step and sit out in turn", sampler.dropped, len(sampler.positions)
            )
        return self._loader(self._dataset(is_training=True), sampler, keeps_workers=self.num_workers > 0), sampler

    def first_studies(self, count: int) -> DataLoader[Batch]:
        """Returns a loader of the first `count` training studies, the same on every rank, without random crops."""
        return self.whole(self.source.splits["train"][:count])

    def whole(self, positions: np.ndarray) -> DataLoader[Batch]:
        """Returns a loader of every study at `positions` (n,), not shared out: the same on every rank that asks."""
        return self._loader(self._dataset(is_training=False), ShardSampler(positions))

    def evaluation(self, positions: np.ndarray) -> DataLoader[Batch]:
        """Returns a loader of every study at `positions` (n,) once, shared out over the ranks."""
        return self._loader(self._dataset(is_training=False), ShardSampler(positions, self.rank, self.world_size))

    def validation(self, positions: np.ndarray) -> tuple[DataLoader[Batch], DataLoader[Batch], np.ndarray]:
        """Returns two loaders of the same studies: with their own pictures, and with those of another study.

        Args:
            positions: (n,) int64 of the held-out studies of all ranks.

        Returns:
            both loaders, and (studies,) bool of the whole source: False for a study that found no other to swap with.
        """
        has_lateral = laterals_of(self.source.studies)
        sampler = ShardSampler(positions, self.rank, self.world_size)
        own = self._dataset(is_training=False)
        images_from = derange(has_lateral, positions)
        shuffled = self._dataset(is_training=False, images_from=images_from)
        return self._loader(own, sampler), self._loader(shuffled, sampler), images_from != np.arange(len(images_from))

    def _dataset(self, *, is_training: bool, images_from: np.ndarray | None = None) -> StudyDataset:
        return StudyDataset(
            self.source,
            self.tokenizer,
            self.masking,
            self.image,
            seed=self.seed,
            is_training=is_training,
            on_error=self.on_error,
            with_lateral=self.with_lateral,
            images_from=images_from,
        )

    def _loader(
        self, dataset: StudyDataset, sampler: EpochSampler | ShardSampler, keeps_workers: bool = False
    ) -> DataLoader[Batch]:
        kill_workers_at_exit()
        return DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_size=self.batch_size,
            sampler=sampler,
            collate_fn=Collator(self.tokenizer.pad_id, self.image.crop),
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=keeps_workers,
            worker_init_fn=outlive_sigterm,
            generator=torch.Generator(),  # or opening a loader would move the global generator, and with it resume
        )


@dataclass(frozen=True)
class PictureLoaders:
    """Makes the loaders of a downstream task.

    Attributes:
        collate: samples to batches.
        seed: of the training order.
        batch_size: B, per rank and micro-batch.
        num_workers: reading processes of this rank.
        rank, world_size: of this process.
    """

    collate: Collate
    seed: int
    batch_size: int
    num_workers: int
    rank: int
    world_size: int

    def training(
        self, dataset: PictureDataset, positions: np.ndarray, accumulate: int, min_steps: int = 0
    ) -> tuple[DataLoader[Any], EpochSampler]:
        """Returns the loader of the training studies at `positions` (n,), and its sampler (`start` it first).

        Every study is seen in an epoch, which has at least `min_steps` steps; the last one is filled up from its
        beginning.
        """
        sampler = EpochSampler(
            positions,
            batch_size=self.batch_size,
            accumulate=accumulate,
            seed=self.seed,
            rank=self.rank,
            world_size=self.world_size,
            fills_last=True,
            min_steps=min_steps,
        )
        return self._loader(dataset, sampler, keeps_workers=self.num_workers > 0), sampler

    def evaluation(self, dataset: Dataset[PictureSample], positions: np.ndarray) -> DataLoader[Any]:
        """Returns a loader of every study at `positions` (n,) once, shared out over the ranks."""
        return self._loader(dataset, ShardSampler(positions, self.rank, self.world_size))

    def _loader(
        self, dataset: Dataset[PictureSample], sampler: EpochSampler | ShardSampler, keeps_workers: bool = False
    ) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            collate_fn=self.collate,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=keeps_workers,
            generator=torch.Generator(),
        )
