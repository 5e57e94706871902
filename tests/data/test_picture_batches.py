"""Batches and loaders of the downstream tasks: nothing absent takes part, every study is seen."""

from typing import Any

import numpy as np
import pytest
import torch

from flvlp.data.loaders import PictureLoaders
from flvlp.data.pictures import Collate, CollateBoxes, CollateLabels, CollateMasks, PictureSample
from flvlp.types import BoxedPictures, LabelledPictures, MaskedPictures, Pictures
from tests.data.test_pictures import IMAGE, SIDE, Painted, boxes, masks, same, views

UNREADABLE = 1


def labelled(indices: list[int], **changes: Any) -> LabelledPictures:
    dataset = views(Painted(unreadable=(UNREADABLE,)), on_error="skip", **changes)
    return CollateLabels(IMAGE.crop, 1)([dataset[0, index] for index in indices])


def masked(indices: list[int]) -> MaskedPictures:
    dataset = masks(Painted(unreadable=(UNREADABLE,)), on_error="skip")
    return CollateMasks(SIDE)([dataset[0, index] for index in indices])


def boxed(indices: list[int]) -> BoxedPictures:
    dataset = boxes(Painted(unreadable=(UNREADABLE,)), on_error="skip")
    return CollateBoxes(SIDE)([dataset[0, index] for index in indices])


def test_a_batch_holds_its_samples_in_their_order() -> None:
    source = Painted()
    dataset = views(source)
    samples = [dataset[0, index] for index in (5, 2, 3, 0)]
    batch = CollateLabels(IMAGE.crop, 1)(samples)
    assert batch.study_index.tolist() == [5, 2, 3, 0]
    assert batch.labels.tolist() == [[1], [0], [1], [0]]
    assert batch.has_lateral.tolist() == [False, False, True, True]  # every third study has none
    assert batch.lateral_rows.tolist() == [2, 3]
    assert batch.is_valid.all()
    assert batch.frontal.shape == (4, 1, IMAGE.crop, IMAGE.crop)
    assert batch.frontal.dtype == batch.lateral.dtype == torch.uint8
    for row, sample in enumerate(samples):
        assert same(batch.frontal[row, 0].numpy(), sample.frontal)
    assert same(batch.lateral[1, 0].numpy(), samples[3].lateral)


@pytest.mark.parametrize("indices", [[0, UNREADABLE, 3], [UNREADABLE], [2, UNREADABLE]], ids=str)
def test_a_row_that_could_not_be_read_is_not_valid_and_has_an_empty_target(indices: list[int]) -> None:
    row = indices.index(UNREADABLE)
    parts: list[Pictures] = [labelled(indices), masked(indices), boxed(indices)]
    for batch in parts:
        assert batch.is_valid.tolist() == [index != UNREADABLE for index in indices]
        assert batch.study_index.tolist() == indices
        assert not batch.frontal[row].any()
        assert not batch.has_lateral[row]
        assert row not in batch.lateral_rows
    assert labelled(indices).labels.isnan().flatten().tolist() == [index == UNREADABLE for index in indices]
    assert not masked(indices).masks[row].any()
    assert boxed(indices).box_rows.tolist() == [other for other in range(len(indices)) if other != row]


def test_a_batch_without_any_lateral_holds_none() -> None:
    for batch in (labelled([2, 5]), labelled([0, 3], with_lateral=False)):
        assert batch.lateral.shape == (0, 1, IMAGE.crop, IMAGE.crop)
        assert (batch.lateral.dtype, batch.lateral_rows.dtype) == (torch.uint8, torch.int64)
        assert not batch.has_lateral.any()


def test_a_batch_of_nothing_but_unreadable_pictures_has_no_boxes_of_the_right_shape() -> None:
    batch = boxed([UNREADABLE])
    assert (batch.boxes.shape, batch.box_rows.shape, batch.box_classes.shape) == ((0, 4), (0,), (0,))
    assert (batch.boxes.dtype, batch.box_rows.dtype, batch.box_classes.dtype) == (
        torch.float32,
        torch.int64,
        torch.int64,
    )


def test_several_boxes_of_a_picture_keep_their_row_and_class() -> None:
    picture = np.zeros((SIDE, SIDE), dtype=np.uint8)
    counts = (2, 0, 3)
    values = [np.full((count, 4), row, dtype=np.float32) for row, count in enumerate(counts)]
    classes = [np.arange(count) + 10 * row for row, count in enumerate(counts)]
    batch = CollateBoxes(SIDE)([PictureSample(row, picture, None, (values[row], classes[row])) for row in range(3)])
    assert batch.box_rows.tolist() == [0, 0, 2, 2, 2]
    assert batch.boxes[:, 0].tolist() == [0, 0, 2, 2, 2]
    assert batch.box_classes.tolist() == [0, 1, 20, 21, 22]


def test_masks_have_a_channel_and_hold_truth_values() -> None:
    batch = masked([0, 2])
    assert batch.masks.shape == (2, 1, SIDE, SIDE)
    assert batch.masks.dtype == torch.bool
    assert batch.masks.flatten(1).any(dim=1).all()


def test_a_data_set_without_labels_gives_labels_of_no_class() -> None:
    source = Painted()
    source.labels = None
    dataset = views(source)
    assert CollateLabels(IMAGE.crop, 0)([dataset[0, 0], dataset[0, 1]]).labels.shape == (2, 0)


def loaders(rank: int = 0, world_size: int = 1, num_workers: int = 0, batch_size: int = 2) -> PictureLoaders:
    collate: Collate = CollateLabels(IMAGE.crop, 1)
    return PictureLoaders(collate, 0, batch_size, num_workers, rank, world_size)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_training_shows_every_study_to_some_rank_and_equal_numbers_to_all(world_size: int, count: int) -> None:
    dataset, positions = views(Painted()), np.arange(6)[-count:]
    seen = []
    for rank in range(world_size):
        loader, sampler = loaders(rank, world_size).training(dataset, positions, accumulate=2)
        sampler.start(1)
        batches = list(loader)
        assert len(batches) == 2 * sampler.steps, f"{len(batches)} micro-batches, {sampler.steps} steps of two"
        assert {len(batch.study_index) for batch in batches} == {2}
        seen += [index for batch in batches for index in batch.study_index.tolist()]
    assert set(seen) == set(positions.tolist())


@pytest.mark.parametrize("world_size", [1, 2, 3, 9])
def test_evaluation_shows_every_study_once_and_the_short_batch_too(world_size: int) -> None:
    dataset, positions = views(Painted(), is_training=False), np.array([0, 1, 3, 4, 5])
    seen = [
        index
        for rank in range(world_size)
        for batch in loaders(rank, world_size).evaluation(dataset, positions)
        for index in batch.study_index.tolist()
    ]
    assert sorted(seen) == positions.tolist()


def test_reading_processes_change_nothing_and_no_loader_moves_the_global_generator() -> None:
    dataset, found = views(Painted()), []
    state = torch.get_rng_state()
    for workers in (0, 2):
        loader, sampler = loaders(num_workers=workers).training(dataset, np.arange(6), accumulate=1)
        for epoch in range(2):
            sampler.start(epoch)
            found += [(batch.study_index, batch.frontal, batch.lateral) for batch in loader]
    assert torch.equal(torch.get_rng_state(), state)
    assert len(found) == 12
    for plain, read in zip(found[:6], found[6:], strict=True):
        assert all(torch.equal(one, other) for one, other in zip(plain, read, strict=True))
    assert not torch.equal(found[0][0], found[3][0]) or not torch.equal(found[0][1], found[3][1])
