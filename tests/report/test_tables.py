import math

import polars as pl
import pytest

from bequest.analyses.result import table
from bequest.report.tables import frame_table, number, result_table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"), (True, "yes"), (3, "3"), (-2, "\u22122"), (0.123456, "0.1235"), (5.0, "5"),
        (-0.5, "\u22120.5"),
        (1e-9, "1e\u221209"), (math.nan, "not a number"), (math.inf, "∞"), ("<b>", "<b>"),
    ],
)  # fmt: skip
def test_number(value, text):
    assert number(value) == text


def test_result_table_leaves_out_silent_columns_and_puts_single_numbers_first():
    curve = [{"metric": "error", "a": "x", "module": "*", "x": epoch, "value": 0.5, "n": 1} for epoch in range(200)]
    rows = table("learning_curves", [*curve, {"metric": "mean_train_accuracy", "a": "x", "module": "*", "value": 0.9}])
    shown = result_table(rows, "Rows", most=10)
    assert shown.headers == ["a", "x", "metric", "value", "n"]
    assert shown.rows[0] == ["x", "\u2013", "mean_train_accuracy", "0.9", "\u2013"]
    assert len(shown.rows) == 10 and shown.left_out == 191
    assert shown.numeric == [False, True, False, True, True]


def test_counts_by_class_come_last():
    rows = table(
        "mistakes",
        [{"metric": "common_in_class", "value": 1, "class": "cat"}, {"metric": "common", "value": 2}],
    )
    assert [row[0] for row in result_table(rows, "Rows").rows] == ["common", "common_in_class"]


def test_frame_table_marks_failed_runs_and_writes_errors_in_percent():
    frame = pl.DataFrame(
        {"name": ["a", "b"], "status": ["done", "failed"], "test_error": [0.256, None], "epochs": [3, 1]}
    )
    shown = frame_table(frame, "Runs")
    assert shown.headers == ["name", "status", "test error (%)", "epochs"]
    assert shown.rows == [["a", "done", "25.6", "3"], ["b", "failed", "\u2013", "1"]]
    assert shown.marked == {1}
