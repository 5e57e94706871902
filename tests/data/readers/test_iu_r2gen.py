"""The Indiana collection with R2Gen's annotation: its parts, and numbered pictures whose views it does not name."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.data.readers.iu_folders import failure, read, write_pictures, write_views

ENTRIES = {
    "train": [("CXR2_IM-0002", "Clear lungs ."), ("CXR10_IM-0010", "Large heart .")],
    "val": [("CXR1_1_IM-0001", "Odd .")],
}
PICTURES = tuple(f"{uid}/{number}.png" for entries in ENTRIES.values() for uid, _ in entries for number in (0, 1))


def write_annotation(root: Path, third: str = "test", entries: dict[str, Any] | None = None) -> None:
    parts = {
        part: [
            {"id": uid, "report": report, "image_path": [f"{uid}/0.png", f"{uid}/1.png"], "split": part}
            for uid, report in rows
        ]
        for part, rows in {**ENTRIES, third: [("CXR3_IM-0003-0001", "Nodule .")]}.items()
    }
    (root / "annotation.json").write_text(json.dumps(parts if entries is None else entries))


@pytest.fixture
def r2gen(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "images", [*PICTURES, "CXR3_IM-0003-0001/0.png", "CXR3_IM-0003-0001/1.png"])
    write_annotation(tmp_path)
    return tmp_path


@pytest.mark.parametrize("third", ["test", "    "])
def test_r2gens_parts_are_followed_also_where_the_third_has_a_name_of_spaces(third: str, r2gen: Path) -> None:
    write_annotation(r2gen, third)
    source = read(r2gen, split="iu_xray/r2gen")
    assert {part: rows.tolist() for part, rows in source.splits.items()} == {
        "train": [0, 1],
        "validation": [2],
        "test": [3],
    }
    assert [study.patient_id for study in source.studies] == ["2", "10", "1", "3"]
    assert source.split_name == "iu_xray/r2gen"


def test_without_the_table_picture_0_is_taken_for_the_frontal_view_with_a_warning(
    r2gen: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source = read(r2gen)
    assert "picture 0 of a study is taken for its frontal view" in caplog.text
    assert [(source.frontal(row)[0, 0], source.lateral(row)[0, 0]) for row in range(2)] == [(0, 1), (2, 3)]


def test_with_the_table_pictures_are_those_of_the_study_in_the_order_of_their_names(
    r2gen: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_views(
        r2gen,
        [
            ("2", "2_IM-0002-2001.dcm.png", "Frontal"),
            ("2", "2_IM-0002-1001.dcm.png", "Lateral"),
            ("10", "10_IM-0010-1001.dcm.png", "Frontal"),
            ("10", "10_IM-0010-2001.dcm.png", "Frontal"),
            ("1", "1_IM-0001-3001.dcm.png", "Lateral"),
            ("1", "1_IM-0001-4001.dcm.png", "Frontal"),
            ("3", "3_IM-0003-0001-0001.dcm.png", "Frontal"),
            ("3", "3_IM-0003-0001-0002.dcm.png", "Lateral"),
        ],
    )
    with caplog.at_level(logging.WARNING):
        source = read(r2gen)
    assert "taken for its frontal" not in caplog.text
    assert [source.frontal(row)[0, 0] for row in range(4)] == [1, 2, 5, 6]
    assert [study.has_lateral for study in source.studies] == [True, False, True, True]
    assert source.listing.other_paths[1] == ("CXR10_IM-0010/1.png",)
    assert source.lateral(2)[0, 0] == 4


def test_studies_of_three_pictures_are_counted_as_guesses(r2gen: Path, caplog: pytest.LogCaptureFixture) -> None:
    views = [
        (uid, f"{uid}_IM-{uid:0>4}-{film}001.dcm.png", "Frontal") for uid in ("2", "10", "1", "3") for film in "12"
    ]
    write_views(r2gen, [*views, ("10", "10_IM-0010-3001.dcm.png", "Lateral")])
    with caplog.at_level(logging.WARNING):
        read(r2gen)
    assert "1 of 4 studies have another number of pictures there" in caplog.text
    caplog.clear()
    write_views(r2gen, views)
    read(r2gen)
    assert "another number of pictures" not in caplog.text


def test_a_picture_whose_view_the_table_does_not_tell_is_a_further_one(r2gen: Path) -> None:
    write_views(r2gen, [("2", "2_IM-0002-1001.dcm.png", "Frontal")])
    source = read(r2gen)
    assert not source.studies[0].has_lateral
    assert source.listing.other_paths[0] == ("CXR2_IM-0002/1.png",)


def test_findings_are_all_that_r2gen_has(r2gen: Path) -> None:
    for policy in ("both", "findings", "longer"):
        assert read(r2gen, report_policy=policy).studies[0].report == "Clear lungs ."
    assert "4 without text" in failure(r2gen, report_policy="impression")


@pytest.mark.parametrize(
    "entries",
    [
        [],
        {"train": [{"id": "CXR1"}]},
        {"train": 3},
        {"dev": [{"id": "1", "report": "", "image_path": []}]},
        {"train": ["x"]},
    ],
)
def test_an_annotation_of_another_structure_is_an_error(entries: Any, r2gen: Path) -> None:
    write_annotation(r2gen, entries=entries)
    message = failure(r2gen, text="r2gen")
    assert "annotation.json: not R2Gen's annotation" in message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"train":' * 100_000])
def test_an_annotation_that_is_no_json_is_an_error(content: bytes, r2gen: Path) -> None:
    (r2gen / "annotation.json").write_bytes(content)
    for credentialed in (False, True):
        message = failure(r2gen, credentialed=credentialed)
        assert f"{r2gen / 'annotation.json'}: not R2Gen's annotation" in message
        assert "take the published file" in message


def test_an_id_listed_twice_is_an_error(r2gen: Path) -> None:
    entry = {"id": "CXR2_IM-0002", "report": "x", "image_path": []}
    write_annotation(r2gen, entries={"train": [entry], "test": [entry]})
    assert "an id is listed twice" in failure(r2gen)
