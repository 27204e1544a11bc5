"""What decisions saw is drawn from their own rows, for the page and for export."""

import polars as pl

from bequest.analyses.result import table
from bequest.report.contents import Advice, ReportInput
from bequest.report.decision_charts import READING, decision_chart
from bequest.report.export import export
from bequest.report.page import render


def labels():
    rows = [
        {
            "metric": "error",
            "a": arm,
            "x": size,
            "split": split,
            "value": start / size,
            "low": 0.1,
            "high": None,
            "n": 3,
        }
        for arm, start in (("finetune", 0.2), ("randinit", 0.4))
        for size in (1, 2, 4)
        for split in ("validation", "test")
    ]
    return table("labels", [{"module": "*", **row} for row in rows])


def checkpoint():
    rows = [
        {"metric": "error_loss", "x": epoch, "split": "validation", "value": 0.1 / epoch - 0.025} for epoch in (1, 2, 4)
    ]
    rows += [{"metric": "error_loss", "x": 4, "split": "test", "value": 0.0, "low": -0.01, "high": 0.01}]
    rows += [{"metric": "margin", "value": 0.01}]
    return table("checkpoint", [{"a": "finetune", "module": "*", **row} for row in rows])


def drawn(chart):
    """The values of the datasets that a chart holds."""
    return [row for rows in chart.spec["datasets"].values() for row in rows]


def test_the_curve_of_labels_has_test_errors_of_both_arms_on_a_log_scale():
    chart = decision_chart("labels", labels(), "chart-decide_labels-0", "Labels")
    assert not chart.error
    values = {(row["a"], row["x"]): row["value"] for row in drawn(chart)}
    assert values == {(arm, x): start / x for arm, start in (("finetune", 0.2), ("randinit", 0.4)) for x in (1, 2, 4)}
    assert chart.spec["layer"][1]["encoding"]["x"]["scale"]["type"] == "log"
    assert {row["high"] for row in drawn(chart)} == {row["value"] for row in drawn(chart)}  # an end that is not known


def test_the_curve_of_checkpoints_has_the_margin_and_the_chosen_one_on_test():
    rows = drawn(decision_chart("checkpoint", checkpoint(), "chart-decide_checkpoint-0", "Checkpoints"))
    assert {row["x"] for row in rows if row.get("split") == "validation"} == {1, 2, 4}
    assert [row["x"] for row in rows if row.get("split") == "test"] == [4]
    assert {"value": 0.01} in rows


def test_others_are_not_drawn_and_rows_that_cannot_be_are_told():
    assert decision_chart("soup", labels(), "chart-decide_soup-0", "Soup").spec is None
    broken = decision_chart("labels", pl.DataFrame({"metric": ["error"]}), "chart-decide_labels-0", "Labels")
    assert broken.spec is None and "split" in broken.error


def test_the_page_and_the_export_have_them(tmp_path):
    advices = (
        Advice("labels", "line", "Transfer.", "measured", labels()),
        Advice("checkpoint", "line", "Stop.", "measured", checkpoint()),
    )
    report = ReportInput("Title", ("line",), {}, advices=advices)
    page = render(report)
    for place, decision in enumerate(READING):
        assert f'id="chart-decide_{decision}-{place}"' in page
        assert READING[decision][:40] in page
    written, failed = export(report, tmp_path / "pdf", "pdf")
    assert not failed and len(written) == 2
    export(report, tmp_path / "csv", "csv")
    assert {path.name for path in (tmp_path / "csv").iterdir()} == {"decision_labels.csv", "decision_checkpoint.csv"}
