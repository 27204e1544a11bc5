import copy

import pytest
import torch
from torch import nn

from bequest.evaluation.tasks import task
from bequest.training.gradient_ratios import gradient_ratios


def mean_output(outputs, targets):
    return outputs.mean()


class Two(nn.Module):
    """y = b * (a * x), so that the gradients are b x and a x."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor([a])), nn.Parameter(torch.tensor([b]))

    def forward(self, x):
        return self.b * (self.a * x)


def test_the_ratios_are_the_relative_gradients_over_the_largest():
    model = Two(4.0, 0.5)
    batches = [(torch.tensor([[2.0]]), torch.zeros(1)), (torch.tensor([[6.0]]), torch.zeros(1))]
    # |gradient| / |tensor|: a: 0.5 x / 4, b: 4 x / 0.5; the mean x is 4
    assert gradient_ratios(model, batches, task(mean_output)) == pytest.approx({"a": 0.5 / 32, "b": 1.0})
    assert model.a.grad is None


def test_tensors_of_zeros_do_not_stop_everything_else_and_norms_rest():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.zeros_(model[3].bias)
    model[0].weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    model.train()
    found = gradient_ratios(model, [(torch.randn(8, 3), torch.randint(0, 2, (8,)))], task("classification"))
    assert found.keys() == {"0.bias", "1.weight", "1.bias", "3.weight", "3.bias"}
    assert found["1.weight"] == found["1.bias"] == 0.0
    assert found["3.bias"] == 1.0
    assert max(found["0.bias"], found["3.weight"]) == 1.0
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
