import polars as pl

from bequest.report.headline import headlines


def test_numbers_are_those_of_the_rows(report_maker):
    report = report_maker()
    rows = report.results["learning_curves"]
    found = headlines(report.results, report.targets)
    assert [line.target for line in found] == ["line", "mono"]
    error = rows.filter(metric="final_error", a="finetune", split="test", target="line")["value"][0]
    assert found[0].finetune == f"{100 * error:.1f} %"
    assert found[0].split == "test" and found[0].n == 3
    assert found[0].difference.startswith("\u2212") and " to " in found[0].interval


def test_validation_stands_in_for_test_and_missing_arms_for_nothing(report_maker):
    report = report_maker()
    rows = report.results["learning_curves"]
    without = {"learning_curves": rows.filter(pl.col("split") != "test")}
    assert [line.split for line in headlines(without, ("line",))] == ["validation"]
    assert headlines({"learning_curves": rows.filter(pl.col("a") != "randinit")}, ("line",)) == []
    assert headlines({}, ("line",)) == []


def test_control_arms_stand_beside_the_two(report_maker):
    report = report_maker(targets=("line",))
    rows = report.results["learning_curves"]
    renamed = rows.filter(pl.col("a") == "randinit").with_columns(a=pl.lit("probe"))
    (found,) = headlines({"learning_curves": pl.concat([rows, renamed])}, ("line",))
    assert found.controls == (("probe", found.randinit),)
    assert headlines(report.results, ("line",))[0].controls == ()
