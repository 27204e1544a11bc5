import polars as pl

from bequest.analyses.result import table
from bequest.analyses.verdict import CLAIMS, STATUSES
from bequest.report.contents import Failure
from bequest.report.verdicts import JUDGES, SHAPES, slots
from bequest.study.options import Analyses


def test_every_claim_has_a_judge_and_every_status_a_drawing():
    assert set(JUDGES) == set(CLAIMS)
    assert set(SHAPES) == set(STATUSES)


def test_without_results_each_slot_says_why_it_is_empty():
    found = slots({})
    assert [slot.claim for slot in found] == list(CLAIMS)
    for slot in found:
        asked = set(JUDGES[slot.claim]) & Analyses.model_fields.keys()
        assert slot.word == ("not measured" if asked else "not in studies yet")
        assert slot.parts == () and slot.note
    assert found[0].word == "not measured"


def test_verdicts_are_found_and_joined(report_maker):
    found = {slot.claim: slot for slot in slots(report_maker().results)}
    assert found["C1"].word == "holds" and found["C1"].analysis == "learning_curves"
    assert [part.target for part in found["C1"].parts] == ["line", "mono"]
    assert found["C4"].word in STATUSES
    one = {slot.claim: slot for slot in slots(report_maker(targets=("line",)).results)}
    assert [part.target for part in one["C1"].parts] == ["line"]


def test_a_failed_step_is_said_in_the_slot():
    found = {slot.claim: slot for slot in slots({}, [Failure("line/mistakes", "broken")])}
    assert (found["C4"].word, found["C4"].shape) == ("failed", "failed")
    assert found["C1"].word == "not measured"


def test_rows_that_cannot_be_judged_do_not_cost_the_rest(report_maker):
    results = {**report_maker().results, "mistakes": pl.DataFrame({"metric": ["kappa"]})}
    found = {slot.claim: slot for slot in slots(results)}
    assert found["C4"].word == "not judged" and "could not be judged" in found["C4"].note
    assert found["C1"].word == "holds"


def test_results_without_arms_are_not_judged():
    rows = table("mistakes", [{"metric": "error", "a": "mine", "value": 0.5, "n": 3}])
    found = {slot.claim: slot for slot in slots({"mistakes": rows})}
    assert found["C4"].word == "not judged" and "lack the arms" in found["C4"].note
