from dataclasses import replace

import polars as pl
import pytest

from bequest.report.beside import beside
from bequest.report.contents import Advice, Failure, ReportInput
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


def test_what_both_advise_on_a_target_stands_side_by_side(two):
    nothing = pl.DataFrame(
        {"metric": ["x"], "value": [1.0], "a": [None], "x": [None], "module": [None], "split": [None]}
    )

    def advised(*made):
        return tuple(
            Advice(decision, target, "Do it.", "measured", nothing, {}, file) for decision, target, file in made
        )

    first = replace(two[0], advices=advised(("soup", "line", "steps/1/soup.safetensors"), ("soup", "mono", None)))
    second = replace(two[1], advices=advised(("freeze", "mono", None), ("soup", "mono", "steps/2/soup.safetensors")))
    both = beside(first, second, ("old", "new"))
    assert [(one.decision, one.target, one.weights) for one in both.advices] == [
        ("soup", "old: line", "old: steps/1/soup.safetensors"),
        ("soup", "old: mono", None),
        ("soup", "new: mono", "new: steps/2/soup.safetensors"),
        ("freeze", "new: mono", None),
    ]
    page = render(both)
    assert page.index("<h4>old: mono</h4>") < page.index("<h4>new: mono</h4>")
