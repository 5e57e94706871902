"""Figures put every value over its patch, in the right view, and every word where it can be read."""

import numpy as np
import torch
from torch import Tensor

from flvlp.inspection import AskedWord, Inspected, MaskedWord
from support import canvas, prototype_figures
from support.canvas import GAP, HEAD, PANEL, TITLE, crossed_out, heated, peak_of, view_panel
from support.prototype_figures import Usage, nearest_studies, usage_histogram, usage_of
from support.study_figures import Shown, _report, _runs, choose_words, key_patches, masked_words, words_in_both_views

GRIDS = ((2, 3), (3, 1))  # of frontal and lateral: every mix-up of rows, columns and views shows
PATCHES = 9
GREY = np.full((30, 30), 120, dtype=np.uint8)


def one_hot(patch: int, size: int = PATCHES) -> Tensor:
    return torch.eye(size)[patch]


def shown(**changes: object) -> Shown:
    """Returns a study whose patch 2 (frontal, upper right) and 8 (lateral, lowest) are dropped."""
    is_kept = torch.ones(PATCHES, dtype=torch.bool)
    is_kept[[2, 8]] = False
    masked = (MaskedWord(0, (7, 8), (7, 8), one_hot(1)), MaskedWord(2, (9,), (5,), one_hot(7)))
    asked = (AskedWord(0, one_hot(5, 6), one_hot(2, 3), 0.5), AskedWord(2, one_hot(0, 6), one_hot(1, 3), -0.5))
    values = {"scores": torch.arange(PATCHES).float(), "is_kept": is_kept, "masked": masked, "asked": asked}
    found = Inspected(study=0, grids=GRIDS, **({"has_lateral": True} | values | changes))  # type: ignore[arg-type]
    return Shown("study $1_$", ("effusion", ",", "large", "left"), GREY, GREY if found.has_lateral else None, found)


def panel_of(picture: Tensor, row: int, column: int, below: int) -> np.ndarray:
    """Returns a panel (PANEL, PANEL) of a figure, mean of the colours."""
    top, left = below + row * (PANEL + TITLE + GAP) + TITLE, GAP + column * (PANEL + GAP)
    return picture[:, top : top + PANEL, left : left + PANEL].float().mean(dim=0).numpy()


def differs_in(panel: np.ndarray, grid: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns the patches of a panel that are not all of the panel's most frequent grey."""
    values, counts = np.unique(panel, return_counts=True)
    plain = values[counts.argmax()]
    rows, columns = (np.array_split(np.arange(PANEL), parts) for parts in grid)
    return [
        (r, c)
        for r, some in enumerate(rows)
        for c, others in enumerate(columns)
        if (panel[np.ix_(some[3:-3], others[3:-3])] != plain).any()
    ]


def test_heat_lies_over_its_patch_and_nothing_is_laid_over_zero() -> None:
    heat = np.zeros((2, 3))
    heat[0, 2] = 1
    panel = heated(view_panel(GREY), heat, 1.0)
    assert panel.shape == (PANEL, PANEL, 3)
    assert differs_in(panel.mean(axis=2), (2, 3)) == [(0, 2)]


def test_attention_that_prefers_nothing_is_pale_and_a_peak_is_bright() -> None:
    even, peaked = np.full((4, 4), 1 / 16), np.eye(4) / 4
    assert peak_of(even) == canvas.LEAST_PEAK / 16
    assert peak_of(peaked) == 0.25
    assert peak_of(even[:2], even[2:]) == peak_of(even), "two views that sum to 1 together share one scale"


def test_dropped_patches_are_darkened_in_their_view_and_nowhere_else() -> None:
    picture = key_patches([shown(), shown(has_lateral=False)])
    assert differs_in(panel_of(picture, 0, 0, HEAD), GRIDS[0]) == [(0, 2)]
    assert differs_in(panel_of(picture, 0, 2, HEAD), GRIDS[1]) == [(2, 0)]
    assert np.median(panel_of(picture, 0, 0, HEAD)[: PANEL // 2, 2 * PANEL // 3 :]) < 0.5 * GREY.mean()
    assert panel_of(picture, 1, 3, HEAD).min() == 255, "a score of a lateral that is not there"


def test_a_masked_word_looks_where_its_attention_lies() -> None:
    study = shown()
    picture = masked_words(study, lambda ids: f"w{ids[0]}", frozenset({"effusion"}))
    below = picture.shape[1] - 2 * (PANEL + TITLE + GAP) - GAP
    looks = [[differs_in(panel_of(picture, row, column, below), GRIDS[row]) for row in (0, 1)] for column in (0, 1)]
    assert looks == [[[(0, 1)], []], [[], [(1, 0)]]]


def test_a_word_asked_of_both_views_is_shown_in_both() -> None:
    picture = words_in_both_views(shown(), frozenset())
    looks = [[differs_in(panel_of(picture, row, column, HEAD), GRIDS[row]) for row in (0, 1)] for column in (0, 1)]
    assert looks == [[[(1, 2)], [(2, 0)]], [[(0, 0)], [(1, 0)]]]


def test_a_picture_that_must_not_be_shown_is_plain() -> None:
    assert np.unique(view_panel(None)).tolist() == [canvas.BLANK]
    assert len(np.unique(crossed_out(view_panel(None), np.eye(3, dtype=bool)))) <= 3


def test_right_words_stand_alone_and_wrong_ones_with_what_was_predicted() -> None:
    study = shown()
    masked = {one.word: one for one in study.found.masked}
    pieces = list(_report(study.words, masked, lambda ids: "" if ids == (5,) else "other"))
    assert [text for text, _, _ in pieces] == ["effusion", ",", "large[?]", "left"]
    assert [colour for _, colour, _ in pieces] == [canvas.BLUE, canvas.BLACK, canvas.ORANGE, canvas.BLACK]
    assert [has_blank for _, _, has_blank in pieces] == [False, False, True, True]


def test_lines_end_before_the_limit_and_neighbours_of_one_colour_are_one_run() -> None:
    pieces = [
        ("aa", "black", False),
        ("bb", "black", True),
        (",", "black", False),
        ("cc", "red", True),
        ("dddd", "red", True),
    ]
    runs = [(one.line, one.column, one.text, one.colour) for one in _runs(pieces, 10)]
    assert runs == [(0, 0, "aa bb,", "black"), (0, 7, "cc", "red"), (1, 0, "dddd", "red")]
    assert [one.line for one in _runs([("longer than the limit", "black", False)], 10)] == [0]


def test_entities_are_shown_first_then_the_longest_words_and_none_twice() -> None:
    words = ("the", "effusion", ".", "cardiomegaly", "effusion", "hilar", "of", "moderate")
    assert choose_words(words, range(8), frozenset({"hilar", "effusion"})) == [1, 3, 5, 7]
    assert choose_words(words, [0, 2, 4], frozenset()) == [0, 4]


def usage() -> Usage:
    similarity = np.array([[0.9, 0.1, 0], [0.2, 0.5, 0], [0.7, 0.3, 0], [0.8, 0.1, 0]])
    return Usage(similarity, similarity.argmax(axis=1), np.array([2, 2, 1, 0]))


def test_prototypes_are_counted_by_their_nearest_studies() -> None:
    assert usage().counts.tolist() == [[3, 1, 0], [1, 1, 2]]
    assert usage().most_used(3) == [0, 1], "a prototype that no frontal is nearest to is not shown"
    assert usage().nearest(0, 2) == [0, 3]
    features = torch.zeros(2, 4, 3)
    features[:, 0], features[:, 3] = torch.tensor([[0, 5.0, 0], [1, 0, 0]]), torch.tensor([[0, 0, 2.0], [0, 0, 1]])
    found = usage_of(features, 7 * torch.eye(3))
    assert (found.frontal.tolist(), found.report.tolist()) == ([1, 0], [2, 2])
    assert usage_histogram(usage()).shape[0] == 3


def test_the_sheet_holds_the_nearest_studies_of_each_prototype_in_its_row() -> None:
    rows = prototype_figures.sheet_rows(usage())
    assert rows == [0, 3, 2, 1]
    pictures = {row: np.full((20, 20), 40 * row + 20, dtype=np.uint8) for row in rows}
    picture = nearest_studies(
        usage(), pictures, ["a", "b", "c", "d"], (["mass"], np.array([[1.0], [0], [1], [np.nan]]))
    )
    side, line = prototype_figures.THUMBNAIL, prototype_figures.LINE
    for row, column, study in ((0, 0, 0), (0, 1, 3), (0, 2, 2), (1, 0, 1)):
        top = HEAD + row * (side + round(2.6 * line)) + line
        left = GAP + column * (side + GAP // 2)
        part = picture[:, top : top + side, left : left + side]
        assert part.unique().tolist() == [40 * study + 20], f"row {row}, column {column}"


def test_findings_of_a_prototype_are_those_more_frequent_than_elsewhere() -> None:
    labels = (["mass", "edema"], np.array([[1.0, 0], [0, 1], [1, 0], [np.nan, 0]]))
    said = prototype_figures._typical(np.array([True, False, True, True]), labels)
    assert said == "; mass 100% (of all 67%)"
    assert prototype_figures._typical(np.array([True] * 4), None) == ""
