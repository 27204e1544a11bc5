import copy

import pytest
import torch
from torch import nn

from bequest.weights.inits import meanvar, shuffled, transfusion


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network():
    """A trained-looking network: weights with a mean, running statistics that moved, a scalar, a tied tensor."""
    model = nn.Sequential(
        nn.Conv2d(3, 40, 5), nn.BatchNorm2d(40), nn.Linear(40, 40), nn.Linear(40, 40), nn.Linear(40, 7)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 + 2 * torch.rand(parameter.shape, generator=seeded(1)) ** 3)
        model[1].weight.fill_(1.0)
        model[1].running_mean.fill_(5.0)
        model[1].running_var.fill_(9.0)
        model[1].num_batches_tracked.fill_(77)
    model.register_parameter("scale", nn.Parameter(torch.tensor([1.7])))
    model.register_buffer("mask", torch.tensor([True, False]))
    model[3].weight = model[2].weight
    return model.state_dict()


BOTH = pytest.mark.parametrize("init", [meanvar, shuffled])


def test_meanvar_keeps_mean_and_variance_and_is_normal():
    weights = network()
    found = meanvar(weights, generator=seeded())
    for name in ("0.weight", "2.weight"):
        own, drawn = weights[name].double().flatten(), found[name].double().flatten()
        n = own.numel()
        assert abs(drawn.mean() - own.mean()) < 5 * own.std() / n**0.5
        assert drawn.std() == pytest.approx(own.std().item(), rel=5 / (2 * n) ** 0.5)
        standard = (drawn - drawn.mean()) / drawn.std()
        assert abs((standard**3).mean()) < 5 * (6 / n) ** 0.5  # the skew is gone: that of `own` is above 1
        assert ((own - own.mean()) ** 3).mean() / own.std() ** 3 > 0.8
        assert torch.corrcoef(torch.stack([own, drawn]))[0, 1].abs() < 5 / n**0.5


def test_meanvar_uses_the_population_variance():
    weights = {"w": torch.tensor([0.0, 2.0])}
    draws = torch.stack([meanvar(weights, generator=seeded(i))["w"] for i in range(1500)]).double()
    assert draws.mean() == pytest.approx(1.0, abs=0.1)
    assert draws.var() == pytest.approx(1.0, abs=0.14)


def test_shuffled_keeps_the_histogram_of_each_tensor_and_no_place():
    weights = network()
    found = shuffled(weights, generator=seeded())
    for name in ("0.weight", "0.bias", "2.weight", "4.weight"):
        assert torch.equal(found[name].flatten().sort().values, weights[name].flatten().sort().values)
        own, moved = weights[name].flatten(), found[name].flatten()
        assert (own == moved).double().mean() < 0.1
    assert torch.corrcoef(torch.stack([weights["0.weight"].flatten(), found["0.weight"].flatten()]))[0, 1].abs() < 0.1


@BOTH
def test_what_has_no_variance_is_kept(init):
    weights = network()
    found = init(weights, generator=seeded())
    assert list(found) == list(weights)
    for name in ("1.weight", "scale", "mask"):
        assert torch.equal(found[name], weights[name])
    exact = init({"w": torch.full((7, 3), 0.1, dtype=torch.float64)}, generator=seeded())
    assert (exact["w"] == 0.1).all()


@BOTH
def test_running_statistics_are_reset_or_copied(init):
    weights = network()
    found = init(weights, generator=seeded())
    fresh = nn.BatchNorm2d(40).state_dict()
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(found[f"1.{name}"], fresh[name]) and found[f"1.{name}"].dtype == fresh[name].dtype
        assert torch.equal(init(weights, generator=seeded(), statistics="copy")[f"1.{name}"], weights[f"1.{name}"])


@BOTH
def test_kept_tensors_tied_tensors_and_the_argument(init):
    weights = network()
    before = copy.deepcopy(weights)
    found = init(weights, generator=seeded(), keep=["4", "0.bias"])
    for name in ("4.weight", "4.bias", "0.bias"):
        assert torch.equal(found[name], weights[name]) and found[name].data_ptr() != weights[name].data_ptr()
    assert not torch.equal(found["0.weight"], weights["0.weight"])
    assert torch.equal(found["2.weight"], found["3.weight"])
    assert all(torch.equal(weights[name], before[name]) for name in before)


@BOTH
def test_the_generator_decides_and_the_order_of_names_does_not(init):
    weights = network()
    state = torch.get_rng_state()
    one = init(weights, generator=seeded(3))
    other = init(dict(reversed(weights.items())), generator=seeded(3))
    assert all(torch.equal(one[name], other[name]) for name in weights)
    assert not torch.equal(one["0.weight"], init(weights, generator=seeded(4))["0.weight"])
    assert torch.equal(state, torch.get_rng_state())


@BOTH
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64, torch.complex64])
def test_every_kind_of_number_keeps_its_kind(init, kind):
    weights = {"w": torch.randn(50, 50, generator=seeded(), dtype=torch.float32).to(kind)}
    found = init(weights, generator=seeded(1))["w"]
    assert found.dtype == kind and found.shape == (50, 50)
    assert found.abs().float().square().mean().item() == pytest.approx(1.0, rel=0.15)


def test_transfusion_takes_a_prefix_and_leaves_the_rest():
    weights, fresh = network(), {name: torch.zeros_like(tensor) for name, tensor in network().items()}
    found = transfusion(weights, fresh, ["0", "1.weight", "1.running_mean", "1.num_batches_tracked"])
    taken = {"0.weight", "0.bias", "1.weight", "1.running_mean", "1.num_batches_tracked"}
    assert all(torch.equal(found[name], (weights if name in taken else fresh)[name]) for name in fresh)
    found["0.weight"].zero_()
    assert weights["0.weight"].abs().sum() > 0
    assert all(torch.equal(transfusion(weights, fresh, [])[name], fresh[name]) for name in fresh)


def test_transfusion_needs_what_it_takes_to_fit():
    weights, fresh = network(), network()
    fresh["4.weight"] = torch.zeros(3, 40)
    assert transfusion(weights, fresh, ["0"])["4.weight"].shape == (3, 40)
    with pytest.raises(ValueError, match=r"4.weight is \(7, 40\) in the pre-trained weights and \(3, 40\)"):
        transfusion(weights, fresh, ["4"])
    del weights["0.bias"]
    with pytest.raises(ValueError, match=r"0.bias is not in the pre-trained weights"):
        transfusion(weights, fresh, ["0"])


def test_bad_names_are_refused():
    weights = {"conv1.weight": torch.rand(3), "fc.weight": torch.rand(3)}
    with pytest.raises(ValueError, match=r"no tensor 'fcc'.*did you mean 'fc'"):
        meanvar(weights, generator=seeded(), keep=["fcc"])
    with pytest.raises(ValueError, match="no tensor 'conv'"):
        transfusion(weights, weights, ["conv"])
    with pytest.raises(ValueError, match="'reset' or 'copy'"):
        shuffled(weights, generator=seeded(), statistics="keep")
