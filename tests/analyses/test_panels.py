import altair as alt
import polars as pl

from bequest.analyses.panels import by_target_and_split


def drawn(targets, splits):
    rows = pl.DataFrame(
        {"target": targets, "split": splits, "x": range(len(targets))}, schema_overrides={"target": pl.String}
    )
    return by_target_and_split(rows, lambda part: alt.Chart(part).mark_point().encode(x="x:Q")).to_dict()


def test_one_panel_is_as_wide_as_its_box():
    chart = drawn(["line", "line"], ["test", "test"])
    assert chart["width"] == "container" and "concat" not in chart


def test_several_have_their_target_and_split_as_title_in_order_two_a_row():
    chart = drawn(["line", "line", "mono"], ["train", "test", "test"])
    assert [part["title"] for part in chart["concat"]] == ["line, train", "line, test", "mono, test"]
    assert chart["columns"] == 2


def test_without_a_target_the_split_is_the_title():
    assert [part["title"] for part in drawn([None, None], ["train", "test"])["concat"]] == ["train", "test"]
