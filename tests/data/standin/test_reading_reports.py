"""The reports of a stand-in are the phantoms' own, whatever layout they come in."""

import re
from collections.abc import Callable

import pytest

from flvlp.data.phantom.source import PhantomSource
from flvlp.data.studies import StudySource
from tests.data.standin.matching import numbers_of


def words(text: str) -> list[str]:
    return re.findall(r"[\w.-]*\w", text.lower())


@pytest.mark.parametrize("changes", [{}, {"text": "xml"}, {"text": "r2gen", "split": "iu_xray/r2gen"}])
def test_iu_reports_are_the_phantoms_but_for_removed_words(
    changes: dict, source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    source = source_of("iu_xray", **changes)
    for index, number in enumerate(numbers_of(source, phantoms)):
        said, written = words(source.studies[index].report), words(phantoms.studies[number].report)
        assert set(said) <= set(written)
        if "text" not in changes or changes["text"] == "xml":
            assert len(said) >= len(written) - 6, source.studies[index].report


def test_mimic_reports_hold_every_sentence_of_the_phantoms(
    source_of: Callable[..., StudySource], phantoms: PhantomSource
) -> None:
    source = source_of("mimic_cxr")
    for index, number in enumerate(numbers_of(source, phantoms)):
        report = source.studies[index].report
        assert sorted(words(report)) == sorted(words(phantoms.studies[number].report)), report
