"""Is a mean above a threshold, told from as few of its parts as that takes?

The parts are cells: one draw of noise on one batch of examples, visited so that both are mixed from the start. The
mean over all cells is what counts; it is seldom needed to look at all of them:

* for certain: no cell can be below `lowest`, and what was seen is too much already;
* nearly so: the mean of all cells, predicted from those seen, is on one side with 98 percent confidence, or known to 1
  percent of the threshold. Once each draw was met twice, only the spread within draws counts. Where another point was
  seen in all cells (`reference`), the prediction may be its mean plus the mean difference: the same noise on the same
  examples, so the difference varies little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.98  # of deciding before the last cell
NEGLIGIBLE = 0.01  # of the threshold: if the mean is known that well, the tolerated sigma is known to half a percent
LEAST = 4  # cells before anything is refused by prediction
SLACK = 1e-12  # relative, so that sums of equal numbers count as equal


@dataclass(frozen=True)
class Seen:
    """What a comparison saw.

    Attributes:
        excess: an estimate of the mean of all cells minus the threshold, above 0 where that is above and at most 0
            where it is not; infinite if a cell was not finite.
        values: of the cells that were looked at, in order.
    """

    excess: float
    values: tuple[float, ...]


def compared(
    cell: Callable[[int], float],
    cells: int,
    threshold: float,
    *,
    lowest: float | None = None,
    reference: Sequence[float] | None = None,
    draws: int = 1,
    complete: bool = False,
) -> Seen:
    """Compare the mean of cells with a threshold.

    Args:
        cell: number of a cell -> its value.
        cells: how many there are.
        threshold: of the mean.
        lowest: a value that no cell can be below; None if there is none.
        reference: the values of all cells somewhere else, near the threshold; None if there are none.
        draws: how many draws of noise there are; cell k is of draw k modulo this. All must have been met before
            anything is accepted by prediction, as one very bad draw can decide.
        complete: predict nothing; only what is certain ends it early.

    Returns:
        What was seen.
    """
    seen: list[float] = []
    slack = SLACK * abs(threshold)
    total, above = 0.0, False
    for number in range(cells):
        value = cell(number)
        if not math.isfinite(value):
            return Seen(math.inf, (*seen, value))
        seen.append(value)
        total += value
        if lowest is not None and total + lowest * (cells - len(seen)) > cells * (threshold + slack):
            above = True
            break
        if not complete and LEAST <= len(seen) < cells:
            mean, doubt = _foreseen(seen, cells, reference, draws)
            above = mean > threshold + slack
            if (above or len(seen) >= draws) and doubt < max(abs(mean - threshold), NEGLIGIBLE * abs(threshold)):
                return Seen(_signed(mean - threshold, slack, above), tuple(seen))
            above = False
    excess = math.fsum(seen) / len(seen) - threshold
    return Seen(_signed(excess, slack, above or excess > slack), tuple(seen))


def _signed(excess: float, slack: float, above: bool) -> float:
    return max(excess, slack, math.ulp(0.0)) if above else min(excess, 0.0)


def _foreseen(seen: Sequence[float], cells: int, reference: Sequence[float] | None, draws: int) -> tuple[float, float]:
    """Predict the mean of all cells, with the half width of its interval; the narrowest of up to three ways."""
    m = len(seen)
    left = math.sqrt((1 / m) * (1 - m / cells))
    factor = _quantile(m - 1) * left
    mean = math.fsum(seen) / m
    least = abs(mean) / m  # a few equal cells do not prove that all are; shares of few examples are often equal
    found = [(mean, factor * max(_spread(seen), least))]
    if reference is not None:
        centre = math.fsum(reference) / cells
        apart = [value - other for value, other in zip(seen, reference, strict=False)]
        foreseen = centre + math.fsum(apart) / m
        found.append((foreseen, factor * max(_spread(apart), least)))
    if 1 < draws and m >= 2 * draws:  # most of the spread is between draws, and all draws are in
        strata = [seen[draw::draws] for draw in range(draws)]
        means = [math.fsum(values) / len(values) for values in strata]
        inner = math.fsum((v - middle) ** 2 for values, middle in zip(strata, means, strict=True) for v in values)
        spread = max(math.sqrt(inner / (m - draws)), least)
        found.append((math.fsum(means) / draws, _quantile(m - draws) * left * spread))
    return min(found, key=lambda one: one[1])


def _quantile(freedom: int) -> float:
    from scipy.special import stdtrit  # only this function: scipy.stats takes half a second to import

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _spread(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
