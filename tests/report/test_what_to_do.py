"""The report says what to do, what was run for it, and where the weights are."""

import polars as pl

from bequest.analyses.result import table
from bequest.report.contents import Advice, ReportInput
from bequest.report.page import render
from bequest.report.what_to_do import told


def rows():
    return table(
        "soup",
        [
            {"a": "one", "metric": "error", "split": "validation", "value": 0.2, "module": "*", "domain": None},
            {"a": "one", "metric": "error", "split": "test", "value": 0.25, "module": "*", "domain": None},
            {"a": "one", "metric": "error", "split": "test", "value": 0.5, "module": "*", "domain": "sketch"},
            {"a": "wise-ft", "metric": "error", "split": "validation", "x": 0.0, "value": 0.9, "module": "*"},
            {"a": "wise-ft", "metric": "error", "split": "validation", "x": 0.5, "value": 0.1, "module": "*"},
            {"a": "wise-ft", "metric": "error", "split": "test", "x": 0.5, "value": 0.15, "module": "*"},
            {"a": "wise-ft", "metric": "alpha", "value": 0.5, "module": "*"},
            {"a": "wise-ft", "b": "one", "metric": "difference", "split": "test", "value": -0.1, "module": "*"},
            {"a": "one", "b": "two", "metric": "error_on_line", "x": 0.5, "value": 0.3, "module": "*"},
            {"a": "one", "module": "conv1", "metric": "frozen", "value": 1.0},
        ],
    )


def test_the_page_says_what_to_do_and_escapes_it():
    decided = (
        Advice(
            "soup",
            "<b>t</b>",
            "Average a & b.",
            "measured",
            rows(),
            {"seconds": 1.5, "images": 20.0},
            "steps/soup-1/soup.safetensors",
            "there is <i>no</i> split",
        ),
        Advice("freeze", "t", "Freeze nothing.", "inconclusive", pl.DataFrame(rows()), {}),
    )
    page = render(ReportInput("A study", advices=decided))
    assert "What to do" in page
    assert "Average a &amp; b." in page
    assert "steps/soup-1/soup.safetensors" in page
    assert "2 seconds, 20 examples" in page
    assert "<b>t</b>" not in page and "<i>no</i>" not in page
    (_, [first]), (_, [second]) = told(decided, ["t"])
    assert (first.shape, second.shape) == ("holds", "unclear")
    assert second.advice.weights is None
    assert "Download Which fine-tunes to average as CSV" in page
    assert "What to do" not in render(ReportInput("A study"))


def test_targets_stand_under_the_question_and_what_it_saves_is_said():
    saved = table(
        "checkpoint",
        [
            {"a": "finetune", "metric": "saved_share", "value": 0.75},
            {"a": "finetune", "metric": "saved_seconds", "value": 1234.0},
        ],
    )
    made = [Advice("soup", "x", "A.", "measured", rows()), Advice("checkpoint", "x", "B.", "measured", saved)]
    made.append(Advice("soup", "y", "C.", "refused", rows()))
    shown = told(made, ["x", "y"])
    assert [(question, [one.advice.target for one in group]) for question, group in shown] == [
        ("Which fine-tunes to average", ["x", "y"]),
        ("When to stop the pre-training", ["x"]),
    ]
    assert shown[1][1][0].saving == "75 % of the pre-training, 1,234 seconds"
    assert shown[0][1][0].saving == ""
    page = render(ReportInput("A study", targets=("x", "y"), advices=tuple(made)))
    assert page.count("<h4>x</h4>") == 2 and page.count("<h4>y</h4>") == 1
