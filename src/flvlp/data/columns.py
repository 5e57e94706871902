"""The studies of a large data set in flat arrays, so that data workers share them.

A forked worker copies a page of memory once it writes to it, and reading a Python object writes: it counts a
reference. A list of 400,000 studies would be copied into every worker bit by bit.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np

from flvlp.data.studies import Study

CODING = "utf-8", "surrogatepass"  # names of files may be no text


class Texts(Sequence[str]):
    """Texts in one array of bytes; each is made when it is asked for."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Copies the texts."""
        encoded = [text.encode(*CODING) for text in texts]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Returns one text, or several."""
        if isinstance(index, slice):
            return [self[one] for one in range(len(self))[index]]
        place = range(len(self))[index]
        return self._bytes[self._ends[place] : self._ends[place + 1]].decode(*CODING)

    def __iter__(self) -> Iterator[str]:
        """Yields all in order."""
        for start, end in pairwise(self._ends.tolist()):
            yield self._bytes[start:end].decode(*CODING)


class StudyColumns(Sequence[Study]):
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

    @overload
    def __getitem__(self, index: int) -> Study: ...

    @overload
    def __getitem__(self, index: slice) -> list[Study]: ...

    def __getitem__(self, index: int | slice) -> Study | list[Study]:
        """Returns one study, or several."""
        if isinstance(index, slice):
            return [self[one] for one in range(len(self))[index]]
        return Study(
            self._study_ids[index],
            self._patient_ids[index],
            self._reports[index],
            bool(self.has_lateral[index]),
            int(self._rows[index]),
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
