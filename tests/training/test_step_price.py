import pytest
import torch
from torch import nn

from bequest.evaluation.tasks import task
from bequest.training.recipe import Recipe
from bequest.training.step_price import forward_flops, step_price

WIDE, BATCH = 32, 8


def three():
    return nn.Sequential(nn.Linear(WIDE, WIDE), nn.ReLU(), nn.Linear(WIDE, WIDE), nn.ReLU(), nn.Linear(WIDE, WIDE))


def price(model, learns, **recipe):
    batch, goal = torch.randn(BATCH, WIDE), torch.randint(0, WIDE, (BATCH,))
    return step_price(model, learns, batch, goal, task("classification"), Recipe(**recipe))


def test_the_arithmetic_of_linear_layers_is_counted():
    one = 2 * WIDE * WIDE  # multiplications and additions of one layer, an example
    assert forward_flops(three(), torch.randn(BATCH, WIDE)) == 3 * one
    # a layer that learns costs its forward and the gradient of its weights; of its input, where something before learns
    assert price(three(), ("",)).flops == 3 * one + 3 * one + 2 * one
    assert price(three(), ("4",)).flops == 3 * one + one
    assert price(three(), ("0",)).flops == 3 * one + one + 2 * one


def test_a_frozen_beginning_keeps_nothing_for_the_backward_pass():
    model = three()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    layer = sum(parameter.nbytes for parameter in model[4].parameters())
    activation = BATCH * WIDE * 4
    head = price(model, ("4",), momentum=0.0).memory
    # weights, gradients of the last layer, its input, and what the loss keeps (log-softmax and targets)
    assert head - weights - layer == pytest.approx(2 * activation, abs=BATCH * 8 + 64)
    everything = price(model, ("",), momentum=0.0).memory
    assert everything - head >= weights - layer + 2 * activation
    assert price(model, ("4",)).memory - head == layer  # momentum
    assert price(model, ("4",), optimizer="adamw", learning_rate=0.001).memory - head == 2 * layer


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(WIDE, WIDE), nn.BatchNorm1d(WIDE), nn.Linear(WIDE, WIDE)).eval()
    model[0].weight.requires_grad_(False)
    mean = model[1].running_mean.clone()
    price(model, ("1", "2"))
    assert not model[0].weight.requires_grad
    assert model[0].bias.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model[1].running_mean, mean)
    assert not any(module.training for module in model.modules())
