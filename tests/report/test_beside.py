from dataclasses import replace

import polars as pl
import pytest

from bequest.report.beside import beside
from bequest.report.contents import Failure, ReportInput
from bequest.report.headline import headlines
from bequest.report.page import render
from bequest.report.verdicts import slots


@pytest.fixture(scope="module")
def two(report_maker):
    first = report_maker(targets=("line", "mono"))
    return first, replace(report_maker(targets=("mono", "ink")), failures=(Failure("a step", "why"),))


def test_targets_of_one_name_stand_together_and_keep_their_numbers(two):
    both = beside(*two, ("old", "new"))
    assert both.targets == ("old: line", "old: mono", "new: mono", "new: ink")
    alone = {line.target: line for line in headlines(two[0].results, two[0].targets)}
    joint = {line.target: line for line in headlines(both.results, both.targets)}
    assert list(joint) == list(both.targets)
    assert joint["old: mono"] == replace(alone["mono"], target="old: mono")
    claims = {slot.claim: slot for slot in slots(both.results)}
    single = {slot.claim: slot for slot in slots(two[1].results)}
    assert claims["C1"].parts[2:] == tuple(
        replace(part, target=f"new: {part.target}") for part in single["C1"].parts
    )  # fmt: skip
    assert both.failures[0].step == "new: a step" and both.runs is not None
    assert both.runs.height == sum(one.runs.height for one in two if one.runs is not None)


def test_the_page_of_both_says_whose_target_it_is(two):
    page = render(beside(*two, ("old", "new")))
    assert "old beside new" in page and "<h2>new: ink</h2>" in page


def test_studies_of_one_name_are_numbered_and_one_without_targets_is_refused(two):
    assert beside(*two, ("x", "x")).targets[0] == "x (1): line"
    with pytest.raises(ValueError, match="weights has no targets"):
        beside(two[0], ReportInput("x", results={"distance": pl.DataFrame()}), ("x", "weights"))
