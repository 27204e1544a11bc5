"""Which order of its channels brings one network nearest to another, by the weights alone?

Weight matching (Ainsworth, Hayase, Srinivasa, Git Re-Basin, 2022, section 3.2): find the permutations that maximise
the inner product of the two networks' parameters, which is to minimise their distance. With all groups but one held
fixed that is a linear assignment problem, solved exactly; groups are visited in random order until none gains. The
product never falls. It is a local optimum and depends on the order.

What makes it fast: the other network is kept in its present order, and a step moves only the channels that change
place; the score of two channels is a sum over tensors, and a step corrects the scores of its neighbours by the channels
that it moved instead of multiplying whole tensors again. A group none of whose neighbours moved is not visited, and
the prices of its last assignment make the next one easy. Products run in float32; whether a step gains is decided in
float64 where float32 leaves a doubt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bequest.weights.algebra import Weights, check_alike, mixable
from bequest.weights.prices import eased, paid
from bequest.weights.symmetry import Group, Place, Symmetry, channel_rows, check_fit, reorder

Assign = Callable[[Tensor], Tensor]  # scores [n, n] -> for each row a column of its own, int64 [n], of the largest sum

LEAST_GAIN = 1e-12  # the original's threshold
DOUBT = 1e-4  # of the scores: a thousand times the rounding of float32


def weight_matching(
    symmetry: Symmetry,
    reference: Weights,
    other: Weights,
    *,
    assign: Assign,
    generator: torch.Generator,
    max_iterations: int = 100,
) -> dict[str, Tensor]:
    """Find the permutations of `other` that bring it nearest to `reference`.

    Args:
        symmetry: of the architecture of both.
        reference: stays as it is.
        other: the one to permute; not changed.
        assign: solves the linear assignment problem.
        generator: decides in which order the groups are visited.
        max_iterations: passes over all groups at most; one hidden layer needs one.

    Returns:
        Name of the group -> order int64 [size], on the CPU, for `permute`.

    Raises:
        ValueError: if the two are of different architectures, or not finite.
    """
    check_alike(reference, other)
    check_fit(reference, symmetry)
    state = _State(symmetry, reference, other)
    for _ in range(max_iterations):
        visits = torch.randperm(len(symmetry.groups), generator=generator).tolist()
        # a list, not a generator: every group is visited, also after the first that gained
        if not any([state.improve(symmetry.groups[index], assign) for index in visits]):
            break
    return state.orders


@dataclass(frozen=True)
class _Move:
    """What a step does to one tensor: either a stretch along one axis changes, or all of it."""

    axis: int  # -1: the group stands on several axes, `after` is the whole tensor
    index: Tensor
    after: Tensor
    difference: Tensor  # after - before


class _State:
    """The other network in its present order, and the scores that hold for it."""

    def __init__(self, symmetry: Symmetry, reference: Weights, other: Weights) -> None:
        names = {place.tensor for group in symmetry.groups for place in group.places} - symmetry.statistics
        names = {name for name in names if mixable(reference[name])}
        self.reference = {name: reference[name].detach().float() for name in names}
        self.other = {name: other[name].detach().to(self.reference[name], copy=True) for name in names}
        for name in sorted(names):
            if not (self.reference[name].isfinite().all() and self.other[name].isfinite().all()):
                raise ValueError(f"cannot match: {name} is not finite everywhere")
        self.orders = symmetry.identity()
        self.on: dict[str, list[tuple[Group, Place]]] = {name: [] for name in names}
        for group in symmetry.groups:
            for place in group.places:
                if place.tensor in names:
                    self.on[place.tensor].append((group, place))
        self.scores: dict[str, Tensor] = {}  # group -> inner products of its channels [reference, other]
        self.prices: dict[str, Tensor] = {}  # group -> prices of its columns, in their present order
        self.settled: set[str] = set()  # groups whose scores have not changed since their last visit

    def improve(self, group: Group, assign: Assign) -> bool:
        """Put the channels of one group into their best order, the others held; tell whether that gained."""
        places: dict[str, list[Place]] = {}
        for place in group.places:
            if place.tensor in self.reference:
                places.setdefault(place.tensor, []).append(place)
        if not places or group.name in self.settled:
            return False
        self.settled.add(group.name)
        score = self.scores.pop(group.name, None)
        if score is None:
            score = self._products(group, places)
        self.scores[group.name] = score
        easy, prices = eased(score, self.prices.get(group.name))
        order = assign(easy).to(score.device)
        changed = (order != torch.arange(group.size, device=order.device)).nonzero().flatten()
        if not len(changed):
            self.prices[group.name] = paid(easy, prices, order)
            return False
        moves = {name: self._move(here, order, changed) for name, here in places.items()}
        # A group on two axes of one tensor makes the problem quadratic: the assignment may be wrong about its gain.
        surely = _clear(score, order, changed) and all(move.axis >= 0 for move in moves.values())
        if not surely and math.fsum(self._gain(name, move) for name, move in moves.items()) <= LEAST_GAIN:
            return False
        self.orders[group.name] = self.orders[group.name][order.cpu()]
        self.prices[group.name] = paid(easy, prices, order)
        score[:, changed] = score[:, order[changed]]
        for name, move in moves.items():
            self._apply(group, name, move)
        return True

    def _products(self, group: Group, places: Mapping[str, list[Place]]) -> Tensor:
        total: Tensor | None = None
        vectors: list[list[Tensor]] = [[], []]  # one product for all scales and shifts
        for name, place in ((name, place) for name, here in places.items() for place in here):
            mine, theirs = (channel_rows(side[name], place, group.size) for side in (self.reference, self.other))
            if mine.shape[1] == 1:
                vectors[0].append(mine)
                vectors[1].append(theirs)
            else:
                total = mine @ theirs.T if total is None else total.addmm_(mine, theirs.T)
        if vectors[0]:
            mine, theirs = (torch.cat(side, dim=1) for side in vectors)
            total = mine @ theirs.T if total is None else total.addmm_(mine, theirs.T)
        assert total is not None
        return total

    def _move(self, places: list[Place], order: Tensor, changed: Tensor) -> _Move:
        before = self.other[places[0].tensor]
        if len(places) > 1:
            after = before
            for place in places:
                after = reorder(after, place, order)
            return _Move(-1, changed, after, after - before)
        place = places[0]
        to, source = (place.entries(channels) for channels in (changed, order[changed]))
        after = before.index_select(place.axis, source)
        return _Move(place.axis, to, after, after - before.index_select(place.axis, to))

    def _gain(self, name: str, move: _Move) -> float:
        reference = self.reference[name]
        part = reference if move.axis < 0 else reference.index_select(move.axis, move.index)
        return float(torch.dot(part.double().flatten(), move.difference.double().flatten()))

    def _apply(self, group: Group, name: str, move: _Move) -> None:
        """Put a move into the other network and correct the scores that it made wrong."""
        part = self.reference[name]
        if move.axis < 0:
            self.other[name] = move.after
        else:
            self.other[name].index_copy_(move.axis, move.index, move.after)
            part = part.index_select(move.axis, move.index)
        for neighbour, place in self.on[name]:
            if neighbour is group and move.axis < 0:
                self.scores.pop(group.name, None)
            elif neighbour is not group and place.axis != move.axis and neighbour.name in self.scores:
                mine, theirs = (channel_rows(side, place, neighbour.size) for side in (part, move.difference))
                self.scores[neighbour.name].addmm_(mine, theirs.T)
            else:
                continue
            self.settled.discard(neighbour.name)


def _clear(score: Tensor, order: Tensor, changed: Tensor) -> bool:
    """Tell whether the scores promise a gain far above their rounding."""
    new, old = score[changed, order[changed]].double(), score[changed, changed].double()
    return float((new - old).sum()) > DOUBT * float(new.abs().sum() + old.abs().sum())
