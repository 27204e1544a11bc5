"""How does a model move among mixes of several weights without anything being allocated per point?

The sum of shares[i] * members[i], shares summing to 1, is written straight into the model's own tensors. The points of
a plane, of a trained path and of a basin are such mixes. Displacements from the first member are kept, so a point costs
one pass over the weights a member; where only the second member's share changed from the point before (along a row of a
plane) it costs one pass in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bequest.evaluation.applied import preserved, put
from bequest.weights.algebra import Weights, mixable

FRESH = 16  # steps along a row before the point is computed anew; rounding stays near that of a single sum


@dataclass(frozen=True)
class Noise:
    """A random direction, drawn again from its seed whenever it is needed.

    Attributes:
        norm: expected length of the displacement: sigma = norm / sqrt(n) on each of n parameters.
        seed: of the direction; the same seed with another norm is the same direction.
    """

    norm: float
    seed: int


Go = Callable[[Sequence[float], Noise | None], None]


def parameter_names(model: nn.Module) -> list[str]:
    """List the parameters that distances, planes and noise are about: floating ones, tied ones once, no buffers."""
    return [name for name, parameter in model.named_parameters() if mixable(parameter)]


@contextmanager
def mixture(model: nn.Module, members: Sequence[Weights]) -> Iterator[Go]:
    """Move a model among the mixes of several weights.

    Args:
        model: any network; it is in evaluation mode inside and restored on exit.
        members: weights of the model's shapes, at least one; counters come from the first (at a corner from its own).

    Yields:
        A function of shares (one a member, summing to 1) and of a noise or None that puts that point into the model. A
        one-hot share without noise gives the member bit for bit. Noise is added to parameters, never to buffers.

    Raises:
        ValueError: if weights do not fit the model.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    apart = [_apart(own, member) for member in members]
    with preserved(model):
        for member in reversed(apart):  # each is checked, and the first stays for its counters
            put(model, member)
        yield _Mover(model, apart)


def _apart(own: set[int], weights: Weights) -> Weights:
    """Weights with memory of their own where they are the model's own tensors, which are about to change."""
    shared = any(tensor.untyped_storage().data_ptr() in own for tensor in weights.values())
    return {name: tensor.clone() for name, tensor in weights.items()} if shared else weights


class _Mover:
    """Writes points into the model; remembers where it is, so that the next point of a row is one step."""

    def __init__(self, model: nn.Module, members: Sequence[Weights]) -> None:
        self.model, self.members = model, members
        chosen = set(parameter_names(model))
        self.parameters, self.others = _Part(), _Part()
        for name, tensor in model.state_dict(keep_vars=True).items():
            tied = name not in chosen and isinstance(tensor, nn.Parameter)  # a second name of the same tensor
            if isinstance(tensor, Tensor) and mixable(tensor) and not tied:
                part = self.parameters if name in chosen else self.others
                part.add(tensor.detach(), [member[name].detach() for member in members])
        self.count = sum(tensor.numel() for tensor in self.parameters.live)
        self.at: tuple[float, ...] | None = None
        self.steps = 0

    @torch.no_grad()
    def __call__(self, shares: Sequence[float], noise: Noise | None = None) -> None:
        shares = tuple(float(share) for share in shares)
        corner = shares.index(1.0) if sorted(map(abs, shares)) == [0.0] * (len(shares) - 1) + [1.0] else None
        if corner is not None and shares[corner] == 1.0:
            put(self.model, self.members[corner])
            self.at = None
        else:
            self.others.move(shares)
            if self.at is not None and self.at[2:] == shares[2:] and self.steps < FRESH and len(shares) > 1:
                self.parameters.step(shares, shares[1] - self.at[1])
                self.steps += 1
            else:
                self.parameters.move(shares)
                self.steps = 0
            self.at = shares
        if noise is not None and noise.norm:
            self._shake(noise)
            self.at = None

    def _shake(self, noise: Noise) -> None:
        generators: dict[torch.device, torch.Generator] = {}
        sigma = noise.norm / math.sqrt(self.count)
        for tensor in self.parameters.live:
            if tensor.device not in generators:
                generators[tensor.device] = torch.Generator(tensor.device).manual_seed(noise.seed)
            drawn = torch.empty_like(tensor).normal_(generator=generators[tensor.device])
            tensor.add_(drawn, alpha=sigma)


class _Part:
    """Some of the model's tensors, with the first member's values and the others' displacements from it."""

    def __init__(self) -> None:
        self.live: list[Tensor] = []
        self.first: list[Tensor] = []
        self.apart: list[list[Tensor]] = []  # a list for each further member
        self.narrow: list[int] = []  # places of tensors below 32 bits: summed in float32 and rounded once

    def add(self, live: Tensor, values: list[Tensor]) -> None:
        # On the model's device and in its layout, with memory of its own: the model's tensors are about to change.
        wide = torch.promote_types(live.dtype, torch.float32)
        if wide != live.dtype:
            self.narrow.append(len(self.live))
        first = torch.empty_like(live, dtype=wide).copy_(values[0])
        self.live.append(live)
        self.first.append(first)
        self.apart = self.apart or [[] for _ in values[1:]]
        for place, value in enumerate(values[1:]):
            self.apart[place].append(torch.empty_like(first).copy_(value).sub_(first))

    def move(self, shares: Sequence[float]) -> None:
        """Write the point, computed anew."""
        used = [(apart, share) for apart, share in zip(self.apart, shares[1:], strict=False) if share]
        for place, (live, first) in enumerate(zip(self.live, self.first, strict=True)):
            total = torch.empty_like(first) if place in self.narrow else live
            if not used:
                total.copy_(first)
            for turn, (apart, share) in enumerate(used):
                torch.add(first if turn == 0 else total, apart[place], alpha=share, out=total)
            if total is not live:
                live.copy_(total)

    def step(self, shares: Sequence[float], change: float) -> None:
        """Go on from the point before by a change of the second member's share."""
        if self.narrow:
            self.move(shares)
        elif change:
            torch._foreach_add_(self.live, self.apart[0], alpha=change)
