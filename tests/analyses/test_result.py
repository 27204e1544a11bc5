import polars as pl
import pytest

from bequest.analyses.result import COLUMNS, Result, table

ROWS = [
    {"metric": "error", "a": "finetune/0", "split": "test", "value": 0.25, "n": 4},
    {"metric": "error", "a": "finetune/1", "split": "test", "value": 1, "n": 4, "class": "cat"},
    {"metric": "loss", "a": "finetune/0", "value": None},
]


def test_table_has_all_columns_in_order_then_further_ones():
    frame = table("mistakes", ROWS)
    assert frame.columns == [*COLUMNS, "class"]
    assert frame.schema["value"] == pl.Float64 and frame.schema["x"] == pl.Float64 and frame.schema["b"] == pl.String
    assert frame["analysis"].to_list() == ["mistakes"] * 3
    assert frame["value"].to_list() == [0.25, 1.0, None]


def test_no_interval_leaves_the_range_of_its_number():
    ends = {"value": 0.8, "low": -1.5, "high": 2.5}
    rows = [
        {"metric": "kappa", "unit": "kappa", **ends},
        {"metric": "cka", "unit": "CKA", **ends},
        {"metric": "error", "unit": "share", **ends},
        {"metric": "error_difference", "unit": "share", **ends},
        {"metric": "loss", "unit": "nats", **ends},
        {"metric": "l2", "unit": "l2", **ends},
        {"metric": "error", "unit": "share", "value": 0.5, "low": None, "high": 0.75},
    ]
    frame = table("mistakes", rows)
    kappa, cka, error, difference, loss, unbounded, inside = frame.select("low", "high").rows()
    assert kappa == cka == difference == (-1.0, 1.0)
    assert error == (0.0, 1.0) and loss == (0.0, 2.5)
    assert unbounded == (-1.5, 2.5) and inside == (None, 0.75)
    assert frame["value"].to_list() == [0.8] * 6 + [0.5]


def test_table_of_nothing():
    frame = table("mistakes", [])
    assert frame.height == 0 and frame.columns == list(COLUMNS)


def test_value_finds_the_one_number():
    result = Result("mistakes", table("mistakes", ROWS))
    assert result.value("error", a="finetune/0") == 0.25
    assert result.value("error", a="finetune/1", **{"class": "cat"}) == 1.0
    assert result.select("error", **{"class": None}).height == 1


def test_value_of_none_names_the_nearest_metric_and_all_there_are():
    with pytest.raises(KeyError, match=r"0 rows have metric 'eror'.*Did you mean 'error'\? Metrics here: error, loss"):
        Result("mistakes", table("mistakes", ROWS)).value("eror")


def test_value_of_several_says_in_what_they_differ():
    with pytest.raises(KeyError, match=r"2 rows have metric 'error'.*They differ in a: \['finetune/0', 'finetune/1'\]"):
        Result("mistakes", table("mistakes", ROWS)).value("error")


def test_a_result_is_shown_by_its_metrics():
    assert repr(Result("mistakes", table("mistakes", ROWS))) == "Result(mistakes: 3 rows; metrics: error, loss)"


def test_unknown_column_is_named():
    with pytest.raises(KeyError, match="no column 'module_b'"):
        Result("mistakes", table("mistakes", ROWS)).select("error", module_b="fc")
