import copy

import polars as pl
import pytest
import torch
from torch import nn

from bequest.analyses.basin import basin, chart, verdict
from bequest.analyses.result import table
from bequest.evaluation.basins import conditions
from bequest.evaluation.batchnorm import refit_batchnorm
from bequest.evaluation.predict import measure
from bequest.weights.algebra import lerp


class Point(nn.Module):
    """Gives back its weights, so that the loss is any function of them."""

    def __init__(self, size=1):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(size))

    def forward(self, inputs):
        return inputs[:, :1] * 0 + self.w


def square(outputs, targets):
    return outputs.double().square().sum(1).mean()


ONE = [(torch.ones(2, 1), torch.zeros(2))]


def corner(*numbers):
    return {"w": torch.tensor(numbers)}


def test_the_square_on_a_segment_has_the_closed_form():
    members = {"a": corner(-1.0), "b": corner(1.0)}
    result = basin(Point(), members, ONE, task=square, samples=400, delta=0.5)
    assert result.value("eps", of="loss") == pytest.approx(0.2566, rel=3e-3)
    assert result.value("condition_1", of="loss") == result.value("eps", of="loss")
    assert result.value("mean", of="loss") == pytest.approx(1 / 3, rel=1e-3)
    assert result.value("condition_2", of="loss") == pytest.approx(2 / 3 + 0.25, rel=0.05)
    assert result.value("condition_3", of="loss") == pytest.approx(1.714551, rel=0.01)
    assert result.value("rise", of="loss") == pytest.approx(1 / 3 - 1, rel=1e-3)
    assert result.value("diameter") == 2.0 and result.value("delta") == 0.5
    row = result.select("condition_3", of="loss").row(0, named=True)
    assert row["low"] < 1.714551 < row["high"] and row["n"] == 400 and (row["a"], row["b"]) == ("a", "b")


def test_in_the_model_it_is_what_the_pure_function_gives():
    points = torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 0.0], [0.0, 1.0, -1.0]])
    members = {name: {"w": point} for name, point in zip("abc", points, strict=True)}
    result = basin(Point(3), members, ONE, task=square, samples=40, seed=5, delta=0.7)
    pure = conditions(lambda point: float(point @ point), points, delta=0.7, samples=40, seed=5)
    assert result.value("mean", of="loss") == pytest.approx(pure.mean, rel=1e-5)
    assert result.value("condition_1", of="loss") == pytest.approx(pure.condition_1, rel=1e-5)
    assert result.value("condition_3", of="loss") == pytest.approx(pure.condition_3, rel=1e-5)
    # the noise is drawn in another dtype: other numbers, the same mean
    assert result.value("condition_2", of="loss") == pytest.approx(pure.condition_2, abs=4 * pure.errors[2])
    assert result.rows["a"].unique().to_list() == ["a + b + c"]


def test_delta_is_the_smallest_that_reaches_both_and_both_sides_are_shown_there():
    members = {"a": corner(-1.0), "b": corner(1.0)}
    result = basin(Point(), members, ONE, task=square, samples=200, eps={"loss": 2.0})
    delta = result.value("delta")
    assert result.value("eps", of="loss") == 2.0
    assert delta == max(result.value("delta_random", of="loss"), result.value("delta_extrapolated", of="loss"))
    assert delta == pytest.approx((4 - 2 / 3) ** 0.5, rel=0.5)
    for metric in ("condition_2", "condition_3"):
        assert result.value(metric, of="loss") >= 4.0
    tried = result.select("random", of="loss")
    assert delta in tried["x"].to_list() and tried.filter(pl.col("x") < delta)["value"].max() < 4.0
    assert "smallest" in result.select("delta", of="loss")["note"][0]


def test_where_the_loss_does_not_vary_delta_has_no_value():
    result = basin(Point(), {"a": corner(-1.0), "b": corner(1.0)}, ONE, task=lambda x, y: x.sum() * 0 + 1, samples=4)
    row = result.select("delta", of="loss").row(0, named=True)
    assert row["value"] is None and "give eps=" in row["note"]
    assert result.select("condition_2", of="loss")["value"][0] is None


def images(seed, count):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 3
    return [(torch.randn(count, 4, generator=generator) + 2 * nn.functional.one_hot(targets, 4), targets)]


TRAIN, TEST = images(0, 60), images(1, 45)


def network(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(40):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(TRAIN[0][0]), TRAIN[0][1]).backward()
            optimiser.step()
    return model


MEMBERS = {f"finetune/{seed}": copy.deepcopy(network(seed).state_dict()) for seed in range(3)}


def test_every_point_of_a_batchnorm_network_is_refitted():
    model = network(5)
    pair = dict(list(MEMBERS.items())[:2])
    result = basin(model, pair, {"train": TRAIN, "test": TEST}, calibration=TRAIN, samples=64, delta=1.0)
    ends = list(pair.values())
    line = [lerp(ends[0], ends[1], (k + 0.5) / 64) for k in range(64)]
    losses = [measure(model, TEST, weights=refit_batchnorm(model, point, TRAIN))[0] for point in line]
    assert result.value("mean", of="loss", split="test") == pytest.approx(sum(losses) / 64, rel=0.01)
    corners = [measure(model, TEST, weights=refit_batchnorm(model, end, TRAIN))[0] for end in ends]
    assert result.value("members", of="loss", split="test") == pytest.approx(sum(corners) / 2, rel=1e-5)
    assert result.select("eps", of="error", split="train").height == 1
    naive = basin(model, pair, TEST, samples=4, delta=1.0)
    assert "calibration=" in naive.select("eps", of="loss")["note"][0]


def test_the_model_is_left_as_it_was_and_the_seed_decides():
    model = network(5).train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    options = {"calibration": TRAIN, "samples": 4, "delta": 1.0}
    first = basin(model, MEMBERS, TEST, seed=1, **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and torch.equal(state, torch.get_rng_state())
    assert basin(model, MEMBERS, TEST, seed=1, **options).rows.equals(first.rows)
    assert not basin(model, MEMBERS, TEST, seed=2, **options).rows.equals(first.rows)
    own = basin(model, {"a": model.state_dict(), "b": MEMBERS["finetune/0"]}, TEST, **options)
    assert own.rows.equals(basin(model, {"a": before, "b": MEMBERS["finetune/0"]}, TEST, **options).rows)


def test_the_search_looks_at_the_first_split_alone_and_the_others_where_it_ended():
    model, seen = network(5), []
    handle = model.register_forward_hook(lambda module, inputs, outputs: seen.append(len(outputs)))
    try:
        result = basin(model, MEMBERS, {"train": TRAIN, "test": TEST}, samples=4)
    finally:
        handle.remove()
    tried = result.select("random", of="loss").height + result.select("extrapolated", of="loss").height
    assert seen.count(45) == 3 + 4 + 2 * 4  # corners, inside, and at delta both ways
    assert seen.count(60) == 3 + 4 + 4 * tried
    assert result.select("condition_3")["value"].null_count() == 0


def test_bad_input_is_refused():
    model = network(5)
    with pytest.raises(ValueError, match="two members or more; got 1: a"):
        basin(model, {"a": model.state_dict()}, TEST)
    with pytest.raises(ValueError, match="not for 'los'"):
        basin(model, MEMBERS, TEST, eps={"los": 1})
    with pytest.raises(ValueError, match="above 0, not -1"):
        basin(model, MEMBERS, TEST, delta=-1)
    with pytest.raises(ValueError, match="even number of samples"):
        basin(model, MEMBERS, TEST, samples=3)
    with pytest.raises(ValueError, match="different networks"):
        basin(model, {**MEMBERS, "x": {}}, TEST)


def study(
    rise,
    *,
    random=0.4,
    eps=0.01,
    delta=5.0,
    splits=("train", "test"),
    error=0.1,
    note=None,
    half=0.003,
    size=3,
    outside=0.3,
):
    """Rows as a study has them: the simplex of each arm."""
    rows = []
    for which, height in (("finetune", rise), ("randinit", random)):
        if height is None:
            continue
        base = {"a": " + ".join(f"{which}/{k}" for k in range(size)), "members_n": size, "n": 32, "note": note}
        for split in splits:
            row = {**base, "split": split, "of": "error"}
            ends = {"low": height - half, "high": height + half}
            rows.append({**base, "split": split, "metric": "chance_accuracy", "value": 0.1})
            rows.append({**row, "metric": "rise", "value": height, **ends})
            rows.append({**row, "metric": "eps", "value": eps, "low": eps - 0.001, "high": eps + 0.001})
            rows.append({**row, "metric": "members", "value": error})
            loss = {**row, "of": "loss"}
            rows.append({**loss, "metric": "eps", "value": 0.1})
            rows += [{**loss, "metric": f"condition_{k}", "value": outside if delta else None} for k in (2, 3)]
        rows.append({**loss, "metric": "delta", "value": delta})
    return table("basin", rows)


@pytest.mark.parametrize(
    ("rows", "status", "words"),
    [
        (study(-0.01), "holds", "One basin"),
        (study(0.1), "does not hold", "wall inside"),
        (study(0.019), "inconclusive", "crosses 2 points"),
        (study(0.0, eps=0.05), "inconclusive", "crosses 2 points"),
        (study(0.0, delta=None), "holds under conditions", "none was found outside"),
        (study(0.0, outside=0.19), "holds under conditions", "none was found outside"),
        (study(0.0, random=None), "holds under conditions", "not measured on random inits"),
        (study(0.0, splits=("test",)), "holds under conditions", "not on both splits"),
        (study(0.0, random=0.0), "inconclusive", "none between random inits"),
        (study(0.0, error=0.85), "inconclusive", "hardly better than chance"),
        (study(0.0, note="BatchNorm was not refitted: pass"), "inconclusive", "not refitted"),
    ],
)
def test_the_verdict(rows, status, words):
    (judged,) = verdict(rows)
    assert (judged.claim, judged.status) == ("C7", status)
    assert words in judged.sentence


def test_models_are_judged_whatever_they_are_called_but_no_repeat_of_an_init():
    rows = study(0.0)
    named = {"finetune/0": "finetune/one", "finetune/1": "finetune/two", "finetune/2": "finetune/a.b"}
    (as_given,) = verdict(rows.with_columns(pl.col("a").str.replace_many(named)))
    assert as_given == verdict(rows)[0]
    assert verdict(rows.with_columns(pl.col("a").str.replace("finetune/2", "finetune/0b"))) == ()


def test_a_segment_is_no_evidence_of_a_region():
    assert verdict(study(0.0, size=2)) == ()


def test_the_chart_shows_both_directions():
    result = basin(network(5), MEMBERS, {"train": TRAIN, "test": TEST}, calibration=TRAIN, samples=4)
    drawn = result.chart().to_dict()
    assert drawn["width"] == "container"
    (points,) = drawn["datasets"].values()
    assert len(result.select("random", of="error")) == len(result.select("random", of="loss")) > 1
    assert {point["metric"] for point in points} == {"random", "extrapolated"}
    assert {point["arm"] for point in points} == {"finetune"}
    controls = result.rows.with_columns(pl.col("a").str.replace_all("finetune", "meanvar"))
    colours = chart(pl.concat([result.rows, controls])).to_dict()["encoding"]["color"]["scale"]
    assert colours["domain"] == ["finetune", "meanvar"] and len(set(colours["range"])) == 2
