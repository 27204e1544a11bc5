from dataclasses import replace

import polars as pl

from bequest.analyses.result import table
from bequest.report.answer import answers
from bequest.report.contents import Advice, Failure, ReportInput
from bequest.report.verdicts import slots


def curves(value, low, high, *, n=3, controls=True):
    rows = [{"a": "finetune", "b": "randinit", "value": value, "low": low, "high": high}]
    if controls:
        rows += [{"a": "meanvar", "b": "randinit", "value": -0.02}, {"a": "finetune", "b": "meanvar", "value": -0.13}]
    rows = [{"metric": "error_difference", "split": "test", "module": "*", "n": n, **row} for row in rows]
    return table("learning_curves", rows).with_columns(target=pl.lit("line"))


def critical(rises):
    rows = [{"a": "finetune/0", "module": "*", "metric": "final_error", "value": 0.1, "head": None, "depth": None}]
    for depth, (module, rise) in enumerate(rises.items()):
        row = {"a": "finetune/0", "module": module, "depth": depth, "head": module == "head"}
        rows.append({**row, "metric": "rewind_error", "value": 0.1 + rise})
    rows = [{"split": "train", "path": "direct", "end": "last", **row} for row in rows]
    return table("criticality", rows).with_columns(target=pl.lit("line"))


def said(results, **more):
    report = ReportInput("x", ("line",), results, **more)
    return {one.question: [line for _, line in one.lines] for one in answers(report, slots({}))}


def test_the_gain_and_what_the_scale_of_the_weights_brings_of_it():
    found = said({"learning_curves": curves(-0.15, -0.2, -0.1)})
    assert found["What was transferred"] == [
        "fine-tuning ends 15.0 points of test error below random init (\u221220.0 to \u221210.0); the scale of P's "
        "weights alone brings \u22122.0, features on top of it \u221213.0 points."
    ]


def test_an_interval_over_zero_and_a_single_pair_are_said():
    (line,) = said({"learning_curves": curves(0.01, -0.02, 0.04, controls=False)})["What was transferred"]
    assert line == (
        "no difference that can be told: fine-tuning ends 1.0 points of test error above random init "
        "(\u22122.0 to +4.0)."
    )
    (line,) = said({"learning_curves": curves(-0.1, None, None, n=1, controls=False)})["What was transferred"]
    assert "one pair of replicas, so no interval" in line


def test_where_leaves_out_the_head_and_says_when_nothing_had_to_move():
    (line,) = said({"criticality": critical({"stem": 0.01, "body": 0.25, "head": 0.8})})["Where it lives"]
    assert line == ("put back to P, body costs fine-tuned models most (+25.0 points of error) and stem least (+1.0).")
    (line,) = said({"criticality": critical({"stem": 0.001, "body": 0.005, "head": 0.8})})["Where it lives"]
    assert line == "no module had to move: put back to P, none costs more than +0.5 points."


def test_advice_failures_and_the_count_of_claims():
    results = {"learning_curves": curves(-0.15, -0.2, -0.1)}
    report = ReportInput("x", ("line",), results, failures=(Failure("a", "b"),))
    sentence = "Freeze stem; it takes 50 % of the seconds."
    advised = tuple(Advice("freeze", "line", sentence, sure, pl.DataFrame()) for sure in ("measured", "inconclusive"))
    object.__setattr__(report, "advices", advised)
    found = {one.question: [line for _, line in one.lines] for one in answers(report, slots({}))}
    assert found["What to do"] == ["Freeze stem.", "Freeze stem (inconclusive)."]
    sure = found["How sure that is"]
    assert sure[0].startswith("Of the 11 claims") and sure[-1] == "1 step failed; see below."


def test_a_report_without_claims_or_results_has_no_answer():
    assert said({}) == {}
    rows = {"learning_curves": curves(-0.15, -0.2, -0.1)}
    assert answers(ReportInput("x", (), rows, summary="weights alone"), slots({})) == []


def test_targets_are_named_where_there_are_several(report_maker):
    report = report_maker()
    first = answers(report, slots(report.results))[0]
    assert [target for target, _ in first.lines] == ["line", "mono"]
    many = report_maker(targets=tuple("abcdef"))
    assert answers(many, slots(many.results))[0].lines[4:] == (("", "2 more below."),)
    alone = answers(replace(report, targets=("line",)), slots(report.results))[0]
    assert [target for target, _ in alone.lines] == [""]
