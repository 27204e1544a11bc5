"""How much noise does a module tolerate, and where on its path from the start?

Criticality (science.md 3.1): mu is the least d(a)^2 / sigma^2 over positions a and noise sigma in 0..1 for which the
expected objective stays at or below a threshold; d(a) is the distance of the position from the start (a ||theta_F -
theta_0|| on the straight line). Small: a wide valley reaches near to the start.

This is searched, not swept. For each position the largest tolerated sigma is found in log sigma, taking the objective
to rise with sigma; but a position that cannot beat the best ratio sigma / d found so far is given up after one test.
Then positions around the best are tried, ever nearer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

PRECISION = 0.018  # of mu, relative
ROUGHLY = 1.15  # a factor of sigma that counts as better in the first of two rounds
COARSE = 1.05  # with a last factor above this nothing is tried between the positions: mu is flat there
BRACKET = 1.5  # and the largest sigma of a position is known to this factor before the others are tried
SMALLEST = 1e-6  # of sigma: nothing tolerated there counts as nothing tolerated
ROUNDS = 3  # of making sure; between them, others may come first
REFINEMENTS = 2  # halvings of the step between positions around the best; mu is flat around its minimum
HALVINGS = 8  # of the last factor: what so many of it make up is halved in three tests, and nothing is cleverer
STEEPEST = 4  # the objective is taken to rise at most with this power of sigma (seen: 1 to 3)
Excess = Callable[[float, float], float]  # (position, sigma) -> expected objective minus threshold; accepted up to 0


@dataclass(frozen=True)
class Valley:
    """Where the least criticality was found.

    Attributes:
        mu: distance^2 / sigma^2; infinite if nothing was accepted.
        position: on the path, 0..1; NaN if nothing was accepted.
        sigma: noise that is tolerated there, in units of a parameter; NaN likewise.
        distance: of the position from the start; NaN likewise.
        tests: how many pairs of position and sigma were tried.
    """

    mu: float
    position: float
    sigma: float
    distance: float
    tests: int


def widest_valley(
    excess: Excess,
    distance: Callable[[float], float],
    positions: Sequence[float],
    *,
    room: float = 0.0,
    refine: bool = True,
    verified: Excess | None = None,
    still: Callable[[float], float] | None = None,
    precision: float = PRECISION,
    first: float = 1.0,
) -> Valley:
    """Search for the least distance^2 / sigma^2 that is accepted.

    Args:
        excess: (position, sigma) -> expected objective minus threshold; its sign must be right, its size may be an
            estimate.
        distance: position -> distance from the start, above 0.
        positions: on the path, in 0..1, increasing; the last is the end.
        room: threshold minus the lowest objective there can be; spares tests of what cannot be accepted. 0 spares none.
        refine: try positions between the given ones, around the best.
        verified: as `excess`, and sure; what is found has passed it. None if `excess` is sure.
        still: position -> excess without noise, which spares a search where nothing is accepted; None spares none.
        precision: relative, above 0: mu is at most so much above the least on the given positions, if the objective
            rises with sigma.
        first: sigma that is tried first, 0..1; nearer to what is tolerated, fewer are.

    Returns:
        What was found.
    """
    search = _Search(excess, distance, room, still, math.sqrt(1 + precision), first)
    fine = search.finest < COARSE
    rounds = [(ROUGHLY, ROUGHLY) if fine else (search.finest, BRACKET), (search.finest, search.finest)]
    for factor, bracket in rounds:
        if search.best is not None:
            search.climb(search.best, bracket)
        for position in _spread_out(positions):  # what is refused once stays so, as the best only gets better
            search.improve(position, factor, bracket)
    if search.best is None:
        return Valley(math.inf, math.nan, math.nan, math.nan, search.tests)
    step = max((b - a for a, b in pairwise(positions)), default=0.0) / 2
    for _ in range(REFINEMENTS if refine and fine else 0):
        centre = search.best
        for position in (centre - step, centre + step):
            if 0 < position <= positions[-1] and search.best == centre:
                search.improve(position, search.finest)
        step /= 2
    for left in reversed(range(ROUNDS if verified is not None else 0)):
        assert verified is not None
        if not search.withdraw(search.best, verified):
            break
        for position in [*search.good, *_spread_out(positions)] if left else []:  # what was second may now be first
            search.improve(position, search.finest)
    if search.good[search.best][0] <= 0:
        return Valley(math.inf, math.nan, math.nan, math.nan, search.tests)
    position, sigma = search.best, search.good[search.best][0]
    return Valley((distance(position) / sigma) ** 2, position, sigma, distance(position), search.tests)


class _Search:
    """Remembers, for each position, the largest sigma accepted and the smallest refused, with their excess."""

    def __init__(
        self,
        excess: Excess,
        distance: Callable[[float], float],
        room: float,
        still: Callable[[float], float] | None,
        finest: float,
        first: float,
    ) -> None:
        self.excess, self.distance, self.room, self.still = excess, distance, room, still
        self.finest, self.first = finest, first
        self.good: dict[float, tuple[float, float]] = {}
        self.bad: dict[float, tuple[float, float]] = {}
        self.best: float | None = None
        self.sure: tuple[float, float] | None = None  # position and sigma that were made sure of
        self.tests = 0

    def test(self, position: float, sigma: float) -> bool:
        if position in self.good and sigma <= self.good[position][0]:
            return True
        if position in self.bad and self._hopeless(sigma, *self.bad[position]):
            return False
        self.tests += 1
        excess = self.excess(position, sigma)
        (self.good if excess <= 0 else self.bad)[position] = sigma, excess
        return excess <= 0

    def _hopeless(self, sigma: float, refused: float, excess: float) -> bool:
        """Would the objective have to fall faster, from what was refused, than it can?"""
        if sigma >= refused:
            return True
        return self.room > 0 and (excess + self.room) * (sigma / refused) ** STEEPEST > self.room

    def improve(self, position: float, factor: float, bracket: float | None = None) -> None:
        """See whether a position beats the best by a factor in sigma; if so it becomes the best, known to a bracket."""
        if self.best is None:
            if self.still is not None and self.still(position) > 0:
                return
            sigma = self.first
            while not self.test(position, sigma):
                sigma /= 2
                if sigma < SMALLEST:
                    return
        else:
            sigma = self.good[self.best][0] * factor * self.distance(position) / self.distance(self.best)
            if sigma > 1 or not self.test(position, sigma):
                return
        self.best = position
        self.climb(position, factor if bracket is None else bracket)

    def climb(self, position: float, factor: float) -> None:
        """Find the largest sigma that a position accepts, up to a factor."""
        step = 1.25
        while self.good[position][0] < 1 and position not in self.bad:
            if self.test(position, min(1.0, self.good[position][0] * step)):
                step *= step
        for attempt in range(100):
            low, below = self.good[position]
            high, above = self.bad.get(position, (low, 0.0))
            if high <= factor * low:
                return
            middle = math.sqrt(low * high)
            if (
                attempt < 4 and high > low * factor**HALVINGS
            ):  # where a straight line in log sigma crosses 0, a little below to close in from there
                crossing = low * (high / low) ** (-below / (above - below))
                middle = min(max(crossing / math.sqrt(factor), low * factor), high / math.sqrt(factor))
            self.good_or_bad(position, middle)

    def withdraw(self, position: float, verified: Excess) -> bool:
        """Make sure of the largest accepted sigma, or find a smaller one; tell whether it had to be smaller."""
        sigma, step = self.good[position][0], self.finest
        if self.sure == (position, sigma) or (excess := verified(position, sigma)) <= 0:
            return False
        while excess > 0:
            self.bad[position] = sigma, excess
            sigma, step = sigma / step, step * step
            excess = verified(position, sigma) if sigma >= SMALLEST else 0.0
        self.good[position] = (sigma if sigma >= SMALLEST else 0.0), excess
        while 0 < self.finest * self.good[position][0] < self.bad[position][0]:
            sigma = math.sqrt(self.good[position][0] * self.bad[position][0])
            excess = verified(position, sigma)
            (self.good if excess <= 0 else self.bad)[position] = sigma, excess
        self.sure = position, self.good[position][0]
        return True

    def good_or_bad(self, position: float, sigma: float) -> None:
        """Test without sparing: what lies between accepted and refused must become one of the two."""
        self.tests += 1
        excess = self.excess(position, sigma)
        (self.good if excess <= 0 else self.bad)[position] = sigma, excess


def _spread_out(positions: Sequence[float]) -> list[float]:
    """Order positions so that early ones say most: the end, then the middle of the largest gap, and so on."""
    order, left = [positions[-1]], list(positions[:-1])
    while left:
        chosen = max(left, key=lambda one: min(abs(one - other) for other in [*order, 0.0]))
        order.append(chosen)
        left.remove(chosen)
    return order
