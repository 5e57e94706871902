"""The studies of a large data set in flat arrays, so that data workers share them.

A forked worker copies a page of memory once it writes to it, and reading a Python object writes: it counts a
reference. A list of 400,000 studies would be copied into every worker bit by bit.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar, overload

import numpy as np

from flvlp.data.studies import Study

_Item = TypeVar("_Item")
CODING = "utf-8", "surrogatepass"  # names of files may be no text


class _Made(Sequence[_Item]):
    """A sequence whose items are made when they are asked for."""

    @abstractmethod
    def item(self, place: int) -> _Item:
        """Returns the item at a place, counted from 0."""

    @overload
    def __getitem__(self, index: int) -> _Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[_Item]: ...

    def __getitem__(self, index: int | slice) -> _Item | list[_Item]:
        """Returns one item, or several."""
        places = range(len(self))[index]
        return [self.item(place) for place in places] if isinstance(places, range) else self.item(places)


class Texts(_Made[str]):
    """Texts in one array of bytes; each is made when it is asked for."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Copies the texts."""
        encoded = [text.encode(*CODING) for text in texts]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self._ends) - 1

    def item(self, place: int) -> str:
        """Returns the text at a place, counted from 0."""
        return self._bytes[self._ends[place] : self._ends[place + 1]].decode(*CODING)

    def __iter__(self) -> Iterator[str]:
        """Yields all in order."""
        for start, end in pairwise(self._ends.tolist()):
            yield self._bytes[start:end].decode(*CODING)


class StudyColumns(_Made[Study]):
    """Studies by columns; a `Study` is made when it is asked for."""

    def __init__(
        self,
        study_ids: Iterable[str],
        patient_ids: Iterable[str],
        reports: Iterable[str],
        has_lateral: Iterable[bool],
        rows: Iterable[int],
    ) -> None:
        """Copies the columns, each with an entry a study; see `Study`."""
        self._study_ids, self._patient_ids, self._reports = Texts(study_ids), Texts(patient_ids), Texts(reports)
        self.has_lateral = np.fromiter(has_lateral, dtype=bool)  # (N,)
        self._rows = np.fromiter(rows, dtype=np.int64)

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self._rows)

    def item(self, place: int) -> Study:
        """Returns the study at a place, counted from 0."""
        return Study(
            self._study_ids.item(place),
            self._patient_ids.item(place),
            self._reports.item(place),
            bool(self.has_lateral[place]),
            int(self._rows[place]),
        )

    def __iter__(self) -> Iterator[Study]:
        """Yields all in order."""
        columns = self._study_ids, self._patient_ids, self._reports, self.has_lateral.tolist(), self._rows.tolist()
        return map(Study, *columns)


def laterals_of(studies: Sequence[Study]) -> np.ndarray:
    """Returns which studies have a lateral view, (N,) bool."""
    if isinstance(studies, StudyColumns):
        return studies.has_lateral
    return np.fromiter((study.has_lateral for study in studies), dtype=bool)
