"""Masks as run lengths, in the two conventions of Kaggle; both go down the columns of the picture, left to right.

`relative` (SIIM-ACR): pairs of gap and length; the gap counts from the end of the run before, the first from pixel 0.
`absolute` (most other challenges): pairs of start and length; the start counts from the first pixel, which is number
1 or 0.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# SIIM writes "-1", copies of it " -1", for a picture without a mask.
NOTHING = ("-1", "")
_LONGEST_NUMBER = 12  # digits; no position in a picture needs more, and sums stay far inside int64
_LONGEST_SHOWN = 20


def decode_relative(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Decodes run lengths with gaps from the end of the run before, as SIIM writes them.

    Args:
        text: numbers separated by spaces; blank marks nothing ("-1" is no run: see `NOTHING`).
        shape: (H, W) of the picture that was annotated.

    Returns:
        (H, W) bool, True inside.

    Raises:
        ValueError: an odd count of numbers, something that is no whole number from 0, or a run beyond the picture.
    """
    return _filled(*relative_runs(text, shape), shape)


def decode_absolute(text: str, shape: tuple[int, int], one_based: bool = True) -> np.ndarray:
    """Decodes run lengths with starts from the first pixel of the picture; runs may overlap.

    Args:
        text, shape: as in `decode_relative`.
        one_based: the first pixel has number 1, as Kaggle has it; False: number 0.

    Returns, Raises: as `decode_relative`; also for a start of 0 where pixels count from 1.
    """
    starts, lengths = _pairs(text)
    starts = starts - int(one_based)
    if (starts < 0).any():
        raise ValueError(
            f"run lengths: pair {int(np.argmax(starts < 0)) + 1} starts at pixel 0; pixels count from 1 here; decode "
            "with one_based=False"
        )
    return _filled(starts, _checked_ends(starts, lengths, shape), shape)


def encode_relative(mask: np.ndarray) -> str:
    """Writes a mask, (H, W) bool, as `decode_relative` reads it; "" where nothing is marked."""
    starts, ends = _runs(mask)
    gaps = starts - np.concatenate([[0], ends[:-1]]) if len(starts) else starts
    return _joined(gaps, ends - starts)


def encode_absolute(mask: np.ndarray, one_based: bool = True) -> str:
    """Writes a mask, (H, W) bool, as `decode_absolute` reads it; "" where nothing is marked."""
    starts, ends = _runs(mask)
    return _joined(starts + int(one_based), ends - starts)


def relative_runs(text: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns first pixel and the pixel behind each run, (n,) int64; checks the text without making the picture.

    Raises:
        ValueError: as `decode_relative`.
    """
    gaps, lengths = _pairs(text)
    starts = np.cumsum(gaps + lengths) - lengths
    return starts, _checked_ends(starts, lengths, shape)


@dataclass(frozen=True)
class RLEMasks:
    """Masks in the relative convention; `flvlp.data.studies.Masks`.

    Attributes:
        texts: of each study, its run lengths, one text an object; none, or those of `NOTHING`, where nothing is marked.
        shape: (H, W) of the pictures that were annotated.
    """

    texts: Sequence[tuple[str, ...]]
    shape: tuple[int, int] = (1024, 1024)

    def of(self, index: int) -> np.ndarray:
        """Returns the mask of study `index`, (H, W) bool: all its objects together.

        Raises:
            ValueError: as `decode_relative`.
        """
        mask = np.zeros(self.shape, dtype=bool)
        for text in self.texts[index]:
            if text.strip() not in NOTHING:
                mask |= decode_relative(text, self.shape)
        return mask


def _pairs(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns first and second number of each pair, (n,) int64."""
    tokens = text.split()
    # Not int(): it takes underscores, signs and the digits of every script.
    wrong = next((place for place, token in enumerate(tokens) if not re.fullmatch("[0-9]+", token)), None)
    if wrong is None:
        wrong = next((place for place, token in enumerate(tokens) if len(token) > _LONGEST_NUMBER), None)
    if wrong is not None:
        token = tokens[wrong]
        dots = "..." if len(token) > _LONGEST_SHOWN else ""
        raise ValueError(
            f"run lengths: number {wrong + 1} of {len(tokens)} is {token[:_LONGEST_SHOWN]!r}{dots}; whole numbers from "
            f"0 with at most {_LONGEST_NUMBER} digits are right; correct the table"
        )
    if len(tokens) % 2:
        raise ValueError(
            f"run lengths: {len(tokens)} numbers; they come in pairs, the second a length; the text may be cut off"
        )
    numbers = np.array(tokens, dtype=np.int64).reshape(-1, 2)
    return numbers[:, 0], numbers[:, 1]


def _checked_ends(starts: np.ndarray, lengths: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    ends = starts + lengths
    height, width = shape
    if len(ends) and ends.max() > height * width:
        raise ValueError(
            f"run lengths: pair {int(np.argmax(ends > height * width)) + 1} of {len(ends)} ends beyond the picture of "
            f"{width} x {height} (the last pixel is {ends.max()}, there are {height * width}); the table must be of "
            "pictures of this size and in this convention; check both"
        )
    return ends


def _filled(starts: np.ndarray, ends: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    height, width = shape
    # How many runs are open at each pixel: one pass for any number of runs, and overlaps do no harm.
    opened = np.bincount(starts, minlength=height * width + 1) - np.bincount(ends, minlength=height * width + 1)
    is_inside = np.cumsum(opened)[: height * width] > 0
    return np.ascontiguousarray(is_inside.reshape(width, height).T)  # (W, H) -> (H, W)


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns first pixel and the pixel behind each run down the columns."""
    flat = np.asarray(mask, dtype=bool).T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]])))
    return edges[::2], edges[1::2]


def _joined(firsts: np.ndarray, lengths: np.ndarray) -> str:
    return " ".join(map(str, np.stack([firsts, lengths], axis=1).ravel().tolist()))
