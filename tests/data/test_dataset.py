"""Samples and batches: chance is a function of (seed, epoch, study), and nothing absent takes part."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from flvlp.data.config import ImageConfig, MaskingConfig
from flvlp.data.dataset import Collator, Sample, StudyDataset, derange
from flvlp.data.images import ImageReadError
from flvlp.types import Batch
from tests.builders import HandMadeSource, make_tokenizer

IMAGE = ImageConfig(resize=64, crop=32)
TOKENIZER = make_tokenizer()
SIZE = 8


def dataset(
    source: HandMadeSource | None = None,
    *,
    seed: int = 0,
    is_training: bool = True,
    on_error: str = "raise",
    with_lateral: bool = True,
    images_from: np.ndarray | None = None,
) -> StudyDataset:
    return StudyDataset(
        source or HandMadeSource(SIZE),
        TOKENIZER,
        MaskingConfig(),
        IMAGE,
        seed=seed,
        is_training=is_training,
        on_error=on_error,
        with_lateral=with_lateral,
        images_from=images_from,
    )


def equal(one: Any, other: Any) -> bool:
    return np.array_equal(one, other)


def same(one: Sample, other: Sample) -> bool:
    return all(equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Sample))


def batch_of(*samples: Sample) -> Batch:
    return Collator(TOKENIZER.pad_id, IMAGE.crop)(samples)


@pytest.mark.parametrize("is_training", [True, False])
def test_a_sample_depends_on_seed_epoch_and_study_alone(is_training: bool) -> None:
    one, other = dataset(is_training=is_training), dataset(is_training=is_training)
    forth = [one[3, i] for i in range(SIZE)]
    np.random.seed(5)
    torch.manual_seed(5)
    back = [other[3, i] for i in reversed(range(SIZE))][::-1]
    assert all(same(a, b) for a, b in zip(forth, back, strict=True))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    def batches(count: int) -> list[Batch]:
        sampler = [(1, index) for index in range(SIZE)]
        collate = Collator(TOKENIZER.pad_id, IMAGE.crop)
        return list(DataLoader(dataset(), batch_size=3, sampler=sampler, collate_fn=collate, num_workers=count))

    for one, other in zip(batches(0), batches(workers), strict=True):
        for field in fields(Batch):
            assert torch.equal(getattr(one, field.name), getattr(other, field.name)), f"{field.name} differs"


def test_another_epoch_or_seed_has_other_crops_and_other_masks() -> None:
    first = [dataset()[0, i] for i in range(SIZE)]
    for others in ([dataset()[1, i] for i in range(SIZE)], [dataset(seed=1)[0, i] for i in range(SIZE)]):
        crops = sum(not equal(a.frontal, b.frontal) for a, b in zip(first, others, strict=True))
        masks = sum(not equal(a.is_masked, b.is_masked) for a, b in zip(first, others, strict=True))
        assert crops >= SIZE - 1, f"{crops} of {SIZE} crops changed"
        assert masks >= SIZE - 2, f"{masks} of {SIZE} masks changed"
        assert all(equal(a.tokens, b.tokens) for a, b in zip(first, others, strict=True))


def test_two_studies_with_one_report_are_masked_on_their_own() -> None:
    source = HandMadeSource(40)
    source.studies = [replace(study, report=source.studies[3].report) for study in source.studies]
    masks = {tuple(dataset(source)[0, i].is_masked.tolist()) for i in range(40)}
    assert len(masks) > 20, f"{len(masks)} different masks of 40 studies"


def test_evaluation_is_the_same_for_every_seed_and_epoch_with_the_centre_crop() -> None:
    source = HandMadeSource(SIZE)
    one, other = dataset(source, seed=0, is_training=False), dataset(source, seed=9, is_training=False)
    assert all(same(one[0, i], other[4, i]) for i in range(SIZE))
    assert equal(one[0, 0].frontal, source.frontal(0)[16:48, 16:48])


def test_frontal_and_lateral_crops_are_drawn_on_their_own() -> None:
    source = HandMadeSource(60)
    corners = []
    for index in range(60):
        if not source.studies[index].has_lateral:
            continue
        sample = dataset(source)[0, index]
        found = []
        for crop, picture in ((sample.frontal, source.frontal(index)), (sample.lateral, source.lateral(index))):
            windows = np.lib.stride_tricks.sliding_window_view(picture, (32, 32))
            assert crop is not None
            rows, columns = np.nonzero((windows == crop).all(axis=(2, 3)))
            found.append((int(rows[0]), int(columns[0])))
        corners.append(found)
    equal = sum(frontal == lateral for frontal, lateral in corners)
    assert equal <= 2, f"{equal} of {len(corners)} studies have one corner for both views"
    every = np.array(corners)
    assert every.min() <= 2, f"smallest corner {every.min()}, possible 0"
    assert every.max() >= 30, f"largest corner {every.max()}, possible 32"


def test_an_unreadable_picture_raises_or_gives_a_masked_row_as_asked() -> None:
    source = HandMadeSource(SIZE, unreadable=[1])
    with pytest.raises(ImageReadError, match="study 1: damaged"):
        dataset(source)[0, 1]
    skipping = dataset(source, on_error="skip")
    batch = batch_of(*(skipping[0, i] for i in (0, 1, 3)))
    assert batch.is_valid.tolist() == [True, False, True]
    assert batch.has_lateral.tolist() == [True, False, True], f"{batch.has_lateral}"
    rows = (batch.masked_positions // batch.tokens.shape[1]).unique().tolist()
    assert rows == [0, 2], f"masked pieces in rows {rows}, expected [0, 2]"
    assert batch.study_index.tolist() == [0, 1, 3]
    assert len(batch.frontal) == 3, "a skipped study stays in its place"
    assert int(batch.frontal[1].max()) == 0


@pytest.mark.parametrize("indices", [[0, 1, 3], [2, 5], [2, 0, 5, 1]])
def test_a_batch_holds_present_laterals_in_the_order_of_their_rows(indices: list[int]) -> None:
    samples = [dataset()[0, i] for i in indices]
    batch = batch_of(*samples)
    expected = [row for row, index in enumerate(indices) if index % 3 != 2]
    assert batch.lateral_rows.tolist() == expected, f"{batch.lateral_rows}, expected {expected}"
    assert batch.lateral.shape == (len(expected), 1, 32, 32), f"{tuple(batch.lateral.shape)}"
    for number, row in enumerate(expected):
        assert equal(batch.lateral[number, 0].numpy(), samples[row].lateral)
    for row, sample in enumerate(samples):
        assert equal(batch.frontal[row, 0].numpy(), sample.frontal)


def test_reports_are_padded_to_the_longest_of_the_batch_and_no_further() -> None:
    samples = [dataset()[0, i] for i in range(5)]
    batch = batch_of(*samples)
    lengths = [len(sample.tokens) for sample in samples]
    assert batch.tokens.shape[1] == max(lengths), f"{batch.tokens.shape[1]} columns, longest report {max(lengths)}"
    for row, (sample, length) in enumerate(zip(samples, lengths, strict=True)):
        assert batch.tokens[row, :length].tolist() == sample.tokens.tolist()
        assert batch.masked_tokens[row, :length].tolist() == sample.masked_tokens.tolist()
        assert set(batch.tokens[row, length:].tolist()) <= {TOKENIZER.pad_id}
        assert batch.is_token[row].tolist() == [t < length for t in range(max(lengths))]
        assert batch.is_word[row].tolist() == [0 < t < length - 1 for t in range(max(lengths))]
    flat = torch.cat([batch.tokens[row][np.flatnonzero(sample.is_masked)] for row, sample in enumerate(samples)])
    assert torch.equal(batch.masked_targets, flat), f"{batch.masked_targets}, expected {flat}"
    assert torch.equal(batch.tokens.flatten()[batch.masked_positions], batch.masked_targets)


def test_the_tokens_of_a_batch_are_the_unmasked_report() -> None:
    batch = batch_of(*(dataset()[0, i] for i in range(SIZE)))
    assert not (batch.tokens == TOKENIZER.mask_id).any(), "the unmasked report holds a mask"
    masked = batch.masked_tokens.flatten()[batch.masked_positions]
    assert set(masked.tolist()) == {TOKENIZER.mask_id}, f"{masked}"
    assert (batch.masked_tokens != batch.tokens).sum() == len(batch.masked_positions)


def test_equal_reports_have_equal_keys_and_others_do_not() -> None:
    keys = [dataset()[0, i].report_key for i in range(SIZE)]
    assert keys[0] == keys[5], f"{keys[0]}, {keys[5]} of one text"
    assert len(set(keys)) == 5, f"{len(set(keys))} keys of 5 texts"
    assert all(0 <= key < 2**63 for key in keys), f"{keys}"


def test_frontal_only_training_hides_every_lateral() -> None:
    batch = batch_of(*(dataset(with_lateral=False)[0, i] for i in range(3)))
    assert not batch.has_lateral.any()
    assert len(batch.lateral) == 0


def test_pictures_may_come_from_another_study_and_nothing_else_does() -> None:
    source = HandMadeSource(SIZE)
    has_lateral = np.array([study.has_lateral for study in source.studies])
    images_from = derange(has_lateral, np.arange(SIZE))
    own = dataset(source, is_training=False)
    shuffled = dataset(source, is_training=False, images_from=images_from)
    for index in range(SIZE):
        one, other, donor = own[0, index], shuffled[0, index], own[0, int(images_from[index])]
        assert equal(other.frontal, donor.frontal), f"study {index}: pictures not of {images_from[index]}"
        assert equal(other.lateral, donor.lateral)
        assert same(replace(other, frontal=one.frontal, lateral=one.lateral), one)
