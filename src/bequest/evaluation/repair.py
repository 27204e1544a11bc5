"""Which weights between two networks keep the statistics of their channels?

REPAIR (Jordan, Sedghi, Saukh, Entezari, Neyshabur 2022): half-way between two networks, even well matched ones, the
channels' variances collapse, deeper layers more. Each channel is set back to the mean (1 - t) m_a + t m_b and the
standard deviation (1 - t) s_a + t s_b of its two ends, by a factor and a shift that are put into the weights. All
statistics are collected on training data, those of the mixed network with the layers before already repaired.

Where BatchNorm follows a layer, collecting its running statistics again does the same (its scale and shift are mixed
already), so these layers are left to `refit_batchnorm`. A layer without a bias cannot be shifted: its factor is the one
that brings mean and deviation nearest to the goal (least squares, the Wasserstein distance of two normal
distributions). A channel that does not vary is only shifted. The layer that gives the outputs is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bequest.evaluation.applied import applied, preserved, put, taken
from bequest.evaluation.batches import Batches, forward, logits, walk
from bequest.evaluation.batchnorm import has_batchnorm, refit_in_place
from bequest.weights.algebra import Weights, lerp

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
CONSTANT = 1e-10  # variance over mean square: below this, float32 outputs do not vary


def repair(model: nn.Module, a: Weights, b: Weights, t: float, batches: Batches) -> dict[str, Tensor]:
    """Give the point between two networks with its channels' statistics repaired.

    Args:
        model: the network that both are weights of; it is left as it was.
        a: weights at t = 0.
        b: weights at t = 1, matched to `a` (see `bequest.evaluation.matching.match`).
        t: position between them, 0..1.
        batches: training data, (inputs, targets); targets are not used. Large batches: each is normalised by itself.

    Returns:
        New weights of the same architecture.
    """
    layers = repaired_layers(model, batches)
    return Repair(model, a, b, layers, batches).at(t)


def repaired_layers(model: nn.Module, batches: Batches) -> list[str]:
    """List the layers whose statistics REPAIR sets: linear ones and convolutions.

    Args:
        model: any network; it is left as it was.
        batches: data; the first batch is run.

    Returns:
        Paths of the layers that ran, without those that BatchNorm reads, that give the outputs, or whose weight is
        another layer's too.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, _LAYERS)}
    made: dict[int, tuple[str, Tensor]] = {}  # keeps the tensors, so that no id is used twice
    left_out: set[str] = set()

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _arguments: Any, outputs: Tensor) -> None:
            made[id(outputs)] = (name, outputs)

        return hook

    def read(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if id(arguments[0]) in made:
            left_out.add(made[id(arguments[0])][0])

    with ExitStack() as hooks, applied(model), torch.no_grad():
        for name, module in layers.items():
            hooks.callback(module.register_forward_hook(note(name)).remove)
        for norm in model.modules():
            if isinstance(norm, _BatchNorm):
                hooks.callback(norm.register_forward_pre_hook(read).remove)
        outputs = logits(forward(model, next(walk(batches))[0]))
    if id(outputs) in made:
        left_out.add(made[id(outputs)][0])
    ran = {name for name, _ in made.values()}
    uses: dict[int, int] = {}
    for layer in layers.values():
        uses[id(layer.weight)] = uses.get(id(layer.weight), 0) + 1
    return [name for name, layer in layers.items() if name in ran - left_out and uses[id(layer.weight)] == 1]


class Repair:
    """Repaired points between two ends, whose statistics are collected once."""

    def __init__(self, model: nn.Module, a: Weights, b: Weights, layers: list[str], batches: Batches) -> None:
        self.model, self.a, self.b, self.layers, self.batches = model, a, b, layers, batches
        self.ends = tuple(self._statistics(weights) for weights in (a, b))

    def at(self, t: float) -> dict[str, Tensor]:
        """Give the repaired point at t.

        Args:
            t: position on the line, 0..1.

        Returns:
            New weights.
        """
        goals = {
            name: (torch.lerp(mean, self.ends[1][name][0], t), torch.lerp(deviation, self.ends[1][name][1], t))
            for name, (mean, deviation) in self.ends[0].items()
        }
        found = {name: _Moments() for name in self.layers}
        with preserved(self.model), ExitStack() as hooks, torch.no_grad():
            put(self.model, lerp(self.a, self.b, t))
            for name in self.layers:
                module = self.model.get_submodule(name)
                hooks.callback(module.register_forward_hook(_repairing(found[name], goals[name])).remove)
            if has_batchnorm(self.model):
                refit_in_place(self.model, self.batches)
            else:
                for inputs, _ in walk(self.batches):
                    forward(self.model, inputs)
            point = taken(self.model)
        for name in self.layers:
            layer = self.model.get_submodule(name)
            factor, shift = _correction(*found[name].give(), *goals[name], shiftable=layer.bias is not None)
            weight = point[f"{name}.weight"]
            point[f"{name}.weight"] = (weight.double() * _along(factor, 0, weight)).to(weight)
            if layer.bias is not None:
                bias = point[f"{name}.bias"]
                point[f"{name}.bias"] = (bias.double() * factor + shift).to(bias)
        return point

    def _statistics(self, weights: Weights) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Collect mean and standard deviation of each layer's channels at one end."""
        found = {name: _Moments() for name in self.layers}
        if self.layers:
            with applied(self.model, weights), ExitStack() as hooks, torch.no_grad():
                for name in self.layers:
                    module = self.model.get_submodule(name)
                    hooks.callback(module.register_forward_hook(_watching(found[name])).remove)
                for inputs, _ in walk(self.batches):
                    forward(self.model, inputs)
        return {name: moments.give() for name, moments in found.items()}


class _Moments:
    """Mean and standard deviation of channels over all batches, in float64."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = self.square = torch.zeros(0, dtype=torch.float64)  # square: sum of squares about the mean

    def add(self, rows: Tensor) -> None:
        """Add observations [channels, n]."""
        rows = rows.double()
        n, mean = rows.shape[1], rows.mean(dim=1)
        square = (rows - mean[:, None]).square().sum(dim=1)
        if not self.n:
            self.n, self.mean, self.square = n, mean, square
            return
        apart, total = mean - self.mean, self.n + n
        self.square = self.square + square + apart.square() * (self.n * n / total)
        self.mean = self.mean + apart * (n / total)
        self.n = total

    def give(self) -> tuple[Tensor, Tensor]:
        """Give mean and standard deviation, [channels] each."""
        return self.mean, (self.square / max(1, self.n)).sqrt()


def _rows(module: nn.Module, outputs: Tensor) -> Tensor:
    """Give a layer's outputs as [channels, observations]."""
    return outputs.detach().movedim(_channel_axis(module), 0).flatten(1)


def _channel_axis(module: nn.Module) -> int:
    return -1 if isinstance(module, nn.Linear) else 1


def _watching(moments: _Moments) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(module: nn.Module, _arguments: Any, outputs: Tensor) -> None:
        moments.add(_rows(module, outputs))

    return hook


def _repairing(moments: _Moments, goal: tuple[Tensor, Tensor]) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """Hand on outputs that have the goal's statistics within the batch, so that later layers see repaired inputs."""

    def hook(module: nn.Module, _arguments: Any, outputs: Tensor) -> Tensor:
        rows, here = _rows(module, outputs), _Moments()
        moments.add(rows)
        here.add(rows)
        factor, shift = _correction(*here.give(), *goal, shiftable=module.bias is not None)
        axis = _channel_axis(module)
        return (outputs * _along(factor, axis, outputs) + _along(shift, axis, outputs)).to(outputs)

    return hook


def _correction(
    mean: Tensor, deviation: Tensor, goal_mean: Tensor, goal_deviation: Tensor, *, shiftable: bool
) -> tuple[Tensor, Tensor]:
    """Give the factor and shift of each channel that bring its mean and deviation to the goal, or near it."""
    constant = deviation.square() <= CONSTANT * (deviation.square() + mean.square())
    if shiftable:
        factor = torch.where(constant, 1.0, goal_deviation / deviation)
        return factor, goal_mean - factor * mean
    power = deviation.square() + mean.square()
    factor = ((goal_mean * mean + goal_deviation * deviation) / power).clamp_min(0)
    return torch.where(power == 0, 1.0, factor), torch.zeros_like(mean)


def _along(vector: Tensor, axis: int, tensor: Tensor) -> Tensor:
    """Shape a vector so that it multiplies an axis of a tensor."""
    shape = [1] * tensor.dim()
    shape[axis] = -1
    return vector.reshape(shape)
