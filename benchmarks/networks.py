"""Which networks and images do the benchmarks of weight space use?

Made-up images: each class is a grating of its own direction and fineness under noise, so that a network can learn them
in a minute. Running statistics of BatchNorm are collected on images, as in a trained network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import bequest
from bequest.evaluation.batchnorm import refit_batchnorm

CLASSES = 10
Batch = tuple[Tensor, Tensor]


def images(count: int, side: int, *, batch: int, seed: int) -> list[Batch]:
    """Draw batches (float32 [batch, 3, side, side], int64 [batch])."""
    generator = torch.Generator().manual_seed(seed)
    down, across = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    found = []
    for start in range(0, count, batch):
        size = min(batch, count - start)
        targets = torch.randint(CLASSES, (size,), generator=generator)
        angle = targets * torch.pi / 5
        fineness = 6 + 6 * (targets >= 5)
        phase = 6.3 * torch.rand(size, 1, 1, generator=generator)
        turned = angle.cos()[:, None, None] * across + angle.sin()[:, None, None] * down
        grating = (fineness[:, None, None] * turned + phase).sin()
        noise = torch.randn(size, 3, side, side, generator=generator)
        found.append((0.7 * grating[:, None] + noise, targets))
    return found


def random_weights(name: str, side: int, *, seed: int, varied: bool = True) -> dict[str, Tensor]:
    """Weights of a built-in network at random; `varied` draws BatchNorm's scales and shifts too (else 1 and 0)."""
    model = bequest.open_model(name, classes=CLASSES, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if varied and isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
                module.bias.copy_(0.2 * torch.randn(module.bias.shape, generator=generator))
    return refit_batchnorm(model, model.state_dict(), images(128, side, batch=64, seed=seed))


def trained(
    model: nn.Module, weights: Mapping[str, Tensor], steps: int, *, side: int, seed: int, rate: float
) -> dict[str, Tensor]:
    """Train a little from given weights by plain SGD with momentum; the model is left with the result."""
    model.load_state_dict(weights)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for inputs, targets in images(64 * steps, side, batch=64, seed=seed):
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    model.eval()
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def bare_forwards(model: nn.Module, batches: list[Batch], times: int) -> None:
    """Run the model over the batches so many times and nothing else: the floor of everything that measures points."""
    with torch.inference_mode():
        for _ in range(times):
            for inputs, _ in batches:
                model(inputs)
