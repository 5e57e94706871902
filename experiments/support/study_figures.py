"""Figures of single studies: kept and dropped patches, masked words, words asked of both views."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from support.canvas import (
    BLACK,
    BLUE,
    GAP,
    HEAD,
    ORANGE,
    Sheet,
    crossed_out,
    grid_size,
    heated,
    peak_of,
    view_panel,
)

if TYPE_CHECKING:
    from torch import Tensor

    from flvlp.inspection import Inspected, MaskedWord

WORDS_SHOWN = 4  # whose attention is drawn, a study
LETTER, LINE = 7, 19  # pixels: of a letter and of a line of the report
FONT = LETTER * 72 / 100 / 0.60205  # points: DejaVu Sans Mono has letters of exactly this width then
LONGEST = 18  # letters of a guess, and of a word in a title
CLINGING = ".,;:)%"  # follows its word without a blank
VIEWS = ("frontal", "lateral")

Decode = Callable[[Sequence[int]], str]


@dataclass
class Run:
    """Text of one colour in one line, both counted from 0; columns are letters."""

    line: int
    column: int
    text: str
    colour: str


@dataclass(frozen=True)
class Shown:
    """One study as figures may show it.

    Attributes:
        name: of the study.
        words: of its report, as its pieces number them.
        frontal, lateral: (H, H) uint8 as the model sees them; None where pictures must not be shown, or there is none.
        found: what the model makes of it.
    """

    name: str
    words: tuple[str, ...]
    frontal: np.ndarray | None
    lateral: np.ndarray | None
    found: "Inspected"

    def maps(self, values: "Tensor") -> list[np.ndarray]:
        """Returns values (P,) of the patches of both views as two maps (rows, columns)."""
        sizes = [rows * columns for rows, columns in self.found.grids]
        return [part.numpy().reshape(grid) for part, grid in zip(values.split(sizes), self.found.grids, strict=True)]

    def panels(self) -> list[np.ndarray | None]:
        """Returns the panels of frontal and lateral, None for a lateral that is not there."""
        return [view_panel(self.frontal), view_panel(self.lateral) if self.found.has_lateral else None]


def key_patches(studies: Sequence[Shown]) -> "Tensor":
    """Draws for each study and view the patches that the report-guided choice keeps, and the score it goes by."""
    sheet = Sheet(*grid_size(len(studies), 4, HEAD))
    sheet.head(
        "Key patches: hatched ones are dropped. Score: bright ones are typical of the study and near its report."
    )
    for row, study in enumerate(studies):
        found = study.found
        assert found.is_kept is not None
        assert found.scores is not None
        there = found.scores[found.scores.isfinite()]
        shares = (found.scores - there.min()) / (there.max() - there.min()).clamp_min(1e-9)
        kept, scores = study.maps(found.is_kept), study.maps(shares)
        for number, (name, panel) in enumerate(zip((study.name, "lateral"), study.panels(), strict=True)):
            if panel is None:
                sheet.panel(row, 2 * number, HEAD, None, "")
                continue
            said = f"{name}: {kept[number].sum()} of {kept[number].size} kept"
            sheet.panel(row, 2 * number, HEAD, crossed_out(panel, ~kept[number]), said)
            sheet.panel(row, 2 * number + 1, HEAD, heated(panel, scores[number], 1.0), "score")
    return sheet.pixels()


def masked_words(study: Shown, decode: Decode, entities: frozenset[str]) -> "Tensor":
    """Draws the report with what the MLM made of its masked words, and where some of them look in both views.

    Args:
        study: with masked words.
        decode: vocabulary ids -> text.
        entities: words whose attention is shown first.
    """
    masked = {one.word: one for one in study.found.masked}
    runs = list(_runs(_report(study.words, masked, decode), (grid_size(2, WORDS_SHOWN, 0)[0] - 2 * GAP) // LETTER))
    text = HEAD + round(1.3 * LINE)  # where the report begins, below the legend
    below = text + (runs[-1].line + 1) * LINE
    sheet = Sheet(*grid_size(2, WORDS_SHOWN, below))
    right = sum(one.is_right for one in masked.values())
    sheet.head(f"{study.name}: {right} of {len(masked)} masked words right; where words look, with each view's share")
    for top, pieces in (
        (HEAD, [Run(0, 0, "right", BLUE), Run(0, 7, "wrong[predicted instead]", ORANGE)]),
        (text, runs),
    ):
        for one in pieces:
            weight = "normal" if one.colour == BLACK else "bold"
            style = {"color": one.colour, "weight": weight, "family": "monospace"}
            sheet.write(GAP + one.column * LETTER, top + one.line * LINE, one.text, FONT, **style)
    for column, word in enumerate(choose_words(study.words, list(masked), entities)):
        look = masked[word]
        heats = study.maps(look.attention)
        for row, (view, panel, heat) in enumerate(zip(VIEWS, study.panels(), heats, strict=True)):
            said = ("" if row else f"{_quoted(study.words[word])} ") + f"{view} {heat.sum():.0%}"
            drawn = None if panel is None else heated(panel, heat, peak_of(*heats[: 1 + study.found.has_lateral]))
            sheet.panel(row, column, below, drawn, said, color=BLUE if look.is_right else ORANGE)
    return sheet.pixels()


def words_in_both_views(study: Shown, entities: frozenset[str]) -> "Tensor":
    """Draws where some words of a study look in each view, and whether the two views answer alike."""
    asked = {one.word: one for one in study.found.asked}
    sheet = Sheet(*grid_size(2, WORDS_SHOWN, HEAD))
    mean = np.mean([one.agreement for one in asked.values()])
    sheet.head(
        f"{study.name}: where words look in each view, and how the answers agree (cosine); all words {mean:+.2f}"
    )
    for column, word in enumerate(choose_words(study.words, list(asked), entities)):
        look = asked[word]
        said = (f"{_quoted(study.words[word])} {look.agreement:+.2f}, frontal", "lateral")
        looks = zip(study.panels(), (look.frontal, look.lateral), study.found.grids, said, strict=True)
        for row, (panel, attention, grid, title) in enumerate(looks):
            assert panel is not None
            heat = attention.numpy().reshape(grid)
            sheet.panel(row, column, HEAD, heated(panel, heat, peak_of(heat)), title)
    return sheet.pixels()


def choose_words(words: Sequence[str], numbers: Sequence[int], entities: frozenset[str]) -> list[int]:
    """Chooses the words whose attention is drawn: entities first, then the longest; none twice, in their order.

    Args:
        words: of the report.
        numbers: of the words to choose from.
        entities: lower case.
    """
    first: dict[str, int] = {}
    for number in numbers:
        if any(letter.isalnum() for letter in words[number]):
            first.setdefault(words[number], number)
    best = sorted(first, key=lambda word: (word not in entities, -len(word), first[word]))
    return sorted(first[word] for word in best[:WORDS_SHOWN])


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _quoted(word: str) -> str:
    return f"“{_short(word)}”"


def _report(
    words: Sequence[str], masked: Mapping[int, "MaskedWord"], decode: Decode
) -> Iterator[tuple[str, str, bool]]:
    """Yields what is written for each word: text, colour, and whether a blank stands before it."""
    for number, word in enumerate(words):
        one = masked.get(number)
        has_blank = number > 0 and word not in CLINGING
        if one is None:
            yield word, BLACK, has_blank
        elif one.is_right:
            yield word, BLUE, has_blank
        else:
            yield f"{word}[{_short(decode(one.predicted) or '?')}]", ORANGE, has_blank


def _runs(pieces: Iterable[tuple[str, str, bool]], limit: int) -> list[Run]:
    """Sets pieces of text in lines of `limit` letters; neighbours of one colour are one run, which draws faster."""
    runs: list[Run] = []
    for text, colour, has_blank in pieces:
        last = runs[-1] if runs else None
        end = last.column + len(last.text) if last else 0
        if last and end + has_blank + len(text) <= limit:
            if last.colour == colour:
                last.text += " " * has_blank + text
            else:
                runs.append(Run(last.line, end + has_blank, text, colour))
        else:
            runs.append(Run(last.line + 1 if last else 0, 0, text, colour))
    return runs
