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

from bequest.analyses.intervals import Interval, bootstrap

LEAST = 5  # candidates
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
    if len(scores) != len(truth) or not scores:
        raise ValueError(f"a score and the truth need as many candidates; got {len(scores)} and {len(truth)}")
    x, y = np.asarray(scores, float), np.asarray(truth, float)

    def sized(statistic: Callable[[Numbers, Numbers], float]) -> Interval:
        if len(x) < LEAST:
            return Interval(statistic(x, y), None, None, len(x))
        return bootstrap(lambda places: statistic(x[places], y[places]), len(x), seed=seed)

    return Agreement(sized(kendall), sized(weighted_kendall), sized(pearson), _p(x, y, seed))


def kendall(x: Numbers, y: Numbers) -> float:
    """Give Kendall's tau-b of two series [n]; NaN where one does not vary."""
    return _tau(x, y, np.ones((len(x), len(x))))


def weighted_kendall(x: Numbers, y: Numbers) -> float:
    """Give Vigna's weighted tau of two series [n]: the mean of weighing by the ranks of x and by those of y."""
    return (_tau(x, y, _weights(x, y)) + _tau(x, y, _weights(y, x))) / 2


def pearson(x: Numbers, y: Numbers) -> float:
    """Give Pearson's correlation of two series [n]; NaN where one does not vary."""
    a, b = x - x.mean(), y - y.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return min(1.0, max(-1.0, float(a @ b) / norm)) if norm > 0 and np.ptp(x) > 0 and np.ptp(y) > 0 else math.nan


def _tau(x: Numbers, y: Numbers, weights: Numbers) -> float:
    a, b = (np.sign(one[:, None] - one[None, :]) for one in (x, y))
    norm = math.sqrt(float((weights * a**2).sum()) * float((weights * b**2).sum()))
    return float((weights * a * b).sum()) / norm if norm > 0 else math.nan


def _weights(x: Numbers, y: Numbers) -> Numbers:
    """1 / (rank + 1) of both of a pair, added; ranks fall with x, then with y."""
    ranks = np.empty(len(x))
    ranks[np.lexsort((y, x))[::-1]] = np.arange(len(x))
    each = 1 / (ranks + 1)
    weights: Numbers = each[:, None] + each[None, :]
    return weights


def _p(x: Numbers, y: Numbers, seed: int) -> float:
    found = kendall(x, y)
    if not math.isfinite(found):
        return math.nan
    generator = np.random.default_rng(seed)
    orders = (
        np.array(list(itertools.permutations(range(len(x)))))
        if len(x) <= ALL_ORDERS
        else np.array([generator.permutation(len(x)) for _ in range(ORDERS)])
    )
    a, b = (np.sign(one[:, None] - one[None, :]) for one in (x, y))
    sums = np.array([(a * b[np.ix_(order, order)]).sum() for order in orders])
    as_good = np.abs(sums) >= abs(float((a * b).sum())) - 1e-9
    # drawn orders do not hold the one that was found: it is counted with them
    return float(as_good.mean()) if len(x) <= ALL_ORDERS else float((as_good.sum() + 1) / (len(orders) + 1))
