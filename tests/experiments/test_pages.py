"""The page of queries: one file that fetches nothing, runs nothing and shows reports as they are."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from support.pages import Answer, Query, Section, Shown, Table, png_address, render
from support.retrieval_page import choose

VOID = {"meta", "img", "br", "wbr"}
HOSTILE = '<script>alert("x")</script> & <img src=http://elsewhere/x.png> 5 < 6\nsecond line'
TABLE = Table(
    "Title <b>", [("", 2), ("image to text", 2)], ["side", "pool", "R@1", "R@5"], [["frontal", "81", "0.1", "0.25"]]
)


class Reader(HTMLParser):
    """Collects tags with their attributes and texts, and fails where a tag is not closed in its place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remembers a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Closes the tag opened last."""
        assert self.open.pop() == tag, f"{tag} closes another tag"

    def handle_data(self, data: str) -> None:
        """Remembers a text."""
        self.texts.append(data)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (12, 9), dtype=np.uint8)


def shown(name: str, report: str | None = "Clear.", views: int = 2) -> Shown:
    return Shown(name, report, [(view, picture(number)) for number, view in enumerate(("frontal", "lateral")[:views])])


def page(report: str | None = "Clear.", views: int = 2) -> str:
    answers = [Answer(shown(str(place), report, views), 0.9 - place / 10, place == 1) for place in range(3)]
    query = Query(shown("own", report, views), 1.5, 2, 0.8, answers)
    sections = [Section("Image to text", True, 7, [query]), Section("Text to image", False, 7, [query])]
    return render("Retrieval", ["A fact & more."], [TABLE], sections)


def test_the_page_is_well_formed_and_holds_every_report_as_text() -> None:
    read = Reader(page(HOSTILE))
    assert read.texts.count(HOSTILE) == 8, "two queries with three answers each, and their own reports"
    assert "Title <b>" in read.texts and "A fact & more." in read.texts


def test_nothing_is_fetched_and_nothing_runs() -> None:
    read = Reader(page(HOSTILE))
    tags = {tag for tag, _ in read.tags}
    assert not tags & {"script", "link", "iframe", "object", "form"}, tags
    for tag, attributes in read.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} {name}={value}"
            if name in ("src", "href"):
                assert str(value).startswith(("data:image/png;base64,", "#part")), f"{tag} {name}={str(value)[:60]}"
    assert "url(" not in page() and "@import" not in page()
    policy = next(one["content"] for tag, one in read.tags if one.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_a_picture_comes_back_pixel_by_pixel() -> None:
    content = base64.b64decode(png_address(picture(3)).removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), picture(3))


def test_the_hit_alone_is_marked_in_words_and_by_class() -> None:
    marked = re.findall(r'<li( class="right")?><div class="head">(\d)\. (&#10003; right, )?study', page())
    expected = [("", "1", ""), (' class="right"', "2", "&#10003; right, "), ("", "3", "")]
    assert marked == expected * 2, f"{marked}"


def test_rank_pool_and_further_right_answers_are_said() -> None:
    assert "Study own: right answer at rank 1.5 of 7, 2 right ones" in page()


def test_reports_are_asked_for_without_their_pictures_and_images_with_them() -> None:
    forth, back = page().split('id="part1"')
    found = (forth.count("<img"), back.count("<img"))
    assert found == (2, 2 + 3 * 2), f"{found} pictures; the own two, and two of each of three answers"


@pytest.mark.parametrize(("report", "views"), [(None, 2), ("Clear.", 0)], ids=["no text", "no pictures"])
def test_what_is_not_handed_over_is_not_there(report: str | None, views: int) -> None:
    read = Reader(page(report, views))
    assert ("Clear." in read.texts) == (report is not None)
    assert any(tag == "img" for tag, _ in read.tags) == (views > 0)
    assert ("The own pair (cosine 0.800)" in read.texts) is True


def test_a_table_is_aligned_in_the_console_and_complete_in_html() -> None:
    lines = TABLE.text().splitlines()
    assert [line.rstrip() for line in lines] == [
        "  Title <b>",
        "                 image to text",
        "  side     pool  R@1   R@5",
        "  frontal    81  0.1  0.25",
    ], lines
    assert [text for text in Reader(TABLE.html()).texts if text.strip()] == [
        *("Title <b>", "image to text", "side", "pool", "R@1", "R@5", "frontal", "81", "0.1", "0.25"),
    ]


def test_the_best_and_the_worst_queries_are_of_different_reports() -> None:
    ranks = np.array([3.0, 1.0, 1.0, 9.0, 8.0, 2.0])
    assert choose(ranks, np.arange(6), 2) == ([1, 2], [3, 4])
    assert choose(ranks, np.array([0, 1, 1, 2, 2, 3]), 2) == ([1, 5], [3, 0])
    assert choose(ranks, np.zeros(6, dtype=int), 2) == ([1], [])
    assert choose(ranks[:1], np.arange(1), 2) == ([0], [])
