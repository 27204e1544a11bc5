"""Is a mean above a threshold, told from as few of its parts as that takes?

The parts are cells: one draw of noise on one batch of examples, visited so that both are mixed from the start. The
mean over all cells is what counts; it is seldom needed to look at all of them:

* for certain: no cell can be below `lowest`, and what was seen is too much already;
* nearly so: the mean of all cells, predicted from those seen, is on one side with 98 percent confidence, or known to 1
  percent of the threshold. Where another point was seen in all cells (`reference`), the prediction is its mean plus the
  mean difference: the same noise on the same examples, so the difference varies little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.98  # of deciding before the last cell
NEGLIGIBLE = 0.01  # of the threshold: if the mean is known that well, the tolerated sigma is known to half a percent
LEAST = 4  # cells before anything is predicted
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
    complete: bool = False,
) -> Seen:
    """Compare the mean of cells with a threshold.

    Args:
        cell: number of a cell -> its value.
        cells: how many there are.
        threshold: of the mean.
        lowest: a value that no cell can be below; None if there is none.
        reference: the values of all cells somewhere else, near the threshold; None if there are none.
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
        least = math.inf if lowest is None else lowest * (cells - len(seen))
        if lowest is not None and total + least > cells * (threshold + slack):
            above = True
            break
        if not complete and LEAST <= len(seen) < cells:
            mean, doubt = _foreseen(seen, cells, threshold, reference)
            if doubt < max(abs(mean - threshold), NEGLIGIBLE * abs(threshold)):
                return Seen(_signed(mean - threshold, slack, mean > threshold + slack), tuple(seen))
    excess = math.fsum(seen) / len(seen) - threshold
    return Seen(_signed(excess, slack, above or excess > slack), tuple(seen))


def _signed(excess: float, slack: float, above: bool) -> float:
    return max(excess, slack, math.ulp(0.0)) if above else min(excess, 0.0)


def _foreseen(
    seen: Sequence[float], cells: int, threshold: float, reference: Sequence[float] | None
) -> tuple[float, float]:
    """Predict the mean of all cells, with the half width of its interval; the narrower of the two ways."""
    from scipy.special import stdtrit  # only this function: scipy.stats takes half a second to import

    m = len(seen)
    factor = float(stdtrit(m - 1, (1 + CONFIDENCE) / 2)) * math.sqrt((1 / m) * (1 - m / cells))
    mean = math.fsum(seen) / m
    # the threshold counts as one more value: a few equal cells do not prove that all are
    found = [(mean, factor * _spread([*seen, threshold]))]
    if reference is not None:
        centre = math.fsum(reference) / cells
        apart = [value - other for value, other in zip(seen, reference, strict=False)]
        foreseen = centre + math.fsum(apart) / m
        found.append((foreseen, factor * _spread([*apart, threshold - centre])))
    return min(found, key=lambda one: one[1])


def _spread(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
