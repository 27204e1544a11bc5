import copy

import pytest
import torch
from torch import nn

from bequest.evaluation.mixtures import Noise, mixture, parameter_names
from bequest.evaluation.predict import predict
from bequest.weights.algebra import combine


class Small(nn.Module):
    """BatchNorm, a tied weight, a frozen one, a counter."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(4)
        self.first.bias.requires_grad_(False)

    def forward(self, inputs):
        return self.norm(self.second(self.first(inputs)))


def network(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Small()
        nn.init.normal_(model.first.bias)
        for _ in range(2 + seed):
            model(torch.randn(8, 4) * (seed + 1))
    return model


MEMBERS = [copy.deepcopy(network(seed).state_dict()) for seed in range(4)]
BATCHES = [(torch.linspace(-1, 1, 24).reshape(6, 4), torch.zeros(6))]


def inside(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.0, 0.0), (-0.4, 0.9, 0.2, 0.3), (0.25, 0.25, 0.25, 0.25)])
def test_a_point_is_the_sum_of_the_members(shares):
    model = network(7)
    with mixture(model, MEMBERS) as go:
        go(shares, None)
        found = inside(model)
    wanted = combine(MEMBERS, shares)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)
    assert torch.equal(found["first.weight"], found["second.weight"])


@pytest.mark.parametrize("place", range(4))
def test_a_member_itself_comes_bit_for_bit_counters_too(place):
    model = network(7)
    with mixture(model, MEMBERS) as go:
        go((0.3, 0.3, 0.2, 0.2), None)
        go([float(place == k) for k in range(4)], None)
        assert all(torch.equal(tensor, MEMBERS[place][name]) for name, tensor in inside(model).items())


def test_walking_along_rows_gives_the_points_of_single_sums():
    model = network(7)
    rows = [[(1 - p / 9 - q, p / 9, q) for p in range(-3, 40)] for q in (0.0, 0.37, -1.1)]
    with mixture(model, MEMBERS[:3]) as go:
        for row in rows:
            for shares in row:
                go(shares, None)
                model.norm.running_mean.zero_()  # as a refit would
                if shares[1] * 9 % 7 < 0.5:
                    wanted = combine([dict(member) for member in MEMBERS[:3]], shares)
                    for name in parameter_names(model):
                        torch.testing.assert_close(model.state_dict()[name], wanted[name], rtol=2e-6, atol=4e-6)
        go(rows[0][5], None)
        torch.testing.assert_close(model.norm.running_mean, combine(MEMBERS[:3], rows[0][5])["norm.running_mean"])


def test_noise_is_gaussian_of_the_asked_length_on_parameters_alone_and_repeats():
    model = nn.Sequential(nn.Linear(60, 80), nn.BatchNorm1d(80))
    members = [model.state_dict(), {name: tensor + 1 for name, tensor in model.state_dict().items()}]
    members = copy.deepcopy(members)
    with mixture(model, members) as go:
        go((0.5, 0.5), None)
        clean = inside(model)
        go((0.5, 0.5), Noise(3.0, seed=1))
        noisy = inside(model)
        go((1.0, 0.0), Noise(3.0, seed=2))
        go((0.5, 0.5), Noise(6.0, seed=1))
        twice = inside(model)
        go((0.5, 0.5), None)
        assert all(torch.equal(tensor, clean[name]) for name, tensor in inside(model).items())
    names = parameter_names(model)
    apart = torch.cat([(noisy[name] - clean[name]).flatten() for name in names])
    assert float(apart.norm()) == pytest.approx(3.0, rel=0.03)
    assert float(apart.mean()) == pytest.approx(0, abs=4 * 3 / len(apart))
    torch.testing.assert_close(
        torch.cat([(twice[name] - clean[name]).flatten() for name in names]), 2 * apart, rtol=1e-4, atol=1e-5
    )
    assert torch.equal(noisy["1.running_mean"], clean["1.running_mean"])


def test_the_model_is_left_as_it_was_and_may_be_a_member_itself():
    model = network(5).train()
    model.norm.eval()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with mixture(model, [model.state_dict(), MEMBERS[1]]) as go:
        go((0.0, 1.0), None)
        assert not model.training
        go((1.0, 0.0), Noise(1.0, seed=0))
        go((1.0, 0.0), None)
        assert all(torch.equal(tensor, before[name]) for name, tensor in inside(model).items())
        go((0.5, 0.5), None)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and not model.norm.training and torch.equal(state, torch.get_rng_state())
    with pytest.raises(ZeroDivisionError), mixture(model, [MEMBERS[0], MEMBERS[1]]) as go:
        go((0.5, 0.5), None)
        raise ZeroDivisionError
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_narrow_weights_are_summed_wide_and_rounded_once():
    model = nn.Linear(8, 8).to(torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    members = [
        {name: torch.randn(tensor.shape, generator=generator) for name, tensor in model.state_dict().items()}
        for _ in range(3)
    ]
    with mixture(model, members) as go:
        for share in (0.1, 0.2, 0.3):
            go((0.5 - share, share, 0.5), None)
        found = inside(model)
    wanted = combine(members, (0.2, 0.3, 0.5))
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor.to(torch.bfloat16), rtol=0.008, atol=1e-6)


def test_the_point_runs_as_the_weights_would():
    model = network(7)
    with mixture(model, MEMBERS[:2]) as go:
        go((0.25, 0.75), None)
        with torch.inference_mode():
            found = model(BATCHES[0][0])
    wanted = predict(model, BATCHES, weights=combine(MEMBERS[:2], (0.25, 0.75))).outputs
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit the model"), mixture(network(0), [MEMBERS[0], {}]):
        pass
