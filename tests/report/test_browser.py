"""What does a real browser, without a network, make of the page?"""

import re
from dataclasses import replace

import polars as pl
import pytest

from bequest.report.contents import ReportInput
from bequest.report.page import write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def path(report_maker, tmp_path_factory):
    return write_report(report_maker(failed=True), tmp_path_factory.mktemp("report") / "report.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_page_draws_everything_quietly(browser, path, width, scheme):
    said = browser.open(path, width=width, scheme=scheme)
    assert said == []
    assert browser.fetched() == [path.resolve().as_uri()]
    assert browser.evaluate("document.querySelectorAll('.chart').length") == 6
    assert browser.evaluate("document.querySelectorAll('.chart svg.marks').length") == 6
    assert browser.evaluate("document.querySelectorAll('.chart svg path, .chart svg circle').length") > 50
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    too_wide = "[...document.querySelectorAll('.chart')].filter(c => c.scrollWidth > c.clientWidth + 1).map(c => c.id)"
    assert browser.evaluate(too_wide) == []
    ink = [int(part) for part in re.findall(r"\d+", browser.evaluate("getComputedStyle(document.body).color"))]
    assert (sum(ink) > 380) == (scheme == "dark")


def test_charts_follow_the_scheme(browser, path):
    colour = "document.querySelector('.chart svg .role-axis-title text').getAttribute('fill')"
    browser.open(path, scheme="light")
    light = browser.evaluate(colour)
    browser.scheme("dark")
    browser.evaluate("new Promise(done => setTimeout(done, 100))")
    browser.settle()
    assert browser.evaluate(colour) != light
    assert browser.said() == []


def test_charts_are_stacked_when_the_page_becomes_narrow(browser, path):
    browser.open(path, width=1400)
    browser.ask("Emulation.setDeviceMetricsOverride", width=400, height=900, deviceScaleFactor=1, mobile=False)
    browser.evaluate("new Promise(done => setTimeout(done, 200))")
    browser.settle()
    assert browser.evaluate("document.documentElement.scrollWidth") <= 400
    assert browser.said() == []


def test_foreign_text_stays_text(browser, report_maker, nasty, tmp_path):
    tag = "<img src=x onerror=alert(1)>"
    report = report_maker(targets=(nasty, tag), classes=tuple(f"{tag}{nasty}{i}" for i in range(12)), title=nasty)
    said = browser.open(write_report(report, tmp_path / "nasty.html"))
    assert said == []
    assert browser.evaluate("document.scripts.length") == 5
    assert browser.evaluate("document.querySelector('h1').textContent") == nasty
    assert browser.evaluate("document.querySelectorAll('img:not([src^=\"data:\"])').length") == 0


def test_tooltip_shows_numbers_and_escapes(browser, report_maker, tmp_path):
    report = report_maker(targets=("line",))
    bad = "finetune/<img src=x>"
    rows = report.results["mistakes"].with_columns(pl.col("a").replace("finetune/0", bad))
    browser.open(write_report(replace(report, results={"mistakes": rows}), tmp_path / "tooltip.html"))
    found = browser.evaluate("""(() => {
      const texts = [];
      for (const dot of document.querySelectorAll('.mark-symbol.role-mark path')) {
        dot.scrollIntoView({block: 'center', behavior: 'instant'});
        const box = dot.getBoundingClientRect();
        const at = {bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2};
        dot.dispatchEvent(new PointerEvent('pointermove', at));
        dot.dispatchEvent(new MouseEvent('mousemove', at));
        const tip = document.getElementById('vg-tooltip-element');
        if (tip) texts.push(tip.textContent + (tip.querySelector('img') ? 'IMAGE' : ''));
      }
      return texts;
    })()""")
    assert any(bad in text and "kappa" in text for text in found), found[:3]
    assert not any("IMAGE" in text for text in found)
    assert browser.said() == []


def test_reachable_by_keyboard(browser, path):
    browser.open(path)
    browser.ask("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.evaluate("document.activeElement.className") == "skip"
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert browser.evaluate("[...document.querySelectorAll('.scroll')].every(box => box.tabIndex === 0)")


def test_empty_report(browser, tmp_path):
    assert browser.open(write_report(ReportInput("Empty"), tmp_path / "empty.html"), width=400) == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_browser_tells_of_what_goes_wrong(browser, path, tmp_path):
    """The control: each of these would show up in the tests above."""
    page = path.read_text(encoding="utf-8")
    wrong = page.replace("<main", "<p style='color: red'>x</p><img src='http://example.org/x.png'><main", 1)
    wrong = wrong.replace("</body>", "<script>1</script></body>")
    (tmp_path / "wrong.html").write_text(wrong, encoding="utf-8")
    said = " ".join(browser.open(tmp_path / "wrong.html", width=400))
    assert "inline style" in said and "inline script" in said and "example.org" in said
