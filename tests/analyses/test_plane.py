import copy

import polars as pl
import pytest
import torch
from torch import nn

from bequest.analyses.plane import chart, plane
from bequest.evaluation.batchnorm import refit_batchnorm
from bequest.evaluation.predict import measure
from bequest.weights.algebra import lerp
from bequest.weights.planes import plane_point, plane_through


class Point(nn.Module):
    """Gives back its weights, so that the loss is any function of them."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(4))

    def forward(self, inputs):
        return inputs[:, :1] * 0 + self.w


ONE = [(torch.ones(2, 1), torch.zeros(2))]
CORNERS = {
    "P": {"w": torch.tensor([0.0, 0.0, 0.0, 1.0])},
    "finetune/0": {"w": torch.tensor([3.0, 0.0, 0.0, 1.0])},
    "finetune/1": {"w": torch.tensor([0.0, 4.0, 0.0, 1.0])},
}


def bowl(outputs, targets):
    return (outputs - torch.tensor([1.0, 2.0, 0.0, 0.0])).square().sum(1).mean()


def test_a_known_surface_at_known_coordinates():
    result = plane(Point(), CORNERS, ONE, task=bowl, points=9, budget=1)
    rows = result.select("loss")
    assert rows.height == 81 and rows["measured"].all() and set(rows["n"]) == {2}
    for x, y, value in rows.select("x", "y", "value").iter_rows():
        assert value == pytest.approx((x - 1) ** 2 + (y - 2) ** 2 + 1, rel=1e-4)
    assert (rows["x"].min(), rows["x"].max(), rows["y"].min(), rows["y"].max()) == (-1, 4, -1, 5)
    places = result.select("corner").select("b", "x", "y").rows()
    assert places == [("P", 0, 0), ("finetune/0", 3, 0), ("finetune/1", 0, 4)]
    assert result.select("corner_loss")["value"].to_list() == pytest.approx([6, 9, 6])
    assert result.verdict == ()


def test_a_third_of_the_points_fills_the_grid():
    result = plane(Point(), CORNERS, ONE, task=bowl, points=17)
    rows = result.select("loss")
    assert rows.height == 289 and rows["measured"].sum() <= 96
    assert rows.filter(~pl.col("measured"))["n"].unique().to_list() == [0]
    level = result.value("level")
    wanted = (rows["x"] - 1) ** 2 + (rows["y"] - 2) ** 2 + 1
    assert abs((rows["value"] < level).mean() - (wanted < level).mean()) <= 0.02
    assert result.rows.height < 5000


def test_trajectories_are_projected_and_say_how_far_off_they_are():
    steps = [lerp(CORNERS["P"], CORNERS["finetune/0"], t) for t in (0.0, 0.5, 1.0)]
    steps[1]["w"] = steps[1]["w"] + torch.tensor([0.0, 0.0, 2.0, 0.0])
    far = [{"w": torch.tensor([10.0, 0.0, 0.0, 1.0])}]
    result = plane(Point(), CORNERS, ONE, task=bowl, points=5, trajectories={"finetune/0": steps, "far": far})
    walked = result.select("trajectory", b="finetune/0")
    assert walked["step"].to_list() == [0, 1, 2]
    assert walked["x"].to_list() == pytest.approx([0, 1.5, 3]) and walked["y"].to_list() == pytest.approx([0, 0, 0])
    assert walked["value"].to_list() == pytest.approx([0, 2, 0])
    assert result.select("loss")["x"].max() > 10  # the picture holds them all


def images(seed, count):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 3
    return [(torch.randn(count, 4, generator=generator) + 2 * nn.functional.one_hot(targets, 4), targets)]


TRAIN, TEST = images(0, 60), images(1, 45)


def network(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        for _ in range(4):
            model(TRAIN[0][0] * (1 + seed))
    return model


def test_a_batchnorm_network_is_refitted_at_every_point_and_left_as_it_was():
    model = network(5).train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    corners = {name: copy.deepcopy(network(seed).state_dict()) for seed, name in enumerate("abc")}
    result = plane(model, corners, {"train": TRAIN, "test": TEST}, calibration=TRAIN, points=5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and torch.equal(state, torch.get_rng_state())
    parameters = [name for name, _ in model.named_parameters()]
    laid = plane_through(*corners.values(), parameters)
    for row in result.select("loss", split="test").filter(measured=True).sample(5, seed=1).iter_rows(named=True):
        weights = refit_batchnorm(model, plane_point(laid, row["x"], row["y"]), TRAIN)
        assert row["value"] == pytest.approx(measure(model, TEST, weights=weights)[0], rel=1e-4)
    for name, weights in corners.items():
        loss, error = measure(model, TEST, weights=refit_batchnorm(model, weights, TRAIN))
        assert result.value("corner_loss", b=name, split="test") == loss
        assert result.value("corner_error", b=name, split="test") == error
    errors = result.select("error")["value"]
    assert errors.min() >= 0 and errors.max() <= 1
    assert "calibration=" in plane(model, corners, TEST, points=3).rows["note"][0]


def test_charts_of_one_plane_and_of_several():
    one = plane(Point(), CORNERS, ONE, task=bowl, points=9, trajectories={"finetune/0": list(CORNERS.values())[:2]})
    assert one.chart().to_dict()["width"] == "container"
    two = pl.concat([one.rows.with_columns(target=pl.lit(name)) for name in ("line", "mono")])
    panels = chart(two).to_dict()["vconcat"]
    assert [panel["title"] for panel in panels] == [
        "line, P + finetune/0 + finetune/1",
        "mono, P + finetune/0 + finetune/1",
    ]
    assert len(panels[0]["layer"]) == 7  # surface, contour, two of the trajectory, marks and names of the corners


def test_each_split_has_its_picture_with_a_contour_of_its_own():
    model = network(5)
    corners = {name: copy.deepcopy(network(seed).state_dict()) for seed, name in enumerate(("P", "finetune/0", "b"))}
    walked = {"finetune/0": iter([corners["P"], corners["finetune/0"]])}  # a trajectory is walked once
    result = plane(
        model,
        corners,
        {"train": TRAIN, "test": TEST},
        calibration=TRAIN,
        points=5,
        trajectories=walked,
        notes={"P": "with another head"},
    )
    levels = {split: result.value("level", split=split) for split in ("train", "test")}
    losses = result.select("loss", split="test").filter(pl.col("measured"))["value"]
    assert levels["test"] == pytest.approx(losses.median()) != levels["train"]
    assert result.select("trajectory")["step"].to_list() == [0, 1]
    said = {name: result.select("corner", b=name)["note"][0] for name in corners}
    assert said == {"P": "with another head", "finetune/0": None, "b": None}
    line = chart(result.rows).to_dict()
    assert line["title"] == "P + finetune/0 + b"
    assert [panel["title"] for panel in line["hconcat"]] == ["train", "test"]
    failed = pl.DataFrame({"metric": ["missing_run"], "a": ["finetune/7"]})
    assert len(chart(pl.concat([result.rows, failed], how="diagonal_relaxed")).to_dict()["hconcat"]) == 2
    other = result.rows.with_columns(a=pl.lit("start + randinit/0 + randinit/1"))
    planes = chart(pl.concat([result.rows, other])).to_dict()["vconcat"]
    assert [len(plane["hconcat"]) for plane in planes] == [2, 2]
    assert all(2 * (panel["width"] + 60) <= 446 for plane in planes for panel in plane["hconcat"])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="three weights; got 2: P, finetune/0"):
        plane(Point(), dict(list(CORNERS.items())[:2]), ONE)
    with pytest.raises(ValueError, match="lie on one line"):
        plane(Point(), {"a": CORNERS["P"], "b": CORNERS["finetune/0"], "c": CORNERS["P"]}, ONE)
    with pytest.raises(ValueError, match="budget"):
        plane(Point(), CORNERS, ONE, task=bowl, budget=2)
