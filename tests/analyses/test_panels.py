import altair as alt
import polars as pl

from bequest.analyses.pairs import LOOKS
from bequest.analyses.panels import by_target_and_split, pair_channels, with_kinds


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


def test_pairs_across_control_arms_are_not_drawn_and_the_rest_keep_one_order():
    rows = pl.DataFrame(
        {
            "a": ["probe/0", "meanvar/0", "randinit/0", "finetune/0", "P"],
            "b": ["probe/1", "randinit/0", "randinit/0b", "finetune/1", "finetune/0"],
        }
    )
    found = with_kinds(rows)
    assert found["kind"].to_list() == ["probe & probe", "randinit, same init", "finetune & finetune", "P & finetune"]
    order = ["finetune & finetune", "randinit, same init", "P & finetune", "probe & probe"]
    colour, dash, shape = (channel.to_dict() for channel in pair_channels(found))
    assert colour["scale"]["domain"] == dash["scale"]["domain"] == order
    assert colour["scale"]["range"] == [LOOKS[name].colour for name in order]
    assert shape["scale"] is None and found["shape"].to_list() == [LOOKS[name].shape for name in found["kind"]]
    assert pair_channels(found, lines=False)[2].to_dict()["scale"]["domain"] == order
