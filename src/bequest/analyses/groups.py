"""How sure is a mean over pairs of runs?

Three replicas make three pairs, five make ten, and pairs that share a run are not independent: a pair with an unusual
run is unusual, whatever the other one is. So what is left out, to see how much a mean depends on it, is a run with all
its pairs (delete-one jackknife; Efron and Stein 1981): SE^2 = (R - 1) / R * sum (theta_(-r) - theta)^2 over the R runs
of an arm, summed over the arms, and Student's t of the smallest R - 1. Where a pair is the sum of what its runs bring,
this is the t interval of the mean over runs, with exact coverage; where pairs have a part of their own, the interval is
wider than it need be: with three replicas up to twice, where that part is all there is. A mean over pairs that treats
them as independent would be too narrow in the first case, by a factor of up to 2.

A run that repeats an init (`randinit/0b`) is no replica; it counts only in its pair with the run it repeats, and there
inits are left out, not runs.
"""

from __future__ import annotations

import math
import re
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
        return min((len(names) for names in _arms(self).values()), default=len(self.pairs))

    @property
    def mean(self) -> Interval:
        """Mean over pairs with its 95 percent interval; n counts pairs."""
        return interval(_mean(self), len(self.values), jackknife(self))

    def without(self, run: str) -> Group:
        """Give the pairs that do not have this run, or a repeat of its init."""
        kept = [index for index, pair in enumerate(self.pairs) if run not in map(_init, pair)]
        return Group(self.kind, tuple(self.pairs[index] for index in kept), tuple(self.values[index] for index in kept))


@dataclass(frozen=True)
class Spread:
    """How far an estimate is from what other runs would give.

    Attributes:
        error: standard error, in the unit of the values.
        freedom: degrees of freedom of Student's t.
    """

    error: float
    freedom: int


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


def jackknife(first: Group, second: Group | None = None) -> Spread | None:
    """Give the standard error of the mean of a group, or of the difference between those of two groups.

    Args:
        first: one kind of pair.
        second: another kind; a run that is in both is left out of both at once.

    Returns:
        The standard error over runs; None where an arm has one run, or no pair is left without one of its runs.
    """
    groups = [first] if second is None else [first, second]
    arms = _arms(*groups)
    whole, variance = _contrast(groups), 0.0
    for names in arms.values():
        parts = [[group.without(name) for group in groups] for name in sorted(names)]
        if len(names) < 2 or not all(group.values for part in parts for group in part):
            return None
        count = len(names)
        variance += (count - 1) / count * math.fsum((_contrast(part) - whole) ** 2 for part in parts)
    if not arms:
        return None
    return Spread(math.sqrt(variance), min(len(names) for names in arms.values()) - 1)


def interval(value: float, n: int, spread: Spread | None, *, further: float = 0.0) -> Interval:
    """Put Student's t interval around an estimate.

    Args:
        value: the estimate.
        n: number of pairs, kept as it is.
        spread: over runs; None: there is no interval.
        further: an independent standard error, such as that over test images, whose square is added.

    Returns:
        The 95 percent interval.
    """
    if spread is None:
        return Interval(value, None, None, n)
    from scipy.special import stdtrit  # only this function: scipy.stats takes half a second to import

    half = float(stdtrit(spread.freedom, 0.975)) * math.hypot(spread.error, further)
    return Interval(value, value - half, value + half, n)


def difference(first: Group, second: Group) -> Interval:
    """Give the mean of the first group minus that of the second, with the jackknife over the runs of both.

    Args:
        first: one kind of pair.
        second: another kind; it may have runs of the first.

    Returns:
        The difference and its 95 percent interval (None where an arm has too few runs); n is the smaller number of
        pairs.
    """
    n = min(len(first.values), len(second.values))
    return interval(_contrast([first, second]), n, jackknife(first, second))


def ranged(interval: Interval, form: str = ".2f", scale: float = 1.0) -> str:
    """Write an interval as `0.52 (0.40 to 0.61)`, without the part in brackets where it has none."""
    text = format(scale * interval.value, form)
    if interval.low is None or interval.high is None:
        return text
    return f"{text} ({format(scale * interval.low, form)} to {format(scale * interval.high, form)})"


def counted(n: int, noun: str) -> str:
    """Write a count with its noun: `1 pair`, `3 pairs`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


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


def _mean(group: Group) -> float:
    return math.fsum(group.values) / len(group.values)


def _contrast(groups: Sequence[Group]) -> float:
    """The mean of the first group, minus that of the second if there is one."""
    return _mean(groups[0]) - (_mean(groups[1]) if len(groups) > 1 else 0.0)


def _init(name: str) -> str:
    """The run whose init this one has: `randinit/0` for `randinit/0b`."""
    return re.sub(r"(/\d+)[a-z]$", r"\1", name)


def _arms(*groups: Group) -> dict[str, set[str]]:
    """The replicas of each arm; a name without a slash, such as P, is a fixed reference and no sample of one."""
    arms: dict[str, set[str]] = {}
    for name in (name for group in groups for pair in group.pairs for name in pair):
        if "/" in name:
            arms.setdefault(arm(name), set()).add(_init(name))
    return arms
