"""Run lengths of both conventions: against a loop over the numbers, there and back, and bad texts."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flvlp.data.readers.rle import (
    RLEMasks,
    decode_absolute,
    decode_relative,
    encode_absolute,
    encode_relative,
)

SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 7))


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    shape = draw(SHAPES)
    bits = draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    return np.array(bits, dtype=bool).reshape(shape)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Gap and length of each run, all inside the picture; both may be 0."""
    shape = draw(SHAPES)
    left = shape[0] * shape[1]
    runs = []
    for _ in range(draw(st.integers(0, 5))):
        gap = draw(st.integers(0, left))
        length = draw(st.integers(0, left - gap))
        runs.append((gap, length))
        left -= gap + length
    return runs, shape


def loop(runs: list[tuple[int, int]], shape: tuple[int, int], is_relative: bool, first: int = 0) -> np.ndarray:
    """Goes through the runs number by number, and through the columns pixel by pixel."""
    flat = [False] * (shape[0] * shape[1])
    here = 0
    for start, length in runs:
        here = here + start if is_relative else start - first
        for _ in range(length):
            flat[here] = True
            here += 1
    mask = np.zeros(shape, dtype=bool)
    for column in range(shape[1]):
        for row in range(shape[0]):
            mask[row, column] = flat[column * shape[0] + row]
    return mask


def text_of(runs: list[tuple[int, int]]) -> str:
    return " ".join(f"{start} {length}" for start, length in runs)


@given(masks())
@settings(deadline=None)
def test_a_mask_comes_back_from_both_conventions(mask: np.ndarray) -> None:
    assert (decode_relative(encode_relative(mask), mask.shape) == mask).all()
    for one_based in (True, False):
        text = encode_absolute(mask, one_based)
        assert (decode_absolute(text, mask.shape, one_based) == mask).all()


@given(pairs())
@settings(deadline=None)
def test_relative_runs_are_those_of_a_plain_loop(drawn: tuple[list[tuple[int, int]], tuple[int, int]]) -> None:
    runs, shape = drawn
    decoded = decode_relative(text_of(runs), shape)
    assert decoded.shape == shape
    assert decoded.dtype == bool
    assert (decoded == loop(runs, shape, is_relative=True)).all()


@given(SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), st.lists(st.integers(0, shape[0] * shape[1] - 1)))))
@settings(deadline=None)
def test_absolute_runs_are_those_of_a_plain_loop_in_any_order_and_overlapping(
    drawn: tuple[tuple[int, int], list[int]],
) -> None:
    shape, starts = drawn
    size = shape[0] * shape[1]
    for first in (0, 1):
        runs = [(start + first, min(3, size - start)) for start in starts]
        decoded = decode_absolute(text_of(runs), shape, one_based=first == 1)
        assert (decoded == loop(runs, shape, is_relative=False, first=first)).all()


def test_runs_go_down_the_columns_and_gaps_count_from_the_run_before() -> None:
    # 3 rows, 4 columns: pixels 1 and 2 end the first column, pixel 5 ends the second.
    expected = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]]
    assert decode_relative("1 2 2 1", (3, 4)).astype(int).tolist() == expected
    assert decode_absolute("2 2 6 1", (3, 4)).astype(int).tolist() == expected
    assert decode_absolute("1 2 5 1", (3, 4), one_based=False).astype(int).tolist() == expected
    assert encode_relative(np.array(expected, dtype=bool)) == "1 2 2 1"
    assert encode_absolute(np.array(expected, dtype=bool)) == "2 2 6 1"


def test_blank_marks_nothing_and_a_full_mask_is_one_run() -> None:
    assert not decode_relative(" ", (2, 3)).any()
    assert encode_relative(np.zeros((2, 3), dtype=bool)) == ""
    assert encode_relative(np.ones((2, 3), dtype=bool)) == "0 6"
    assert decode_relative("0 6", (2, 3)).all()
    assert decode_relative("6 0", (2, 3)).sum() == 0


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("0 3 1", "3 numbers; they come in pairs"),
        ("-1", "number 1 of 1 is '-1'"),
        ("0 -2", "number 2 of 2 is '-2'"),
        ("1.0 2", "number 1 of 2 is '1.0'"),
        ("1 two", "number 2 of 2 is 'two'"),
        ("1_0 2", "number 1 of 2 is '1_0'"),
        ("\u0663 2", "number 1 of 2"),
        ("0 7", "pair 1 of 1 ends beyond the picture of 3 x 2"),
        ("0 2 6 1", "pair 2 of 2 ends beyond the picture of 3 x 2"),
        ("7 0", "pair 1 of 1 ends beyond"),
        ("0 99999999999999999999999999", "number 2 of 2 is '99999999999999999999'..."),
        ("0 999999999999", "ends beyond"),
        ("x" * 100_000, "number 1 of 1 is 'xxxxxxxxxxxxxxxxxxxx'..."),
    ],
)
def test_a_text_that_is_no_mask_says_what_is_wrong_in_a_few_words(text: str, part: str) -> None:
    for decode in (decode_relative, lambda text, shape: decode_absolute(text, shape, one_based=False)):
        with pytest.raises(ValueError, match="run lengths: ") as caught:
            decode(text, (2, 3))
        assert part in str(caught.value)
        assert len(str(caught.value)) < 300, f"a message of {len(str(caught.value))} characters"


@given(
    st.text(max_size=200)
    | st.text("0123456789 -+._\t\n\u0663\u00b2", max_size=60)
    | st.lists(st.integers(-2, 60) | st.integers(0, 10**15), max_size=9).map(lambda some: " ".join(map(str, some))),
    SHAPES,
)
@settings(deadline=None, max_examples=300)
def test_any_text_is_a_mask_or_refused_with_the_one_error_there_is(text: str, shape: tuple[int, int]) -> None:
    readers: list[Callable[[], np.ndarray]] = [
        lambda: decode_relative(text, shape),
        lambda: decode_absolute(text, shape),
        lambda: decode_absolute(text, shape, one_based=False),
        lambda: RLEMasks([(text, text)], shape).of(0),
    ]
    for read in readers:
        try:
            mask = read()
        except ValueError as error:
            assert str(error).startswith("run lengths: "), repr(error)
            assert len(str(error)) < 400, f"a message of {len(str(error))} characters"
        else:
            assert (mask.shape, mask.dtype) == (shape, bool)
            numbers = [int(token) for token in text.split()]
            assert mask.sum() <= sum(numbers[1::2]), "more pixels than the lengths add up to"


def test_a_million_huge_runs_are_refused_without_filling_memory() -> None:
    with pytest.raises(ValueError, match="ends beyond"):
        decode_relative("999999999999 999999999999 " * 100_000, (1024, 1024))
    overlapping = decode_absolute("1 1048576 " * 20_000, (1024, 1024))
    assert overlapping.all()


def test_a_start_of_zero_is_refused_where_pixels_count_from_one() -> None:
    with pytest.raises(ValueError, match=r"pair 2 starts at pixel 0.*one_based=False"):
        decode_absolute("1 1 0 2", (2, 3))


def test_the_masks_of_a_study_are_put_together() -> None:
    source = RLEMasks([("0 1", "3 1"), ("-1",), (" -1",), ("",), ()], (2, 2))
    assert source.of(0).astype(int).tolist() == [[1, 0], [0, 1]]
    for index in range(1, 5):
        assert source.of(index).shape == (2, 2)
        assert not source.of(index).any()
    assert RLEMasks([("0 1",)]).of(0).shape == (1024, 1024)
