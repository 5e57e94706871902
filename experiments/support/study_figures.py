"""Figures of single studies: kept and dropped patches, masked words, words asked of both views."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from support import canvas
from support.canvas import BLUE, GAP, ORANGE, PANEL

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from flvlp.inspection import Inspected, MaskedWord

WORDS_SHOWN = 4  # whose attention is drawn, a study
HEAD = 0.3  # inches, of the first line
FONT = 8.5  # points, of the report
LETTER, LINE = 0.602 * FONT / 72, 1.7 * FONT / 72  # inches: width of a letter of DejaVu Sans Mono, height of a line
LONGEST_GUESS = 18  # letters
CLINGING = ".,;:)%"  # follows its word without a blank

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Shown:
    """One study as figures may show it.

    Attributes:
        name: of the study.
        words: of its report, as its pieces number them.
        frontal, lateral: (H, H) uint8 as the model sees them; None where pictures must not be shown, or there is none.
        side: H.
        found: what the model makes of it.
    """

    name: str
    words: tuple[str, ...]
    frontal: np.ndarray | None
    lateral: np.ndarray | None
    side: int
    found: "Inspected"

    def maps(self, values: "Tensor") -> list[np.ndarray]:
        """Returns values (P,) of the patches of both views as two maps (rows, columns)."""
        sizes = [rows * columns for rows, columns in self.found.grids]
        return [part.numpy().reshape(grid) for part, grid in zip(values.split(sizes), self.found.grids, strict=True)]

    def views(self) -> list[np.ndarray | None]:
        """Returns frontal and lateral."""
        return [self.frontal, self.lateral]


def key_patches(studies: Sequence[Shown]) -> "Tensor":
    """Draws for each study and view the patches that the report-guided choice keeps, and the score it goes by."""
    figure, grid = canvas.panels(len(studies), 4, HEAD)
    say = "Key patches: hatched ones are dropped. Score: bright ones are typical of the study and near its report."
    canvas.write(figure, GAP, GAP, say, fontsize=9, weight="bold")
    for study, row in zip(studies, grid, strict=True):
        found = study.found
        assert found.is_kept is not None
        assert found.scores is not None
        there = found.scores[found.scores.isfinite()]
        shares = (found.scores - there.min()) / (there.max() - there.min()).clamp_min(1e-9)
        kept, scores = study.maps(found.is_kept), study.maps(shares)
        for number, (name, view) in enumerate(zip((study.name, "lateral"), study.views(), strict=True)):
            choice, score = row[2 * number : 2 * number + 2]
            if number and not found.has_lateral:
                canvas.lay_nothing(choice)
                continue
            canvas.lay_view(choice, view, study.side)
            canvas.cross_out(choice, ~kept[number], study.side)
            canvas.title(choice, f"{name}: {kept[number].sum()} of {kept[number].size} kept")
            canvas.lay_view(score, view, study.side)
            canvas.lay_heat(score, scores[number], study.side, 1.0)
            canvas.title(score, "score")
    return canvas.pixels_of(figure)


def masked_words(study: Shown, decode: Decode, entities: frozenset[str]) -> "Tensor":
    """Draws the report with what the MLM made of its masked words, and where some of them look in both views.

    Args:
        study: with masked words.
        decode: vocabulary ids -> text.
        entities: words whose attention is shown first.
    """
    masked = {one.word: one for one in study.found.masked}
    chosen = choose_words(study.words, list(masked), entities)
    columns = max(len(chosen), 3)
    pieces = list(_report(study.words, masked, decode))
    places = _wrap(pieces, int((columns * (PANEL + GAP) - GAP) / LETTER))
    figure, grid = canvas.panels(2, columns, HEAD + (places[-1][0] + 2.5) * LINE)
    right = sum(one.is_right for one in masked.values())
    say = f"{study.name}: {right} of {len(masked)} masked words right"
    canvas.write(figure, GAP, GAP, say, fontsize=9, weight="bold")
    _write_letters(figure, 0, 0, "right", BLUE)
    _write_letters(figure, 7, 0, "wrong[predicted instead]", ORANGE)
    for (text, colour, _), (line, column) in zip(pieces, places, strict=True):
        _write_letters(figure, column, line + 1.2, text, colour)
    for one, above, below in zip([masked[word] for word in chosen], *grid, strict=False):
        heats = study.maps(one.attention)
        colour = BLUE if one.is_right else ORANGE
        for axes, view, heat, name in zip((above, below), study.views(), heats, ("frontal", "lateral"), strict=True):
            said = f"“{study.words[one.word]}”, " if name == "frontal" else ""
            if name == "lateral" and not study.found.has_lateral:
                canvas.lay_nothing(axes)
                continue
            canvas.lay_view(axes, view, study.side)
            canvas.lay_heat(axes, heat, study.side, canvas.peak_of(*heats))
            canvas.title(axes, f"{said}{name}: {heat.sum():.0%} of attention", colour)
    return canvas.pixels_of(figure)


def words_in_both_views(study: Shown, entities: frozenset[str]) -> "Tensor":
    """Draws where some words of a study look in each view, and whether the two views answer alike."""
    import torch

    asked = {one.word: one for one in study.found.asked}
    chosen = choose_words(study.words, list(asked), entities)
    figure, grid = canvas.panels(2, max(len(chosen), 3), HEAD)
    mean = np.mean([one.agreement for one in asked.values()])
    say = f"{study.name}: words asked of both views, mean agreement {mean:+.2f} (cosine)"
    canvas.write(figure, GAP, GAP, say, fontsize=9, weight="bold")
    for one, above, below in zip([asked[word] for word in chosen], *grid, strict=False):
        heats = study.maps(torch.cat([one.frontal, one.lateral]))
        canvas.title(above, f"“{study.words[one.word]}”, frontal; agreement {one.agreement:+.2f}")
        canvas.title(below, "lateral")
        for axes, view, heat in zip((above, below), study.views(), heats, strict=True):
            canvas.lay_view(axes, view, study.side)
            canvas.lay_heat(axes, heat, study.side, canvas.peak_of(heat))
    return canvas.pixels_of(figure)


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


def _write_letters(figure: "Figure", column: int, line: float, text: str, colour: str) -> None:
    """Writes letters of equal width at a column and line below the head; what is coloured is bold."""
    weight = "normal" if colour == "black" else "bold"
    style = {"fontsize": FONT, "family": "monospace", "color": colour, "weight": weight}
    canvas.write(figure, GAP + column * LETTER, HEAD + line * LINE, text, **style)


def _report(
    words: Sequence[str], masked: Mapping[int, "MaskedWord"], decode: Decode
) -> Iterator[tuple[str, str, bool]]:
    """Yields what is written for each word: text, colour, and whether a blank stands before it."""
    for number, word in enumerate(words):
        one = masked.get(number)
        has_blank = word not in CLINGING
        if one is None:
            yield word, "black", has_blank
        elif one.is_right:
            yield word, BLUE, has_blank
        else:
            guess = decode(one.predicted) or "?"
            guess = guess if len(guess) <= LONGEST_GUESS else guess[: LONGEST_GUESS - 1] + "…"
            yield f"{word}[{guess}]", ORANGE, has_blank


def _wrap(pieces: Sequence[tuple[str, str, bool]], limit: int) -> list[tuple[int, int]]:
    """Returns line and column, in letters, of each piece in lines of `limit` letters."""
    places, line, column = [], 0, 0
    for text, _, has_blank in pieces:
        start = column + (has_blank and column > 0)
        if start and start + len(text) > limit:
            line, start = line + 1, 0
        places.append((line, start))
        column = start + len(text)
    return places
