"""How sure is a mean?

The intervals that every analysis uses: Student's t over replicas, the paired difference, Wilson for a share of
examples, and a seeded bootstrap for statistics that have no formula. All are two-sided, 95 percent unless said.

Student's t knows nothing of the range of a number: three replicas with kappas of 0.6, 0.9 and 0.95 have an interval
that ends above 1, where no kappa is. Such an interval is cut to the range (`RANGES`), in the rows and in what is said.
The true number is in the range, so the cut interval holds it as often as the whole one does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_SHARES = (
    *("error", "error_naive", "final_error", "path_error", "rewind_error", "rerandomised_error", "barrier_error"),
    *("mean_train_accuracy", "same_wrong_class", "sufficient_fraction", "valley", "mean"),
)
_DIFFERENCES = (
    *("difference", "error_difference", "mean_train_accuracy_difference", "error_loss", "speed_loss"),
    *("condition_2", "condition_3", "random", "extrapolated", "rise"),
)
# least and largest possible value, by unit and metric; what is not here has no bound that is known
RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "share": dict.fromkeys(_SHARES, (0.0, 1.0)) | dict.fromkeys(_DIFFERENCES, (-1.0, 1.0)),
    "kappa": {"kappa": (-1.0, 1.0), "kappa_difference": (-2.0, 2.0)},
    "CKA": {"cka": (-1.0, 1.0)},  # unbiased HSIC is an inner product, so by Cauchy and Schwarz
    "cosine": {"cosine": (-1.0, 1.0)},
    "nats": {"loss": (0.0, math.inf)},
    "epochs": {"epochs_to_error": (0.0, math.inf)},
    "%": {"relative_drop": (-math.inf, 100.0)},
}


@dataclass(frozen=True)
class Interval:
    """A value with its interval.

    Attributes:
        value: the estimate, in the unit of what went in.
        low: lower end; None where the interval cannot be computed (fewer than two observations).
        high: upper end; None likewise.
        n: number of observations.
    """

    value: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Mean over replicas with Student's t interval.

    Args:
        values: one finite number a replica.
        level: coverage, 0..1.

    Returns:
        The mean, its interval (None for fewer than two values) and n.

    Raises:
        ValueError: if there are no values.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Interval(mean, None, None, n)
    from scipy.special import stdtrit  # only this function: scipy.stats takes half a second to import

    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * spread
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(a: Sequence[float], b: Sequence[float], *, level: float = 0.95) -> Interval:
    """Mean of a - b over replicas that belong together, with Student's t interval.

    Args:
        a: one number a replica.
        b: the same replicas in the same order.
        level: coverage, 0..1.

    Returns:
        The mean difference, its interval and the number of pairs.

    Raises:
        ValueError: if the lengths differ or are zero.
    """
    if len(a) != len(b):
        raise ValueError(f"paired differences need equally many values, not {len(a)} and {len(b)}")
    return mean_interval([left - right for left, right in zip(a, b, strict=True)], level=level)


def linearised_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Give one number a replica whose mean is the ratio of the means, and whose spread is that of the ratio.

    The ratio of means, to first order (Cochran 1977, section 2.9). Unlike a mean of ratios it does not explode where
    one denominator is small.

    Args:
        numerators: one number a replica.
        denominators: the same replicas in the same order; their mean is not 0.

    Returns:
        Numbers for `mean_interval` and `paired_difference`.
    """
    base = math.fsum(denominators) / len(denominators)
    ratio = math.fsum(numerators) / len(numerators) / base
    return [ratio + (top - ratio * bottom) / base for top, bottom in zip(numerators, denominators, strict=True)]


def share_interval(count: int, n: int, *, level: float = 0.95) -> Interval:
    """Share of examples with Wilson's interval.

    Args:
        count: how many of the n examples have the property.
        n: number of examples, at least 1.
        level: coverage, 0..1.

    Returns:
        The share count / n, 0..1, with its interval.
    """
    from scipy.special import ndtri

    z = float(ndtri(0.5 + level / 2))
    share = count / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), n)


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], n: int, *, seed: int = 0, draws: int = 1000, level: float = 0.95
) -> Interval:
    """Percentile bootstrap of any statistic of n examples.

    Args:
        statistic: gives the number for an array of example indices [n], drawn with replacement.
        n: number of examples.
        seed: of the resampling.
        draws: number of resamples.
        level: coverage, 0..1.

    Returns:
        The statistic of all examples and its percentile interval; resamples that give NaN are left out.
    """
    generator = np.random.default_rng(seed)
    values = np.array([statistic(generator.integers(0, n, n)) for _ in range(draws)])
    values = values[np.isfinite(values)]
    value = statistic(np.arange(n))
    if values.size < 2:
        return Interval(value, None, None, n)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(value, float(low), float(high), n)


def bounded(interval: Interval, low: float = 0.0, high: float = 1.0) -> Interval:
    """Cut an interval to the range that its number can have.

    Args:
        interval: of a share, or of another number with a range.
        low: least possible value.
        high: largest one.

    Returns:
        The interval with its ends inside the range; value and n as they were.
    """
    ends = [None if end is None else min(max(end, low), high) for end in (interval.low, interval.high)]
    return replace(interval, low=ends[0], high=ends[1])
