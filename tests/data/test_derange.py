"""The pairing of studies for the shuffled-images figures of validation."""

import numpy as np
import pytest

from flvlp.data.dataset import derange


@pytest.mark.parametrize("seed", range(20))
def test_nobody_keeps_the_own_pictures_and_all_swap_with_their_kind(seed: int) -> None:
    generator = np.random.default_rng(seed)
    has_lateral = generator.random(40) < 0.6
    positions = generator.permutation(40)[: 10 + seed]
    images_from = derange(has_lateral, positions)
    for kind in (True, False):
        members = [p for p in positions if has_lateral[p] == kind]
        donors = [images_from[p] for p in members]
        assert sorted(donors) == sorted(members), f"{sorted(donors)} give pictures to {sorted(members)}"
        kept = [p for p in members if images_from[p] == p]
        assert not kept or len(members) == 1, f"{kept} keep their own pictures among {len(members)}"
    outside = sorted(set(range(40)) - set(positions.tolist()))
    assert all(images_from[p] == p for p in outside)


def test_the_pairing_is_fixed_by_its_seed() -> None:
    has_lateral, positions = np.arange(30) % 3 > 0, np.arange(30)
    one, same, other = (derange(has_lateral, positions, seed) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
