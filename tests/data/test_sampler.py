"""Which studies a rank sees, in which order."""

import math
from collections import Counter

import numpy as np
import pytest

from flvlp.data.sampler import EpochSampler, ShardSampler

POSITIONS = np.arange(100, 153)  # 53 studies
GRID = [(1, 4, 1), (2, 4, 1), (3, 2, 2), (2, 3, 3)]  # ranks, batch size, accumulate


def samplers(ranks: int, batch: int, accumulate: int, seed: int = 0) -> list[EpochSampler]:
    return [
        EpochSampler(POSITIONS, batch_size=batch, accumulate=accumulate, seed=seed, rank=rank, world_size=ranks)
        for rank in range(ranks)
    ]


def epoch_of(sampler: EpochSampler, epoch: int, first_step: int = 0) -> list[int]:
    sampler.start(epoch, first_step)
    drawn = list(sampler)
    assert {e for e, _ in drawn} <= {epoch}
    assert len(drawn) == len(sampler), f"{len(drawn)} studies, len() says {len(sampler)}"
    return [index for _, index in drawn]


@pytest.mark.parametrize(("ranks", "batch", "accumulate"), GRID)
def test_step_by_step_the_ranks_together_take_a_slice_of_one_global_permutation(
    ranks: int, batch: int, accumulate: int
) -> None:
    parts = [epoch_of(sampler, 2) for sampler in samplers(ranks, batch, accumulate)]
    (whole,) = (epoch_of(sampler, 2) for sampler in samplers(1, ranks * batch * accumulate, 1))
    per_step = batch * accumulate
    steps = len(POSITIONS) // (ranks * per_step)
    assert [len(part) for part in parts] == [steps * per_step] * ranks, f"lengths {[len(part) for part in parts]}"
    for step in range(steps):
        joined = sorted(i for part in parts for i in part[step * per_step : (step + 1) * per_step])
        expected = sorted(whole[step * per_step * ranks : (step + 1) * per_step * ranks])
        assert joined == expected, f"step {step}: {joined}, slice of the permutation {expected}"


@pytest.mark.parametrize(("ranks", "batch", "accumulate"), GRID)
def test_no_study_comes_twice_and_the_short_tail_is_dropped(ranks: int, batch: int, accumulate: int) -> None:
    made = samplers(ranks, batch, accumulate)
    seen = [i for sampler in made for i in epoch_of(sampler, 0)]
    per_step = ranks * batch * accumulate
    assert len(seen) == len(set(seen)) == 53 // per_step * per_step, f"{len(seen)} seen, {len(set(seen))} different"
    assert set(seen) <= set(POSITIONS.tolist())
    assert made[0].dropped == 53 % per_step, f"{made[0].dropped} dropped, expected {53 % per_step}"


@pytest.mark.parametrize(("ranks", "batch", "accumulate"), GRID)
def test_resuming_in_the_middle_gives_the_rest_of_the_same_epoch(ranks: int, batch: int, accumulate: int) -> None:
    for sampler in samplers(ranks, batch, accumulate):
        whole = epoch_of(sampler, 3)
        for first_step in range(sampler.steps + 1):
            rest = epoch_of(sampler, 3, first_step)
            expected = whole[first_step * batch * accumulate :]
            assert rest == expected, f"from step {first_step}: {rest[:5]}, expected {expected[:5]}"


def test_another_epoch_or_seed_has_another_order_and_the_same_one_the_same() -> None:
    sampler, other = samplers(1, 4, 1)[0], samplers(1, 4, 1, seed=1)[0]
    orders = [epoch_of(sampler, 0), epoch_of(sampler, 1), epoch_of(other, 0)]
    assert len({tuple(order) for order in orders}) == 3
    assert epoch_of(samplers(1, 4, 1)[0], 1) == orders[1]


def test_too_few_studies_for_one_step_are_refused_with_both_numbers() -> None:
    with pytest.raises(
        ValueError, match=r"53 training studies do not fill one step of 64 \(batch_size 16 x accumulate 2"
    ):
        samplers(2, 16, 2)


@pytest.mark.parametrize("ranks", [1, 2, 3, 60])
def test_evaluation_sees_every_study_once_whatever_the_number_of_ranks(ranks: int) -> None:
    shards = [ShardSampler(POSITIONS, rank, ranks) for rank in range(ranks)]
    seen = [index for shard in shards for _, index in shard]
    assert sorted(seen) == POSITIONS.tolist(), f"{len(seen)} seen of {len(POSITIONS)}"
    assert sum(len(shard) for shard in shards) == len(POSITIONS)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("count", range(1, 8))
def test_with_the_last_step_filled_every_study_is_seen_in_every_epoch_by_ranks_of_equal_length(
    count: int, ranks: int
) -> None:
    positions = np.arange(100, 100 + count)
    for batch, accumulate in ((1, 1), (2, 1), (3, 2), (16, 1)):
        made = [
            EpochSampler(
                positions,
                batch_size=batch,
                accumulate=accumulate,
                seed=0,
                rank=rank,
                world_size=ranks,
                fills_last=True,
            )
            for rank in range(ranks)
        ]
        per_step = ranks * batch * accumulate
        assert {sampler.steps for sampler in made} == {math.ceil(count / per_step)}
        assert {sampler.dropped for sampler in made} == {0}
        for epoch in range(2):
            parts = [epoch_of(sampler, epoch) for sampler in made]
            assert len({len(part) for part in parts}) == 1, f"ranks of {[len(part) for part in parts]} studies"
            seen = Counter(index for part in parts for index in part)
            assert set(seen) == set(positions.tolist()), f"{sorted(seen)} seen of {positions}"
            assert max(seen.values()) - min(seen.values()) <= 1, f"studies seen {seen}: some twice as often"


def test_filling_repeats_the_beginning_and_moves_nothing_before_it() -> None:
    whole = epoch_of(samplers(1, 53, 1)[0], 4)
    for ranks in (1, 2):
        filled = [
            EpochSampler(
                POSITIONS, batch_size=8 // ranks, accumulate=1, seed=0, rank=rank, world_size=ranks, fills_last=True
            )
            for rank in range(ranks)
        ]
        parts = [epoch_of(sampler, 4) for sampler in filled]
        joined = [
            index
            for step in range(filled[0].steps)
            for part in parts
            for index in part[step * 8 // ranks : (step + 1) * 8 // ranks]
        ]
        assert joined == [*whole, *whole[:3]], f"{ranks} ranks: {joined[-6:]}, expected the end of {whole[-3:]}"


def test_filling_a_set_that_fits_changes_nothing() -> None:
    plain = EpochSampler(POSITIONS[:48], batch_size=8, accumulate=2, seed=0)
    filled = EpochSampler(POSITIONS[:48], batch_size=8, accumulate=2, seed=0, fills_last=True)
    assert epoch_of(plain, 1) == epoch_of(filled, 1)


def test_nothing_to_train_on_is_refused_also_with_filling() -> None:
    with pytest.raises(ValueError, match="0 training studies"):
        EpochSampler(POSITIONS[:0], batch_size=2, accumulate=1, seed=0, fills_last=True)


def test_few_studies_are_repeated_until_the_least_number_of_steps_is_full() -> None:
    sampler = EpochSampler(np.arange(3), batch_size=2, accumulate=1, seed=0, fills_last=True, min_steps=5)
    sampler.start(0)
    given = [index for _, index in sampler]
    assert (sampler.steps, len(given)) == (5, 10)
    assert np.bincount(given).tolist() in ([4, 3, 3], [3, 4, 3], [3, 3, 4])
