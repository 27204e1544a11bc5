import copy
import math
from itertools import combinations

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from bequest.analyses.conditions import training_rows
from bequest.analyses.result import table
from bequest.analyses.similarity import chart, similarity, verdict
from bequest.evaluation.hsic import linear_cka


class Columns(nn.Module):
    """Gives some columns of its inputs as features of a module `out`."""

    def __init__(self, first, last):
        super().__init__()
        self.out, self.first, self.last = nn.Identity(), first, last

    def forward(self, inputs):
        return self.out(inputs[:, self.first : self.last])


class Net(nn.Module):
    """A small convolutional net with in-place activations, one of them called twice."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.conv2(x))
        return self.fc(self.drop(x.mean((2, 3))))


NAMES = ["conv1", "bn1", "conv2", "relu", "fc"]


def net(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Net()
        for _ in range(3):
            model(3 + torch.randn(16, 2, 8, 8))
        return model.eval()


def images(sizes=(12, 12, 12, 12), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(3 + torch.randn(n, 2, 8, 8, generator=generator), torch.zeros(n)) for n in sizes]


def clean_outputs(model, inputs):
    """All outputs in float64, without hooks and without anything in place."""
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        conv1 = model.conv1(inputs.double())
        bn1 = model.bn1(conv1)
        first = bn1.clone().relu()
        conv2 = model.conv2(first)
        second = conv2.clone().relu()
        fc = model.fc(second.mean((2, 3)))
    return {"conv1": conv1, "bn1": bn1, "relu": first, "conv2": conv2, "relu#2": second, "fc": fc}


def gram(features):
    """A Gram matrix with a zero diagonal and its row sums, in float64."""
    rows = features.flatten(1).numpy()
    product = rows @ rows.T
    np.fill_diagonal(product, 0)
    return product, product.sum(1)


def songs_hsic1(x, y):
    """HSIC_1 as printed in the paper."""
    (k, k_rows), (l, l_rows) = x, y  # noqa: E741
    n = len(k)
    middle = k_rows.sum() * l_rows.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k_rows @ l_rows)
    return float(((k * l).sum() + middle) / (n * (n - 3)))


@pytest.mark.parametrize(("size", "wanted"), [(10, 0.543731), (20, 0.533718), (25, 0.513268), (50, 0.530844)])
def test_minibatches_of_the_notebook_s_data(size, wanted):
    random = np.random.RandomState(1337)
    x = random.randn(100, 10)
    both = torch.from_numpy(np.concatenate([x, random.randn(100, 10) + x], axis=1))
    batches = [(both[i : i + size], torch.zeros(size)) for i in range(0, 100, size)]
    result = similarity({"x": Columns(0, 10), "y": Columns(10, 20)}, batches, modules=["out"], block=None)
    assert result.value("cka") == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_one_batch_is_linear_cka(estimator):
    inputs = torch.randn(40, 20, generator=torch.Generator().manual_seed(0))
    models = {"x": Columns(0, 15), "y": Columns(5, 20)}
    result = similarity(models, [(inputs, torch.zeros(40))], modules=["out"], estimator=estimator, block=None)
    wanted = linear_cka(inputs[:, :15], inputs[:, 5:], estimator=estimator)
    assert result.value("cka") == pytest.approx(wanted, abs=1e-9)
    assert result.select("cka")["low"].to_list() == [None]


def test_the_brute_force_twin_in_float64_agrees_in_every_pair_of_modules():
    models, batches = {"a": net(0), "b": net(1)}, images((12, 12, 12, 7))
    result = similarity(models, batches, modules=NAMES)
    order = result.select("cka_identity", a="a")["module"].to_list()
    assert order == ["conv1", "bn1", "relu", "conv2", "relu#2", "fc"]
    grams = {
        name: [{key: gram(value) for key, value in clean_outputs(model, x).items()} for x, _ in batches]
        for name, model in models.items()
    }
    sizes = [len(inputs) for inputs, _ in batches]
    for pair, found in result.arrays.items():
        a, b = (grams[name] for name in pair.split("|"))
        for i, first in enumerate(order):
            for j, second in enumerate(order):
                parts = [(x[first], y[second], n) for x, y, n in zip(a, b, sizes, strict=True)]
                xy = sum(n * songs_hsic1(x, y) for x, y, n in parts)
                xx = sum(n * songs_hsic1(x, x) for x, _, n in parts)
                yy = sum(n * songs_hsic1(y, y) for _, y, n in parts)
                assert float(found[i, j]) == pytest.approx(xy / math.sqrt(xx * yy), abs=1e-4)
    for row in result.select("cka").iter_rows(named=True):
        k = order.index(row["module"])
        assert row["module_b"] == row["module"] and row["n"] == 43
        assert row["value"] == pytest.approx(float(result.arrays["a|b"][k, k]), abs=1e-12)
        assert row["low"] < row["value"] < row["high"]


def test_blocks_are_small_batches_to_the_unbiased_estimate_and_the_biased_one_takes_whole_batches():
    models, batches = {"a": net(0), "b": net(1)}, images((36, 21))
    parts = [(part, torch.zeros(len(part))) for x, _ in batches for part in x.tensor_split(len(x) // 9)]

    def maps(data, **options):
        return similarity(models, data, modules=NAMES, **options).arrays["a|b"]

    for estimator, same in (("unbiased", parts), ("biased", batches)):
        found, wanted = maps(batches, block=9, estimator=estimator), maps(same, block=None, estimator=estimator)
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    assert (maps(parts, block=None, estimator="biased") - maps(batches, estimator="biased")).abs().max() > 0.01
    with pytest.raises(ValueError, match="block must be 4 examples or more"):
        maps(batches, block=3)


def test_identity_is_one_also_for_a_head_of_tiny_scale():
    model = net(0)
    with torch.no_grad():
        model.fc.weight.mul_(1e-3)
        model.fc.bias.mul_(1e-3)
    result = similarity({"a": model, "b": copy.deepcopy(model)}, images(), modules=NAMES)
    for metric in ("cka", "cka_identity"):
        for value in result.select(metric)["value"]:
            assert value == pytest.approx(1.0, abs=1e-9)


def test_the_null_is_near_zero_where_the_models_are_alike_and_depends_on_the_seed_alone():
    model, batches = net(0), images((40,) * 6)
    models = {"a": model, "b": copy.deepcopy(model)}
    result = similarity(models, batches, modules=["conv1", "fc"])
    assert all(abs(value) < 0.15 for value in result.select("cka_null")["value"])
    again = similarity(models, batches, modules=["conv1", "fc"])
    other = similarity(models, batches, modules=["conv1", "fc"], seed=1)
    assert result.rows.equals(again.rows)
    assert not result.select("cka_null").equals(other.select("cka_null"))
    assert result.select("cka").equals(other.select("cka"))


def test_the_null_is_a_permutation_of_examples_in_which_none_stays():
    inputs = torch.randn(9, 20, generator=torch.Generator().manual_seed(0))
    models = {"x": Columns(0, 15), "y": Columns(5, 20)}
    result = similarity(models, [(inputs, torch.zeros(9))], modules=["out"], seed=3)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    permuted = torch.empty_like(order)
    permuted[order] = order.roll(1)
    assert bool((permuted != torch.arange(9)).all())
    wanted = linear_cka(inputs[:, :15], inputs[permuted, 5:])
    assert result.value("cka_null") == pytest.approx(wanted, abs=1e-6)
    assert abs(wanted - result.value("cka")) > 0.1


def test_negative_values_stay():
    values = []
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        batches = [(torch.randn(8, 40, generator=generator), torch.zeros(8))]
        values.append(similarity({"x": Columns(0, 20), "y": Columns(20, 40)}, batches, modules=["out"]).value("cka"))
    assert min(values) < 0 and max(values) <= 1


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_last_batch_of_one_to_three_examples_is_left_out_and_counted(last):
    models = {"a": net(0), "b": net(1)}
    whole = similarity(models, images((12, 12)), modules=NAMES)
    more = similarity(models, [*images((12, 12)), *images((last,), seed=9)], modules=NAMES)
    assert more.select("cka").equals(whole.select("cka"))
    assert more.value("examples_left_out") == last and whole.value("examples_left_out") == 0
    with pytest.raises(ValueError, match="at least 4 examples"):
        similarity(models, images((last,)), modules=NAMES)


def test_constant_and_broken_features_have_no_value_and_a_reason():
    dead, broken = net(1), net(2)
    with torch.no_grad():
        dead.fc.weight.zero_()
        broken.fc.weight.fill_(math.inf)
    result = similarity({"a": net(0), "b": dead, "c": broken}, images(), modules=["conv1", "fc"])
    row = result.select("cka", a="a", b="b", module="fc").row(0, named=True)
    assert (row["value"], row["low"], row["note"]) == (None, None, "fc of b is constant")
    assert result.select("cka", a="a", b="c", module="fc")["note"].to_list() == ["fc of c is not finite"]
    assert result.select("cka_identity", a="b", module="fc")["value"].to_list() == [None]
    assert result.value("cka", a="a", b="b", module="conv1") < 1


def test_models_come_back_as_they_were():
    model, other = net(0).train(), net(1)
    model.bn1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    similarity(model, images(), weights={"a": model.state_dict(), "b": other.state_dict()}, modules=NAMES)
    similarity({"a": model, "b": other}, images(), modules=NAMES)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training and model.fc.training and not model.bn1.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(state, torch.get_rng_state())


def test_weights_run_in_one_model_give_what_the_models_give():
    models = {"a": net(0), "b": net(1), "c": net(2)}
    wanted = similarity(models, images(), modules=NAMES)
    weights = {name: model.state_dict() for name, model in models.items()}
    assert similarity(models["b"], images(), weights=weights, modules=NAMES).rows.equals(wanted.rows)
    assert similarity({name: net(9) for name in models}, images(), weights=weights, modules=NAMES).rows.equals(
        wanted.rows
    )


def test_units_in_order_are_taken_where_no_modules_are_named():
    result = similarity({"a": net(0), "b": net(1)}, images())
    assert result.select("cka")["module"].to_list() == ["conv1", "conv2", "fc"]


def test_networks_without_a_common_name_are_compared_in_all_pairs():
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(128, 6))

        def forward(self, x):
            return self.body(x)

    result = similarity({"a": net(0), "b": Other()}, images())
    assert result.select("cka").height == 3
    assert set(result.select("cka")["module_b"]) == {"body.1"}
    assert result.arrays["a|b"].shape == (3, 1)


def test_what_cannot_be_compared_is_refused():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x):
            return self.inner(x.flatten(1).T).T

    model = net(0)
    with pytest.raises(KeyError, match="nearest is 'conv1'"):
        similarity({"a": model, "b": model}, images(), modules=["conv11"])
    with pytest.raises(ValueError, match="first dimension must be the examples"):
        similarity({"a": Turned()}, images(), modules=["inner"])
    with pytest.raises(ValueError, match="nothing to be compared with"):
        similarity(model, images())
    with pytest.raises(ValueError, match="names of the models"):
        similarity({"a": model}, images(), weights={"b": model.state_dict()})
    with pytest.raises(ValueError, match="no estimator"):
        similarity({"a": model}, images(), modules=["fc"], estimator="rbf")


def study(tuned, random, modules=("conv1", "fc"), replicas=3, noise=0.01, error=0.1):
    """Rows as a study has them: one level of similarity for each of the two arms."""
    names = ["P", *(f"{arm}/{k}" for arm in ("finetune", "randinit") for k in range(replicas))]
    rows = list(training_rows(None if error is None else dict.fromkeys(names[1:], error), 0.1))
    for index, (a, b) in enumerate(combinations(names, 2)):
        for module in modules:
            level = tuned if "randinit" not in a + b else random
            row = {"a": a, "b": b, "module": module, "module_b": module, "n": 100}
            rows += [
                {**row, "metric": "cka", "value": level + noise * (index % 3)},
                {**row, "metric": "cka_null", "value": 0.01 * (-1) ** index},
            ]
    return table("similarity", rows)


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        (study(0.8, 0.1), "holds"),
        (study(0.1, 0.8), "does not hold"),
        (study(0.5, 0.5), "inconclusive"),
        (study(0.8, 0.1, error=0.85), "inconclusive"),  # 15 % right of 10 % by chance
        (study(0.1, 0.8, error=0.85), "inconclusive"),
        (study(0.8, 0.1, error=None), "holds under conditions"),
        (study(0.8, 0.1, replicas=2), "inconclusive"),
        (pl.concat([study(0.8, 0.1, ("conv1",)), study(0.2, 0.2, ("fc",))]), "holds under conditions"),
        (study(0.005, -0.05, noise=0.0), "inconclusive"),  # above the other pairs, but within the null
    ],
)
def test_the_verdict_goes_by_the_order_in_each_module(rows, status):
    (judged,) = verdict(rows)
    assert (judged.claim, judged.status) == ("C5", status)
    assert "modules" in judged.sentence and "pairs" in judged.sentence


def test_models_that_never_trained_are_not_judged_to_have_the_same_features():
    start = net(0)
    models = {"P": start}
    for k in range(3):
        models |= {f"finetune/{k}": copy.deepcopy(start), f"randinit/{k}": net(k + 1)}
        with torch.no_grad():
            models[f"finetune/{k}"].conv1.weight.mul_(1 + 0.01 * k)
    wrong = {name: 0.9 for name in models if name != "P"}
    (unknown,) = similarity(models, images(), modules=NAMES[2:]).verdict
    assert unknown.status == "holds under conditions" and "train errors were not given" in unknown.sentence
    result = similarity(models, images(), modules=NAMES[2:], errors=wrong, chance=0.1)
    (judged,) = result.verdict
    assert judged.status == "inconclusive" and "finetune is hardly better than chance" in judged.sentence
    assert result.value("final_error", a="randinit/1", split="train") == 0.9 and result.value("chance_accuracy") == 0.1
    with pytest.raises(ValueError, match="error of 'P' is 12"):
        similarity(models, images(), modules=NAMES[2:], errors={"P": 12})


def test_notes_go_with_the_pairs_of_a_model():
    models = {"P": net(0), "a": net(1), "b": net(2)}
    result = similarity(models, images(), modules=["fc"], notes={"P": "BatchNorm statistics of the source"})
    assert result.select("cka")["note"].to_list() == [*["P: BatchNorm statistics of the source"] * 2, None]


def test_features_of_mean_100_in_float32_lose_nothing():
    class Shifted(Columns):
        def forward(self, inputs):
            return self.out(inputs[:, self.first : self.last] + 100)

    inputs = torch.randn(64, 20, generator=torch.Generator().manual_seed(5))
    batches = [(part, torch.zeros(len(part))) for part in inputs.split(16)]
    plain = similarity({"x": Columns(0, 15), "y": Columns(5, 20)}, batches, modules=["out"])
    moved = similarity({"x": Shifted(0, 15), "y": Shifted(5, 20)}, batches, modules=["out"])
    parts = [part.double().numpy() for part in inputs.split(16)]
    grams = [(gram(torch.from_numpy(part[:, :15])), gram(torch.from_numpy(part[:, 5:]))) for part in parts]
    xy, xx, yy = (sum(songs_hsic1(pair[i], pair[j]) for pair in grams) for i, j in ((0, 1), (0, 0), (1, 1)))
    assert plain.value("cka") == pytest.approx(xy / math.sqrt(xx * yy), abs=1e-6)
    assert moved.value("cka") == pytest.approx(plain.value("cka"), abs=1e-4)
    assert moved.value("cka_null") == pytest.approx(plain.value("cka_null"), abs=1e-4)
    assert moved.value("cka_identity", a="x") == pytest.approx(1, abs=1e-9)


def test_models_of_no_arm_give_no_verdict_but_a_chart():
    result = similarity({"mine": net(0), "yours": net(1)}, images(), modules=NAMES)
    assert result.verdict == ()
    drawn = result.chart().to_dict()
    assert drawn["width"] == "container"
    assert drawn["layer"][1]["encoding"]["x"]["sort"][0] == "conv1"


def test_several_targets_are_drawn_side_by_side():
    rows = pl.concat([study(0.8, 0.1).with_columns(target=pl.lit(name)) for name in ("line", "mono")])
    assert len(chart(rows).to_dict()["concat"]) == 2
