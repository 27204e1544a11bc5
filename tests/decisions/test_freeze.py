"""The advised way is the cheapest that cannot be told from the best, and its weights are what the rows say."""

import copy

import pytest
import torch
from torch import nn

from bequest.analyses.result import Result
from bequest.decisions.freeze import freeze
from bequest.decisions.freeze_told import Tried, chosen_of, differences, mean_error
from bequest.decisions.scores import Score
from bequest.decisions.trials import Trial
from bequest.decisions.ways import Way
from bequest.evaluation.predict import measure
from bequest.training.recipe import Recipe

RECIPE = Recipe(epochs=6, batch_size=32, learning_rate=0.05)


def value(decision, metric, **where):
    return Result(decision.name, decision.rows).value(metric, **where)


@pytest.fixture(scope="module")
def decision(normed):
    return freeze(
        normed.model,
        normed.calibration,
        normed.validation,
        test_batches=normed.test,
        prefixes=1,
        frozen={"middle": ["second"]},
        recipe=RECIPE,
    )


def test_every_way_is_tried_and_the_weights_are_those_of_the_advised_one(normed, decision):
    names = decision.rows.filter(metric="flops")["a"].to_list()
    assert names == ["finetune", "lp-ft", "slower", "auto-rgn", "frozen to first", "middle", "probe"]
    tested = decision.rows.filter(metric="error", split="test")["a"].to_list()
    chosen = min(tested, key=lambda name: value(decision, "flops", a=name))
    loss, error = measure(normed.model, normed.test, weights=decision.weights)
    assert error == value(decision, "error", a=chosen, split="test")
    assert loss == pytest.approx(value(decision, "loss", a=chosen, split="test"))
    assert f"{100 * error:.1f} %" in decision.advice
    frozen = decision.rows.filter(metric="frozen", a=chosen, value=1.0)["module"].to_list()
    start = normed.model.state_dict()
    for name, tensor in decision.weights.items():
        assert torch.equal(tensor, start[name]) or not name.startswith(tuple(f"{module}." for module in frozen))


def test_frozen_beginnings_cost_less_arithmetic_and_less_memory(decision):
    flops = {name: value(decision, "flops", a=name) for name in ("finetune", "frozen to first", "probe", "lp-ft")}
    assert flops["probe"] < flops["frozen to first"] < flops["finetune"] < flops["lp-ft"]
    memory = {name: value(decision, "memory", a=name) for name in ("finetune", "frozen to first", "probe")}
    assert memory["probe"] < memory["frozen to first"] < memory["finetune"]
    assert value(decision, "learning", a="probe") == 16 * 3 + 3
    assert value(decision, "kept", a="probe") > 0 == value(decision, "kept", a="middle")
    assert {name for name in decision.rows.filter(metric="gradient_ratio")["a"]} == {"auto-rgn"}


@pytest.mark.parametrize("frozen", [["first"], ["first", "second"]])
def test_kept_outputs_give_the_same_training(normed, frozen):
    def run(**options):
        return freeze(
            normed.model,
            normed.calibration,
            normed.validation,
            rules=(),
            prefixes=0,
            frozen={"mine": frozen},
            recipe=RECIPE,
            **options,
        )

    kept, whole = run(), run(cache_bytes=0)
    assert value(kept, "kept") > 0 == value(whole, "kept")
    assert value(kept, "flops") < value(whole, "flops")
    start = normed.model.state_dict()
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(kept.weights[name], tensor, rtol=1e-4, atol=1e-5)
        if name.startswith(tuple(f"{module}." for module in frozen)):
            assert torch.equal(tensor, start[name])  # BatchNorm's statistics, too
    assert not torch.equal(whole.weights["fc.weight"], start["fc.weight"])


def test_where_the_features_are_right_the_head_is_enough(plain):
    """The labels are a linear function of what the network already computes."""
    model = copy.deepcopy(plain.model)
    inner = torch.nn.utils.skip_init(nn.Linear, 16, 3)
    stream = torch.Generator().manual_seed(5)
    with torch.no_grad():
        inner.weight.copy_(torch.randn(3, 16, generator=stream))
        inner.bias.zero_()

    def labelled(seed, n):
        stream.manual_seed(seed)
        x = torch.randn(n, 6, generator=stream)
        with torch.no_grad():
            hidden = torch.relu(model.second(torch.relu(model.first(x))))
            return [(x, inner(hidden).argmax(1))]

    decision = freeze(
        model,
        labelled(1, 300),
        labelled(2, 400),
        test_batches=labelled(3, 2000),
        prefixes=0,
        rules=("finetune", "probe"),
        recipe=Recipe(epochs=20, batch_size=20, learning_rate=0.1),
    )
    assert decision.sure == "measured"
    assert decision.advice.startswith("Train the head alone")
    assert all(torch.equal(decision.weights[n], t) for n, t in model.state_dict().items() if not n.startswith("fc."))


def test_every_way_may_choose_its_learning_rate_and_a_rate_that_diverges_is_passed_over(plain):
    decision = freeze(
        plain.model,
        plain.calibration,
        plain.validation,
        rules=("finetune",),
        prefixes=1,
        recipe=Recipe(epochs=2, batch_size=32),
        learning_rates=(0.05, 1e-5, 100.0),
        starts=[plain.base, plain.base],
    )
    assert set(decision.rows.filter(metric="learning_rate")["value"]) <= {0.05, 1e-5}
    assert decision.rows.filter(metric="error")["n"].to_list() == [2, 2]  # replicas
    assert decision.sure == "inconclusive"
    assert "not confirmed" in decision.advice


def scores(*wrong):
    return [Score(sum(one) / len(one), 1.0, len(one), torch.tensor(one, dtype=torch.float64)) for one in wrong]


def tried(name, flops, *wrong, learning=1):
    runs = tuple(Trial({}, score, 1.0, flops, 1, 0, learning) for score in scores(*wrong))
    return Tried(Way(name), 0.1, runs)


def test_the_cheapest_within_the_interval_of_the_best_is_chosen():
    best = tried("best", 9.0, [1] * 10 + [0] * 90)
    near = tried("near", 5.0, [1] * 12 + [0] * 88)
    cheap = tried("cheap", 1.0, [1] * 30 + [0] * 70)
    outcome = chosen_of([best, near, cheap], 0.02)
    assert (outcome.best.way.name, outcome.chosen.way.name) == ("best", "near")
    # within Wilson's interval of the best, but worse on the same examples beyond doubt
    worse = tried("worse", 1.0, [1] * 17 + [0] * 83)
    assert mean_error(worse.scores).value < mean_error(best.scores).high
    assert differences(worse.scores, best.scores).low > 0
    assert chosen_of([best, worse], 0.02).chosen.way.name == "best"
    # of equal arithmetic, the one that learns less
    small = tried("small", 5.0, [1] * 12 + [0] * 88, learning=0)
    assert chosen_of([best, near, small], 0.02).chosen.way.name == "small"
    failed = Tried(Way("failed"), 0.1, (), "diverged")
    assert chosen_of([failed, best], 0.02).best is best
    with pytest.raises(ValueError, match="every way failed; failed: diverged"):
        chosen_of([failed], 0.02)


def test_with_replicas_differences_are_means_over_them_by_example():
    a, b = scores([1, 1, 0, 0], [1, 0, 0, 0]), scores([1, 0, 0, 0], [0, 0, 0, 0])
    found = differences(a, b)
    assert found.value == pytest.approx(((1 + 1) / 2 + 1 / 2 - 1 / 2) / 4)
    assert found.n == 4
    assert mean_error(a).n == 2


def test_batches_cannot_be_augmented(plain):
    with pytest.raises(ValueError, match="give them as Examples"):
        freeze(plain.model, plain.calibration, plain.validation, recipe=Recipe(augmentation="flip"))
    with pytest.raises(ValueError, match="nothing to try"):
        freeze(plain.model, plain.calibration, plain.validation, rules=(), prefixes=0)
