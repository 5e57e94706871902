"""Features in memory: batches of the sampler's rows, and a scale that only the training part decides."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from flvlp.data.features import FeatureBatches, fill_and_scale
from flvlp.data.sampler import EpochSampler

NAN = float("nan")


def drawn(rows: int = 40, width: int = 5, seed: int = 0) -> Tensor:
    """Returns features (rows, width) of which every third row lacks the last two."""
    generator = torch.Generator().manual_seed(seed)
    features = 3 * torch.randn(rows, width, generator=generator) + torch.arange(width) * 10
    features[::3, -2:] = NAN
    return features


def test_standardised_features_are_those_of_scikit_learn_with_the_missing_ones_at_the_mean() -> None:
    parts = {"train": drawn(), "test": drawn(7, seed=1)}
    scaler = StandardScaler().fit(parts["train"].numpy())
    for name, scaled in fill_and_scale(parts, scales=True).items():
        expected = torch.from_numpy(scaler.transform(parts[name].numpy())).nan_to_num()
        torch.testing.assert_close(scaled, expected.float(), rtol=1e-5, atol=1e-5)


def test_filling_alone_puts_the_training_mean_in_the_gaps_and_leaves_the_rest() -> None:
    parts = {"train": drawn(), "validation": drawn(7, seed=1)}
    mean = torch.from_numpy(np.nanmean(parts["train"].numpy(), axis=0))
    for name, filled in fill_and_scale(parts, scales=False).items():
        missing = parts[name].isnan()
        assert torch.equal(filled[~missing], parts[name][~missing])
        torch.testing.assert_close(filled[missing], mean.expand_as(filled)[missing])


@pytest.mark.parametrize("scales", [True, False])
def test_other_rows_of_the_test_part_change_nothing_else(scales: bool) -> None:
    parts = {"train": drawn(), "validation": drawn(6, seed=1), "test": drawn(7, seed=2)}
    before = fill_and_scale(parts, scales=scales)
    kept = parts["test"].clone()
    parts["test"] = torch.cat([kept[:3], 1e6 * torch.ones(4, 5)])
    after = fill_and_scale(parts, scales=scales)
    assert torch.equal(after["train"], before["train"])
    assert torch.equal(after["validation"], before["validation"])
    assert torch.equal(after["test"][:3], before["test"][:3])
    parts["train"] = parts["train"] + 1
    assert not torch.equal(fill_and_scale(parts, scales=scales)["test"], after["test"])


@pytest.mark.parametrize("scales", [True, False])
def test_a_feature_that_never_varies_or_is_nowhere_stays_finite(scales: bool) -> None:
    train = torch.stack([torch.full((9,), 4.0), torch.full((9,), NAN), torch.arange(9.0)], dim=1)
    found = fill_and_scale({"train": train, "test": torch.tensor([[4.0, NAN, NAN], [4.5, 7.0, 4.0]])}, scales=scales)
    for part in found.values():
        assert float(part.abs().max()) < 20, f"{part}"  # not divided by a deviation of nothing
    constant = 0.0 if scales else 4.0
    assert found["train"][:, 0].tolist() == [constant] * 9
    assert found["test"][:, 0].tolist() == [constant, constant + 0.5]
    assert found["train"][:, 1].tolist() == [0.0] * 9


def test_one_training_study_is_enough() -> None:
    found = fill_and_scale({"train": torch.tensor([[3.0, NAN]]), "test": torch.tensor([[5.0, 1.0]])}, scales=True)
    assert found["train"].tolist() == [[0.0, 0.0]]
    assert torch.isfinite(found["test"]).all()


def test_batches_are_the_rows_of_the_sampler_epoch_by_epoch() -> None:
    features, labels = torch.arange(14.0).view(7, 2), torch.arange(7.0)[:, None]
    for rank in range(2):
        sampler = EpochSampler(
            np.arange(7), batch_size=2, accumulate=2, seed=0, rank=rank, world_size=2, fills_last=True
        )
        batches = FeatureBatches(features, labels, 2, sampler)
        orders = []
        for epoch in range(2):
            sampler.start(epoch)
            rows = [row for _, row in sampler]
            found = list(batches)
            assert [len(batch.labels) for batch in found] == [2] * (sampler.steps * 2)
            assert torch.cat([batch.labels for batch in found]).flatten().tolist() == rows
            assert torch.equal(torch.cat([batch.features for batch in found]), features[rows])
            orders.append(rows)
        assert orders[0] != orders[1]
