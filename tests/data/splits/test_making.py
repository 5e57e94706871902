"""Named splits: made by patient, and never tested on what chose the model."""

import logging
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flvlp.data.splits.making import Split, SplitTable, restricted
from flvlp.data.splits.patients import PARTS, list_hash
from flvlp.data.splits.registry import SPLITS, default_split, names_of
from tests.data.splits.split_tables import NAMES, SHUFFLES, ids_of, make, table_of, write_lists


def test_published_parts_are_followed_and_unnamed_studies_are_in_none() -> None:
    table = table_of("iu_xray/r2gen", ["test", "train", "", "validation", "train"])
    parts = make("iu_xray/r2gen", table).parts
    assert {part: rows.tolist() for part, rows in parts.items()} == {"train": [1, 4], "validation": [3], "test": [0]}
    assert list(parts) == list(PARTS)


def test_a_published_validation_part_is_taken_and_none_is_drawn() -> None:
    table = table_of("covidx/official", ["train"] * 20 + ["validation"] * 3 + ["test"] * 2)
    made = make("covidx/official", table).parts
    assert made["validation"].tolist() == [20, 21, 22]
    assert len(made["train"]) == 20


def test_without_a_published_validation_part_a_share_of_the_training_patients_is_drawn() -> None:
    patients = [f"p{row // 2}" for row in range(200)]
    table = table_of("nih14/official", ["train"] * 160 + ["test"] * 40, patients)
    made = make("nih14/official", table).parts
    assert made["test"].tolist() == list(range(160, 200))
    assert len({patients[row] for row in made["validation"]}) == 8  # a tenth of 80 patients
    assert sorted([*made["train"], *made["validation"]]) == list(range(160))
    assert make("nih14/official", table, seed=1).parts["validation"].tolist() != made["validation"].tolist()


def test_mgca_tests_on_the_published_validation_part_of_chexpert_and_draws_its_own() -> None:
    table = table_of("chexpert/mgca", ["train"] * 300 + ["validation"] * 10 + ["test"] * 20)
    made = make("chexpert/mgca", table).parts
    assert made["test"].tolist() == list(range(300, 310))
    assert set(made["validation"]) | set(made["train"]) == set(range(300))
    complete = make("chexpert/mgca", table_of("chexpert/mgca", ["train"] * 191_027 + ["validation"] * 202)).parts
    assert [len(complete[part]) for part in PARTS] == [186_027, 5000, 202]  # MGCA's paper


@pytest.mark.parametrize("name", [name for name in NAMES if name in SPLITS and SPLITS[name].how != "lists"])
def test_lists_of_the_publisher_that_are_not_there_are_named_with_other_splits(name: str) -> None:
    rule = SPLITS[name]
    if rule.how == "patients" or rule.test:
        assert make(name, table_of(name, [], ids=["a", "b", "c", "d", "e"])).name == name
        return
    for parts in ([], ["", "", ""]):
        with pytest.raises(
            ValueError, match=r"needs the publisher's lists, and train_list\.txt is not in /d"
        ) as caught:
            make(name, table_of(name, parts, ids=["a", "b", "c"]))
        dataset = name.partition("/")[0]
        assert f"{dataset}/patient" in str(caught.value)
        assert name not in str(caught.value).split("choose one of:")[1].split()


# --- What holds for every split ---


@st.composite
def tables(draw: st.DrawFn, name: str) -> SplitTable:
    """Studies of few patients, of whom some are torn by the publisher's lists."""
    studies = draw(st.integers(6, 40))
    parts = draw(st.lists(st.sampled_from(["train", "train", "train", *PARTS, ""]), min_size=studies, max_size=studies))
    patients = draw(st.lists(st.integers(0, 25).map(str), min_size=studies, max_size=studies))
    return table_of(name, parts, patients)


MAY_FAIL = ("no study for training", "no patient is left", "lists", "picture", "of which nothing is there")


def made_or_none(name: str, table: SplitTable, folder: Path) -> Split | None:
    try:
        return make(name, table, lists=write_lists(folder, table, table.published))
    except ValueError as error:  # a draw may leave nothing for training, or name nothing at all
        assert any(words in str(error) for words in MAY_FAIL)
        return None


@pytest.mark.parametrize("name", NAMES)
def test_no_patient_is_in_two_parts_so_that_validation_is_never_test(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lists")

    @settings(max_examples=25, deadline=None)  # files are written
    @given(tables(name))
    def check(table: SplitTable) -> None:
        split = made_or_none(name, table, folder)
        if split is None:
            return
        owners = [{table.patient_ids[row] for row in rows} for rows in split.parts.values()]
        assert sum(map(len, owners)) == len(set().union(*owners)), f"{owners} share a patient"
        assert split.name == name
        for rows in split.parts.values():
            assert rows.dtype == np.int64
            assert rows.tolist() == sorted(set(rows.tolist()))

    check()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SHUFFLES or SPLITS[name].test])
def test_the_order_of_the_table_does_not_matter_where_nothing_is_shuffled_or_ids_are_sorted_first(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lists")

    @settings(max_examples=25, deadline=None)  # files are written
    @given(tables(name), st.randoms(use_true_random=False))
    def check(table: SplitTable, chance: random.Random) -> None:
        order = list(range(len(table.study_ids)))
        chance.shuffle(order)
        columns = (table.published, table.patient_ids, table.study_ids)
        moved = table_of(name, *([values[row] for row in order] for values in columns))
        one, other = made_or_none(name, table, folder), made_or_none(name, moved, folder)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert ids_of(one, table) == ids_of(other, moved)

    check()


# --- Patients in two parts ---


def test_a_torn_patient_leaves_the_earlier_part_so_that_test_stays_whole(caplog: pytest.LogCaptureFixture) -> None:
    parts = ["train", "validation", "test", "train", "validation", "train", "test"]
    patients = ["a", "a", "b", "b", "c", "c", "d"]
    with caplog.at_level(logging.WARNING):
        made = make("iu_xray/r2gen", table_of("iu_xray/r2gen", [*parts, "train"], [*patients, "e"])).parts
    assert {part: rows.tolist() for part, rows in made.items()} == {
        "train": [7],
        "validation": [1, 4],
        "test": [2, 6],
    }
    assert "3 patients are in more than one part; 3 of their studies are left out" in caplog.text


def test_a_patient_in_all_three_parts_stays_in_test_alone() -> None:
    table = table_of("iu_xray/r2gen", ["train", "validation", "test", "train", "validation"], ["a", "a", "a", "b", "c"])
    made = make("iu_xray/r2gen", table).parts
    assert {part: rows.tolist() for part, rows in made.items()} == {"train": [3], "validation": [4], "test": [2]}


@pytest.mark.parametrize("name", ["rsna/mgca", "nih14/official", "covidx/official", "object_cxr/mgca", "iu_xray/r2gen"])
def test_a_test_part_stays_whole_however_many_patients_it_shares_with_the_others(name: str) -> None:
    table = table_of(name, ["train"] * 90 + ["test"] * 10, [str(row % 25) for row in range(100)])
    alone = table_of(name, ["train"] * 90 + ["test"] * 10)
    whole = make(name, alone).parts["test"].tolist()
    assert make(name, table).parts["test"].tolist() == whole


def test_a_partial_copy_draws_the_parts_of_the_whole() -> None:
    whole = make("rsna/mgca", table_of("rsna/mgca", [], ids=[f"{number:05d}" for number in range(200)]))
    kept = np.array([row for row in range(200) if row % 7])
    partial = restricted(whole, kept)
    for part, rows in whole.parts.items():
        assert kept[partial.parts[part]].tolist() == [row for row in rows.tolist() if row % 7], part
    with pytest.raises(ValueError, match="of the training part of rsna/mgca nothing is there"):
        restricted(whole, whole.parts["test"])


def test_what_is_in_no_part_and_a_part_without_studies_are_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    make("mimic_cxr/official", table_of("mimic_cxr/official", ["train", "", "", "validation"]))
    assert "2 of 4 studies are in no part" in caplog.text
    assert "there is no test part" in caplog.text


def test_parts_of_one_patient_leave_nothing_for_training_which_is_an_error() -> None:
    with pytest.raises(ValueError, match="iu_xray/r2gen leaves no study for training"):
        make("iu_xray/r2gen", table_of("iu_xray/r2gen", ["train", "test"], ["a", "a"]))


# --- The user's lists ---


def test_lists_of_the_user_make_the_parts(tmp_path: Path) -> None:
    table = table_of("nih14/mrm", [], ids=[f"{number:08d}_000" for number in range(5)])
    folder = write_lists(tmp_path, table, ["test", "train", "", "validation", "train"])
    made = make("nih14/mrm", table, lists=folder).parts
    assert {part: rows.tolist() for part, rows in made.items()} == {"train": [1, 4], "validation": [3], "test": [0]}


def test_without_a_folder_of_lists_the_key_and_their_origin_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"dataset\.split_lists: is empty; chexpert/mrm \(lists of MRM .*set the folder"
    ):
        make("chexpert/mrm", table_of("chexpert/mrm", ["train"]))
    with pytest.raises(FileNotFoundError, match="no list for train"):
        make("chexpert/mrm", table_of("chexpert/mrm", ["train"]), lists="/nowhere")


# --- Names ---


@pytest.mark.parametrize("name", ["", "nih14", "nih14/none", "rsna/mgca", "NIH14/official"])
def test_an_unknown_name_lists_the_names_of_the_data_set(name: str) -> None:
    with pytest.raises(ValueError, match=r"dataset\.split: unknown split .* of nih14; choose one of:") as caught:
        make(name, table_of("nih14/official", ["train", "test"]))
    assert all(known in str(caught.value) for known in names_of("nih14"))
    assert "rsna/patient" not in str(caught.value)


def test_the_default_is_one_of_the_names_of_its_data_set_whatever_the_data_set() -> None:
    for dataset in sorted({name.partition("/")[0] for name in NAMES}):
        assert default_split(dataset) in names_of(dataset)
    assert default_split("pairs") == "pairs/patient"


def test_every_data_set_can_be_drawn_by_patient_with_the_share_and_the_seed_of_the_config() -> None:
    table = table_of("rsna/patient", [""] * 40)
    made = make("rsna/patient", table, fraction=0.25).parts
    assert list(made) == ["train", "validation"]
    assert len(made["validation"]) == 10
    assert (
        make("rsna/patient", table, seed=1, fraction=0.25).parts["validation"].tolist() != made["validation"].tolist()
    )


# --- The hash of a part ---

ids = st.lists(
    st.text(st.characters(exclude_characters="\n", codec="utf-8"), min_size=1, max_size=4), unique=True, max_size=6
)


@given(ids, ids, st.randoms(use_true_random=False))
def test_the_hash_of_a_part_names_its_ids_whatever_their_order(
    one: list[str], other: list[str], chance: random.Random
) -> None:
    moved = list(one)
    chance.shuffle(moved)
    assert list_hash(moved) == list_hash(one)
    assert (list_hash(one) == list_hash(other)) == (set(one) == set(other))


def test_the_hash_of_a_part_is_the_sha256_of_its_sorted_lines() -> None:
    digest = "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"  # printf 'a\nb' | sha256sum
    assert list_hash(["b", "a"]) == digest
