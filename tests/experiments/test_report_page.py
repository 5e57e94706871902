"""The page of a report: it fetches and runs nothing, fits a desktop and a phone, and shows names as they are."""

import json
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from support.reporting.content import Report
from support.reporting.figures import Difference
from support.reporting.page import verdict, write_page
from support.reporting.plots import draw_all
from support.reporting.samples import choose_samples
from support.reporting.tables import difference_text, mean_text
from tests.experiments.browser import CHROMIUM, Browser
from tests.experiments.made_runs import AUROC, VALID_R1, NoComposer, make, pretrain, write_config
from tests.experiments.test_pages import Reader

HOSTILE = "<b>bold & \"x\"_50%</b><script>alert('x')</script>"


def png(side: int = 4) -> bytes:
    """Returns a black picture."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (side + 1)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def page_of(report: Report, folder: Path, pictures: int = 4) -> Path:
    folder.mkdir()
    plots = draw_all(report.rows, report.columns, report.cells, folder)
    write_page(report, plots, folder, composer=NoComposer(), pictures=pictures)
    return folder / "report.html"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """A report with a hostile name, a long one, a broken run and a picture; and its page."""
    root = tmp_path_factory.mktemp("report")
    for number, (name, loss) in enumerate((("itc", {"mlm": 0.0}), (HOSTILE, {}), ("long" * 30, {"itc": 0.5}))):
        for seed in (0, 1):
            pretrain(root / "runs" / str(number) / f"seed_{seed}", name=name, seed=seed, loss=loss)
    picture = root / "runs" / "0" / "seed_0" / "overlays" / "best.png"
    picture.parent.mkdir()
    picture.write_bytes(png())
    (root / "runs" / "3" / "seed_0").mkdir(parents=True)
    (root / "runs" / "3" / "seed_0" / "failed.txt").write_text(f"RuntimeError: {HOSTILE}")
    report = make(root / "runs")
    return report, page_of(report, root / "report")


def test_nothing_is_fetched_and_nothing_runs(made: tuple[Report, Path]) -> None:
    text = made[1].read_text()
    read = Reader(text)
    assert not {tag for tag, _ in read.tags} & {"script", "link", "iframe", "object", "form", "b"}
    for tag, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on")], f"{tag} {attributes}"
        if "src" in attributes:
            assert str(attributes["src"]).startswith(("data:image/svg+xml;base64,", "data:image/png;base64,"))
        if "href" in attributes:
            assert re.match(r"#|\.\./runs/", str(attributes["href"])), f"{attributes['href']} is not relative"
    assert "url(" not in text and "@import" not in text
    assert next(one["content"] for _, one in read.tags if one.get("http-equiv")) == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    )


def test_names_and_reasons_are_shown_as_they_are(made: tuple[Report, Path]) -> None:
    text = made[1].read_text()
    assert "<script>" not in text and "<b>" not in text
    said = "".join(Reader(text).texts)
    assert f"RuntimeError: {HOSTILE}" in said and f"{HOSTILE}, seed" not in said
    assert said.count(HOSTILE) >= 4, "in both tables, among the changes and the runs"


def test_the_page_holds_the_numbers_of_the_table_and_links_to_folders_that_exist(made: tuple[Report, Path]) -> None:
    report, path = made
    read = Reader(path.read_text())
    for row in report.rows:
        mean, _, rest = mean_text(report.cells[row.name, VALID_R1]).partition(" ")
        assert mean in read.texts and rest in read.texts, f"{mean} {rest} of {row.name}"
    links = [str(one["href"]) for tag, one in read.tags if tag == "a" and not str(one["href"]).startswith("#")]
    assert len(links) == 6 and all((path.parent / link / "config.yaml").exists() for link in links), links


def test_pictures_of_credentialed_data_stay_out(tmp_path: Path) -> None:
    for number, is_credentialed in enumerate((True, False)):
        folder = pretrain(tmp_path / str(number), name=str(number), seed=number)
        plain = json.loads((folder / "config.yaml").read_text())
        plain["dataset"] |= {"credentialed": is_credentialed, "log_images": True}
        write_config(folder, plain)
        for name in ("b", "a"):
            (folder / "overlays").mkdir(exist_ok=True)
            (folder / "overlays" / f"{name}.png").write_bytes(png(number + 4))
        (folder / "overlays" / "c.png").write_text("no picture")
    rows = make(tmp_path).rows
    assert [one.caption for one in choose_samples(rows, 5)] == [f"1, seed 1: overlays/{one}" for one in "ab"]
    assert [(one.width, one.height) for one in choose_samples(rows, 1)] == [(5, 5)]


@pytest.mark.parametrize(("outer", "own_files", "count"), [(False, "", 1), (True, "", 0), (False, "/data/a.png", 0)])
def test_heat_maps_of_own_files_or_below_a_credentialed_run_stay_out(
    tmp_path: Path, outer: bool, own_files: str, count: int
) -> None:
    folder = pretrain(tmp_path / "a", name="a")
    plain = json.loads((folder / "config.yaml").read_text())
    plain["dataset"] |= {"credentialed": outer}
    write_config(folder, plain)
    look = folder / "tasks" / "look"
    look.mkdir(parents=True)
    dataset = {"name": "iu_xray", "credentialed": False}
    write_config(look, {"encoders": "x", "task": {"name": "grounding"}, "dataset": dataset, "frontal": own_files})
    (look / "explain.png").write_bytes(png())
    assert len(choose_samples(make(tmp_path).rows, 5)) == count


def test_a_plot_is_the_same_file_every_time(sweep: Path) -> None:
    report = make(sweep)
    contents = []
    for name in ("first", "second"):
        folder = sweep / name
        folder.mkdir()
        plots = draw_all(report.rows, report.columns[:1], report.cells, folder)
        contents.append([path.read_bytes() for plot in plots for path in (plot.path, plot.path.with_suffix(".png"))])
    assert contents[0] == contents[1] and len(contents[0]) >= 6, f"{len(contents[0])} files"
    assert all(content.startswith((b"<?xml", b"\x89PNG")) for content in contents[0])


def test_better_and_worse_follow_the_direction_of_the_figure(sweep: Path) -> None:
    report = make(sweep, figures=["macro_auroc", "fused/image_to_text/mean_rank"])
    auroc, rank = report.columns
    verdicts = {column.figure: verdict(report.cells["full", column].difference, column) for column in (auroc, rank)}
    assert verdicts == {"macro_auroc": "better", "fused/image_to_text/mean_rank": "better"}
    assert verdict(report.cells["random", AUROC].difference, AUROC) == ""


def test_a_difference_says_its_spread_over_seeds_and_is_better_only_where_all_seeds_agree() -> None:
    agreed = Difference(0.02, 0.01, 0.03, 0.007, (0, 1, 2), 80, agreed=1)
    assert difference_text(agreed) == "+0.020 [+0.010, +0.030] (3 seeds, sd 0.007)"
    assert (verdict(agreed, AUROC), verdict(replace(agreed, agreed=0), AUROC)) == ("better", "")
    assert difference_text(replace(agreed, sd=float("nan"), seeds=(0,))) == "+0.020 [+0.010, +0.030] (1 seed)"


@pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH")
def test_the_page_fits_a_desktop_and_a_phone(made: tuple[Report, Path], tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        for width in (1280, 390):
            browser.open(made[1], width)
            browser.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
            inner, wide = browser.evaluate("[window.innerWidth, document.documentElement.scrollWidth]")
            assert inner == width and wide <= width, f"{wide} pixels in a window of {width}"
            sizes = browser.evaluate("[...document.images].map(one => [one.naturalWidth, one.clientWidth])")
            assert sizes and all(natural > 0 and 0 < shown < width for natural, shown in sizes), sizes
            narrow = [shown for natural, shown in sizes if natural > 10 and shown < 300]
            assert not narrow, f"plots of {narrow} pixels cannot be read"
            letters = browser.evaluate("parseFloat(getComputedStyle(document.querySelector('td')).fontSize)")
            assert letters >= 12, f"letters of {letters} pixels"
