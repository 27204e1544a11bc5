import copy

import pytest
import torch
from torch import nn

from bequest.evaluation.batchnorm import refit_batchnorm
from bequest.evaluation.matching import match
from bequest.evaluation.predict import measure
from bequest.evaluation.repair import repair, repaired_layers
from bequest.models.opening import open_model
from bequest.weights.algebra import lerp


def numbers(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def drawn(model, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in model.state_dict().items()}


def outputs(model, weights, layer, inputs):
    """What a layer gives, [channels, observations]."""
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o.detach()))
    torch.func.functional_call(model, weights, (inputs,))
    handle.remove()
    axis = -1 if isinstance(model.get_submodule(layer), nn.Linear) else 1
    return kept[0].movedim(axis, 0).flatten(1).double()


@pytest.mark.parametrize("t", [0.25, 0.5])
def test_every_channel_gets_the_interpolated_mean_and_deviation(t):
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 9),
        nn.ReLU(),
        nn.Linear(9, 2),
    )
    a, b, inputs = drawn(model, 0), drawn(model, 1), numbers(50, 3, 6, 6, seed=2)
    kept = copy.deepcopy((a, b, dict(model.state_dict())))
    point = repair(model, a, b, t, [(inputs, torch.zeros(50))])
    for layer in ("0", "2", "5"):
        first, second, here, plain = (outputs(model, one, layer, inputs) for one in (a, b, point, lerp(a, b, t)))
        torch.testing.assert_close(here.mean(1), (1 - t) * first.mean(1) + t * second.mean(1), rtol=1e-4, atol=1e-4)
        goal = (1 - t) * first.std(1) + t * second.std(1)
        torch.testing.assert_close(here.std(1), goal, rtol=1e-4, atol=1e-4)
        assert (plain.std(1) < 0.95 * goal).double().mean() > 0.6  # it had collapsed
    assert torch.equal(point["7.weight"], lerp(a, b, t)["7.weight"])
    for before, now in zip(kept, (a, b, model.state_dict()), strict=True):
        assert all(torch.equal(before[name], now[name]) for name in before)


def test_a_linear_layer_with_a_known_answer():
    """Inputs +1 and -1; weights 2 and -2, whose mean is constant; 6 and 0, whose mean is 3, biases 0 and 2."""
    model = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))
    a = {"0.weight": torch.tensor([[2.0], [6.0]]), "0.bias": torch.tensor([0.0, 0.0])}
    b = {"0.weight": torch.tensor([[-2.0], [0.0]]), "0.bias": torch.tensor([4.0, 2.0])}
    head = {"1.weight": torch.ones(1, 2), "1.bias": torch.zeros(1)}
    inputs = torch.tensor([[1.0], [-1.0]])
    point = repair(model, a | head, b | head, 0.5, [(inputs, torch.zeros(2))])
    # channel 0: deviations 2 and 2, none in between: only shifted; channel 1: (6 + 0) / 2 = 3, as it is
    assert point["0.weight"].tolist() == [[0.0], [3.0]]
    assert point["0.bias"].tolist() == [2.0, 1.0]
    b["0.weight"][1] = -3.0
    point = repair(model, a | head, b | head, 0.5, [(inputs, torch.zeros(2))])
    assert point["0.weight"].tolist() == [[0.0], [4.5]]  # (6 + 3) / 2 in place of (6 - 3) / 2


def test_without_a_bias_the_factor_alone_comes_nearest_to_mean_and_deviation():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )
    a, b, inputs = drawn(model, 0), drawn(model, 1), numbers(40, 3, 5, 5, seed=2) + 0.5
    point = repair(model, a, b, 0.5, [(inputs, torch.zeros(40))])
    first, second, plain = (outputs(model, one, "0", inputs) for one in (a, b, lerp(a, b, 0.5)))
    goal = torch.stack([(first.mean(1) + second.mean(1)) / 2, (first.std(1) + second.std(1)) / 2])
    factors = (point["0.weight"] / lerp(a, b, 0.5)["0.weight"]).flatten(1).mean(1).double()

    def miss(factor):
        return (torch.stack([factor * plain.mean(1), factor * plain.std(1)]) - goal).square().sum(0)

    assert (factors > 0.8).all()
    for other in (factors * 1.02, factors * 0.98, torch.ones(6)):
        assert (miss(factors) <= miss(other) + 1e-9).all()


def test_the_ends_stay_as_they_are_and_a_constant_channel_stays_constant():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    a, b = drawn(model, 0), drawn(model, 1)
    for one in (a, b):
        one["0.bias"][0] = -50.0  # never passes the ReLU
        one["2.weight"][3] = 0.0
    batches = [(numbers(30, 4, seed=3), torch.zeros(30)), (numbers(7, 4, seed=4), torch.zeros(7))]
    for t, end in ((0, a), (1, b)):
        point = repair(model, a, b, t, batches[:1])
        for name in end:
            torch.testing.assert_close(point[name], end[name], rtol=1e-4, atol=1e-4)
    point = repair(model, a, b, 0.5, batches)
    assert all(tensor.isfinite().all() for tensor in point.values())
    assert not point["2.weight"][3].any()
    assert point["2.bias"][3] == pytest.approx(float((a["2.bias"][3] + b["2.bias"][3]) / 2), abs=1e-5)


def test_layers_that_batchnorm_reads_are_refitted_and_not_repaired():
    model = open_model("resnet8", classes=4)
    batches = [(numbers(16, 3, 16, 16, seed=5), torch.zeros(16))]
    assert repaired_layers(model, batches) == []
    a, b = model.state_dict(), open_model("resnet8", classes=4, seed=1).state_dict()
    point, refitted = repair(model, a, b, 0.5, batches), refit_batchnorm(model, lerp(a, b, 0.5), batches)
    assert all(torch.equal(point[name], refitted[name]) for name in refitted)
    fixup = open_model("fixup_resnet8", classes=4)
    assert "fc" not in repaired_layers(fixup, batches) and len(repaired_layers(fixup, batches)) == 9


def test_layers_that_share_a_weight_are_left_as_they_are():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    assert repaired_layers(model, [(numbers(5, 4, seed=0), torch.zeros(5))]) == ["3"]


def deep(width):
    layers = [nn.Linear(2, width), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def rings(seed):
    """Two classes: inside or outside of a circle."""
    points = numbers(512, 2, seed=seed)
    return points, (points.norm(dim=1) > 1.18).long()


def trained(model, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    points, targets = rings(0)
    for _ in range(120):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(points), targets).backward()
        optimiser.step()
    return copy.deepcopy(model.state_dict())


def test_the_collapse_half_way_between_matched_networks_is_repaired():
    model = deep(64)
    a, b = trained(model, 1), trained(model, 2)
    train, test = [rings(0)], [rings(9)]
    b = match(model, a, b, batches=train)
    middle, repaired = lerp(a, b, 0.5), repair(model, a, b, 0.5, train)
    ends = [outputs(model, one, "8", train[0][0]).std(1).mean() for one in (a, b)]
    collapsed, mended = (outputs(model, one, "8", train[0][0]).std(1).mean() for one in (middle, repaired))
    assert collapsed < 0.75 * sum(ends) / 2
    assert mended == pytest.approx(float(sum(ends) / 2), rel=0.05)
    errors = [measure(model, test, weights=one)[1] for one in (a, b, middle, repaired)]
    assert max(errors[:2]) < 0.05 and errors[3] < 0.06 and errors[2] > 0.2
    losses = [measure(model, test, weights=one)[0] for one in (middle, repaired)]
    assert losses[1] < 0.2 * losses[0]
