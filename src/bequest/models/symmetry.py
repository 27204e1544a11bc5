"""Which channels of this network may be reordered, and how do they hang together?

The network is followed on one example (`bequest.models.tracing`). What was found is then tried: on random weights,
BatchNorm's running statistics among them, a random reordering must leave the outputs as they are. A network for which
that fails, or that does something unknown to its channels, is refused. Peers permute such a network into another one.

Supported: linear layers, ungrouped convolutions, BatchNorm, LayerNorm, activations, pooling, sums (residual streams),
concatenation, flattening. Not: grouped and depthwise convolutions, GroupNorm in groups, attention, recurrent layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bequest.models.channels import FIXED, Axis
from bequest.models.tracing import axes_of
from bequest.models.watching import left_alone
from bequest.weights.symmetry import Group, Place, Symmetry, permute

Inputs = Tensor | Mapping[str, Tensor]

TOLERANCE = 1e-6  # of the spread of the outputs, in float64; a wrong permutation moves them by about their spread
_SIDES = (32, 28, 64, 224, 96, 128, 8, 16, 299)  # usual sizes of images, tried in turn where no example is given


def symmetry_of(model: nn.Module, example: Inputs | None = None) -> Symmetry:
    """Find all reorderings of a network's channels that keep its function, and check them.

    Args:
        model: any network; it is left as it was.
        example: inputs for one forward pass, on the model's device; None makes some up from the first layer's shape.

    Returns:
        One group for each set of channels that can only move together; named after the tensor that gives them.

    Raises:
        ValueError: names the module and why its permutations cannot be found, or says that the check failed.
    """
    inputs = example_for(model) if example is None else _few(example)
    axes = axes_of(model, inputs)
    places: dict[int, list[Place]] = {}
    sizes: dict[int, int] = {}
    for name, own in axes.items():
        for axis, segments in enumerate(own):
            start = 0
            for segment in segments:
                if segment.group != FIXED:
                    sizes[segment.group] = segment.size
                    places.setdefault(segment.group, []).append(Place(name, axis, start, segment.repeat))
                start += segment.span
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    groups = tuple(
        Group(min(found, key=lambda place: _rank(place, axes)).tensor, sizes[number], tuple(found))
        for number, found in places.items()
    )
    symmetry = Symmetry(groups, frozenset(name for name in axes if name in buffers))
    _check(model, inputs, symmetry)
    return symmetry


def example_for(model: nn.Module) -> Inputs:
    """Make up inputs that a network accepts: two images or vectors, by the shape of its first layer.

    Args:
        model: a network that starts with a convolution or a linear layer.

    Returns:
        Inputs [2, ...], random numbers of a fixed seed, on the model's device.

    Raises:
        ValueError: if none of the usual sizes fits.
    """
    generator = torch.Generator().manual_seed(0)
    for shape in _shapes(model):
        first = next(model.parameters())
        inputs = torch.randn(shape, generator=generator).to(first.device, first.dtype)
        try:
            with left_alone(model), torch.no_grad():
                model(inputs)
        except (RuntimeError, ValueError, IndexError, TypeError):
            continue
        return inputs
    raise ValueError(
        f"{type(model).__name__}: no usual size of inputs fits it; pass example= with inputs for one forward pass"
    )


def _shapes(model: nn.Module) -> Iterator[tuple[int, ...]]:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            yield (2, module.in_features)
            return
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            for side in _SIDES:
                yield (2, module.in_channels, *([side] * (module.weight.dim() - 2)))
            return


def _rank(place: Place, axes: Mapping[str, Sequence[Axis]]) -> tuple[bool, ...]:
    """Lowest for the weight of a layer that gives the channels."""
    return place.axis > 0, place.repeat > 1, len(axes[place.tensor]) < 2, not place.tensor.endswith("weight")


def _check(model: nn.Module, inputs: Inputs, symmetry: Symmetry) -> None:
    """Refuse a symmetry that moves the outputs for random weights."""
    generator = torch.Generator().manual_seed(0)
    own: dict[str, Tensor] = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    drawn = {name: _drawn(value, generator) for name, value in own.items()}
    copies = permute(drawn, symmetry, symmetry.draw(generator))
    wide = _doubled(inputs)
    with left_alone(model), torch.no_grad():
        try:
            before, after = (_outputs(model, weights, wide) for weights in (drawn, copies))
        except RuntimeError as error:  # it makes float32 tensors of its own
            raise ValueError(
                f"the permutations of {type(model).__name__} cannot be checked: it does not run in float64 ({error})"
            ) from error
    spread = float(before.std())
    if not (math.isfinite(spread) and spread > 0):
        raise ValueError(
            f"the permutations of {type(model).__name__} cannot be checked: with random weights its outputs are "
            "constant or not finite"
        )
    apart = float((after - before).abs().max())
    if not apart <= TOLERANCE * spread:
        raise ValueError(
            f"{type(model).__name__} does something to its channels that could not be followed: reordering them moved "
            f"its outputs by {apart:.2g}, where they spread by {spread:.2g}"
        )


def _drawn(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Random weights that neither vanish nor blow up: positive vectors (variances are among them), He's matrices."""
    if not tensor.is_floating_point():
        return tensor.clone()
    if tensor.dim() < 2:
        drawn = 0.5 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
    else:
        drawn = torch.randn(tensor.shape, generator=generator) * math.sqrt(2 * len(tensor) / max(1, tensor.numel()))
    return drawn.to(tensor.device, torch.float64)


def _outputs(model: nn.Module, weights: Mapping[str, Tensor], inputs: Inputs) -> Tensor:
    """Run the model with these weights and give all its outputs in one row."""
    tied = {*dict(model.named_parameters()), *dict(model.named_buffers())}  # each tensor once
    given = {name: value for name, value in weights.items() if name in tied}
    given |= {name: value.double() for name, value in _unsaved(model, weights) if value.is_floating_point()}
    result: Any = (
        functional_call(model, given, (), dict(inputs))
        if isinstance(inputs, Mapping)
        else (functional_call(model, given, (inputs,)))
    )
    found = getattr(result, "logits", result)
    values = [found] if isinstance(found, Tensor) else list(found.values() if isinstance(found, Mapping) else found)
    return torch.cat([value.double().flatten() for value in values if isinstance(value, Tensor)])


def _unsaved(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Give the buffers that are no part of the weights."""
    yield from ((name, value) for name, value in model.named_buffers() if name not in weights)


def _few(example: Inputs) -> Inputs:
    """Two examples are enough to follow a network."""
    if isinstance(example, Mapping):
        return {name: value[:2] if isinstance(value, Tensor) else value for name, value in example.items()}
    return example[:2]


def _doubled(inputs: Inputs) -> Inputs:
    if isinstance(inputs, Mapping):
        return {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    return inputs.double() if inputs.is_floating_point() else inputs
