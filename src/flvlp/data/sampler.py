"""Which studies a rank sees, in which order."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[tuple[int, int]]):
    """Gives a rank its studies of an epoch: one global permutation of (seed, epoch).

    The short tail is dropped, or with `fills_last` filled up from the beginning of the permutation, so that a set
    smaller than a step can be trained on and every study is seen; `min_steps` repeats it until so many steps are full.

    With `lengths`, studies of like length come together, so that batches hold little padding: of each `bucket_steps`
    steps of the permutation the studies are sorted by length, cut into micro-batches, and these are shuffled.

    Micro-batch m of the epoch takes the slice [m W B, (m + 1) W B) of the permutation, rank r its r-th B studies; an
    optimiser step is `accumulate` micro-batches. Every rank has the same number of micro-batches.
    """

    def __init__(
        self,
        positions: np.ndarray,
        *,
        batch_size: int,
        accumulate: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        fills_last: bool = False,
        min_steps: int = 0,
        lengths: np.ndarray | None = None,
        bucket_steps: int = 1,
    ) -> None:
        """Args as named.

        Args:
            positions: (n,) int64 positions of the training studies in their source.
            batch_size: B, studies per rank and micro-batch.
            accumulate: micro-batches per optimiser step.
            lengths: of the report of every study of the source, in any unit; None for the plain permutation.
            bucket_steps: optimiser steps whose studies are sorted together.

        Raises:
            ValueError: fewer studies than one step takes.
        """
        per_step = self.studies_per_step = batch_size * accumulate * world_size
        self.steps = max(-(-len(positions) // per_step), min_steps) if fills_last else len(positions) // per_step
        if self.steps == 0:
            raise ValueError(
                f"EpochSampler: {len(positions)} training studies do not fill one step of {per_step} (batch_size "
                f"{batch_size} x accumulate {accumulate} x {world_size} processes); lower engine.batch_size"
            )
        self.positions, self.batch_size, self.accumulate, self.seed = positions, batch_size, accumulate, seed
        self.rank, self.world_size = rank, world_size
        self.lengths, self.window = lengths, bucket_steps * per_step
        self.dropped = max(0, len(positions) - self.steps * per_step)
        self.epoch, self.first_step = 0, 0

    def start(self, epoch: int, first_step: int = 0) -> None:
        """Sets the epoch that the next iteration gives, from its step `first_step` on."""
        self.epoch, self.first_step = epoch, first_step

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yields (epoch, position), micro-batch after micro-batch."""
        width = self.batch_size * self.world_size
        generator = np.random.default_rng([self.seed, self.epoch])
        order = generator.permutation(self.positions)
        order = np.resize(order, max(len(order), self.steps * self.accumulate * width))  # repeats from the beginning
        if self.lengths is not None:
            order = self._bucketed(order[: self.steps * self.accumulate * width], self.lengths, generator)
        for micro_batch in range(self.first_step * self.accumulate, self.steps * self.accumulate):
            start = micro_batch * width + self.rank * self.batch_size
            for index in order[start : start + self.batch_size]:
                yield self.epoch, int(index)

    def _bucketed(self, order: np.ndarray, lengths: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Returns the same studies, those of like length in the same micro-batch of all ranks."""
        width, parts = self.batch_size * self.world_size, []
        for start in range(0, len(order), self.window):
            window = order[start : start + self.window]
            by_length = window[np.argsort(lengths[window], kind="stable")].reshape(-1, width)
            parts.append(generator.permutation(by_length, axis=0).reshape(-1))
        return np.concatenate(parts)

    def __len__(self) -> int:
        """Returns the studies that the next iteration gives this rank."""
        return (self.steps - self.first_step) * self.accumulate * self.batch_size


class ShardSampler(Sampler[tuple[int, int]]):
    """Gives a rank every `world_size`-th study, once and in order, for exact evaluation; ranks may differ in length."""

    def __init__(self, positions: np.ndarray, rank: int = 0, world_size: int = 1) -> None:
        self.positions = positions[rank::world_size]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yields (0, position)."""
        return ((0, int(index)) for index in self.positions)

    def __len__(self) -> int:
        """Returns the number of this rank's studies."""
        return len(self.positions)
