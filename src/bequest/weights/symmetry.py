"""Which reorderings of its channels leave a network's function as it is?

A permutation is data: an order of the channels of one group, and the places where these channels are an axis of a
tensor. The channels that a convolution gives stand on axis 0 of its weight, in its bias, in the scale, shift and
running statistics of its BatchNorm, and on axis 1 of whatever reads them. Channels that are added to each other (a
residual stream) are one group. An order p of n channels means: the new channel i is the old channel p[i].

Source: Ainsworth, Hayase, Srinivasa, Git Re-Basin (2022), section 3. How a symmetry is found in a network is the
business of `bequest.models.symmetry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bequest.weights.algebra import Weights

Permutations = Mapping[str, Tensor]  # name of a group -> order of its channels, int64 [size]


@dataclass(frozen=True)
class Place:
    """Where the channels of a group stand.

    Attributes:
        tensor: name of the tensor.
        axis: the axis along which the channels stand.
        start: index of the first of them, for an axis of several groups (concatenated channels).
        repeat: entries a channel: 1, or height times width where a linear layer reads flattened images.
    """

    tensor: str
    axis: int
    start: int = 0
    repeat: int = 1

    def entries(self, channels: Tensor) -> Tensor:
        """Give the entries along the axis that hold these channels, int64 [channels * repeat]."""
        blocks = channels[:, None] * self.repeat + torch.arange(self.repeat, device=channels.device)
        return blocks.flatten() + self.start


@dataclass(frozen=True)
class Group:
    """Channels that can only be reordered together.

    Attributes:
        name: of the first tensor that gives them.
        size: number of channels.
        places: everywhere they stand.
    """

    name: str
    size: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Symmetry:
    """All reorderings of one architecture.

    Attributes:
        groups: one permutation each; they are free of each other.
        statistics: tensors that are moved but not compared: running statistics, which follow from the weights.
    """

    groups: tuple[Group, ...]
    statistics: frozenset[str] = frozenset()

    def identity(self) -> dict[str, Tensor]:
        """Give the permutations that move nothing."""
        return {group.name: torch.arange(group.size) for group in self.groups}

    def draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw one permutation for each group, uniformly."""
        return {group.name: torch.randperm(group.size, generator=generator) for group in self.groups}


def permute(weights: Weights, symmetry: Symmetry, permutations: Permutations) -> dict[str, Tensor]:
    """Reorder the channels of a network without changing its function.

    Args:
        weights: parameters and buffers.
        symmetry: of the architecture that they are of.
        permutations: an order for each group; a group that is left out stays.

    Returns:
        New weights, all tensors copies.

    Raises:
        ValueError: if an order is not a permutation of its group, or a tensor does not have the channels.
    """
    check_fit(weights, symmetry)
    known = {group.name for group in symmetry.groups}
    if unknown := sorted(permutations.keys() - known):
        raise ValueError(f"the symmetry has no group {unknown[0]!r}; it has {', '.join(sorted(known)[:5])}, …")
    moved: dict[str, Tensor] = {}
    for group in symmetry.groups:
        if group.name not in permutations:
            continue
        order = permutations[group.name]
        if not torch.equal(order.sort().values.cpu(), torch.arange(group.size)):
            raise ValueError(f"the order of {group.name} is not a permutation of {group.size} channels")
        for place in group.places:
            moved[place.tensor] = reorder(moved.get(place.tensor, weights[place.tensor]), place, order)
    return {name: moved[name] if name in moved else tensor.clone() for name, tensor in weights.items()}


def reorder(tensor: Tensor, place: Place, order: Tensor) -> Tensor:
    """Reorder the channels of one tensor at one place.

    Args:
        tensor: any shape that has the place.
        place: where the channels stand.
        order: int64 [size], a permutation.

    Returns:
        A new tensor.
    """
    entries = place.entries(order.to(tensor.device))
    index = torch.arange(tensor.shape[place.axis], device=tensor.device)
    index[place.start : place.start + len(entries)] = entries
    return tensor.index_select(place.axis, index)


def channel_rows(tensor: Tensor, place: Place, size: int) -> Tensor:
    """Give all entries that belong to each channel.

    Args:
        tensor: any shape that has the place.
        place: where the channels stand.
        size: number of channels.

    Returns:
        A matrix [size, entries a channel], a view where that is possible.
    """
    part = tensor.narrow(place.axis, place.start, size * place.repeat)
    return part.movedim(place.axis, 0).reshape(size, -1)


def check_fit(weights: Weights, symmetry: Symmetry) -> None:
    """Refuse weights of another architecture.

    Args:
        weights: parameters and buffers.
        symmetry: what they should have.

    Raises:
        ValueError: names the first tensor that is missing or too small.
    """
    for group in symmetry.groups:
        for place in group.places:
            if place.tensor not in weights:
                raise ValueError(f"the weights have no {place.tensor}, which the network's symmetry speaks of")
            shape, least = weights[place.tensor].shape, place.start + group.size * place.repeat
            if len(shape) <= place.axis or shape[place.axis] < least:
                raise ValueError(
                    f"{place.tensor} is {tuple(shape)}, but axis {place.axis} should hold at least {least} entries"
                )
