import copy

import pytest
import torch
from torch import nn

from bequest.evaluation.predict import measure
from bequest.evaluation.tasks import task
from bequest.training.curves import train_curve
from bequest.training.loop import Diverged
from bequest.weights.paths import path_point

CLASSIFICATION = task("classification")


def spirals(seed, count=96):
    """Two arms that no line separates, in batches of 32 with both classes."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.rand(count, generator=generator) * 2 * torch.pi
    targets = torch.randint(0, 2, (count,), generator=generator)
    radius = 1.0 + targets + 0.15 * torch.randn(count, generator=generator)
    inputs = torch.stack([radius * turn.cos(), radius * turn.sin()], 1)
    return [(inputs[k : k + 32], targets[k : k + 32]) for k in range(0, count, 32)]


TRAIN = spirals(0)


def network(seed, *, norm=False, dropout=0.0, steps=150):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        middle = nn.BatchNorm1d(16) if norm else nn.Identity()
        model = nn.Sequential(nn.Linear(2, 16), middle, nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 2))
        optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
        for step in range(steps):
            inputs, targets = TRAIN[step % 3]
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimiser.step()
    return model.eval()


def trained(model, a, b, **options):
    chosen = {"kind": "bezier", "bends": 1, "epochs": 3, "learning_rate": 0.1, "seed": 0} | options
    return train_curve(model, a, b, TRAIN, task=CLASSIFICATION, **chosen)


@pytest.fixture(scope="module")
def ends():
    return [copy.deepcopy(network(seed).state_dict()) for seed in (3, 4)]


@pytest.fixture(scope="module")
def normed_ends():
    return [copy.deepcopy(network(seed, norm=True).state_dict()) for seed in (0, 1)]


@pytest.mark.parametrize(("kind", "bends"), [("bezier", 1), ("chain", 1), ("bezier", 2), ("chain", 3)])
def test_a_path_goes_round_the_barrier_of_the_line(ends, kind, bends):
    model = network(2)
    controls = trained(model, *ends, kind=kind, bends=bends, epochs=60, learning_rate=0.3)
    ts = [k / 10 for k in range(11)]
    curve = [measure(model, TRAIN, weights=path_point(kind, controls, t))[0] for t in ts]
    line = [measure(model, TRAIN, weights=path_point("chain", ends, t))[0] for t in ts]
    assert max(line) > 0.6 and max(curve) < max(line) / 10
    assert curve[0] == line[0] == measure(model, TRAIN, weights=ends[0])[0] and curve[-1] == line[-1]


def test_the_ends_are_the_very_objects_and_untrained_the_path_is_the_line(ends):
    controls = trained(network(2), *ends, bends=2, epochs=0)
    assert controls[0] is ends[0] and controls[-1] is ends[1] and len(controls) == 4
    for t in (0.25, 0.5, 0.9):
        point, chord = path_point("bezier", controls, t), path_point("chain", ends, t)
        for name in point:
            torch.testing.assert_close(point[name], chord[name], rtol=1e-5, atol=1e-6)


def test_one_step_is_that_of_autograd_through_the_path(ends):
    """The twin: phi(t) built from theta within autograd, and torch's own SGD."""
    model = network(2)
    from bequest.training.curves import CLIP, _spread
    from bequest.training.seeds import generator

    t = _spread(1, generator(0, "places"))[0]
    got = train_curve(
        model, *ends, TRAIN[:1], kind="bezier", bends=1, epochs=1, learning_rate=0.1, seed=0, task=CLASSIFICATION
    )[1]
    theta = {name: ((ends[0][name] + ends[1][name]) / 2).requires_grad_() for name in ends[0]}
    point = {
        name: (1 - t) ** 2 * ends[0][name] + 2 * t * (1 - t) * theta[name] + t * t * ends[1][name] for name in theta
    }
    for tensor in point.values():
        tensor.retain_grad()
    loss = nn.functional.cross_entropy(torch.func.functional_call(model, point, TRAIN[0][0]), TRAIN[0][1])
    loss.backward()
    norm = torch.stack([tensor.grad.norm() for tensor in point.values()]).norm()
    assert norm < CLIP
    torch.optim.SGD(theta.values(), lr=0.1, momentum=0.9).step()
    for name, tensor in theta.items():
        torch.testing.assert_close(got[name], tensor.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_the_callers_changes(normed_ends, training):
    model = network(2, norm=True, dropout=0.3).train(training)
    model[3].train(not training)
    before, ends = copy.deepcopy(model.state_dict()), copy.deepcopy(normed_ends)
    flags = [module.training for module in model.modules()]
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    state = torch.get_rng_state()
    trained(model, *normed_ends)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(x[name], y[name]) for x, y in zip(ends, normed_ends, strict=True) for name in x)
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(one.grad, kept) for one, kept in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_the_seed_decides_dropout_too_and_the_global_state_does_not(ends):
    model = network(2, dropout=0.5)
    torch.manual_seed(1)
    first = trained(model, *ends, seed=3)[1]
    torch.manual_seed(2)
    again = trained(model, *ends, seed=3)[1]
    other = trained(model, *ends, seed=4)[1]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_frozen_parameters_stay_on_the_line_and_tied_ones_stay_tied(ends):
    model = network(2)
    model[0].requires_grad_(False)
    theta = trained(model, *ends)[1]
    torch.testing.assert_close(theta["0.weight"], (ends[0]["0.weight"] + ends[1]["0.weight"]) / 2)
    assert not torch.allclose(theta["4.weight"], (ends[0]["4.weight"] + ends[1]["4.weight"]) / 2, atol=1e-4)

    tied = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    tied[2].weight = tied[0].weight
    generator = torch.Generator().manual_seed(0)
    pair = [
        {name: torch.randn(tensor.shape, generator=generator) for name, tensor in tied.state_dict().items()}
        for _ in range(2)
    ]
    for end in pair:
        end["2.weight"] = end["0.weight"]
    theta = trained(tied, *pair)[1]
    assert torch.equal(theta["0.weight"], theta["2.weight"])
    assert not torch.allclose(theta["0.weight"], (pair[0]["0.weight"] + pair[1]["0.weight"]) / 2, atol=1e-4)


def test_a_last_batch_of_one_example_is_passed_over_by_batchnorm(normed_ends):
    uneven = [*TRAIN, (TRAIN[0][0][:1], TRAIN[0][1][:1])]
    options = {"kind": "bezier", "bends": 1, "epochs": 2, "learning_rate": 0.1, "seed": 0, "task": CLASSIFICATION}
    model = network(2, norm=True)
    one, two = (train_curve(model, *normed_ends, batches, **options)[1] for batches in (uneven, TRAIN))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_cannot_be_trained_is_refused(ends):
    model = network(2)
    by_class = [(TRAIN[0][0][TRAIN[0][1] == k], TRAIN[0][1][TRAIN[0][1] == k]) for k in range(2)]
    options = {"kind": "bezier", "bends": 1, "epochs": 1, "learning_rate": 0.1, "seed": 0, "task": CLASSIFICATION}
    with pytest.raises(ValueError, match="every training batch holds a single class"):
        train_curve(model, *ends, by_class, **options)
    with pytest.raises(ValueError, match=r"do not fit the model: 0\.weight"):
        train_curve(nn.Sequential(nn.Linear(3, 16)), *ends, TRAIN, **options)
    with pytest.raises(ValueError, match="different networks"):
        train_curve(model, ends[0], {"0.weight": torch.ones(16, 2)}, TRAIN, **options)
    with pytest.raises(ValueError, match="unfreeze some"):
        train_curve(copy.deepcopy(model).requires_grad_(False), *ends, TRAIN, **options)
    broken = {name: torch.full_like(tensor, float("nan")) for name, tensor in ends[1].items()}
    with pytest.raises(Diverged, match="lower its learning rate"):
        train_curve(model, ends[0], broken, TRAIN, **options)
