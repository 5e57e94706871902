"""Outputs of a whole set: every study once, in the order of the source, whoever read it."""

from typing import Any

import numpy as np
import pytest
import torch

from flvlp.data.config import ImageConfig
from flvlp.data.transforms import crop_view
from flvlp.engine.predict import predict
from tests.builders import CROP, HandMadeSource
from tests.engine.ranks import BATCH_SIZES, RANKS, SETS, outputs, predicted
from tests.engine.small_tasks import pictures

CPU = torch.device("cpu")


def by_hand(name: str) -> tuple[list[int], torch.Tensor, list[bool]]:
    """Returns positions, scores and laterals of the readable studies, one after the other."""
    positions, unreadable = SETS[name]
    source, kept = HandMadeSource(8), [index for index in positions if index not in unreadable]
    crops = [crop_view(source.frontal(index), ImageConfig(resize=64, crop=CROP), None) for index in kept]
    means = torch.tensor([float(np.mean(crop, dtype=np.float64)) for crop in crops])
    return kept, torch.stack([means, -means], dim=1), [source.studies[index].has_lateral for index in kept]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("name", SETS)
def test_every_readable_study_comes_once_in_the_order_of_the_source_for_any_batch_size(
    name: str, batch_size: int
) -> None:
    kept, scores, has_lateral = by_hand(name)
    positions, found = predicted(name, batch_size)
    assert positions.tolist() == kept
    torch.testing.assert_close(found["scores"], scores)
    assert found["scores"].dtype == torch.float32
    assert found["has_lateral"].tolist() == has_lateral


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("name", SETS)
def test_every_rank_has_the_rows_of_all_as_one_process_has(
    rank_results: list[dict[str, Any]], name: str, batch_size: int
) -> None:
    expected, rows = predicted(name, batch_size)
    for rank in range(RANKS):
        positions, found = rank_results[rank][f"{name}, {batch_size}"]
        assert torch.equal(positions, expected), f"rank {rank}: {positions}, one process {expected}"
        for key, wanted in rows.items():
            assert torch.equal(found[key], wanted), f"rank {rank}, {key}: {found[key]}, one process {wanted}"


def test_no_graph_is_kept_and_half_precision_comes_back_as_float32() -> None:
    layer = torch.nn.Linear(2, 2)
    dtypes = []

    def forward(batch: Any) -> dict[str, torch.Tensor]:
        logits = layer(outputs(batch)["scores"].float())
        dtypes.append(logits.dtype)
        return {"logits": logits}

    _, found = predict(forward, [pictures([True, False])], CPU, torch.bfloat16)
    assert dtypes == [torch.bfloat16]
    assert found["logits"].dtype == torch.float32
    assert not found["logits"].requires_grad


@pytest.mark.parametrize("batches", [[], [pictures([True])]], ids=["none", "all damaged"])
def test_a_part_of_which_nothing_can_be_read_is_refused_with_what_to_do(batches: list[Any]) -> None:
    for batch in batches:
        batch.is_valid[:] = False
    with pytest.raises(ValueError, match=r"no picture of this part could be read; set dataset\.on_error=raise"):
        predict(outputs, batches, CPU)


def test_pictures_that_cannot_be_read_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    batch = pictures([True, False, True])
    predict(outputs, [batch], CPU)
    assert not caplog.records
    batch.is_valid[1] = False
    predict(outputs, [batch], CPU)
    assert "1 of 3 pictures cannot be read and are left out" in caplog.text
