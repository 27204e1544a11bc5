"""Averages are made where they work, refused where they don't, and are what the rows say they are."""

import copy

import pytest
import torch
from torch import nn

import bequest
from bequest.analyses.result import Result
from bequest.decisions.soup import soup
from bequest.evaluation.batchnorm import refit_batchnorm
from bequest.evaluation.predict import measure, predict
from bequest.weights.algebra import mean


def made(case, members=None, **options):
    given = {"test_batches": case.test, "calibration": case.calibration, "base": case.base} | options
    return soup(case.model, members or case.tunes, case.validation, **given)


def value(decision, metric, **where):
    return Result(decision.name, decision.rows).value(metric, **where)


def test_a_soup_file_loaded_into_a_fresh_model_gives_the_errors_that_are_claimed(normed, tmp_path):
    decision = made(normed, others={"source": normed.other})
    assert decision.sure in {"measured", "inconclusive"}
    bequest.write_weights(decision.weights, tmp_path / "soup.safetensors")
    fresh = type(normed.model)(batchnorm=True, seed=5)
    fresh.load_state_dict(bequest.read_weights(tmp_path / "soup.safetensors"))
    called = decision.rows.filter(metric="difference")["a"][0]
    for batches, where in ((normed.test, None), (normed.other, "source")):
        loss, error = measure(fresh, batches)
        assert error == value(decision, "error", a=called, split="test", domain=where)
        assert loss == pytest.approx(value(decision, "loss", a=called, split="test", domain=where), rel=1e-5)
    assert f"{100 * value(decision, 'error', a=called, split='test', domain=None):.1f} %" in decision.advice


@pytest.mark.parametrize("kind", ["plain", "normed"])
def test_the_soup_of_permuted_copies_is_refused_with_the_barrier_as_the_reason(kind, request):
    case = request.getfixturevalue(kind)
    copies = {"a": case.tunes["a"], "copy": case.permuted}
    assert measure(case.model, case.validation, weights=copies["a"])[1] == pytest.approx(
        measure(case.model, case.validation, weights=copies["copy"])[1]
    )
    decision = made(case, copies)
    assert decision.sure == "refused"
    assert decision.weights is None
    barrier = value(decision, "barrier_error")
    assert barrier > 0.1
    assert (
        decision.advice.startswith("Do not average these") and f"{100 * barrier:.1f} points of error" in decision.advice
    )
    assert not decision.rows.filter(a="uniform").height


def test_a_permuted_copy_is_left_out_and_the_others_are_averaged(plain):
    decision = made(plain, plain.tunes | {"copy": plain.permuted}, base=None)
    groups = {name: value(decision, "group", a=name) for name in (*plain.tunes, "copy")}
    assert groups["a"] == groups["b"] == groups["c"] != groups["copy"]
    assert [value(decision, "in_soup", a=name, b="uniform") for name in groups] == [1.0, 1.0, 1.0, 0.0]
    assert "left out: copy, behind a barrier" in decision.advice


def test_a_mean_that_is_worse_on_validation_is_not_advised(plain):
    members = {"a": plain.tunes["a"], "start": plain.base, "noise": {n: t + 0.2 for n, t in plain.base.items()}}
    decision = made(plain, members, base=None, method="uniform", limit=1.0)
    worse, best = (value(decision, "error", a=name, split="validation") for name in ("uniform", "a"))
    assert worse > best
    assert f"is worse on validation ({100 * worse:.1f} % error in place of {100 * best:.1f} %)" in decision.advice
    assert decision.advice.startswith("Keep a: ")


def test_greedy_does_what_a_loop_over_state_dicts_does(normed):
    decision = made(normed, base=None)
    model, errors = normed.model, {}

    def error(weights):
        return measure(model, normed.validation, weights=weights)[1]

    errors = {name: measure(model, normed.validation, weights=weights)[::-1] for name, weights in normed.tunes.items()}
    ranked = sorted(errors, key=errors.get)
    kept, weights, lowest = [ranked[0]], normed.tunes[ranked[0]], errors[ranked[0]][0]
    for name in ranked[1:]:
        tried = {
            key: sum(normed.tunes[one][key] for one in (*kept, name)) / (len(kept) + 1)
            if tensor.is_floating_point()
            else tensor
            for key, tensor in normed.tunes[ranked[0]].items()
        }
        tried = refit_batchnorm(model, tried, normed.calibration)
        if error(tried) <= lowest:
            kept, weights, lowest = [*kept, name], tried, error(tried)
    assert len(kept) > 1  # else nothing was averaged, and nothing is tested
    assert {name for name in normed.tunes if value(decision, "in_soup", a=name, b="greedy")} == set(kept)
    assert decision.weights.keys() == weights.keys()
    for key, tensor in weights.items():
        torch.testing.assert_close(decision.weights[key], tensor, rtol=1e-5, atol=1e-6)
    assert value(decision, "error", a="greedy", split="validation") == lowest


@pytest.mark.parametrize("seed", range(6))
def test_greedy_never_ends_below_the_best_member_on_validation(seed):
    stream = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    members = {
        f"m{place}": {n: torch.randn(t.shape, generator=stream) for n, t in model.state_dict().items()}
        for place in range(5)
    }
    batches = [(torch.randn(40, 4, generator=stream), torch.randint(0, 3, (40,), generator=stream))]
    decision = soup(model, members, batches, limit=1.0)  # nothing counts as a barrier: a blind soup
    best = min(value(decision, "error", a=name, split="validation") for name in members)
    assert value(decision, "error", a="greedy", split="validation") <= best
    assert decision.rows.filter(metric="greedy_error").height == 5


def test_uniform_has_statistics_of_its_own_and_not_those_of_the_first(normed):
    decision = made(normed, base=None, method="uniform")
    expected = refit_batchnorm(normed.model, mean(list(normed.tunes.values())), normed.calibration)
    for name, tensor in expected.items():
        torch.testing.assert_close(decision.weights[name], tensor, rtol=1e-6, atol=1e-7)
    assert not torch.equal(decision.weights["norm.running_mean"], normed.tunes["a"]["norm.running_mean"])
    assert decision.weights["norm.num_batches_tracked"].dtype == torch.int64


def test_what_refitting_alone_brings_is_not_said_to_be_the_mixing(normed):
    stale = {key: tensor + 3 if key.endswith("running_mean") else tensor for key, tensor in normed.tunes["a"].items()}
    twins = {"a": stale, "b": {key: tensor.clone() for key, tensor in stale.items()}}
    decision = made(normed, twins, base=None, method="uniform")
    single, mix, anew = (
        value(decision, "error", a=name, split="test", domain=None) for name in ("a", "uniform", "best, refitted")
    )
    assert single > mix + 0.1  # the statistics were wrong
    assert anew == mix  # the mean of twins is the twin
    row = decision.rows.filter(metric="difference")
    assert row["a"].item() == "best, refitted"  # no mean is better, so that is what is advised
    assert row["high"].item() < 0
    assert decision.sure == "measured"
    assert decision.advice.startswith("Keep a with its BatchNorm refitted on training data: no average was better")
    refitted = refit_batchnorm(normed.model, stale, normed.calibration)
    assert all(torch.equal(decision.weights[name], tensor) for name, tensor in refitted.items())
    assert made(normed, base=None, calibration=None).rows.filter(a="best, refitted").is_empty()


def test_refitting_on_other_data_that_makes_the_best_worse_is_not_advised(normed):
    shifted = [(inputs + 4, targets) for inputs, targets in normed.calibration]
    noisy = {name: tensor + 0.3 if tensor.is_floating_point() else tensor for name, tensor in normed.tunes["a"].items()}
    members = {"a": normed.tunes["a"], "noisy": noisy}
    decision = made(normed, members, base=None, method="uniform", limit=1.0, calibration=shifted)
    assert value(decision, "error", a="a", split="validation") < value(
        decision, "error", a="best, refitted", split="validation"
    )
    assert "BatchNorm refitted on training data" not in decision.advice.partition(";")[0]


def test_of_members_at_chance_nothing_is_sure_and_the_order_of_the_classes_is_suspected(plain):
    turned = [(inputs, (targets + 1) % (int(targets.max()) + 1)) for inputs, targets in plain.test]
    decision = made(plain, base=None, test_batches=turned)
    assert value(decision, "error", a="a", split="test") > 0.8  # as of a head whose classes stand in another order
    assert decision.sure == "inconclusive"
    assert "not even the best is clearly better than guessing" in decision.advice
    assert decision.advice.endswith("in its order?")
    assert "guessing" not in made(plain, base=None).advice


def test_a_single_member_at_chance_is_named(plain):
    weight = next(name for name in reversed(plain.tunes["b"]) if name.endswith("weight"))
    turned = dict(plain.tunes["b"]) | {weight: plain.tunes["b"][weight].roll(1, 0)}  # its classes in another order
    decision = made(plain, {"a": plain.tunes["a"], "turned": turned}, base=None)
    assert "turned is not clearly better than guessing" in decision.advice


def test_a_barrier_that_few_examples_cannot_settle_is_no_shared_basin(plain):
    few = [(inputs[:9], targets[:9]) for inputs, targets in plain.validation[:1]]
    limit = value(made(plain, base=None), "limit")
    heights = {}
    for t in (0.3, 0.5, 0.7, 0.9):  # further and further from a, towards a copy with its channels in another order
        far = {name: torch.lerp(tensor, plain.permuted[name], t) for name, tensor in plain.tunes["a"].items()}
        decision = soup(plain.model, {"a": plain.tunes["a"], "far": far}, few, test_batches=plain.test)
        row = decision.rows.filter(metric="barrier_error").row(0, named=True)
        if row["value"] > limit >= row["low"]:
            heights[t] = decision
    assert heights
    for decision in heights.values():
        assert decision.sure == "inconclusive"
        assert "share a basin is not settled" in decision.advice and "9 examples" in decision.advice


def test_frozen_weights_are_averaged_too(plain):
    model = copy.deepcopy(plain.model)
    model.first.requires_grad_(False)
    members = {"a": plain.tunes["a"], "b": plain.tunes["b"]}
    decision = soup(model, members, plain.validation, method="uniform")
    halfway = (members["a"]["first.weight"] + members["b"]["first.weight"]) / 2
    torch.testing.assert_close(decision.weights["first.weight"], halfway)
    assert not any(parameter.requires_grad for parameter in model.first.parameters())


def test_the_barrier_is_the_same_in_both_directions_and_the_model_is_left_as_it_was(normed):
    before = copy.deepcopy(normed.model.state_dict())
    one = made(normed, {"a": normed.tunes["a"], "b": normed.tunes["b"]})
    other = made(normed, {"b": normed.tunes["b"], "a": normed.tunes["a"]})
    for metric in ("barrier_error", "barrier_loss"):
        assert value(one, metric) == pytest.approx(value(other, metric), abs=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in normed.model.state_dict().items())
    assert one.costs["images"] == other.costs["images"] > 0


def test_ends_of_the_way_to_the_pre_trained_weights_are_what_was_given(plain):
    only = {"a": plain.tunes["a"]}
    decision = made(plain, only, alphas=(0.0, 1.0))
    for alpha, weights in ((0.0, plain.base), (1.0, plain.tunes["a"])):
        error = value(decision, "error", a="wise-ft", split="validation", x=alpha)
        assert error == measure(plain.model, plain.validation, weights=weights)[1]
    chosen = value(decision, "alpha", a="wise-ft")
    expected = plain.base if chosen == 0 else plain.tunes["a"]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in decision.weights.items())


def test_a_base_with_another_head_takes_that_of_the_soup(plain):
    base = {name: tensor for name, tensor in plain.base.items() if not name.startswith("fc.")}
    base["fc.weight"] = torch.zeros(7, 16)
    decision = made(plain, {"a": plain.tunes["a"]}, base=base, alphas=(0.0,))
    headed = base | {name: plain.tunes["a"][name] for name in ("fc.weight", "fc.bias")}
    expected = measure(plain.model, plain.validation, weights=headed)[1]
    assert value(decision, "error", a="wise-ft", split="validation", x=0.0) == expected


def test_the_ensemble_is_the_mean_of_the_softmax(plain):
    decision = made(plain, base=None)
    outputs = [predict(plain.model, plain.test, weights=weights).outputs.softmax(1) for weights in plain.tunes.values()]
    targets = torch.cat([targets for _, targets in plain.test])
    wrong = float((sum(outputs).argmax(1) != targets).double().mean())
    assert value(decision, "error", a="ensemble", split="test") == wrong
    assert value(decision, "inferences", a="ensemble") == 3
    assert value(decision, "inferences", a="greedy") == 1


def test_without_test_or_calibration_nothing_is_sure(normed):
    assert made(normed, test_batches=None).sure == "inconclusive"
    unsure = made(normed, calibration=None)
    assert unsure.sure != "measured"
    assert "BatchNorm was not refitted" in unsure.advice
    assert "BatchNorm" in unsure.rows.filter(metric="barrier_error")["note"][0]


class Well(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.w.expand(len(x), 1)


def double_well(outputs, targets):
    return (outputs.square() - 1).square().mean()


def test_a_loss_is_accepted_as_task_and_the_double_well_has_barrier_one():
    members = {"left": {"w": torch.tensor([-1.0])}, "right": {"w": torch.tensor([1.0])}}
    batches = [(torch.zeros(4, 1), torch.zeros(4))]
    decision = soup(Well(), members, batches, task=double_well, test_batches=batches, points=5)
    assert decision.sure == "refused"
    assert value(decision, "barrier_error") == 1.0
    assert "half-way from left to right lies a barrier of 1 (up to 0.02 count as none)" in decision.advice
    near = {"right": members["right"], "near": {"w": torch.tensor([1.2])}}
    kept = soup(Well(), near, batches, task=double_well, test_batches=batches)
    assert kept.sure != "refused"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": {"a": None}}, "needs two fine-tunes"),
        ({"members": {"a": None, "greedy": None}}, "'greedy' is the name of a mix"),
        ({"points": 2}, "at least 3 points"),
        ({"method": "best"}, "greedy or uniform, not 'best'"),
        ({"base": {"x": torch.zeros(1)}, "alphas": (2.0,)}, "between 0"),
        ({"base": {"x": torch.zeros(1)}}, "no tensor of the fine-tunes"),
    ],
)
def test_bad_input_is_told(plain, change, message):
    given = {"members": plain.tunes} | change
    members = {name: plain.tunes["a"] if weights is None else weights for name, weights in given.pop("members").items()}
    with pytest.raises(ValueError, match=message):
        soup(plain.model, members, plain.validation, **given)


def test_weights_of_different_networks_are_told_by_name(plain):
    short = {name: tensor for name, tensor in plain.tunes["b"].items() if name != "fc.bias"}
    with pytest.raises(ValueError, match="'a' and 'short' cannot be averaged"):
        soup(plain.model, {"a": plain.tunes["a"], "short": short}, plain.validation)
