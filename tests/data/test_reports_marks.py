"""Marks that stand for removed names, dates and places."""

import re
import time

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from flvlp.data.reports import remove_marks

MARK = re.compile(r"__|XXXX|\[\*\*|\*\*\]")
WHOLE_MARK = re.compile(r"__+|XXXX+|\[\*\*[^][*]*\*\*\]|\[\*\*|\*\*\]")
marks = st.sampled_from(("___", "XXXX", "_" * 78, "[**Name (x) 3**]", "[** 2101-1-1 **]", "XXXXX"))
characters = st.text("_X[]*()<>. ,:;-/'\"as15\n", max_size=40)
words = st.sampled_from(("lungs", "A", "1.4", "cm", "-5", ".5", "12:30", "Dr", "year-old", "T5/T6", "(mild)", "2101"))
spaces = st.sampled_from((" ", ", ", ". ", "; ", ": ", "\n", " - ", "/", "-"))


@given(st.one_of(st.text(), characters))
def test_a_text_without_marks_is_returned_unchanged(text: str) -> None:
    assume(not MARK.search(text))
    assert remove_marks(text) == text


@given(characters)
@example("[*XXXX* a **]")
@example("[**a [XXXX] b**]")
@example("[** a [** b **] c **]")
@example("XX[****]XX_XXXX_")
@example("**(XXXX)]")
def test_no_mark_is_left_whatever_stands_around_it(text: str) -> None:
    once = remove_marks(text)
    assert not MARK.search(once), (text, once)
    assert remove_marks(once) == once


@given(st.lists(st.one_of(words, marks, spaces)).map("".join))
def test_no_word_is_lost_made_or_fused_with_another(text: str) -> None:
    def parts(piece: str) -> list[str]:
        return re.findall(r"[^\W_]+", piece)

    without = WHOLE_MARK.sub(" ", re.sub(r"\[\*\*.*?\*\*\]", " ", text))
    assert parts(remove_marks(text)) == parts(without), remove_marks(text)


@given(
    st.lists(st.tuples(st.one_of(words, marks), st.sampled_from((" ", " ", ", ", ". ", "; ", " - "))), min_size=1),
    st.sampled_from((".", "")),
)
def test_a_single_spaced_text_stays_so_without_loose_or_doubled_punctuation(
    pairs: list[tuple[str, str]], stop: str
) -> None:
    text = "".join(part + space for part, space in pairs[:-1]) + pairs[-1][0] + stop
    mended = remove_marks(text)
    assert mended == mended.strip()
    loose = re.search(r"\s\s|\s[,;:!?)]|\s\.(?!5)|^[,;:!?]|^\.(?!5)|[,;.][,;.]|- -(?!5)|\( ?\)", mended)
    assert not loose or loose.group() in text, (text, mended)


@given(
    st.lists(st.sampled_from(("___", "XXXX", "(XXXX)", ", ", ". ", "/", "-", "[** a **]", " ", "___'s"))).map("".join)
)
def test_marks_and_punctuation_after_a_mark_leave_nothing(text: str) -> None:
    assert remove_marks("XXXX" + text) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Seen by Dr. ___ today.", "Seen by Dr. today."),
        ("Told on ___ at ___:___. Stable.", "Told on at. Stable."),
        ("Told at 5:___ p.m.", "Told at 5 p.m."),
        ("A ___-year-old man", "A year-old man"),
        ("Compared with ___, there is no change.", "Compared with, there is no change."),
        ("Compared with ___ and XXXX/XXXX.", "Compared with and."),
        ("Compared with 3/4/XXXX.", "Compared with 3/4."),
        ("Nodule (XXXX) is stable (XXXX, 3 cm) (3 cm, ___).", "Nodule is stable (3 cm) (3 cm)."),
        ("Normal chest x-XXXX.", "Normal chest x."),
        ("___, the lungs are clear", "the lungs are clear"),
        ("Clear. ___. Normal.", "Clear. Normal."),
        ("Clear. ___, the heart", "Clear. the heart"),
        ("Edema, ___.", "Edema."),
        ("Edema, ___, effusion", "Edema, effusion"),
        ("Edema - XXXX - effusion", "Edema - effusion"),
        ("Lymph XXXX/granulomas, and XXXX, XXXX, too", "Lymph granulomas, and, too"),
        ("Patient XXXX's heart, and XXXX't", "Patient heart, and"),
        ('The "XXXX" sign, "mild" XXXX "edema"', 'The sign, "mild" "edema"'),
        ("1. XXXX. 2. Clear. 3. XXXX", "1. 2. Clear. 3."),
        ("IMPRESSION: ___\n1. CLEAR", "IMPRESSION:\n1. CLEAR"),
        ("IMPRESSION:\n___. CLEAR", "IMPRESSION:\nCLEAR"),
        ("Clear.\n\n___\n\nNormal", "Clear.\n\nNormal"),
        ("Size XXXX .5 cm or XXXX -5 HU", "Size .5 cm or -5 HU"),
        ("At XXXXPM the 4XXXX rib", "At PM the 4 rib"),
        ("Dr. XXXX<XXXX>Told", "Dr. Told"),
        ("[**2101-3-4**] by [** Name (x) **], MD", "by, MD"),
        ("[** never closed", "never closed"),
        ("A xxxx, XXX, a_b, [* c *]", "A xxxx, XXX, a_b, [* c *]"),
        ("___", ""),
        ("(XXXX).", ""),
        ("", ""),
    ],
)
def test_what_is_left_around_a_mark_is_mended(text: str, expected: str) -> None:
    assert remove_marks(text) == expected


@pytest.mark.parametrize(
    "unit",
    [
        *("_", "X", " ", ". ", "[**", "**]", "[*", "XX_", "aXXXX", "XXXX ", "XXXX)", "(XXXX) ", ", XXXX", "-XXXX"),
        *("1:XXXX", ".5XXXX", "a ___ .", "((((XXXX ", "[** a ", "a, "),
    ],
)
def test_100_000_characters_of_one_kind_are_mended_within_a_second(unit: str) -> None:
    half = (unit * 50_000)[:50_000]
    start = time.process_time()
    for hostile in (half + half, "[**" + half + half, half + "XXXX" + half):
        remove_marks(hostile)
    remove_marks("(" * 50_000 + "XXXX" + ")" * 50_000)
    seconds = time.process_time() - start
    assert seconds < 4, f"{unit!r}: {seconds:.2f} s for four texts; allowed is 1 s each"
