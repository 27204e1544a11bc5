"""Can a reader work with the page: filter, click through, save, print, by mouse and by keyboard alone?"""

import base64
import csv
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bequest.report.contents import Predicted
from bequest.report.page import write_report

pytestmark = pytest.mark.browser
AXE = os.environ.get("BEQUEST_AXE", "")  # axe.min.js of the package axe-core of npm


@pytest.fixture(scope="module")
def report(report_maker):
    return report_maker()


@pytest.fixture(scope="module")
def path(report, tmp_path_factory):
    return write_report(report, tmp_path_factory.mktemp("used") / "report.html", pdfs=True)


def wait(browser, condition):
    """Until a condition of the page holds; twenty seconds at most."""
    browser.evaluate(
        "new Promise((done, failed) => { let left = 800; const look = () => "
        f"({condition}) ? done(1) : left-- ? setTimeout(look, 25) : failed(new Error({condition!r})); look(); }})"
    )


def press(browser, *keys):
    codes = {"Enter": (13, "\r"), "Tab": (9, None), "ArrowRight": (39, None), "ArrowLeft": (37, None)}
    for key in keys:
        code, text = codes[key]
        more = {"text": text} if text else {}
        browser.ask("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **more)
        browser.ask("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)


def counts(predicted, a, b):
    """How many examples both, only a, only b and none get right; the twin of what the page counts."""
    right = {name: answers == predicted.truth for name, answers in predicted.answers.items()}
    one, other = ((sum(right[name] * 1 for name in side) * 2 > len(side)) for side in (a, b))
    return [int(cell.sum()) for cell in (one & other, one & ~other, other & ~one, ~one & ~other)]


def shown(browser):
    return [int(text) for text in browser.evaluate("[...document.querySelectorAll('.bar b')].map(b => b.textContent)")]


def set_part(browser, part, value):
    browser.evaluate(
        f"(() => {{ const box = document.querySelector('[data-part=\"{part}\"]'); box.value = {value!r}; "
        "box.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )


def test_counts_are_those_of_the_arms_and_of_any_pair(browser, path, report):
    browser.open(path)
    first, second = report.predictions
    arms = [[f"{arm}/{index}" for index in range(3)] for arm in ("finetune", "randinit")]
    assert shown(browser) == counts(first, *arms)
    set_part(browser, "target", "1")
    assert shown(browser) == counts(second, *arms)
    set_part(browser, "a", "randinit/0")
    set_part(browser, "b", "randinit/0b")
    assert shown(browser) == counts(second, ["randinit/0"], ["randinit/0b"])
    set_part(browser, "class", "3")
    of_class = second.truth == 3
    kept = {name: said[of_class] for name, said in second.answers.items()}
    assert shown(browser) == counts(
        replace(second, truth=second.truth[of_class], answers=kept), ["randinit/0"], ["randinit/0b"]
    )
    assert browser.said() == []


def test_a_cell_by_class_shows_its_images_with_what_each_run_said(browser, path, report):
    browser.open(path)
    cell = "[...document.querySelectorAll('[data-cell^=\"a \"]')].sort((x, y) => y.textContent - x.textContent)[0]"
    size, about = browser.evaluate(f"(cell => [+cell.textContent, +cell.dataset.cell.split(' ')[1]])({cell})")
    browser.evaluate(f"{cell}.click()")
    cards = browser.evaluate(
        "[...document.querySelectorAll('.cards > li')].map(card => [card.querySelector('.truth').textContent, "
        "card.querySelectorAll('img[src^=\"data:image/webp\"]').length, card.querySelectorAll('li').length])"
    )
    first = report.predictions[0]
    name = first.classes[about]
    assert size == len(cards) > 0 and all(card == [name, 1, 6] for card in cards)
    assert browser.evaluate("document.querySelector('[data-part=\"told\"]').textContent").startswith(
        f"{size} test image{'s' if size > 1 else ''} of {name}: only finetune right."
    )
    line = browser.evaluate("document.querySelector('.cards li li').textContent")
    index = int(browser.evaluate("document.querySelector('.cards img').alt").split()[2].strip(",")) - 1
    said = first.answers["finetune/0"][index]
    sure = round(100 * float(first.confidence["finetune/0"][index]))
    word = "right" if said == first.truth[index] else "wrong"
    assert line.split(" ", 1)[1] == f"finetune/0: {first.classes[said]} {word}, {sure} %"
    assert browser.evaluate("document.querySelector('.cards details summary').textContent") == "1 more run"


def test_more_images_are_shown_when_asked_for(browser, path):
    browser.open(path)
    browser.evaluate("document.querySelector('.bar.both').click()")
    amount = "document.querySelectorAll('.cards > li').length"
    assert browser.evaluate(amount) == 48
    browser.evaluate("document.querySelector('[data-part=\"more\"]').click()")
    assert 48 < browser.evaluate(amount) <= 96


def test_a_dot_of_the_chart_leads_to_the_images_of_its_pair_by_mouse(browser, path):
    browser.open(path)
    browser.evaluate("document.querySelector('#mistakes').closest('details').open = true")
    browser.settle()
    # both, for the one above moves the other when it is drawn
    wait(
        browser,
        "document.querySelector('#chart-mistakes-0 .pick') && document.querySelector('#chart-mistakes-1 .pick')",
    )
    browser.settle()
    at = browser.evaluate("""(async () => {
      const chart = document.querySelector('#chart-mistakes-1');
      for (let left = 40; left; left--) {  // what is drawn above may still move it
        chart.scrollIntoView({block: 'center', behavior: 'instant'});
        await new Promise((done) => setTimeout(done, 150));
        for (const dot of chart.querySelectorAll('.pick')) {
          const box = dot.getBoundingClientRect();
          const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
          await new Promise(requestAnimationFrame);
          const top = document.elementFromPoint(x, y);
          if (top && top.classList.contains('pick')) return [x, y, top.__data__.datum.a, top.__data__.datum.b];
        }
      }
      return null;
    })()""")
    assert at, "no dot can be hit"
    for kind in ("mousePressed", "mouseReleased"):
        browser.ask("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)
    chosen = "['target', 'a', 'b'].map(part => document.querySelector(`[data-part=\"${part}\"]`).value)"
    found = browser.evaluate(chosen)
    assert found[0] == "1" and {"finetune", "randinit"} >= {name.split("/")[0] for name in found[1:]}
    assert browser.evaluate("document.activeElement.dataset.part") == "told"
    assert at[2:] == found[1:] or browser.evaluate(  # another dot may lie over it
        "[...document.querySelectorAll('#chart-mistakes-1 .pick')].some(({__data__: {datum}}) => "
        f"datum.a === {found[1]!r} && datum.b === {found[2]!r})"
    )


def test_a_dot_of_the_chart_leads_to_the_images_of_its_pair_by_keyboard(browser, path, report):
    browser.open(path)
    browser.evaluate("document.querySelector('#mistakes').closest('summary').focus()")
    press(browser, "Enter")
    browser.settle()
    wait(
        browser,
        "document.querySelector('#chart-mistakes-0 .pick') && document.querySelector('#chart-mistakes-1 .pick')",
    )
    press(browser, "Tab")
    assert "show their images" in browser.evaluate("document.activeElement.getAttribute('aria-label')")
    press(browser, "ArrowRight", "ArrowRight", "ArrowLeft")
    datum = browser.evaluate("(({a, b}) => [a, b])(document.activeElement.__data__.datum)")
    press(browser, "Enter")
    assert browser.evaluate("['a', 'b'].map(part => document.querySelector(`[data-part=\"${part}\"]`).value)") == datum
    assert shown(browser) == counts(report.predictions[0], datum[:1], datum[1:])
    assert browser.evaluate("document.activeElement.dataset.part") == "told"


def test_a_chart_that_was_drawn_ahead_is_not_drawn_again_when_its_section_opens(browser, path):
    browser.open(path)
    browser.evaluate("window.before = document.querySelector('#chart-mistakes-0 svg.marks')")
    assert browser.evaluate("before !== null && !document.querySelector('#mistakes').closest('details').open")
    browser.evaluate("document.querySelector('#mistakes').closest('details').open = true")
    browser.evaluate("new Promise(done => setTimeout(done, 300))")
    browser.settle()
    assert browser.evaluate("before === document.querySelector('#chart-mistakes-0 svg.marks')")  # focus stays in it


def test_every_control_is_reached_by_tab_and_shows_it(browser, path):
    browser.open(path)
    browser.evaluate("document.querySelector('#examples').closest('summary').focus()")
    seen = []
    for _ in range(12):
        press(browser, "Tab")
        seen.append(browser.evaluate("(e => e.dataset.part || e.dataset.outcome || e.tagName)(document.activeElement)"))
        assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert seen[:9] == ["target", "a", "b", "class", "both", "a", "b", "none", "SUMMARY"]


def test_texts_stand_in_place_of_pictures_as_text(browser, report, tmp_path, nasty):
    given = report.predictions[0]
    texts = tuple(f"{nasty} {index}" for index in range(len(given.truth)))
    said = replace(given, pixels=None, texts=texts, rows=np.arange(len(given.truth)))
    assert browser.open(write_report(replace(report, predictions=(said,)), tmp_path / "texts.html")) == []
    assert browser.evaluate("document.querySelector('.cards blockquote').textContent").startswith(nasty)
    assert browser.evaluate("document.querySelectorAll('.cards script, .cards img').length") == 0


def test_labels_of_an_image_are_said_as_there_or_not(browser, report, tmp_path):
    said = {"finetune/0": np.array([1, 0, 0]), "randinit/0": np.array([0, 0, 1])}
    labels, truth = np.array([0, 1, 1]), np.array([1, 1, 0])
    sure = dict.fromkeys(said, np.array([0.9, 0.8, 0.7]))
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    given = Predicted("line", ("red", "blue"), truth, said, sure, np.array([0, 0, 1]), pixels, labels=labels)
    browser.open(write_report(replace(report, predictions=(given,)), tmp_path / "labels.html"))
    assert shown(browser) == [0, 2, 0, 1]
    lines = browser.evaluate(
        "[...document.querySelectorAll('.cards li')].map(one => one.innerText.replaceAll('\\n', '|'))"
    )
    assert "✗ randinit/0: no red wrong, 90 %" in lines and "✓ finetune/0: no blue right, 70 %" in lines


def test_sections_unfold_by_links_and_all_at_once(browser, path):
    browser.open(path)
    closed = "document.querySelectorAll('details.fold:not([open])').length"
    before = browser.evaluate(closed)
    assert before >= 4
    browser.evaluate("document.querySelector('.verdicts a[href=\"#learning_curves\"]').click()")
    assert browser.evaluate("document.querySelector('#learning_curves').closest('details').open")
    browser.evaluate("document.querySelector('[data-all=\"open\"]').click()")
    wait(browser, f"{closed} === 0")
    browser.settle()
    assert browser.evaluate("document.querySelectorAll('.chart svg.marks').length") == 6
    browser.evaluate("document.querySelector('[data-all=\"close\"]').click()")
    assert browser.evaluate(closed) == browser.evaluate("document.querySelectorAll('details.fold').length")


def test_print_shows_every_section(browser, path):
    browser.open(path)
    browser.ask("Emulation.setEmulatedMedia", media="print")
    hidden = "[...document.querySelectorAll('.fold figure')].filter(f => !f.checkVisibility())"
    assert browser.evaluate(f"{hidden}.length") == 0
    assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    browser.ask("Emulation.setEmulatedMedia", media="screen")
    assert browser.evaluate(f"{hidden}.length") > 0


def printed(browser):
    """The number of pages of the PDF."""
    made = base64.b64decode(browser.ask("Page.printToPDF", printBackground=True)["data"])
    assert made.startswith(b"%PDF-")
    return len(re.findall(rb"/Type\s*/Page\b", made))


def test_a_pdf_has_all_sections_and_nothing_is_cut_at_its_edge(browser, path):
    browser.open(path, scheme="dark")
    folded = printed(browser)
    wait(browser, "document.querySelectorAll('details.fold:not([open])').length > 0")  # as it was before
    browser.settle()
    browser.evaluate("document.querySelectorAll('details:not(.behind)').forEach(one => { one.open = true; })")
    browser.settle()
    assert printed(browser) == folded > 3
    browser.ask("Emulation.setEmulatedMedia", media="print")
    # the inner width of a sheet of paper, without a change that would have the charts drawn again
    browser.evaluate("document.documentElement.style.width = '718px'")
    cut = "[...document.querySelectorAll('.chart svg.marks, main table, pre')].filter(one => one.checkVisibility())"
    cut += ".filter(one => one.getBoundingClientRect().right > 719 || one.scrollWidth > one.clientWidth + 1)"
    found = browser.evaluate(f"{cut}.map(one => (one.closest('.chart') || one).outerHTML.slice(0, 90))")
    shown = browser.evaluate("document.querySelectorAll('.chart svg.marks').length")
    grid = "document.querySelector('.chart .role-axis-grid line')"
    line = browser.evaluate(f"getComputedStyle({grid}).stroke")
    browser.ask("Emulation.setEmulatedMedia", media="screen")
    assert found == []
    assert shown == 6
    assert line == "rgb(221, 221, 221)"  # not the dark one of the screen


@pytest.mark.parametrize("kind", ["svg", "pdf", "csv"])
def test_every_chart_can_be_saved(browser, path, report, tmp_path, kind):
    browser.open(path, scheme="dark")
    browser.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.evaluate(f'document.querySelector(\'[data-chart="chart-mistakes-1"] [data-save="{kind}"]\').click()')
    made = tmp_path / f"mistakes-mono.{kind}"
    for _ in range(800):
        if made.is_file():
            break
        browser.evaluate("new Promise(done => setTimeout(done, 25))")
    content = made.read_bytes()
    assert browser.said() == []
    if kind == "pdf":
        assert content.startswith(b"%PDF-")
    elif kind == "svg":
        text = content.decode()
        assert text.startswith("<svg") and "uncommon mistakes" in text and "#e6e8ea" not in text and "#1f2328" in text
    else:
        rows = list(csv.DictReader(content.decode().splitlines()))
        assert len(rows) == report.results["mistakes"].filter(target="mono").height
        assert set(report.results["mistakes"]["metric"]) == {row["metric"] for row in rows}


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 400)])
def test_axe_finds_nothing_serious(browser, path, scheme, width):
    if not Path(AXE).is_file():
        pytest.skip("no axe-core here: npm install axe-core, then BEQUEST_AXE=node_modules/axe-core/axe.min.js")
    browser.open(path, width=width, scheme=scheme)
    browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    browser.settle()
    browser.evaluate(Path(AXE).read_text(encoding="utf-8") + "; 1")
    found = browser.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(all => all.violations.filter(one => "
        "one.impact !== 'minor').map(one => [one.id, one.help, one.nodes.slice(0, 3).map("
        "node => node.html.slice(0, 150) + ' ' + node.failureSummary.slice(0, 200))]))"
    )
    assert found == []
