"""Everything that a decision tried stands in one table, with units and intervals."""

from bequest.analyses.result import table
from bequest.report.candidates import candidates
from bequest.report.wording import DASH, MINUS

SOUP = [
    {"a": "one", "metric": "error", "split": "validation", "value": 0.2, "low": 0.1, "high": 0.3, "unit": "share"},
    {"a": "one", "metric": "error", "split": "test", "value": 0.25, "unit": "share"},
    {"a": "one", "metric": "error", "split": "test", "value": 0.5, "domain": "sketch", "unit": "share"},
    {"a": "wise-ft", "metric": "error", "split": "validation", "x": 0.0, "value": 0.9, "unit": "share"},
    {"a": "wise-ft", "metric": "error", "split": "validation", "x": 0.5, "value": 0.1, "unit": "share"},
    {"a": "wise-ft", "metric": "error", "split": "test", "x": 0.5, "value": 0.15, "unit": "share"},
    {"a": "wise-ft", "metric": "alpha", "value": 0.5},
    {"a": "wise-ft", "b": "one", "metric": "difference", "split": "test", "value": -0.1, "low": -0.2, "high": 0.05,
     "unit": "share"},
    {"a": "one", "b": "two", "metric": "error_on_line", "x": 0.5, "value": 0.3},
    {"a": "one", "metric": "inferences", "value": 1.0},
]  # fmt: skip


def cells(decision, rows):
    made = candidates(decision, table(decision, [{"module": "*", "domain": None, **row} for row in rows]), "tried")
    plain = [[cell.replace(MINUS, "-").replace(DASH, "") for cell in line] for line in made.rows]
    return {line[0]: dict(zip(made.headers[1:], line[1:], strict=True)) for line in plain}


def test_candidates_of_a_soup_stand_side_by_side_at_the_chosen_alpha():
    gap = "test error minus that of one (points)"
    assert cells("soup", SOUP) == {
        "one": {
            "validation error (%)": "20.0 (10.0 to 30.0)", "test error (%)": "25.0", "sketch error (%)": "50.0",
            gap: "", "networks an answer": "1",
        },
        "wise-ft": {
            "validation error (%)": "10.0", "test error (%)": "15.0", "sketch error (%)": "",
            gap: "-10.0 (-20.0 to 5.0)", "networks an answer": "",
        },
    }  # fmt: skip


def test_what_a_way_of_freezing_costs_has_a_unit_and_one_that_failed_says_so():
    rows = [
        {"a": "probe", "metric": "error", "split": "validation", "value": 0.9, "low": 0.7, "high": 1.2},
        {"a": "probe", "metric": "flops", "value": 2.5e9},
        {"a": "probe", "metric": "memory", "value": 3e6},
        {"a": "probe", "metric": "failed", "value": 0.0},
        {"a": "probe", "metric": "frozen", "module": "conv1", "value": 1.0},
        {"a": "finetune", "metric": "failed", "value": 1.0},
    ]
    assert cells("freeze", rows) == {
        "probe": {
            "validation error (%)": "90.0 (70.0 to 100.0)", "arithmetic (thousand million operations)": "2.5",
            "memory of a step (MB)": "3", "failed": "",
        },
        "finetune": {
            "validation error (%)": "", "arithmetic (thousand million operations)": "", "memory of a step (MB)": "",
            "failed": "yes",
        },
    }  # fmt: skip


def test_candidates_of_a_source_have_their_scores_and_what_training_took():
    rows = [
        {"a": "P", "b": "logme", "metric": "rank", "value": 1},
        {"a": "P", "metric": "logme", "split": "train", "x": 1.0, "value": -0.25},
        {"a": "P", "metric": "seconds", "split": "score", "value": 1.0},
        {"a": "P", "metric": "seconds", "split": "training", "value": 5.5},
        {"a": "P", "metric": "error", "split": "validation", "value": 1.25, "unit": "loss"},
    ]
    assert cells("source", rows) == {"P": {"validation error": "1.250", "logme": "-0.25", "seconds": "5.5"}}


def test_a_checkpoint_is_compared_with_the_last_one():
    rows = [
        {"a": "finetune", "metric": "error_loss", "split": split, "x": x, "value": value, "low": low, "high": high}
        for split, x, value, low, high in (
            ("validation", 4, 0.0, 0.0, 0.0),
            ("validation", 1, -0.01, -0.02, 0.0),
            ("test", 1, 0.005, None, None),
        )
    ]
    assert cells("checkpoint", rows) == {
        "epoch 1": {
            "more validation error than the last (points)": "-1.0 (-2.0 to 0.0)",
            "more test error than the last (points)": "0.5",
        },
        "epoch 4": {
            "more validation error than the last (points)": "0.0 (0.0 to 0.0)",
            "more test error than the last (points)": "",
        },
    }


def test_a_size_of_the_target_has_both_arms_and_what_it_is_worth():
    both = {"a": "finetune", "b": "randinit", "split": "test"}
    rows = [
        {"a": "finetune", "metric": "error", "split": "test", "x": 2, "value": 0.25, "unit": "share"},
        {"a": "randinit", "metric": "error", "split": "test", "x": 2, "value": 0.5, "unit": "share"},
        {**both, "metric": "error_difference", "x": 2, "value": -0.25, "unit": "share"},
        {**both, "metric": "equivalent_shots", "x": 2, "value": 4.5, "note": None},
        {**both, "metric": "equivalent_shots", "x": 4, "value": None, "note": "more than the largest tried"},
    ]
    made = cells("labels", rows)
    assert list(made["2"].values()) == ["25.0", "50.0", "-25.0", "4.5"]
    assert made["4"]["as good as this many without pre-training"] == "more than the largest tried"


def test_rows_without_candidates_have_no_table():
    assert candidates("own", table("own", [{"metric": "x", "value": 1.0}]), "tried") is None
