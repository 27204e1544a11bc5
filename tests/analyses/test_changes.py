"""Shares of changed entries: known answers, the chart, and nothing to judge."""

import pytest
import torch

from bequest.analyses.changes import changes
from bequest.evaluation.tally import tally

START = torch.tensor([1.0, 1.0, 1.0, 1.0])
MEMBERS = {
    "P": {"m.w": START},
    "finetune/a": {"m.w": torch.tensor([1.0, 2.0, 2.0, 2.0])},
    "finetune/b": {"m.w": torch.tensor([1.0, 1.0, 2.0, 0.0])},
}


def test_shares_of_four_entries():
    found = changes({"m": tally(MEMBERS, "m.w", start="P")}, list(MEMBERS), start="P")
    for module in ("m", "*"):
        assert found.value("unchanged", a="P", b="finetune/a", module=module) == 0.25
        assert found.value("unchanged", a="P", b="finetune/b", module=module) == 0.5
        assert found.value("changed_in_both", module=module) == 0.5
        assert found.value("sign_agreement", module=module) == 0.5
    assert found.select("sign_agreement", module="m")["n"].to_list() == [2]
    assert found.verdict == ()
    drawn = str(found.chart().to_dict())
    assert "same direction" in drawn
    assert "finetune/b" in drawn


def test_without_a_start_pairs_are_compared_and_no_direction_is_known():
    weights = {name: value for name, value in MEMBERS.items() if name != "P"}
    found = changes({"m": tally(weights, "m.w")}, list(weights))
    assert found.value("unchanged", module="*") == 0.5
    assert set(found.rows["metric"]) == {"unchanged", "nearly_unchanged"}
    assert found.chart().to_dict()


def test_entries_that_never_changed_in_both_have_no_agreement():
    weights = {"P": MEMBERS["P"], "finetune/a": MEMBERS["P"], "finetune/b": MEMBERS["finetune/b"]}
    found = changes({"m": tally(weights, "m.w", start="P")}, list(weights), start="P")
    assert found.select("sign_agreement", module="*")["value"].to_list() == [None]


def test_one_member_is_refused():
    with pytest.raises(ValueError, match="two sets"):
        changes({}, ["a"])
