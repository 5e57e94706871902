"""Splits that repeat released code: the same pictures in the same parts as scikit-learn gives."""

import logging
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from flvlp.data.splits.patients import PARTS
from flvlp.data.splits.registry import SPLITS
from tests.data.splits.split_tables import SHUFFLES, ids_of, make, table_of


def mgca_rsna(ids: Sequence[str], held_out: float | int) -> dict[str, list[str]]:
    """What MGCA's code does: of the second call the first output is tested on."""
    train, rest = train_test_split(sorted(ids), test_size=held_out, random_state=0)
    test, validation = train_test_split(rest, test_size=0.5, random_state=0)
    return {"train": sorted(train), "validation": sorted(validation), "test": sorted(test)}


COMPLETE = 26_684


@pytest.mark.parametrize(
    ("name", "held_out", "sizes"),
    [("rsna/mgca", 0.3, (18_678, 4003, 4003)), ("rsna/mgca-detection", 5337 * 2, (16_010, 5337, 5337))],
)
def test_the_complete_rsna_set_is_split_into_the_pictures_of_mgca(
    name: str, held_out: float | int, sizes: tuple[int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    ids = [f"{number:08x}" for number in random.Random(0).sample(range(1 << 32), COMPLETE)]
    table = table_of(name, [""] * COMPLETE, ids=ids)
    with caplog.at_level(logging.INFO):
        made = ids_of(make(name, table), table)
    assert tuple(len(made[part]) for part in PARTS) == sizes == SPLITS[name].sizes
    assert made == mgca_rsna(ids, held_out)
    assert "of the complete data set" not in caplog.text


@given(st.integers(5, 300))
def test_a_partial_rsna_set_is_split_as_train_test_split_does(studies: int) -> None:
    for name, held_out in (("rsna/mgca", 0.3), ("rsna/mgca-detection", 0.4)):
        table = table_of(name, [""] * studies)
        assert ids_of(make(name, table), table) == mgca_rsna(table.study_ids, held_out)


@pytest.mark.parametrize(
    ("name", "share", "counts", "sizes"),
    [
        ("object_cxr/mgca", {"test_size": 0.1}, (8000, 1000), (7200, 800, 1000)),
    ],
)
def test_a_published_training_list_is_shuffled_in_its_own_order_as_mgca_does(
    name: str, share: dict[str, float], counts: tuple[int, int], sizes: tuple[int, int, int]
) -> None:
    ids = [f"{number:08x}" for number in random.Random(1).sample(range(1 << 32), sum(counts))]
    table = table_of(name, ["train"] * counts[0] + ["test"] * counts[1], ids=ids)
    made = ids_of(make(name, table), table)
    train, validation = train_test_split(ids[: counts[0]], random_state=0, **share)
    assert tuple(len(made[part]) for part in PARTS) == sizes == SPLITS[name].sizes
    assert made == {"train": sorted(train), "validation": sorted(validation), "test": sorted(ids[counts[0] :])}


def test_a_shuffle_takes_no_notice_of_the_seed() -> None:
    for name in SHUFFLES:
        table = table_of(name, ["train"] * 40 + ["test"] * 10)
        assert ids_of(make(name, table, seed=0), table) == ids_of(make(name, table, seed=1), table)


def test_a_partial_copy_is_told_from_the_complete_set_by_its_sizes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        make("rsna/mgca", table_of("rsna/mgca", [""] * 100))
    assert "rsna/mgca: 70 / 15 / 15 studies are listed, 18,678 / 4,003 / 4,003 in the complete data set" in caplog.text


def test_object_cxr_is_tested_on_dev_alone_also_where_the_publishers_test_part_is_there() -> None:
    table = table_of("object_cxr/mgca", ["train"] * 80 + ["validation"] * 10 + ["test"] * 12)
    made = make("object_cxr/mgca", table).parts
    assert made["test"].tolist() == list(range(80, 90))
    assert sorted([*made["train"], *made["validation"]]) == list(range(80))
