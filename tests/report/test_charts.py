import polars as pl
import pytest

from bequest.analyses.result import table
from bequest.report.charts import CUTS, analysis_charts


def barriers(splits, targets=("line",)):
    rows = [
        {"a": "finetune/0", "b": "finetune/1", "split": split, "x": t, "metric": "error", "value": 0.1, "n": 9}
        for split in splits
        for t in (0.0, 0.5, 1.0)
    ]
    return pl.concat([table("barrier", rows).with_columns(target=pl.lit(target)) for target in targets])


def test_each_target_and_split_has_its_own_box():
    made = analysis_charts("barrier", "Barriers", barriers(["train", "test"], ("mono", "line")), ("line", "mono"))
    assert [chart.title for chart in made] == ["line, train", "line, test", "mono, train", "mono, test"]
    assert all(chart.spec["width"] == "container" and not chart.wide for chart in made)
    assert len({chart.key for chart in made}) == 4


def test_one_value_needs_no_name_and_no_box_of_its_own():
    (made,) = analysis_charts("barrier", "Barriers", barriers(["test"]), ())
    assert (made.title, made.error) == ("line", "")


def test_rows_without_a_value_go_with_every_part(monkeypatch):
    seen = []
    monkeypatch.setattr("bequest.analyses.result.Result.chart", lambda self: seen.append(self.rows) or 1 / 0)
    rows = [
        {"metric": "mu", "a": "finetune/0", "path": path, "end": end, "value": 1.0}
        for path in ("direct", "checkpoints")
        for end in ("best", "last")
    ]
    rows.append({"metric": "chance_accuracy", "value": 0.1, "path": None, "end": None})
    made = analysis_charts("criticality", "Criticality", table("criticality", rows), ())
    assert [chart.title for chart in made] == [
        f"{path}, to the {end} checkpoint"
        for path in ("direct path", "path through checkpoints")
        for end in ("best", "last")
    ]
    assert all(set(part["metric"]) == {"mu", "chance_accuracy"} and part.height == 2 for part in seen)
    assert all("ZeroDivisionError" in chart.error for chart in made)


@pytest.mark.parametrize("name", CUTS)
def test_what_is_cut_is_an_analysis(name):
    __import__(f"bequest.analyses.{name}")
