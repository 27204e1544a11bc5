"""Which permuted copy of a network is nearest to another one?

Two networks trained apart may have learned the same features in another order. Matched by their weights
(`bequest.weights.matching`) or by what their channels do on data: activation matching (Li et al. 2016; Ainsworth et
al. 2022, section 3.1) pairs channels so that the sum of their Pearson correlations is largest. A channel that never
varies correlates with nothing (0). Of a residual stream, the correlations at all places where it is read are averaged.
Both keep the function of the permuted network; neither finds the best of all permutations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from bequest.evaluation.applied import applied
from bequest.evaluation.batches import Batches, Inputs, device_of, forward, walk
from bequest.models.fitting import fit_weights
from bequest.models.symmetry import symmetry_of
from bequest.weights.algebra import Weights, check_alike
from bequest.weights.matching import weight_matching
from bequest.weights.symmetry import Group, Place, Symmetry, channel_rows, permute


def match(
    model: nn.Module,
    reference: Weights,
    other: Weights,
    *,
    batches: Batches | None = None,
    example: Inputs | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Give the permuted copy of `other` that is nearest to `reference`.

    Args:
        model: the network that both are weights of; it is left as it was.
        reference: the weights to come near to.
        other: the weights to permute; not changed.
        batches: with data, channels are matched by their activations; without, by their weights.
        example: inputs for one forward pass, to follow the network with; by default the first batch, or made up.
        seed: of the order in which weight matching visits the groups of channels.

    Returns:
        New weights of the same function as `other`, running statistics moved along.

    Raises:
        ValueError: if the weights do not fit, or the network's permutations cannot be found.
    """
    fit_weights(model, reference)
    fit_weights(model, other)
    if example is None and batches is not None:
        example = next(walk(batches))[0]
    symmetry = symmetry_of(model, on_device(model, example))
    return permute(other, symmetry, find(model, symmetry, reference, other, batches=batches, seed=seed))


def find(
    model: nn.Module, symmetry: Symmetry, reference: Weights, other: Weights, *, batches: Batches | None, seed: int = 0
) -> dict[str, Tensor]:
    """Find the permutations for `match`, for a symmetry that is known already.

    Args:
        model: the network that both are weights of.
        symmetry: of the network.
        reference: the weights to come near to.
        other: the weights to permute.
        batches: match by activations on these; None matches by weights.
        seed: of the order of the groups.

    Returns:
        Name of the group -> order of its channels.
    """
    if batches is not None:
        return activation_matching(model, symmetry, reference, other, batches)
    generator = torch.Generator().manual_seed(seed)
    return weight_matching(symmetry, reference, other, assign=assignment, generator=generator)


def assignment(scores: Tensor) -> Tensor:
    """Solve the linear assignment problem exactly.

    Args:
        scores: [n, n], finite.

    Returns:
        For each row a column of its own, int64 [n], so that the sum of the scores is largest.
    """
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(scores.double().cpu().numpy(), maximize=True)[1])


def activation_matching(
    model: nn.Module, symmetry: Symmetry, reference: Weights, other: Weights, batches: Batches
) -> dict[str, Tensor]:
    """Find the permutations of `other` whose channels correlate most with those of `reference`.

    Args:
        model: the network that both are weights of; it is left as it was.
        symmetry: of the network.
        reference: stays as it is.
        other: the one to permute.
        batches: data, (inputs, targets); targets are not used.

    Returns:
        Name of the group -> order int64 [size].

    Raises:
        ValueError: if no linear layer or convolution reads some channels, so that they have no activations to compare.
    """
    check_alike(reference, other)
    readers = {group.name: list(_readers(model, group)) for group in symmetry.groups}
    for name, found in readers.items():
        if not found:
            raise ValueError(
                f"no linear layer or convolution reads the channels that {name} gives; match by weights (batches=None)"
            )
    sizes = {group.name: group.size for group in symmetry.groups}
    twin = copy.deepcopy(model)
    sums: dict[tuple[str, str], _Correlation] = {}
    seen: tuple[dict[tuple[str, str], list[Tensor]], ...] = ({}, {})
    with ExitStack() as stack, torch.no_grad():
        # the twin first: `other` may be the model's own tensors, which `reference` is written into
        for side, weights, store in ((twin, other, seen[1]), (model, reference, seen[0])):
            stack.enter_context(applied(side, weights))
            for name, found in readers.items():
                for module, place in found:
                    hook = _keep(store, (name, place.tensor), place, sizes[name])
                    stack.callback(side.get_submodule(module).register_forward_pre_hook(hook).remove)
        for inputs, _ in walk(batches):
            for side, store in ((model, seen[0]), (twin, seen[1])):
                store.clear()
                forward(side, inputs)
            for key in seen[0]:
                pair = (torch.cat(store[key], dim=1) for store in seen)
                sums.setdefault(key, _Correlation()).add(*pair)
    orders = symmetry.identity()
    for name in orders:
        found_here = [one.matrix() for (group, _), one in sums.items() if group == name]
        if found_here:
            orders[name] = assignment(torch.stack(found_here).mean(dim=0))
    return orders


class _Correlation:
    """Pearson correlations of the channels of two networks over batches, summed in float64."""

    def __init__(self) -> None:
        self.n = 0
        self.shift: tuple[Tensor, Tensor] | None = None
        self.sums: list[Tensor] = []

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add observations [channels, n] of both."""
        if self.shift is None:  # any value near the means keeps float32 products from cancelling
            self.shift = x.mean(dim=1, keepdim=True), y.mean(dim=1, keepdim=True)
        x, y = x - self.shift[0], y - self.shift[1]
        parts = [x.sum(1), y.sum(1), x.square().sum(1), y.square().sum(1), x @ y.T]
        self.n += x.shape[1]
        self.sums = [part.double() + (self.sums[index] if self.sums else 0) for index, part in enumerate(parts)]

    def matrix(self) -> Tensor:
        """Give the correlations [channels, channels]; 0 where a channel does not vary."""
        x, y, xx, yy, xy = (total / self.n for total in self.sums)
        spreads = [
            torch.where(square - mean**2 > 1e-12 * square, square - mean**2, torch.inf).sqrt()
            for square, mean in ((xx, x), (yy, y))
        ]
        return ((xy - x[:, None] * y) / (spreads[0][:, None] * spreads[1])).nan_to_num(0.0)


def _readers(model: nn.Module, group: Group) -> Iterator[tuple[str, Place]]:
    """Give the modules that read a group, with where its channels stand in their inputs."""
    for place in group.places:
        module, _, leaf = place.tensor.rpartition(".")
        owner = model.get_submodule(module)
        if leaf != "weight" or place.axis != _reading_axis(owner):
            continue
        yield module, Place(place.tensor, 1, place.start, place.repeat)


def _reading_axis(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return 1
    return 0 if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d) else None


def _keep(
    store: dict[tuple[str, str], list[Tensor]], key: tuple[str, str], place: Place, size: int
) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        inputs: Tensor = arguments[0].detach()
        if isinstance(module, nn.Linear):
            inputs = inputs.flatten(0, -2) if inputs.dim() > 1 else inputs[None]
        # a copy: what reads it may overwrite it
        store.setdefault(key, []).append(channel_rows(inputs, place, size).float().clone())

    return hook


def on_device(model: nn.Module, example: Inputs | None) -> Inputs | None:
    """Bring inputs to the model's device."""
    if example is None:
        return None
    device = device_of(model)
    if isinstance(example, Tensor):
        return example.to(device)
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in example.items()}
