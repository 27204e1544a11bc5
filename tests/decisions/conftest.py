"""Small networks that were really trained: one from scratch, and fine-tunes of it on a neighbouring task."""

import copy

import pytest
import torch
from torch import nn

CLASSES, WIDTH = 3, 16


class Layered(nn.Module):
    """Two hidden layers, with BatchNorm or without."""

    def __init__(self, batchnorm=False, seed=0):
        super().__init__()
        self.first, self.second = nn.Linear(6, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH) if batchnorm else nn.Identity()
        self.fc = nn.Linear(WIDTH, CLASSES)
        stream = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in (self.first, self.second, self.fc):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=stream) * layer.weight.shape[1] ** -0.5)
                layer.bias.zero_()

    def forward(self, x):
        return self.fc(torch.relu(self.second(torch.relu(self.norm(self.first(x))))))


def points(seed, n, turn=0.0):
    """Points in six dimensions around four centres a class; `turn` moves the centres."""
    stream = torch.Generator().manual_seed(99)
    centres = torch.randn(4 * CLASSES, 6, generator=stream) * 1.5
    centres += turn * torch.randn(4 * CLASSES, 6, generator=stream)
    stream.manual_seed(seed)
    chosen = torch.randint(0, 4 * CLASSES, (n,), generator=stream)
    return centres[chosen] + 0.6 * torch.randn(n, 6, generator=stream), chosen % CLASSES


def cut(pair, size=64):
    return list(zip(pair[0].split(size), pair[1].split(size), strict=True))


def learned(model, pair, steps, seed, rate=0.05):
    stream = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model).train()
    optimiser = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    for _ in range(steps):
        chosen = torch.randint(0, len(pair[1]), (32,), generator=stream)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(pair[0][chosen]), pair[1][chosen]).backward()
        optimiser.step()
    return model.eval()


class Case:
    """A pre-trained network, fine-tunes of it, and their data."""

    def __init__(self, batchnorm):
        self.source = points(1, 400)
        self.train, self.validation = points(2, 100, turn=0.8), cut(points(3, 300, turn=0.8))
        self.test, self.other = cut(points(4, 300, turn=0.8)), cut(points(5, 200))
        self.calibration = cut(self.train)
        self.model = learned(Layered(batchnorm), self.source, 200, 0)
        self.base = copy.deepcopy(self.model.state_dict())
        self.tunes = {
            name: copy.deepcopy(learned(self.model, self.train, 60, seed, 0.1).state_dict())
            for name, seed in (("a", 1), ("b", 2), ("c", 3))
        }
        self.permuted = permuted(self.tunes["a"])


def permuted(weights):
    """The same function with the channels of the first hidden layer in another order."""
    order = torch.randperm(WIDTH, generator=torch.Generator().manual_seed(7))
    moved = dict(weights)
    for name, tensor in weights.items():
        if name == "second.weight":
            moved[name] = tensor[:, order].clone()
        elif name.startswith(("first.", "norm.")) and tensor.ndim:
            moved[name] = tensor[order].clone()
    return moved


@pytest.fixture(scope="session")
def plain():
    return Case(batchnorm=False)


@pytest.fixture(scope="session")
def normed():
    return Case(batchnorm=True)
