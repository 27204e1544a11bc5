import html.parser
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from bequest.report.contents import Failure, Picture, Predicted, ReportInput
from bequest.report.page import render, write_report

VOID = {"meta", "img", "br", "link", "input"}
SVG_EMPTY = {"path", "circle", "rect"}


class Reader(html.parser.HTMLParser):
    """Collects elements and checks that they are nested as written."""

    def __init__(self):
        super().__init__()
        self.open, self.elements, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID | SVG_EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> inside {self.open}"
        self.open.pop()


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def prose(page):
    """The page without scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


@pytest.fixture(scope="module")
def page(report_maker):
    return render(report_maker(failed=True))


def test_page_is_well_formed_and_links_hit(page):
    found = read(page)
    assert len(found.ids) == len(set(found.ids))
    targets = [attrs["href"] for tag, attrs in found.elements if tag == "a"]
    assert targets and all(target[0] == "#" and target[1:] in found.ids for target in targets)
    assert [tag for tag, _ in found.elements].count("h1") == 1


def test_nothing_comes_from_elsewhere(page):
    found = read(page)
    assert not {"link", "iframe", "object", "form", "base"} & {tag for tag, _ in found.elements}
    for tag, attrs in found.elements:
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
        assert attrs.get("src", "data:").startswith("data:")
    assert "url(" not in page.split("<style>")[1].split("</style>")[0]
    assert len(page.encode()) < 2_000_000


def test_accessible_by_construction(page):
    found = read(page)
    assert ("html", {"lang": "en"}) in found.elements
    assert all(attrs.get("alt") for tag, attrs in found.elements if tag == "img")
    assert all("scope" in attrs for tag, attrs in found.elements if tag == "th")
    tables = sum(tag == "table" for tag, _ in found.elements)
    assert tables == sum(tag == "caption" for tag, _ in found.elements) > 4
    charts = [attrs for _, attrs in found.elements if attrs.get("class") == "chart"]
    assert len(charts) == 6 and all(attrs["aria-label"] for attrs in charts)


def test_page_says_it_all(page):
    text = prose(page)
    for wanted in (
        "1 step failed", "line/barrier", "C11", "not measured", "by who got them right", "0.1.0",
        "bequest run examples/emoji.yaml", "OpenMoji, CC BY-SA 4.0", "the loss became not a number in epoch 3",
        "randinit/0b", "How to read it", "more rows are not shown here",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_foreign_text_is_inert(report_maker, nasty):
    clean = read(render(report_maker()))
    classes = tuple(f"{nasty}{number}" for number in range(12))
    report = report_maker(targets=(nasty, "b\u2028\"'<!--"), classes=classes, title=nasty)
    runs = report.runs.with_columns(pl.lit(nasty).alias("name"))
    asked = {"title": nasty, nasty: 1}
    report = replace(
        report, runs=runs, source=nasty, asked=asked, attributions=(nasty,), repeat=(nasty,), done={nasty: nasty}
    )
    page = render(report)
    found = read(page)
    for tag in ("script", "b", "img", "style"):
        assert sum(name == tag for name, _ in found.elements) == sum(name == tag for name, _ in clean.elements), tag
    assert nasty not in page
    assert page.count("alert(1)") > 20


def test_failures_are_escaped_too(nasty):
    page = render(ReportInput(nasty, failures=(Failure(nasty, nasty, nasty),)))
    assert nasty not in page and page.count("alert(1)") == 5


def test_report_of_nothing():
    page = render(ReportInput("Empty"))
    read(page)
    assert (
        "No analysis has results" in page and prose(page).count("not measured") + page.count("not in studies yet") >= 11
    )
    assert len(page) < 60_000  # without charts there is no need of Vega


def test_single_target_and_python_mapping(report_maker):
    page = render(report_maker(targets=("line",)))
    read(page)
    assert "trained on\n<b>line</b>." in page
    assert "targets:\n- line" in page


def test_odd_pieces(report_maker, picture_pixels):
    said = {"P": np.array([1])}
    alone = Predicted(None, ("cat", "dog"), np.array([0]), said, {"P": np.ones(1)}, np.array([0]), picture_pixels[None])
    report = replace(
        report_maker(),
        results={"learning_curves": report_maker().results["learning_curves"], "mistakes": pl.DataFrame()},
        sweep=pl.DataFrame(),
        runs=None,
        pictures=(Picture("line", "cat", picture_pixels),),
        predictions=(alone,),
    )
    page = render(report)
    read(page)
    assert 'id="sweep"' not in page and 'id="runs"' not in page
    assert 'id="predictions"' in page and '"said":[[1]]' in page


@pytest.fixture
def picture_pixels():
    return np.full((16, 16, 3), 200, np.uint8)


def test_write_report_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_report(ReportInput("First"), tmp_path / "report.html")
    assert "First" in path.read_text(encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_report(ReportInput("x"), tmp_path / "nowhere" / "report.html")

    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="no space"):
        write_report(ReportInput("Second"), path)
    monkeypatch.undo()
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    assert "First" in path.read_text(encoding="utf-8")
