import copy

import pytest
import torch
from torch import nn

from bequest.evaluation.matching import activation_matching, assignment, match
from bequest.evaluation.predict import predict
from bequest.models.opening import open_model
from bequest.models.resnet import BasicBlock, ResNet
from bequest.models.symmetry import symmetry_of
from bequest.weights.algebra import squared_distance
from bequest.weights.symmetry import permute

BATCHES = [
    (torch.randn(size, 3, 32, 32, generator=torch.Generator().manual_seed(size)), torch.zeros(size, dtype=torch.int64))
    for size in (24, 9)
]


def disturbed(model, seed=0):
    """Weights as a training leaves them: no channel like another, none zero, statistics of their own."""
    generator = torch.Generator().manual_seed(seed)
    weights = copy.deepcopy(model.state_dict())
    for tensor in weights.values():
        if tensor.dim() == 1 and tensor.is_floating_point():
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif tensor.dim() > 1 and not tensor.any():
            tensor.normal_(0, 0.05, generator=generator)
    return weights


def built(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "flattened":
            return nn.Sequential(
                nn.Conv2d(3, 6, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 9), nn.ReLU(), nn.Linear(9, 4)
            )
        narrow = name == "resnet18"
        model = ResNet(BasicBlock, (2, 2, 2, 2), (6, 8, 10, 12), 4) if narrow else open_model(name, classes=4)
        for module in model.modules():
            if hasattr(module, "relu"):  # so that no channel is dead: those cannot be told apart by activations
                module.relu = nn.LeakyReLU(0.3)
        return model


@pytest.mark.parametrize("batches", [None, BATCHES], ids=["weights", "activations"])
@pytest.mark.parametrize("name", ["resnet8", "resnet18", "fixup_resnet8", "flattened"])
def test_a_planted_permutation_is_recovered_exactly_statistics_too(name, batches):
    model = built(name)
    a = disturbed(model)
    symmetry = symmetry_of(model)
    b = permute(a, symmetry, symmetry.draw(torch.Generator().manual_seed(1)))
    assert squared_distance(a, b) > 1
    found = match(model, a, b, batches=batches)
    assert squared_distance(a, found) == 0.0
    assert all(torch.equal(found[key], a[key]) for key in a)


@pytest.mark.parametrize("batches", [None, BATCHES], ids=["weights", "activations"])
def test_matching_another_network_keeps_its_function_and_brings_it_nearer(batches):
    model = built("resnet18").train()
    a, b = disturbed(model, 0), disturbed(built("resnet18"), 1)
    for tensor in b.values():
        if tensor.dim() > 1:
            tensor.copy_(tensor[torch.randperm(len(tensor), generator=torch.Generator().manual_seed(5))])
    before = copy.deepcopy((model.state_dict(), b))
    found = match(model, a, b, batches=batches)
    apart = predict(model, BATCHES, weights=b).outputs - predict(model, BATCHES, weights=found).outputs
    assert apart.abs().max() < 1e-5 * predict(model, BATCHES, weights=b).outputs.abs().max()
    if batches is None:
        names = [name for name, _ in model.named_parameters()]
        assert squared_distance(a, found, names) < squared_distance(a, b, names)
    assert model.training
    for kept, now in zip(before, (model.state_dict(), b), strict=True):
        assert all(torch.equal(kept[name], now[name]) for name in kept)


def test_activation_matching_is_the_assignment_on_pearsons_correlations_and_dead_channels_do_no_harm():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    generator = torch.Generator().manual_seed(3)
    a, b = (
        {name: torch.randn(tensor.shape, generator=generator) for name, tensor in model.state_dict().items()}
        for _ in range(2)
    )
    a["0.bias"][1], b["0.bias"][4] = -100.0, -100.0  # never pass the ReLU
    images = torch.cat([inputs for inputs, _ in BATCHES])
    x, y = (
        torch.relu(nn.functional.conv2d(images, one["0.weight"], one["0.bias"])).movedim(1, 0).flatten(1).double()
        for one in (a, b)
    )
    assert not x[1].any() and not y[4].any()
    pearson = torch.corrcoef(torch.cat([x, y]))[:5, 5:].nan_to_num(0.0)
    found = activation_matching(model, symmetry_of(model), a, b, BATCHES)
    assert torch.equal(found["0.weight"], assignment(pearson))


def test_the_models_own_tensors_may_go_in():
    model = built("resnet18")
    model.load_state_dict(disturbed(model))
    a = disturbed(model, 1)
    own, copied = (
        match(model, a, one, batches=BATCHES) for one in (model.state_dict(), copy.deepcopy(model.state_dict()))
    )
    assert all(torch.equal(own[name], copied[name]) for name in own)


def test_channels_far_from_zero_do_not_cancel():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    generator = torch.Generator().manual_seed(4)
    a = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in model.state_dict().items()}
    a["0.bias"] += 1e4
    symmetry = symmetry_of(model)
    b = permute(a, symmetry, {"0.weight": torch.tensor([3, 1, 0, 2])})
    assert activation_matching(model, symmetry, a, b, BATCHES)["0.weight"].tolist() == [2, 1, 3, 0]


def test_assignment_is_the_largest_sum():
    assert assignment(torch.tensor([[1.0, 2.0], [3.0, 5.0]])).tolist() == [0, 1]
    assert assignment(torch.tensor([[1.0, 4.0], [3.0, 5.0]])).tolist() == [1, 0]


def test_bad_input_is_named():
    model = built("resnet8")
    weights = model.state_dict()
    with pytest.raises(ValueError, match="not of this model"):
        match(model, weights, {name: tensor for name, tensor in weights.items() if name != "bn1.bias"})
    functional = Functional()
    with pytest.raises(ValueError, match="no linear layer or convolution reads the channels that first gives"):
        match(
            functional, functional.state_dict(), functional.state_dict(), batches=[(torch.randn(4, 3), torch.zeros(4))]
        )
    found = match(functional, functional.state_dict(), functional.state_dict(), example=torch.randn(4, 3))
    assert torch.equal(found["first"], functional.first)


class Functional(nn.Module):
    """A perceptron without modules."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
        self.second = nn.Parameter(torch.randn(2, 5, generator=torch.Generator().manual_seed(1)))

    def forward(self, x):
        return nn.functional.linear(torch.relu(nn.functional.linear(x, self.first)), self.second)
