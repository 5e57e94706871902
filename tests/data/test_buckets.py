"""Studies of like report length in one batch."""

import numpy as np
import pytest

from flvlp.data.sampler import EpochSampler

STUDIES, BATCH = 96, 4
LENGTHS = np.random.default_rng(0).integers(5, 100, size=200)
POSITIONS = np.arange(100, 100 + STUDIES)


def epoch(rank: int = 0, ranks: int = 1, *, first_step: int = 0, number: int = 3, buckets: int = 6) -> list[int]:
    """Returns the positions of a rank's epoch; without buckets where `buckets` is 0."""
    sampler = EpochSampler(
        POSITIONS,
        batch_size=BATCH,
        accumulate=2,
        seed=1,
        rank=rank,
        world_size=ranks,
        lengths=LENGTHS if buckets else None,
        bucket_steps=max(buckets, 1),
    )
    sampler.start(number, first_step)
    return [position for _, position in sampler]


def padding(order: list[int], width: int = BATCH) -> float:
    """Returns the share of padding in batches of `width`."""
    lengths = LENGTHS[np.array(order)].reshape(-1, width)
    return 1 - float(lengths.sum() / (lengths.max(axis=1, keepdims=True) * np.ones_like(lengths)).sum())


def test_every_study_is_seen_once_and_there_is_less_padding() -> None:
    found, plain = epoch(), epoch(buckets=0)
    assert sorted(found) == sorted(plain) == POSITIONS.tolist()
    assert padding(found) < padding(plain) / 3, f"{padding(found):.3f} of padding, {padding(plain):.3f} without buckets"


def test_the_order_of_batches_does_not_follow_length() -> None:
    means = LENGTHS[np.array(epoch(buckets=12))].reshape(-1, BATCH).mean(axis=1)
    rising = float((np.diff(means) > 0).mean())
    assert 0.2 < rising < 0.8, f"{rising:.2f} of the batches are longer than the one before: {means}"


def test_windows_are_those_of_the_plain_permutation() -> None:
    window = 3 * BATCH * 2
    found, plain = epoch(buckets=3), epoch(buckets=0)
    for start in range(0, STUDIES, window):
        assert sorted(found[start : start + window]) == sorted(plain[start : start + window])


def test_ranks_share_batches_of_like_length() -> None:
    ranks = [epoch(rank, 2) for rank in (0, 1)]
    assert sorted(ranks[0] + ranks[1]) == POSITIONS.tolist()
    both = np.concatenate([np.array(order).reshape(-1, BATCH) for order in ranks], axis=1)
    assert padding(both.flatten().tolist(), 2 * BATCH) < padding(epoch(buckets=0), 2 * BATCH) / 2


@pytest.mark.parametrize("first_step", [1, 5, 11])
def test_a_resumed_epoch_goes_on_in_the_same_order(first_step: int) -> None:
    assert epoch(first_step=first_step) == epoch()[first_step * 2 * BATCH :]


def test_epochs_differ() -> None:
    assert epoch(number=0) != epoch(number=1)
