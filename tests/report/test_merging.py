"""The first screen of a comparison, from rows of what `bequest compare` measures."""

import polars as pl
import pytest

from bequest.analyses.result import table
from bequest.report.contents import Advice, ReportInput
from bequest.report.merging import BASELESS, merging

ONE, OTHER = "model/one", "model/other"
YES = "Average model/one and model/other (uniform); on test the mix has 10.0 % error, 2.0 points less than model/one"
NO = "Do not average these: half-way from model/one to model/other lies a barrier of 40.0 points of error"


def soup(sentence, sure="measured", *, groups=(1, 1), advised="uniform", height=(0.004, 0.0, 0.015)):
    value, low, high = height
    barrier = {"metric": "barrier_error", "value": value, "low": low, "high": high, "n": 1200, "unit": "share"}
    rows = [
        {"a": ONE, "b": OTHER, "split": "validation", **barrier},
        {"metric": "limit", "value": 0.02, "unit": "share"},
        *({"a": name, "metric": "group", "value": group} for name, group in zip((ONE, OTHER), groups, strict=True)),
        {"a": advised, "b": ONE, "split": "test", "metric": "difference", "value": -0.02},
    ]
    rows = [{"module": "*", "domain": None, **row} for row in rows]
    return Advice("soup", "data", f"{sentence}.", sure, table("soup", rows))


def mistakes(one=0.12, other=0.14, chance=0.1):
    rows = [
        {"metric": "chance_accuracy", "value": chance, "unit": "share"},
        {"metric": "error", "a": OTHER, "value": other, "low": other - 0.02, "high": other + 0.02, "unit": "share"},
        {"metric": "error", "a": ONE, "value": one, "low": one - 0.02, "high": one + 0.02, "unit": "share"},
        {"metric": "kappa", "a": ONE, "b": OTHER, "value": 0.6, "low": 0.5, "high": 0.7, "unit": "kappa"},
    ]
    return table("mistakes", [{"module": "*", **row} for row in rows])


def features():
    rows = [{"a": ONE, "b": OTHER, "module": name, "value": value} for name, value in (("stem", 0.99), ("head", 0.4))]
    rows.append({"a": "P", "b": OTHER, "module": "head", "value": 0.1})  # P is not one of the files
    return table("similarity", [{"metric": "cka", **row} for row in rows])


def apart(*values):
    rows = [{"a": ONE, "b": f"model/{place}", "value": value} for place, value in enumerate(values)]
    return table("distance", [{"metric": "l2_relative", "module": "*", **row} for row in rows])


def said(results=None, *advices, source=None):
    report = ReportInput("x", ("data",), results or {}, advices=advices, source=source, summary="2 files")
    return {question: [line for _, line in lines] for question, lines, _ in merging(report) if lines}


def test_one_basin_is_a_yes_with_what_the_mix_gains():
    first, second = said({}, soup(YES))["May they be merged"]
    assert first == (
        "Yes, they lie in one basin: on the line between two of them the error rises by at most 0.4 points (0.0 to "
        "1.5) on 1,200 validation examples, and up to 2.0 points count as none."
    )
    assert second == f"{YES}."
    assert said({}, soup(YES, "inconclusive"))["May they be merged"][1].endswith("That is not sure.")


@pytest.mark.parametrize(
    ("height", "word"), [((0.004, 0.0, 0.03), "Yes, as far as can be seen"), ((0.2, 0.0, 0.479), "That is not settled")]
)
def test_what_few_examples_say_of_a_basin_is_not_said_as_if_it_were_sure(height, word):
    first = said({}, soup(YES, height=height))["May they be merged"][0]
    assert first.startswith(f"{word}: on the line between two of them the error rises by at most ")
    assert "1,200 validation examples" in first


def test_one_basin_in_which_nothing_is_gained():
    keep = soup("Keep model/one alone: no average was better on validation; it has 12.0 % error on test", advised=ONE)
    first, second = said({}, keep)["May they be merged"]
    assert first.startswith("Yes")
    assert second == ("Here it brings nothing: keep model/one alone: no average was better on validation.")


def test_of_models_at_chance_it_cannot_be_told():
    guess = "not even the best is clearly better than guessing (50.0 % error), so this says little"
    (line,) = said({}, soup(f"Keep model/one alone; {guess}", "inconclusive"))["May they be merged"]
    assert line == f"That cannot be told here: {guess}"


def test_a_barrier_is_a_no():
    assert said({}, soup(NO, "refused", groups=(1, 2), height=(0.4, 0.3, 0.5)))["May they be merged"] == [f"No. {NO}."]
    guess = "other is not clearly better than guessing (50.0 % error)"
    lines = said({}, soup(f"{NO}; {guess}", "refused", groups=(1, 2)))["May they be merged"]
    assert lines == [f"No. {NO}.", f"Besides, {guess}"]


def test_several_basins_are_named():
    three = soup(YES)
    extra = pl.DataFrame({"analysis": ["soup"], "a": ["model/third"], "metric": ["group"], "value": [2.0]})
    rows = pl.concat([three.rows, extra], how="diagonal_relaxed")
    first, _ = said({}, Advice("soup", "data", three.sentence, "measured", rows))["May they be merged"]
    assert first == "Not all: they lie in 2 basins: one and other | third."


def test_the_line_that_may_be_the_highest_decides():
    sure, open_ = soup(YES, height=(0.015, 0.01, 0.019)), soup(YES, height=(0.01, 0.0, 0.031))
    rows = pl.concat([sure.rows, open_.rows.filter(metric="barrier_error")])
    first = said({}, Advice("soup", "data", f"{YES}.", "measured", rows))["May they be merged"][0]
    assert first.startswith("Yes, as far as can be seen") and "(0.0 to 3.1)" in first


def test_several_targets_are_kept_apart():
    def on(target, rows):
        return rows.with_columns(target=pl.lit(target))

    results = {"mistakes": pl.concat([on("one", mistakes()), on("two", mistakes(0.3, 0.4))])}
    report = ReportInput(
        "x", ("one", "two"), results, advices=(Advice("soup", "two", f"{YES}.", "measured", soup(YES).rows),)
    )
    found = {question: lines for question, lines, _ in merging(report)}
    assert {target for target, _ in found["May they be merged"]} == {"two"}
    assert [(target, line[:22]) for target, line in found["How good they are"] if "Test" in line] == [
        ("one", "Test error: one 12.0 %"),
        ("two", "Test error: one 30.0 %"),
    ]


def test_several_labels_are_judged_by_auroc_where_guessing_is_known():
    few = mistakes(0.054, 0.06, chance=0.5)  # nearly all labels are absent: to say so is right for 95 %
    rows = [{"metric": "auroc_error", "a": a, "value": 0.51, "unit": "1 - AUROC"} for a in (ONE, OTHER)]
    found = said({"mistakes": pl.concat([few, table("mistakes", [{"module": "*", **row} for row in rows])])})
    assert found["How good they are"][0] == "Test error, 1 - mean AUROC: one 0.510, other 0.510."
    assert found["How good they are"][1].startswith("No better than guessing, which has 50.0 %: one and other.")


def test_errors_stand_beside_guessing_the_best_first():
    assert said({"mistakes": mistakes()})["How good they are"] == [
        "Test error: one 12.0 % (10.0 to 14.0), other 14.0 % (12.0 to 16.0).",
        "Guessing has 90.0 %.",
    ]


@pytest.mark.parametrize(("one", "poor"), [(0.49, "one and other"), (0.3, "other")])
def test_models_at_chance_are_named_with_what_to_look_at(one, poor):
    _, line = said({"mistakes": mistakes(one, 0.5, chance=0.5)})["How good they are"]
    assert line.startswith(f"No better than guessing, which has 50.0 %: {poor}. ")
    assert "in its order?" in line


def test_how_alike_they_are_leaves_p_out():
    found = said({"mistakes": mistakes(), "similarity": features(), "distance": apart(0.25)})["How alike they are"]
    assert found[0].startswith("Mistakes: kappa 0.60 (0.50 to 0.70) ")
    assert found[1:] == [
        "Features: most alike in stem (CKA 0.99), least in head (0.40).",
        "Weights: 25 % of their norm apart.",
    ]
    assert said({"distance": apart(0.25, 0.125)})["How alike they are"] == [
        "Weights: 12.5 to 25 % of their norm apart."
    ]


def test_a_base_that_is_lacking_is_said():
    assert said({})["What this cannot say"] == [BASELESS]
    assert said({}, source="the weights base.safetensors") == {}
