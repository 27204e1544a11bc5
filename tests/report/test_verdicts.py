from itertools import combinations

import polars as pl
import pytest

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
        assert (slot.word, slot.parts) == ("not measured", ()) and "did not ask for" in slot.note
        assert set(JUDGES[slot.claim]) <= Analyses.model_fields.keys()


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


def barriers(tuned, targets=("line",)):
    """Rows of barriers between fine-tuned models of this height, and of 0.4 between random inits."""
    rows = []
    for arm, height in (("finetune", tuned), ("randinit", 0.4)):
        for index, (a, b) in enumerate(combinations([f"{arm}/{k}" for k in range(3)], 2)):
            for split in ("train", "test"):
                row = {"a": a, "b": b, "split": split, "n": 100}
                rows.append({**row, "metric": "barrier_error", "value": height + 0.003 * index})
                rows += [{**row, "metric": "error", "x": t, "value": 0.1} for t in (0.0, 1.0)]
    rows += [{"metric": "chance_accuracy", "split": split, "value": 0.1} for split in ("train", "test")]
    return pl.concat([table("barrier", rows).with_columns(target=pl.lit(target)) for target in targets])


def basins(rise, targets=("line",)):
    """Rows of the simplex of each arm, with this rise inside that of fine-tuned models."""
    rows = []
    for arm, height in (("finetune", rise), ("randinit", 0.4)):
        base = {"a": " + ".join(f"{arm}/{k}" for k in range(3)), "members_n": 3, "n": 32, "note": None}
        for split in ("train", "test"):
            row = {**base, "split": split, "of": "error"}
            rows.append({**row, "metric": "rise", "value": height, "low": height - 0.003, "high": height + 0.003})
            rows.append({**row, "metric": "eps", "value": 0.01, "low": 0.009, "high": 0.011})
            rows.append({**row, "metric": "members", "value": 0.1})
            loss = {**row, "of": "loss"}
            rows.append({**loss, "metric": "eps", "value": 0.1})
            rows += [{**loss, "metric": f"condition_{k}", "value": 0.3} for k in (2, 3)]
        rows.append({**base, "of": "loss", "metric": "delta", "value": 5.0})
    return pl.concat([table("basin", rows).with_columns(target=pl.lit(target)) for target in targets])


@pytest.mark.parametrize(
    ("tuned", "rise", "word"),
    [
        (0.0, 0.0, "holds"),
        (0.0, 0.1, "holds under conditions"),  # the pairs have no barrier, and their mixes have a wall
        (0.3, 0.0, "does not hold"),  # the rule is that of the barrier
        (0.3, 0.1, "does not hold"),
    ],
)
def test_the_barrier_has_the_word_on_c7_and_the_basin_is_heard_beside_it(tuned, rise, word):
    results = {"basin": basins(rise), "barrier": barriers(tuned)}
    found = {slot.claim: slot for slot in slots(results)}["C7"]
    assert (found.word, found.analysis) == (word, "barrier")
    (part,) = found.parts
    assert "barriers in points of error" in part.sentence
    assert "As a basin of all replicas it" in part.sentence and "inside their simplex" in part.sentence
    alone = {slot.claim: slot for slot in slots({"barrier": results["barrier"]})}["C7"].parts[0]
    assert part.sentence.startswith(alone.sentence) and (part.n, part.low) == (alone.n, alone.low)


def test_a_basin_without_barriers_holds_under_conditions_at_most():
    found = {slot.claim: slot for slot in slots({"basin": basins(0.0)})}["C7"]
    assert (found.word, found.analysis) == ("holds under conditions", "basin")
    assert "were not measured" in found.parts[0].sentence
    against = {slot.claim: slot for slot in slots({"basin": basins(0.1)})}["C7"]
    assert against.word == "does not hold"


def test_both_judges_of_c7_are_joined_target_by_target():
    targets = ("line", "mono")
    results = {
        "basin": pl.concat([basins(0.0, targets[:1]), basins(0.1, targets[1:])]),
        "barrier": barriers(0.0, targets),
    }
    found = {slot.claim: slot for slot in slots(results)}["C7"]
    assert [(part.target, part.status) for part in found.parts] == [
        ("line", "holds"),
        ("mono", "holds under conditions"),
    ]
    assert found.word == "holds under conditions"


def test_what_matching_leaves_is_added_to_c8():
    rows = [
        {"a": a, "b": b, "split": "test", "treatment": treatment, "metric": "barrier_error", "value": height}
        for a, b in combinations([f"randinit/{k}" for k in range(3)], 2)
        for treatment, height in (("raw", 0.4), ("matched", 0.1))
    ]
    matching = table("matching", rows).with_columns(target=pl.lit("line"))
    plain = {slot.claim: slot for slot in slots({"barrier": barriers(0.0)})}
    found = {slot.claim: slot for slot in slots({"barrier": barriers(0.0), "matching": matching})}
    assert found["C8"].word == plain["C8"].word
    sentence = found["C8"].parts[0].sentence
    assert sentence.startswith(plain["C8"].parts[0].sentence)
    assert sentence.endswith(".") and "With channels matched, barriers go from 40.0" in sentence
    assert found["C7"] == plain["C7"]
