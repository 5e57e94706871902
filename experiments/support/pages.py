"""One HTML page of queries and what they retrieve: pictures inside, no script, nothing fetched from elsewhere."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from support.document import document

STYLE = """
.query { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 8fr); gap: 20px; margin: 12px 0; padding: 14px;
  background: #fff; border: 1px solid #d5dae0; border-radius: 8px; }
.views { display: flex; flex-wrap: wrap; gap: 6px; }
.views img { display: block; background: #000; border-radius: 4px; max-width: 100%; height: auto; }
.query > div > .views figure { flex: 1 1 0; max-width: 224px; }
.query > div > .views img { width: 100%; }
.views figcaption, .label { font-size: .85em; color: #4a5562; }
.label { margin-top: .6em; font-weight: 600; }
.report { white-space: pre-line; overflow-wrap: anywhere; }
ol { margin: 0; padding: 0; list-style: none; display: grid; gap: 8px; align-content: start; }
li { border: 1px solid #d5dae0; border-left: 5px solid #c3cad2; border-radius: 4px; padding: 6px 10px; }
li.right { border-color: #16803c; background: #eaf7ee; }
li .head { font-size: .85em; color: #4a5562; overflow-wrap: anywhere; }
li.right .head { color: #0e5f2b; font-weight: 600; }
li .views img { width: 112px; }
li .report { font-size: .93em; }
.with-views { display: flex; gap: 12px; }
.with-views > .report { flex: 1; min-width: 0; }
@media (max-width: 760px) {
  body { padding: 10px; }
  .query { grid-template-columns: minmax(0, 1fr); padding: 10px; }
  .with-views { flex-direction: column; gap: 6px; }
}
"""


@dataclass(frozen=True, slots=True)
class Table:
    """Figures in rows, for the console and for the page.

    Attributes:
        title: what they are.
        groups: (name, number of columns) of the columns that belong together; the first two are row name and pool.
        columns: names.
        rows: texts, one a column.
    """

    title: str
    groups: Sequence[tuple[str, int]]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Returns the table with its columns aligned, numbers to the right."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        head, start = "", 0
        for name, size in self.groups:
            head += name.ljust(sum(widths[start : start + size]) + 2 * size)
            start += size

        def line(cells: Sequence[str]) -> str:
            first, *others = zip(cells, widths, strict=True)
            return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])

        return "\n".join(f"  {one}".rstrip() for one in (self.title, head, *map(line, (self.columns, *self.rows))))

    def html(self) -> str:
        """Returns the same as an HTML table, which scrolls where the screen is narrow."""
        groups = "".join(f'<th colspan="{size}">{escape(name)}</th>' for name, size in self.groups)
        columns = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in self.rows)
        return (
            f'<p class="facts">{escape(self.title)}</p>\n<div class="scroll"><table>\n'
            f"<thead><tr>{groups}</tr><tr>{columns}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """A study as far as it may be shown.

    Attributes:
        name: how it may be named.
        report: None where text must not be left behind.
        pictures: (caption, (H, W) uint8), none where pictures must not be left behind.
    """

    name: str
    report: str | None
    pictures: Sequence[tuple[str, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A retrieved study: its cosine in [-1, 1] with the query, and whether it is a right one."""

    study: Shown
    similarity: float
    is_right: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A query and the first it retrieves.

    Attributes:
        study: that it comes from.
        rank: expected rank of the first right answer, from 1; a fraction where answers are tied.
        right: right answers in the pool.
        similarity: cosine with the own pair.
        answers: the most similar first.
    """

    study: Shown
    rank: float
    right: int
    similarity: float
    answers: Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Section:
    """Queries of one direction.

    Attributes:
        title: a heading.
        asks_for_reports: image-to-text; otherwise reports ask for images.
        pool: studies searched.
        queries: to show.
    """

    title: str
    asks_for_reports: bool
    pool: int
    queries: Sequence[Query]


def render(title: str, facts: Sequence[str], tables: Sequence[Table], sections: Sequence[Section]) -> str:
    """Returns the page as one self-contained HTML text.

    Args:
        title: heading.
        facts: sentences below it.
        tables: of figures.
        sections: of queries.
    """
    links = [f'<a href="#part{number}">{escape(one.title)}</a>' for number, one in enumerate(sections)]
    body = [f"<h1>{escape(title)}</h1>", *(f'<p class="facts">{escape(fact)}</p>' for fact in facts)]
    body += [f"<nav>{' '.join(links)}</nav>", *(table.html() for table in tables)]
    for number, section in enumerate(sections):
        body.append(f'<h2 id="part{number}">{escape(section.title)}</h2>')
        body += [_query(query, section) for query in section.queries]
    return document(title, STYLE, "\n".join(body))


def _query(query: Query, section: Section) -> str:
    """Returns one query with its answers, side by side or, on a narrow screen, one below the other."""
    asked, other = _views(query.study), _report(query.study)
    if not section.asks_for_reports:
        asked, other = other, asked
    more = f", {query.right} right ones" if query.right > 1 else ""
    answers = "\n".join(_answer(place, answer, section) for place, answer in enumerate(query.answers, start=1))
    pair = f'<div class="label">The own pair (cosine {query.similarity:.3f})</div>{other}' if other else ""
    return (
        f'<article class="query"><div><h3>Study {escape(query.study.name)}: right answer at rank {query.rank:g} of '
        f"{section.pool}{more}</h3>{asked}{pair}</div>\n<ol>{answers}</ol></article>"
    )


def _answer(place: int, answer: Answer, section: Section) -> str:
    right, mark = (' class="right"', "&#10003; right, ") if answer.is_right else ("", "")
    views = "" if section.asks_for_reports else _views(answer.study)
    return (
        f'<li{right}><div class="head">{place}. {mark}study {escape(answer.study.name)}, cosine '
        f'{answer.similarity:.3f}</div><div class="with-views">{views}{_report(answer.study)}</div></li>'
    )


def _views(study: Shown) -> str:
    figures = "".join(
        f'<figure><img src="{png_address(picture)}" alt="{escape(f"{caption} of {study.name}")}" '
        f'width="{picture.shape[1]}" height="{picture.shape[0]}"><figcaption>{escape(caption)}</figcaption></figure>'
        for caption, picture in study.pictures
    )
    return f'<div class="views">{figures}</div>' if figures else ""


def _report(study: Shown) -> str:
    return "" if study.report is None else f'<div class="report">{escape(study.report)}</div>'


def png_address(picture: np.ndarray) -> str:
    """Returns a picture (H, W) uint8 as the address of a PNG file that is its own content."""
    from flvlp.data.png import png_bytes

    return "data:image/png;base64," + b64encode(png_bytes(picture)).decode()
