import polars as pl
import pytest
import torch
from torch import nn

from bequest.analyses.valley import chart, valley


class Bowl(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(4, 1, bias=False)])

    def forward(self, x):
        return self.parts[0](x)[:, 0]


def squares(outputs, targets):
    return (outputs - targets).square().mean()


FINAL = {"parts.0.weight": torch.tensor([[1.0, 2.0, -1.0, 0.5]])}
INITIAL = {"parts.0.weight": torch.tensor([[3.0, 2.0, -1.0, 0.5]])}
BATCHES = [(torch.eye(4), FINAL["parts.0.weight"][0])]


def measured(**options):
    return valley(Bowl(), INITIAL, FINAL, BATCHES, ["parts.0"], task=squares, **options)


def test_the_valley_of_a_bowl_is_known():
    result = measured(points=3, sigmas=[0.0, 0.5], draws=400)
    for x, height in ((0.0, 1.0), (1.0, 0.25), (2.0, 0.0)):  # distance from the start; (2 - x)^2 / 4
        assert result.value("valley", x=x, sigma=0.0) == pytest.approx(height, abs=1e-6)
        row = result.select("valley", x=x, sigma=0.5).row(0, named=True)
        assert row["low"] <= height + 0.25 <= row["high"] and row["n"] == 4
    assert result.select("valley", sigma=0.0)["low"].is_null().all()


def test_the_default_noise_is_relative_and_checkpoints_are_points():
    result = measured(path=[{"parts.0.weight": torch.tensor([[3.0, 5.0, -1.0, 0.5]])}], draws=2)
    assert result.rows["sigma_relative"].unique().sort().to_list() == pytest.approx([0, 0.1, 0.2, 0.5, 1, 2])
    assert result.select("valley", sigma=0.0)["x"].to_list() == pytest.approx([0.0, 3.0, 2.0])
    assert result.value("valley", sigma=0.0, x=3.0) == pytest.approx((4 + 9) / 4)


def test_the_picture_has_a_panel_a_module_and_no_verdict():
    result = measured(points=2, draws=1)
    drawn = result.chart().to_dict()
    assert drawn["mark"]["type"] == "rect" and drawn["title"] == "final, parts.0"
    assert result.verdict == ()


def test_runs_stand_side_by_side_and_paths_below_each_other():
    middle = {"parts.0.weight": torch.tensor([[2.0, 2.0, -1.0, 0.5]])}
    rows = [
        measured(points=2, draws=1, name=name, path=path).rows
        for path in ("direct", {"epoch-1": middle})
        for name in ("finetune/0", "randinit/0")
    ]
    assert rows[2]["path"].unique().to_list() == ["checkpoints"] and rows[2]["x"].max() == 2
    drawn = chart(pl.concat(rows)).to_dict()["vconcat"]
    assert [picture["title"] for line in drawn for picture in line["hconcat"]] == [
        "finetune/0, parts.0",
        "randinit/0, parts.0",
        "finetune/0, parts.0, checkpoints",
        "randinit/0, parts.0, checkpoints",
    ]
    first = drawn[0]["hconcat"][0]
    assert first["encoding"]["x"]["sort"] == ["0", "2"] and first["encoding"]["y"]["sort"][0] == "2"
    assert 2 * (first["width"] + 60) <= 446  # two of them fit a box of the report


def test_distances_that_are_nearly_equal_stay_apart():
    middle = {"parts.0.weight": FINAL["parts.0.weight"] + torch.tensor([[1e-5, 0.0, 0.0, 0.0]])}
    drawn = measured(path={"epoch-1": middle}, draws=1).chart().to_dict()
    assert len(set(drawn["encoding"]["x"]["sort"])) == 3


def test_bad_input_is_refused():
    with pytest.raises(KeyError, match=r"no module 'fc'; it has parts\.0"):
        valley(Bowl(), INITIAL, FINAL, BATCHES, ["fc"], task=squares)
    with pytest.raises(ValueError, match="at least 2 points"):
        measured(points=1)
