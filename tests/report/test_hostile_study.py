"""A study of hostile names, from a list of images to a page in a browser: text stays text, and numbers stay numbers."""

import csv
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bequest.cli import app
from bequest.report.contents import Predicted, ReportInput
from bequest.report.page import write_report

pytestmark = pytest.mark.browser

CLASSES = [
    "<script>document.title='ran'</script>",
    "<img src=x onerror=\"document.title='ran'\">",
    "\u202egnp.exe 42",
    "two\nlines {{7*7}} ${7*7} {%x%}",
    "n" * 4_000,
    "../../etc/passwd",
    "\x1b[31mred\x07",
    "`</code><b>`",
    "javascript:document.title='ran'",
]
STUDY = """\
name: hostile
title: "</title><script>document.title='ran'</script>"
model: fixup_resnet8
size: 16
source: {data: ['csv:list.csv'], recipe: {epochs: 1, batch_size: 64}}
targets: {t: {data: 'csv:list.csv'}}
arms: {replicas: 1, recipe: {epochs: 1, batch_size: 16}}
analyses: {learning_curves: , mistakes: }
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("<b>'; rm -rf $(pwd) &\u202e")
    stream = np.random.default_rng(0)
    with (folder / "list.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for number in range(6 * len(CLASSES)):
            name = f"<i>{number}\u202e.png"
            Image.fromarray(stream.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / name)
            rows.writerow([name, CLASSES[number % len(CLASSES)]])
    (folder / "s.yaml").write_text(STUDY)
    ran = CliRunner().invoke(app, ["run", str(folder / "s.yaml"), "--folder", str(folder / "out")])
    assert ran.exit_code == 0, (ran.output, ran.exception)
    assert "\x1b" not in ran.output and "\u202e" not in ran.output
    for command in ("status", "show"):
        looked = CliRunner().invoke(app, [command, str(folder / "out")])
        assert looked.exit_code == 0 and "\x1b" not in looked.output, looked.output
    return folder / "out" / "report.html"


def test_nothing_of_the_data_runs_loads_or_breaks_out_of_its_place(browser, page):
    assert browser.open(page, width=400) == []
    assert browser.fetched() == [page.resolve().as_uri()]
    assert browser.evaluate("document.title") == "</title><script>document.title='ran'</script>"
    ours = files("bequest.report").joinpath("page.html.j2").read_text("utf-8").count("<script")
    assert browser.evaluate("document.scripts.length") <= ours
    assert browser.evaluate("document.querySelectorAll('img:not([src^=\"data:\"])').length") == 0
    assert browser.evaluate("document.querySelectorAll('a:not([href^=\"#\"]), iframe').length") == 0
    assert browser.evaluate("document.documentElement.scrollWidth") <= 400
    text = browser.evaluate("document.body.innerText")
    assert "\u202e" not in text and "\\u202egnp.exe 42" in text and "{{7*7}}" in text and "../../etc/passwd" in text
    command = browser.evaluate("[...document.querySelectorAll('pre')].map(e => e.textContent).join('')")
    assert "bequest run '" in command  # what is copied into a shell is one word


def test_marks_of_direction_turn_no_number(browser, tmp_path):
    classes = ("\u202ecat", "dog", "חתול")
    said = {"finetune/0": np.array([1, 0, 2]), "randinit/0": np.array([0, 0, 1])}
    sure = {name: np.full(3, 0.83) for name in said}
    shown = Predicted("t", classes, np.arange(3), said, sure, np.arange(3), np.zeros((3, 8, 8, 3), np.uint8))
    path = write_report(ReportInput("r", targets=("t",), predictions=(shown,)), tmp_path / "r.html")
    assert "\u202e" not in path.read_text(encoding="utf-8")  # nothing is left that could turn anything
    assert browser.open(path) == []
    text = browser.evaluate("document.body.textContent")
    assert "\\u202ecat" in text and "חתול" in text and "83" in text
