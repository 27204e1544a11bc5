"""How sure is a mean over pairs of runs?

Three replicas make three pairs, five make ten, and pairs that share a run are not independent. The intervals here are
Student's t with the spread over pairs but the count of replicas: no more certainty than the runs can give.
A run that repeats an init (`randinit/0b`) is no replica; it counts only in its pair with the run it repeats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from bequest.analyses.intervals import Interval
from bequest.analyses.pairs import KINDS, arm, kind, repeats_init

SAME_INIT = "randinit, same init"


@dataclass(frozen=True)
class Group:
    """The values of all pairs of one kind.

    Attributes:
        kind: a key of `KINDS`.
        pairs: the names of the two runs, a pair each.
        values: one finite number a pair.
    """

    kind: str
    pairs: tuple[tuple[str, str], ...]
    values: tuple[float, ...]

    @property
    def replicas(self) -> int:
        """Independent runs behind the pairs: those of the smaller arm; a single reference such as P does not count."""
        arms: dict[str, set[str]] = {}
        for name in (name for pair in self.pairs for name in pair):
            arms.setdefault(arm(name), set()).add(name)
        counts = [len(names) for names in arms.values() if len(names) > 1]
        return min([len(self.pairs), *counts])

    @property
    def mean(self) -> Interval:
        """Mean over pairs with its 95 percent interval; n counts pairs."""
        centre = math.fsum(self.values) / len(self.values)
        spread = _spread(self)
        if spread is None:
            return Interval(centre, None, None, len(self.values))
        half = _t(self.replicas - 1) * spread
        return Interval(centre, centre - half, centre + half, len(self.values))


def grouped(rows: pl.DataFrame) -> dict[str, Group]:
    """Sort pairs by what they compare.

    Args:
        rows: columns a, b, value: one row a pair. Rows without a finite value are left out.

    Returns:
        The groups that are there, in the order of `KINDS`.
    """
    found: dict[str, list[tuple[str, str, float]]] = {}
    for a, b, value in rows.select("a", "b", "value").iter_rows():
        if a is None or b is None or value is None or not math.isfinite(value):
            continue
        name = kind(a, b)
        if name == SAME_INIT or not (repeats_init(a) or repeats_init(b)):
            found.setdefault(name, []).append((a, b, value))
    return {
        name: Group(name, tuple((a, b) for a, b, _ in found[name]), tuple(value for _, _, value in found[name]))
        for name in KINDS
        if name in found
    }


def difference(first: Group, second: Group) -> Interval:
    """Give the mean of the first group minus that of the second, with Welch's spread and the smaller count of replicas.

    Args:
        first: one kind of pair.
        second: another kind.

    Returns:
        The difference and its 95 percent interval (None where a group has fewer than two replicas); n is the smaller
        number of pairs.
    """
    value = first.mean.value - second.mean.value
    n = min(len(first.values), len(second.values))
    spreads = _spread(first), _spread(second)
    if spreads[0] is None or spreads[1] is None:
        return Interval(value, None, None, n)
    half = _t(min(first.replicas, second.replicas) - 1) * math.hypot(spreads[0], spreads[1])
    return Interval(value, value - half, value + half, n)


def ranged(interval: Interval, form: str = ".2f", scale: float = 1.0) -> str:
    """Write an interval as `0.52 (0.40 to 0.61)`, without the part in brackets where it has none."""
    text = format(scale * interval.value, form)
    if interval.low is None or interval.high is None:
        return text
    return f"{text} ({format(scale * interval.low, form)} to {format(scale * interval.high, form)})"


def ranks(values: Sequence[float]) -> list[float]:
    """Rank from 1; equal values share the mean of their ranks."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values
    ]


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Give Spearman's rank correlation.

    Args:
        x: numbers in any unit.
        y: as many numbers.

    Returns:
        The correlation of the ranks, -1..1; NaN for fewer than two numbers or where one side does not vary.
    """
    a, b = ranks(x), ranks(y)
    centre = (len(a) + 1) / 2
    product = math.fsum((i - centre) * (j - centre) for i, j in zip(a, b, strict=True))
    norm = math.sqrt(math.fsum((i - centre) ** 2 for i in a) * math.fsum((j - centre) ** 2 for j in b))
    return product / norm if norm else math.nan


def _spread(group: Group) -> float | None:
    """Standard error of the mean, by the count of replicas; None below two."""
    if group.replicas < 2:
        return None
    centre = math.fsum(group.values) / len(group.values)
    variance = math.fsum((value - centre) ** 2 for value in group.values) / (len(group.values) - 1)
    return math.sqrt(variance / group.replicas)


def _t(freedom: int) -> float:
    from scipy.special import stdtrit  # only this function: scipy.stats takes half a second to import

    return float(stdtrit(freedom, 0.975))
