"""Boxes from pixels of the published picture to shares of any copy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flvlp.data.readers.boxes import boxes_of, scaled
from flvlp.data.readers.tables import Table
from flvlp.data.studies import Boxes

SIZE = (200.0, 100.0)
NAMES = ("Nodule", "Mass")
Row = tuple[int, str, str, str, str, str]  # study, class, left, top, width, height


def read(*rows: Row, size: tuple[float, float] = SIZE, hides: bool = False) -> Boxes:
    table = Table(Path("/data/boxes.csv"), {}, np.arange(len(rows)) + 2)
    columns: list[list[Any]] = [list(values) for values in zip(*rows, strict=True)] or [[] for _ in range(6)]
    ids = [f"picture{position}" for position in columns[0]]
    return boxes_of(table, columns[0], columns[2:], columns[1], ids=ids, names=NAMES, size=size, hides=hides)


def scaled_of(
    studies: Sequence[int], boxes: Sequence[Any], classes: Sequence[int], sizes: Sequence[tuple[float, float]]
) -> Boxes:
    sources = [(study + 2, f"picture{study}") for study in studies]
    return scaled(
        "a", NAMES, studies=studies, boxes=boxes, classes=classes, sizes=sizes, sources=sources, advice="copy it again"
    )


def test_boxes_are_shares_of_width_and_height_sorted_by_study() -> None:
    boxes = read(
        (3, "Mass", "20", "10", "50", "20"),
        (1, "Nodule", "0", "0", "200", "100"),
        (3, "Nodule", "100.5", "50", "1e1", "5.0"),
    )
    assert boxes.names == NAMES
    assert boxes.study.tolist() == [1, 3, 3]
    assert boxes.classes.tolist() == [0, 1, 0]
    expected = np.array([[0, 0, 1, 1], [0.1, 0.1, 0.25, 0.2], [0.5025, 0.5, 0.05, 0.05]])
    np.testing.assert_allclose(boxes.values, expected, rtol=1e-6)
    assert (boxes.values.dtype, boxes.study.dtype, boxes.classes.dtype) == (np.float32, np.int64, np.int64)


def test_boxes_are_asked_for_by_study_and_may_be_none() -> None:
    boxes = read(
        (2, "Mass", "0", "0", "20", "10"), (0, "Nodule", "0", "0", "40", "20"), (2, "Mass", "2", "1", "2", "1")
    )
    assert [len(boxes.of(study)[0]) for study in range(4)] == [1, 0, 2, 0]
    values, classes = boxes.of(2)
    np.testing.assert_allclose(values, np.array([[0, 0, 0.1, 0.1], [0.01] * 4]), rtol=1e-6)
    assert classes.tolist() == [1, 1]
    none = read()
    assert none.of(0)[0].shape == (0, 4)
    assert none.study.dtype == np.int64


def test_a_row_of_blanks_and_a_row_of_no_study_have_no_box() -> None:
    boxes = read((0, "Mass", "", "", "", ""), (-1, "unknown", "x", "1", "2", "3"), (0, "Mass", "1", "1", "1", "1"))
    assert boxes.study.tolist() == [0]


BAD_ROWS: dict[str, Row] = {
    "an unknown class": (0, "Hernia", "1", "1", "1", "1"),
    "no class": (0, "", "1", "1", "1", "1"),
    "one blank": (0, "Mass", "1", "", "1", "1"),
    "a word": (0, "Mass", "1", "one", "1", "1"),
    "not a number": (0, "Mass", "nan", "1", "1", "1"),
    "without end": (0, "Mass", "1", "1", "inf", "1"),
    "no width": (0, "Mass", "1", "1", "0", "1"),
    "no height": (0, "Mass", "1", "1", "1", "0.0"),
    "a negative width": (0, "Mass", "10", "1", "-5", "1"),
}


@pytest.mark.parametrize("what", BAD_ROWS)
def test_what_is_no_box_is_an_error_with_table_and_line(what: str) -> None:
    good = (0, "Mass", "1", "1", "1", "1")
    with pytest.raises(ValueError, match=r"/data/boxes\.csv: no box in 1 row: row 3 \(") as caught:
        read(good, BAD_ROWS[what], good)
    assert "Nodule, Mass" in str(caught.value)


def test_all_bad_rows_are_counted() -> None:
    with pytest.raises(ValueError, match=r"no box in 7 rows: row 2 .*, row 6 .*, \.\.\.;"):
        read(*[BAD_ROWS["a word"]] * 7)


def test_a_box_that_ends_a_little_outside_is_cut_at_the_edge() -> None:
    boxes = read((0, "Mass", "-2", "-1", "204", "102"), (1, "Mass", "190", "90", "13", "11"))
    np.testing.assert_allclose(boxes.values, np.array([[0, 0, 1, 1], [0.95, 0.9, 0.05, 0.1]]), rtol=1e-6)


@pytest.mark.parametrize(
    "box",
    [
        ("-5", "10", "50", "20"),
        ("10", "-3", "50", "20"),
        ("180", "10", "50", "20"),
        ("10", "90", "50", "20"),
        ("700", "700", "200", "200"),
        ("201", "10", "2", "20"),  # nothing of it is inside
        ("-3", "10", "2", "20"),
    ],
)
def test_a_box_outside_the_picture_is_an_error_with_the_box_and_the_size(box: tuple[str, str, str, str]) -> None:
    with pytest.raises(ValueError, match=r"1 of 2 boxes lie outside the picture") as caught:
        read((0, "Mass", "0", "0", "10", "10"), (1, "Mass", *box))
    assert "/data/boxes.csv" in str(caught.value)
    assert str([float(value) for value in box])[1:-1] in str(caught.value)
    assert str(SIZE) in str(caught.value)


def test_boxes_outside_the_picture_are_named_by_row_and_picture_once_a_row() -> None:
    with pytest.raises(
        ValueError, match=r"2 of 3 boxes lie outside the picture, in 2 rows: row 2 \('picture4: "
    ) as open_:
        read((4, "Mass", "900", "1", "5", "5"), (4, "Mass", "1", "1", "5", "5"), (7, "Mass", "1", "900", "5", "5"))
    assert "row 4 ('picture7: [1.0, 900.0, 5.0, 5.0] in (200.0, 100.0) pixels')" in str(open_.value)
    assert "same release" in str(open_.value)
    with pytest.raises(ValueError, match=r"in 1 row: row 2 \(#") as hidden:
        read((4, "Mass", "10000032", "1", "5", "5"), hides=True)
    assert "10000032" not in str(hidden.value)
    box = (900, 1, 5, 5)
    with pytest.raises(ValueError, match=r"2 of 2 boxes lie outside the picture, in 1 row: .*; copy it again"):
        scaled_of([4, 4], [box, box], [0, 0], [SIZE, SIZE])


shares = st.floats(-0.019, 1)
positive = st.floats(0.001, 1.0)


@given(st.lists(st.tuples(st.integers(0, 5), shares, shares, positive, positive), max_size=12), st.integers(20, 3000))
def test_every_box_has_an_area_within_the_picture_and_none_is_lost(
    drawn: list[tuple[int, float, float, float, float]], side: int
) -> None:
    rows: list[tuple[int, Sequence[float]]] = []
    for study, left, top, *sides in drawn:
        width, height = (min(length, 1.019 - first) for length, first in zip(sides, (left, top), strict=True))
        if min(left + width, top + height) > 0.001 and max(left, top) < 0.999:
            rows.append((study, [value * side for value in (left, top, width, height)]))
    studies, boxes = [study for study, _ in rows], [box for _, box in rows]
    made = scaled_of(studies, boxes, [0] * len(rows), [(side, side)] * len(rows))
    assert sorted(studies) == made.study.tolist()
    assert (made.values[:, 2:] > 0).all()
    assert (made.values >= 0).all()
    assert (made.values[:, :2] + made.values[:, 2:] <= 1 + 1e-6).all()


def test_each_box_is_a_share_of_its_own_picture() -> None:
    box = (10, 10, 20, 20)
    made = scaled_of([1, 0], [box, box], [1, 0], [(100, 50), (40, 80)])
    assert made.classes.tolist() == [0, 1]
    np.testing.assert_allclose(made.values, np.array([[0.25, 0.125, 0.5, 0.25], [0.1, 0.2, 0.2, 0.4]]), rtol=1e-6)
