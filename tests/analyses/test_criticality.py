import copy
import math

import polars as pl
import pytest
import torch
from torch import nn
from torch.nn import functional

from bequest.analyses.criticality import chart, criticality, verdict
from bequest.evaluation.perturbation import Noise
from bequest.models.opening import open_model
from bequest.training.seeds import fold

K, SIZE = 50, 40.0  # science.md 3.4


class Bowl(nn.Module):
    """Gives its weights back: with targets theta_F the loss is ||theta - theta_F||^2 / k."""

    def __init__(self, parts=1):
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(K, 1, bias=False) for _ in range(parts)])

    def forward(self, x):
        return sum(part(x) for part in self.parts)[:, 0]


def squares(outputs, targets):
    return (outputs - targets).square().mean()


def bowl(parts=1, size=SIZE):
    generator = torch.Generator().manual_seed(0)
    model, final, initial = Bowl(parts), {}, {}
    for name, tensor in model.state_dict().items():
        final[name] = torch.randn(tensor.shape, generator=generator)
        away = torch.randn(tensor.shape, generator=generator)
        initial[name] = final[name] + away * math.sqrt(size) / away.norm()
    targets = sum(final.values())[0]
    batches = [
        (part, targets[place]) for part, place in zip(torch.eye(K).split(20), torch.arange(K).split(20), strict=True)
    ]
    return model, initial, final, batches


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        return self.fc(functional.relu(self.conv2(x)).mean((2, 3)))


def trained(seed=0):
    """A small network and data that it has learned."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, centres = Small(), torch.randn(3, 3, 8, 8)
        targets = torch.arange(96) % 3
        inputs = centres[targets] + 1.5 * torch.randn(96, 3, 8, 8)
        initial = copy.deepcopy(model.state_dict())
        steps = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(40):
            steps.zero_grad()
            functional.cross_entropy(model(inputs), targets).backward()
            steps.step()
        other = Small().state_dict()
    batches = list(zip(inputs.split(20), targets.split(20), strict=True))
    return model.eval(), initial, copy.deepcopy(model.state_dict()), batches, other


def swept(model, initial, final, batches, units, tolerance, draws, seed, objective):
    """The grid as Meta-Dataset has it, plainly: 11 positions, 11 linear sigmas, a full forward pass for every draw."""
    twin, found = copy.deepcopy(model).eval(), {}
    inputs, targets = (torch.cat(part) for part in zip(*batches, strict=True))
    for unit, names in units.items():
        size = sum(float((final[n] - initial[n]).double().square().sum()) for n in names["parameters"])
        best = math.inf
        noises = []
        for draw in range(draws):
            generator = torch.Generator().manual_seed(fold(seed, unit, draw))
            noises.append({n: torch.randn(final[n].shape, generator=generator) for n in names["parameters"]})
        for alpha in [place / 10 for place in range(11)]:
            for sigma in [1e-16, *[place / 10 for place in range(1, 11)]]:
                values = []
                for noise in noises:
                    weights = dict(final)
                    for n in names["parameters"]:
                        weights[n] = torch.lerp(initial[n], final[n], alpha) + sigma * noise[n]
                    for n in names["buffers"]:
                        weights[n] = torch.lerp(initial[n], final[n], alpha)
                    twin.load_state_dict(weights)
                    with torch.no_grad():
                        outputs = twin(inputs)
                        wrong = (outputs.argmax(1) != targets).double().mean()
                        values.append(
                            float(wrong if objective == "error" else functional.cross_entropy(outputs, targets))
                        )
                if sum(values) / draws <= tolerance:
                    best = min(best, alpha**2 * size / sigma**2)
        found[unit] = best
    return found


def named(model):
    bn = ("bn1.running_mean", "bn1.running_var")
    return {
        "conv1": {"parameters": ("conv1.weight", "bn1.weight", "bn1.bias"), "buffers": bn},
        "conv2": {"parameters": ("conv2.weight", "conv2.bias"), "buffers": ()},
        "fc": {"parameters": ("fc.weight", "fc.bias"), "buffers": ()},
    }


def test_closed_form_through_the_public_function():
    model, initial, final, batches = bowl()
    result = criticality(model, initial, final, batches, tolerance=0.2, task=squares, draws=200)
    assert result.value("mu", module="parts.0") == pytest.approx(SIZE / 0.2 - K, rel=0.05)  # 150
    assert result.value("alpha", module="parts.0") == pytest.approx(0.75, abs=0.08)
    assert result.value("sigma", module="parts.0") == pytest.approx(0.387298, rel=0.12)
    assert result.value("move", module="parts.0") == pytest.approx(math.sqrt(SIZE))
    assert result.value("rewind_error", module="parts.0") == pytest.approx(SIZE / K)
    scale = float(final["parts.0.weight"].square().mean().sqrt())
    assert result.value("sigma_relative") == pytest.approx(result.value("sigma") / scale)


def test_all_tensors_are_disturbed_in_every_draw():
    # Meta-Dataset's parameters are a generator that the first draw uses up
    noise = Noise({"a": torch.zeros(4), "b": torch.zeros(2, 3)}, [1, 2, 3], keep_bytes=10**6)
    draws = [noise.draw(number) for number in range(3)]
    assert all(set(draw) == {"a", "b"} and all(bool(t.ne(0).all()) for t in draw.values()) for draw in draws)
    assert not torch.equal(draws[1]["a"], draws[2]["a"]) and noise.draw(1)["b"] is draws[1]["b"]
    again = Noise({"a": torch.zeros(4), "b": torch.zeros(2, 3)}, [1, 2, 3], keep_bytes=0)
    assert torch.equal(again.draw(2)["b"], draws[2]["b"])


def test_a_tolerated_sigma_below_a_tenth_is_found():
    # Meta-Dataset's linear grid has nothing between 1e-16 and 0.1, so mu would be 1e32
    model, initial, final, batches = bowl()
    result = criticality(model, initial, final, batches, tolerance=1e-4, task=squares, draws=100)
    assert result.value("sigma") < 0.02
    assert result.value("mu", module="parts.0") == pytest.approx(SIZE / 1e-4 - K, rel=0.06)


def test_nothing_accepted_is_infinite_and_an_accepted_rewinding_is_0():
    # Meta-Dataset takes the first cell of the grid if none is accepted
    model, initial, final, batches = bowl()
    worse = {name: tensor + 1.0 for name, tensor in final.items()}  # its own objective is 1
    result = criticality(model, initial, worse, batches, tolerance=0.2, task=squares, draws=3)
    assert result.value("mu", module="parts.0") == math.inf == result.value("mu_sum")
    assert "nothing is accepted" in result.select("mu")["note"][0]
    assert result.select("sigma")["value"].to_list() == [None]
    result = criticality(model, initial, final, batches, tolerance=SIZE / K + 1e-6, task=squares, draws=3)
    assert result.value("mu", module="parts.0") == 0.0 == result.value("mu_sum")
    assert result.select("mu")["note"][0] == "rewinding is accepted"


def test_every_module_has_its_number_and_the_network_their_sum():
    # Meta-Dataset sums an iterator first, and then has no modules left
    model, initial, final, batches = bowl(parts=3)
    result = criticality(model, initial, final, batches, tolerance=0.2, task=squares, draws=20)
    found = result.select("mu")
    assert found["module"].to_list() == ["parts.0", "parts.1", "parts.2"]
    assert found["value"].min() > 100
    assert result.value("mu_sum") == pytest.approx(found["value"].sum())


@pytest.mark.parametrize("objective,tolerance", [("error", 0.08), ("loss", 0.3)])
def test_against_the_plain_grid(objective, tolerance):
    model, initial, final, batches, _ = trained()
    grid = swept(model, initial, final, batches, named(model), tolerance, 10, 0, objective)
    result = criticality(model, initial, final, batches, tolerance=tolerance, objective=objective)
    assert any(0 < value < 1e6 for value in grid.values())
    for unit, value in grid.items():
        assert result.value("mu", module=unit) <= 1.02 * value
    assert result.value("forwards") < 1210 * len(grid) / 10


def test_exchanged_modules_equal_models_put_together_by_hand():
    model, initial, final, batches, other = trained()
    middle = {n: torch.lerp(initial[n], final[n], 0.5) if final[n].is_floating_point() else final[n] for n in final}
    result = criticality(
        model, initial, final, batches, draws=0, rerandomised=other, path=[middle], name="randinit/0", split="train"
    )
    twin = copy.deepcopy(model)
    inputs, targets = (torch.cat(part) for part in zip(*batches, strict=True))
    sources = {"rewind_error": initial, "rerandomised_error": other, "path_error": middle}
    for unit, names in named(model).items():
        for metric, source in sources.items():
            twin.load_state_dict(final | {n: source[n] for n in (*names["parameters"], *names["buffers"])})
            with torch.no_grad():
                wrong = float((twin.eval()(inputs).argmax(1) != targets).double().mean())
            row = result.select(metric, module=unit, a="randinit/0", split="train").row(0, named=True)
            assert row["value"] == pytest.approx(wrong) and row["low"] - 1e-9 <= wrong <= row["high"] and row["n"] == 96
        size = math.sqrt(sum(float((final[n] - initial[n]).square().sum()) for n in names["parameters"]))
        assert result.value("move", module=unit) == pytest.approx(size)
        assert result.select("path_error", module=unit)["x"][0] == pytest.approx(size / 2, rel=1e-5)
    assert result.select("mu").is_empty()
    assert result.rows.filter(module="fc")["head"].all() and not result.rows.filter(module="conv1")["head"].any()
    assert "not refitted" in result.select("rewind_error")["note"][0]
    assert result.value("forwards") <= 1 + 3 * len(sources) * 0.7


def test_the_path_of_checkpoints_bends():
    model, initial, final, batches = bowl()
    aside = torch.zeros(1, K)
    aside[0, 0] = 30.0  # far away, and bad there
    result = criticality(
        model,
        initial,
        final,
        batches,
        tolerance=0.2,
        task=squares,
        draws=50,
        path=[
            {"parts.0.weight": final["parts.0.weight"] + aside},
            {"parts.0.weight": torch.lerp(*[w["parts.0.weight"] for w in (initial, final)], 0.9)},
        ],
    )
    at = 0.9 * math.sqrt(SIZE)  # only this checkpoint and the end are low
    assert result.select("mu")["x"][0] == pytest.approx(at, rel=1e-4)
    assert result.value("alpha") == pytest.approx(2 / 3)
    expected = 0.9**2 * SIZE / (0.2 - 0.1**2 * SIZE / K)
    assert result.value("mu", module="parts.0") == pytest.approx(expected, rel=0.06)
    assert result.rows["path"].unique().to_list() == ["checkpoints"]


def test_checkpoints_keep_their_names_and_a_path_without_any_has_its_end_alone():
    model, initial, final, batches = bowl()
    middle = {name: torch.lerp(initial[name], final[name], 0.5) for name in final}
    options = {"tolerance": 0.2, "task": squares, "draws": 3, "end": "best"}
    result = criticality(model, initial, final, batches, path={"epoch-4": middle}, **options)
    (row,) = result.select("path_error").iter_rows(named=True)
    assert row["checkpoint"] == "epoch-4" and row["value"] == pytest.approx(SIZE / 4 / K)
    assert row["x"] == pytest.approx(math.sqrt(SIZE) / 2)
    assert result.rows["end"].unique().to_list() == ["best"]
    assert (
        criticality(model, initial, final, batches, path=[middle], **options).select("path_error")["checkpoint"][0]
        == "1"
    )
    alone = criticality(model, initial, final, batches, path={}, **options)
    assert alone.value("alpha") == 1.0 and alone.rows["path"].unique().to_list() == ["checkpoints"]


def test_a_frozen_module_is_not_critical_even_if_its_statistics_moved():
    model, initial, final, batches, _ = trained()
    frozen = {n: initial[n] if n.startswith(("conv1", "bn1")) else final[n] for n in final}
    moved = {n: final[n] if "running" in n else frozen[n] for n in frozen}
    far = {n: tensor * 0 + 9.0 if n == "bn1.running_var" else tensor for n, tensor in initial.items()}
    for start, end in ((frozen, frozen), (far, moved)):  # rewinding with the statistics does harm in the second case
        result = criticality(model, start, end, batches, draws=2, tolerance=1.01 * error_of(model, end, batches) + 1e-9)
        assert result.value("move", module="conv1") == 0.0 == result.value("move_relative", module="conv1")
        assert result.value("mu", module="conv1") == 0.0
    strict = criticality(model, frozen, frozen, batches, draws=2, tolerance=0.0)
    assert strict.value("mu", module="conv1") == math.inf


def error_of(model, weights, batches):
    twin = copy.deepcopy(model).eval()
    twin.load_state_dict(weights)
    inputs, targets = (torch.cat(part) for part in zip(*batches, strict=True))
    with torch.no_grad():
        return float((twin(inputs).argmax(1) != targets).double().mean())


@pytest.mark.parametrize("draws", [5, 9])
def test_every_draw_meets_every_batch(draws):
    # with 5 draws and 2 batches, half of the cells were met twice and the others never
    model, initial, final, batches, _ = trained()
    inputs, targets = (torch.cat(part) for part in zip(*batches, strict=True))
    targets = torch.where(torch.arange(96) < 10, (targets + 1) % 3, targets)  # wrong ones, all in the first batch
    halves = list(zip(inputs.split(48), targets.split(48), strict=True))
    tolerance = error_of(model, final, halves) + 0.005
    result = criticality(model, initial, final, halves, draws=draws, tolerance=tolerance)
    assert all(math.isfinite(value) for value in result.select("mu")["value"])


def test_where_nothing_is_accepted_without_noise_none_is_looked_for():
    model, _, final, batches = bowl()
    worse = {name: tensor + 1.0 for name, tensor in final.items()}
    apart = {name: tensor + 3.0 for name, tensor in final.items()}
    result = criticality(model, apart, worse, batches, tolerance=0.2, task=squares, draws=10)
    assert result.value("mu", module="parts.0") == math.inf
    assert result.value("forwards") <= 2 + 9  # the final and the rewound one, and nine positions between


def test_a_coarse_precision_takes_fewer_passes():
    model, initial, final, batches = bowl()
    options = {"tolerance": 0.2, "task": squares, "draws": 100}
    fine, coarse = (criticality(model, initial, final, batches, precision=one, **options) for one in (0.018, 0.25))
    assert 150 * 0.95 < coarse.value("mu", module="parts.0") < 1.3 * 150
    assert coarse.value("forwards") < 0.8 * fine.value("forwards")
    with pytest.raises(ValueError, match="precision above 0"):
        criticality(model, initial, final, batches, precision=0)


def test_the_default_tolerance_and_a_final_objective_of_0():
    model, initial, final, batches = bowl()
    result = criticality(model, initial, final, batches, task=squares, draws=0)
    assert result.value("tolerance") == 0.01 and "final objective is 0" in result.select("tolerance")["note"][0]
    worse = {name: tensor + 1.0 for name, tensor in final.items()}
    result = criticality(model, initial, worse, batches, task=squares, draws=0)
    assert result.value("tolerance") == pytest.approx(1.01, rel=1e-5)
    assert result.select("tolerance")["note"][0] is None


def test_same_seed_same_numbers_and_the_model_stays_as_it_was():
    model, initial, final, batches, other = trained()
    model.load_state_dict(other)
    model.train()
    model.bn1.eval()
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    runs = [criticality(model, initial, final, batches, tolerance=0.1, draws=4, seed=seed).rows for seed in (1, 1, 2)]
    assert runs[0].equals(runs[1])
    assert not runs[0].filter(metric="mu").equals(runs[2].filter(metric="mu"))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and model.conv1.training and not model.bn1.training
    assert not any("forward" in module.__dict__ or module._forward_hooks for module in model.modules())
    own = model.state_dict()  # weights that are the model's own tensors
    assert criticality(model, initial, own, batches, draws=0).value("final_error") == pytest.approx(
        criticality(model, initial, before, batches, draws=0).value("final_error")
    )


def test_a_small_cache_changes_nothing_but_the_cost():
    model, initial, final, batches, _ = trained()
    wide, narrow = (
        criticality(model, initial, final, batches, tolerance=0.1, draws=4, cache_bytes=size).rows
        for size in (2**30, 0)
    )
    same = [frame.filter(pl.col("metric") != "forwards") for frame in (wide, narrow)]
    assert same[0].equals(same[1])
    assert wide.filter(metric="forwards")["value"][0] < narrow.filter(metric="forwards")["value"][0]


def test_refitted_statistics_stand_beside_the_naive_ones():
    model, initial, final, batches, _ = trained()
    calibration = [(inputs + 0.1, targets) for inputs, targets in batches]
    result = criticality(model, initial, final, batches, draws=2, tolerance=0.2, calibration=calibration)
    twin = copy.deepcopy(model)
    twin.load_state_dict(final | {n: initial[n] for names in named(model)["conv1"].values() for n in names})
    inputs, targets = (torch.cat(part) for part in zip(*batches, strict=True))
    fed = torch.cat([part for part, _ in calibration])
    naive = float((twin.eval()(inputs).argmax(1) != targets).double().mean())
    assert result.value("rewind_error_naive", module="conv1") == pytest.approx(naive)
    features = twin.conv1(fed)
    twin.bn1.running_mean.copy_(features.mean((0, 2, 3)).detach())
    variances = torch.stack([part.var((0, 2, 3)) * len(part) for part in features.split(20)]).sum(0) / len(fed)
    twin.bn1.running_var.copy_(variances.detach())
    refitted = float((twin(inputs).argmax(1) != targets).double().mean())
    assert result.value("rewind_error", module="conv1") == pytest.approx(refitted)
    assert result.select("rewind_error")["note"].is_null().all()


def test_bad_input_is_refused():
    model, initial, final, batches = bowl()
    with pytest.raises(ValueError, match="draws must be"):
        criticality(model, initial, final, batches, draws=-1)
    with pytest.raises(ValueError, match="path is 'direct'"):
        criticality(model, initial, final, batches, path="straight")
    with pytest.raises(ValueError, match="different networks"):
        criticality(model, {}, final, batches)


DEPTH = ["conv1", "layer1.0", "layer2.0", "layer3.0", "fc"]


def study(tuned, random, replicas=3, final=0.1):
    """Rows of replicas whose mu over depth is given."""
    rows = []
    for arm, mu in (("finetune", tuned), ("randinit", random)):
        for replica in range(replicas if mu else 0):
            shared = {
                "analysis": "criticality",
                "target": None,
                "a": f"{arm}/{replica}",
                "path": "direct",
                "split": "train",
                "unit": "share",
            }
            rows.append(shared | {"module": "*", "metric": "final_error", "value": final})
            rows.append(shared | {"module": "*", "metric": "chance_accuracy", "value": 0.1})
            for depth, (module, value) in enumerate(zip(DEPTH, mu, strict=True)):
                own = shared | {"module": module, "depth": depth, "head": module == "fc"}
                rows.append(own | {"metric": "mu", "value": value * (1 + 0.01 * replica)})
                rows.append(own | {"metric": "rewind_error", "value": min(1.0, 0.1 + value / 1000)})
                rows.append(own | {"metric": "move", "value": 0.5 + depth})
    return pl.DataFrame(rows, infer_schema_length=None)


UP, DOWN = [0.0, 10.0, 40.0, math.inf, 5.0], [99.0, 60.0, 30.0, 2.0, 1.0]


@pytest.mark.parametrize(
    "tuned,random,options,status",
    [
        (UP, [1.0, 2.0, 3.0, 4.0, 5.0], {}, "holds"),
        (UP, DOWN, {}, "holds under conditions"),
        (UP, None, {}, "holds under conditions"),
        (DOWN, UP, {}, "does not hold"),
        (UP, DOWN, {"replicas": 2}, "inconclusive"),
        (UP, DOWN, {"final": 0.85}, "inconclusive"),
    ],
)
def test_verdict(tuned, random, options, status):
    rows = study(tuned, random, **options)
    (judged,) = verdict(rows)
    assert (judged.claim, judged.status) == ("C9", status)
    assert "rank correlation" in judged.sentence


def test_the_head_of_a_fine_tuned_model_does_not_count_and_one_arm_says_nothing():
    rising_but_for_the_head = study(UP, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert verdict(rising_but_for_the_head)[0].low == pytest.approx(1.0)
    assert verdict(study(None, UP)) == ()


def test_replicas_that_disagree_are_inconclusive():
    rows = pl.concat([study(UP, None, 2), study(DOWN, None, 1).with_columns(a=pl.lit("finetune/7"))])
    assert verdict(rows)[0].status == "inconclusive"


@pytest.mark.parametrize(("other", "status"), [(UP, "holds"), (DOWN, "holds under conditions")])
def test_another_path_or_end_is_named_and_one_that_disagrees_is_a_condition(other, status):
    rising = [1.0, 2.0, 3.0, 4.0, 5.0]
    rows = [
        study(UP, rising).with_columns(end=pl.lit("last")),
        study(other, rising).with_columns(end=pl.lit("best")),
        study(UP, rising).with_columns(end=pl.lit("last"), path=pl.lit("checkpoints")),
    ]
    (judged,) = verdict(pl.concat(rows))
    assert judged.status == status
    assert "the same " in judged.sentence and "through checkpoints to the last weights" in judged.sentence
    assert ("otherwise straight to the best weights" in judged.sentence) == (other is DOWN)
    assert verdict(pl.concat(rows[1:])) == ()  # the rule is about the direct path to the last weights


def test_chart_shows_infinite_and_zero():
    drawn = chart(study(UP, DOWN)).to_dict()
    (upper,), lower = drawn["vconcat"][0]["vconcat"], drawn["vconcat"][1]
    data = drawn["datasets"][drawn["vconcat"][0]["data"]["name"]]
    shown = {row["mu"]: row["shown"] for row in data if row["a"] == "finetune/0"}
    assert shown["inf"] > 99 and 0 < shown["0"] < 1
    assert {row["kind"] for row in data} == {"found", "0: rewinding is accepted", "inf: nothing is"}
    assert upper["encoding"]["y"]["sort"] == DEPTH and upper["encoding"]["x"]["scale"]["type"] == "log"
    assert any(layer["mark"]["type"] == "text" for layer in lower["layer"])
    without = chart(study(UP, DOWN).filter(pl.col("metric") != "mu")).to_dict()
    (alone,) = without["vconcat"]
    assert "layer" in alone


def test_the_chart_has_a_panel_a_path_and_end_and_a_table_of_checkpoints():
    rows = study(UP, DOWN).with_columns(end=pl.lit("last"))
    rows = pl.concat([rows.with_columns(path=pl.lit(path)) for path in ("direct", "checkpoints")])
    path = rows.filter(metric="rewind_error", path="checkpoints").with_columns(metric=pl.lit("path_error"))
    later = [
        path.with_columns(checkpoint=pl.lit(f"epoch-{epoch}"), value=pl.col("value") - 0.01, x=1.0)
        for epoch in (2, 16, 4)
    ]
    rows = pl.concat([rows, *later], how="diagonal_relaxed")
    one, tables = chart(rows).to_dict()["vconcat"]
    upper, *lower = one["vconcat"]
    assert [panel["title"] for panel in upper["vconcat"]] == [
        "straight to the last weights",
        "through checkpoints to the last weights",
    ]
    assert len(lower) == 1 and [table["title"] for table in tables["vconcat"]] == ["finetune", "randinit"]
    assert tables["vconcat"][0]["encoding"]["x"]["sort"] == ["start", "2", "4", "16", "new"]
    spec = chart(rows).to_dict()
    cells = spec["datasets"][spec["vconcat"][1]["vconcat"][0]["data"]["name"]]
    (cell,) = [cell for cell in cells if cell["module"] == "layer2.0" and cell["column"] == "4"]
    assert cell["value"] == pytest.approx(0.04 - 0.01) and cell["runs"] == 3  # the rise above the final error
    both = pl.concat([rows, rows.with_columns(end=pl.lit("best"))])
    assert len(chart(both).to_dict()["vconcat"][1]["vconcat"]) == 4


def test_a_built_in_network_end_to_end():
    model = open_model("resnet8", classes=3, seed=0)
    initial, final = (open_model("resnet8", classes=3, seed=seed).state_dict() for seed in (1, 2))
    batches = [(torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3)]
    result = criticality(model, initial, final, batches, draws=2, tolerance=0.7, name="finetune/0")
    assert result.select("mu")["module"].to_list() == ["conv1", "layer1.0", "layer2.0", "layer3.0", "fc"]
    assert result.verdict[0].status == "inconclusive"
    result.chart().to_dict()
