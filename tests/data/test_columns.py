"""Studies in columns: what goes in comes out, and a worker that reads them shares the memory of its parent."""

import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from flvlp.data.columns import StudyColumns, Texts, laterals_of
from flvlp.data.studies import Study

TEXTS = ["", "a", "Röntgen 肺 \U0001fac1", "", "not\udc80text", "two\nlines", ""]
ROLLUP = Path("/proc/self/smaps_rollup")
COUNT = 20_000


@pytest.mark.parametrize("texts", [TEXTS, [], [""]])
def test_texts_come_back_one_by_one_as_a_slice_and_in_order(texts: list[str]) -> None:
    kept = Texts(iter(texts))
    assert len(kept) == len(texts) and list(kept) == texts and kept[1:3] == texts[1:3] and kept[::-1] == texts[::-1]
    for index in range(-len(texts), len(texts)):
        assert kept[index] == kept[np.int64(index)] == texts[index]  # type: ignore[call-overload]
    for index in (len(texts), -len(texts) - 1):
        with pytest.raises(IndexError):
            kept[index]


def columns_of(studies: Sequence[Study]) -> StudyColumns:
    return StudyColumns(*zip(*(astuple(study) for study in studies), strict=True))


def test_studies_come_back_as_they_were() -> None:
    studies = [Study(f"s{row}", f"p{row // 2}", text, row % 2 == 0, row + 2) for row, text in enumerate(TEXTS)]
    kept = columns_of(studies)
    assert len(kept) == len(studies) and list(kept) == studies and kept[2:4] == studies[2:4]
    again = pickle.loads(pickle.dumps(kept))
    for one in (kept, again):
        assert [one[index] for index in range(-len(studies), len(studies))] == studies * 2
        assert type(one[0].has_lateral) is bool and type(one[0].row) is int
    with pytest.raises(IndexError):
        kept[len(studies)]
    assert laterals_of(kept).tolist() == laterals_of(studies).tolist() == [study.has_lateral for study in studies]


def grown_in_a_fork(read: Callable[[], object]) -> float:
    """Returns by how many MiB the memory that a forked process has for itself grows while it reads."""

    def own() -> int:
        return sum(int(line.split()[1]) for line in ROLLUP.read_text().splitlines() if line.startswith("Private_Dirty"))

    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        try:
            before = own()
            read()
            os.write(sender, str((own() - before) / 1024).encode())
        finally:
            os._exit(0)  # it must not go on with the tests
    os.close(sender)
    os.waitpid(child, 0)
    with os.fdopen(receiver) as file:
        said = file.read()
    assert said, "the forked process broke"
    return float(said)


@pytest.mark.skipif(not ROLLUP.exists(), reason="needs Linux's /proc/self/smaps_rollup")
def test_a_worker_that_reads_every_study_copies_none_of_them() -> None:
    studies = [
        Study(f"s{row}", f"p{row // 2}", f"IMPRESSION {row}: " + 60 * "no change ", True, row) for row in range(COUNT)
    ]
    order = np.random.default_rng(0).permutation(COUNT).tolist()

    def reads(kept: Sequence[Study]) -> Callable[[], object]:
        return lambda: [len(kept[index].report) for index in order]

    as_objects, as_columns = (grown_in_a_fork(reads(kept)) for kept in (studies, columns_of(studies)))
    assert as_objects > 10, f"a list of studies grows by {as_objects:.1f} MiB: the measure sees nothing"
    assert as_columns < 3, f"columns grow by {as_columns:.1f} MiB in a worker, a list by {as_objects:.1f}"
