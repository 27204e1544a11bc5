"""Did a score order the candidates as their training did?

Kendall's tau-b counts pairs in the same order; the weighted tau (Vigna 2015: hyperbolic weights, added) counts those
among the best most, as one candidate is going to be taken; Pearson's correlation looks at the sizes. The candidates are
the sample: the interval is a bootstrap over them, and p is the share of orders of the truth, all of them up to seven
candidates, that agree at least as much in absolute value. Below five candidates nothing can be told: even a perfect
order of four has p = 0.08.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bequest.analyses.intervals import Interval

LEAST = 5  # candidates
DRAWS = 1000  # of the bootstrap
ENTRIES = 4_000_000  # of the matrices of all orders together
ORDERS = 5000  # drawn where there are too many to go through
ALL_ORDERS = 7  # candidates up to which all orders are gone through: 5040
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How well a score agrees with the truth.

    Attributes:
        kendall: tau-b, -1..1, with its bootstrap interval; n candidates.
        weighted: weighted tau, likewise.
        pearson: correlation, likewise.
        p: of Kendall's tau under random orders; NaN where it is not defined.
    """

    kendall: Interval
    weighted: Interval
    pearson: Interval
    p: float

    @property
    def sure(self) -> bool:
        """Whether the score orders better than chance: five candidates, p at most 0.05, and the interval above 0."""
        low = self.kendall.low
        return self.kendall.n >= LEAST and self.p <= 0.05 and low is not None and low > 0


def agreement(scores: Sequence[float], truth: Sequence[float], *, seed: int = 0) -> Agreement:
    """Compare a score with what training gave.

    Args:
        scores: a finite number a candidate, more is better.
        truth: an accuracy a candidate, in the same order.
        seed: of the bootstrap and of the orders.

    Returns:
        The three correlations (NaN where one side does not vary, or for one candidate) and p.

    Raises:
        ValueError: if there are not as many of one as of the other, or none.
    """
    if len(scores) != len(truth) or not len(scores):
        raise ValueError(f"a score and the truth need as many candidates; got {len(scores)} and {len(truth)}")
    # a score that is at its bound for several candidates differs by rounding, which is no order
    x, y = (np.array([float(f"{value:.9g}") for value in values]) for values in (scores, truth))
    n = len(x)
    places = np.random.default_rng(seed).integers(0, n, (DRAWS, n))

    def sized(statistic: Callable[[Numbers, Numbers], Numbers]) -> Interval:
        value = float(statistic(x, y))
        drawn = statistic(x[places], y[places]) if n >= LEAST else np.empty(0)
        drawn = drawn[np.isfinite(drawn)]  # a draw of one candidate alone has no order
        if len(drawn) < 2:
            return Interval(value, None, None, n)
        low, high = np.quantile(drawn, [0.025, 0.975])
        return Interval(value, float(low), float(high), n)

    return Agreement(sized(kendall), sized(weighted_kendall), sized(pearson), _p(x, y, seed))


def kendall(x: Numbers, y: Numbers) -> Numbers:
    """Give Kendall's tau-b of series [..., n], as [...]; NaN where one does not vary."""
    return _tau(x, y, np.ones((*x.shape, x.shape[-1])))


def weighted_kendall(x: Numbers, y: Numbers) -> Numbers:
    """Give Vigna's weighted tau of series [..., n]: the mean of weighing by the ranks of x and by those of y."""
    mean: Numbers = (_tau(x, y, _weights(x, y)) + _tau(x, y, _weights(y, x))) / 2
    return mean


def pearson(x: Numbers, y: Numbers) -> Numbers:
    """Give Pearson's correlation of series [..., n]; NaN where one does not vary."""
    a, b = (one - one.mean(-1, keepdims=True) for one in (x, y))
    varies = (np.ptp(x, -1) > 0) & (np.ptp(y, -1) > 0)
    return _ratio((a * b).sum(-1), np.sqrt((a**2).sum(-1) * (b**2).sum(-1)) * varies)


def _tau(x: Numbers, y: Numbers, weights: Numbers) -> Numbers:
    a, b = _signs(x), _signs(y)
    norm = np.sqrt((weights * a**2).sum((-2, -1)) * (weights * b**2).sum((-2, -1)))
    return _ratio((weights * a * b).sum((-2, -1)), norm)


def _signs(x: Numbers) -> Numbers:
    """Which of two is more, [..., n, n]."""
    signs: Numbers = np.sign(x[..., :, None] - x[..., None, :])
    return signs


def _ratio(above: Numbers, below: Numbers) -> Numbers:
    known = below > 0
    return np.where(known, np.clip(above / np.where(known, below, 1), -1, 1), np.nan)


def _weights(x: Numbers, y: Numbers) -> Numbers:
    """1 / (rank + 1) of both of a pair, added; ranks fall with x, then with y."""
    order = np.lexsort((y, x), axis=-1)[..., ::-1]
    ranks = np.empty(x.shape)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(float(x.shape[-1])), x.shape), -1)
    each = 1 / (ranks + 1)
    weights: Numbers = each[..., :, None] + each[..., None, :]
    return weights


def _p(x: Numbers, y: Numbers, seed: int) -> float:
    """The share of orders of the truth that agree at least as much, or disagree."""
    found = float(kendall(x, y))
    if not math.isfinite(found):
        return math.nan
    every = len(x) <= ALL_ORDERS
    generator = np.random.default_rng(seed)
    orders = np.array(
        list(itertools.permutations(range(len(x))))
        if every
        else [generator.permutation(len(x)) for _ in range(min(ORDERS, ENTRIES // len(x) ** 2))]
    )
    as_good = np.abs(kendall(np.broadcast_to(x, orders.shape), y[orders])) >= abs(found) - 1e-9
    # drawn orders do not hold the one that was found: it is counted with them
    return float(as_good.mean()) if every else float((as_good.sum() + 1) / (len(orders) + 1))
