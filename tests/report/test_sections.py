import polars as pl

from bequest.analyses.result import table
from bequest.report.sections import sections


def test_sections_in_the_order_of_the_page_with_words_of_the_analysis(report_maker):
    report = report_maker()
    made = sections(dict(reversed(report.results.items())), report.targets)
    assert [section.key for section in made] == ["learning_curves", "mistakes"]
    first = made[0]
    assert first.question == "Is fine-tuning better than training from random init, and does it get there faster?"
    assert [chart.title for chart in first.charts] == ["line", "mono"]
    assert all(chart.spec and not chart.error for section in made for chart in section.charts)
    assert [verdict.target for verdict, _ in first.verdicts] == ["line", "mono"]
    assert len({chart.key for section in made for chart in section.charts}) == 4


def test_charts_follow_the_order_of_the_study(report_maker):
    report = report_maker()
    made = sections(report.results, ("mono", "line"))
    assert [chart.title for chart in made[0].charts] == ["mono", "line"]


def test_an_unknown_analysis_and_broken_rows_still_have_a_section():
    rows = table("my_own", [{"metric": "speed", "value": 1.0}])
    (made,) = sections({"my_own": rows, "mistakes": rows.clear()}, ())
    assert made.title == "My own"
    assert made.charts[0].spec is None and made.charts[0].error
    assert made.error and made.table.rows


def test_rows_without_target_are_one_chart(report_maker):
    rows = report_maker(targets=("line",)).results["mistakes"].with_columns(target=pl.lit(None, pl.String))
    (made,) = sections({"mistakes": rows}, ("line",))
    assert [chart.title for chart in made.charts] == ["Mistakes"]
    assert made.charts[0].spec


def test_a_run_that_failed_is_no_chart_of_its_own():
    rows = table(
        "plane",
        [
            *({"metric": "corner", "a": "one plane", "b": name, "x": 0.0, "y": 0.0, "value": 0.0} for name in "PQR"),
            {"metric": "missing_run", "a": "finetune/2"},
        ],
    )
    (made,) = sections({"plane": rows}, ())
    assert len(made.charts) == 1
