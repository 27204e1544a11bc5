"""How high is the barrier on a curve of losses?

Four definitions are in use, and they differ (science.md, 4.1). With L(t) the loss or error at t in 0..1:

* `entezari` (Entezari et al. 2022; the default here): the largest L(t) - ((1 - t) L(0) + t L(1)), at least 0.
* `frankle` (Frankle et al. 2020): the largest L(t) minus the mean of the ends. Unequal ends alone make it positive.
* `midpoint` (what Entezari's code reports): L(1/2) minus the mean of the ends. It may be negative.
* `gsaltintas` (code of Altintas et al. 2025): L - chord where L is largest. It can be 0 where `entezari` is not.

All are in the unit of L, and the same from b to a as from a to b. A curve that is not finite has none: NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

Definition = Callable[[Sequence[float], Sequence[float]], float]


def entezari(losses: Sequence[float], ts: Sequence[float]) -> float:
    """Give the largest height above the chord.

    Args:
        losses: L at each t, lower is better.
        ts: increasing positions from 0 to 1, the ends included.

    Returns:
        The barrier, at least 0.
    """
    return _checked(losses, ts, lambda: max(_heights(losses, ts)))


def frankle(losses: Sequence[float], ts: Sequence[float]) -> float:
    """Give the largest loss minus the mean of the ends.

    Args:
        losses: L at each t, lower is better.
        ts: increasing positions from 0 to 1, the ends included.

    Returns:
        The barrier, at least 0.
    """
    return _checked(losses, ts, lambda: max(losses) - (losses[0] + losses[-1]) / 2)


def midpoint(losses: Sequence[float], ts: Sequence[float]) -> float:
    """Give the loss at t = 1/2 minus the mean of the ends.

    Args:
        losses: L at each t, lower is better.
        ts: increasing positions from 0 to 1, the ends included; between two of them L is taken as straight.

    Returns:
        The height, of either sign.
    """

    def height() -> float:
        above = next(index for index, t in enumerate(ts) if t >= 0.5)
        share = (0.5 - ts[above - 1]) / (ts[above] - ts[above - 1])
        return (1 - share) * losses[above - 1] + share * losses[above] - (losses[0] + losses[-1]) / 2

    return _checked(losses, ts, height)


def gsaltintas(losses: Sequence[float], ts: Sequence[float]) -> float:
    """Give the height above the chord where the loss is largest; of equal losses, that of the largest height.

    Args:
        losses: L at each t, lower is better.
        ts: increasing positions from 0 to 1, the ends included.

    Returns:
        The barrier, at least 0.
    """

    def height() -> float:
        top = max(losses)
        return max(h for h, loss in zip(_heights(losses, ts), losses, strict=True) if loss == top)

    return _checked(losses, ts, height)


DEFINITIONS: dict[str, Definition] = {  # suffix of the metric -> definition
    "": entezari,
    "_frankle": frankle,
    "_midpoint": midpoint,
    "_gsaltintas": gsaltintas,
}


def _heights(losses: Sequence[float], ts: Sequence[float]) -> list[float]:
    """Heights above the chord; exactly 0 at the ends and everywhere on a flat curve."""
    first, last = losses[0], losses[-1]
    inner = zip(losses[1:-1], ts[1:-1], strict=True)
    return [0.0, *(loss - (first + t * (last - first)) for loss, t in inner), 0.0]


def _checked(losses: Sequence[float], ts: Sequence[float], height: Callable[[], float]) -> float:
    """Check the curve, then take its height; NaN where it is not finite."""
    rising = all(a < b for a, b in pairwise(ts))
    if len(ts) != len(losses) or len(ts) < 2 or (ts[0], ts[-1]) != (0, 1) or not rising:
        raise ValueError(
            f"a curve needs a loss at each t, increasing from 0 to 1; got {len(losses)} losses at {list(ts)}"
        )
    return height() if all(math.isfinite(loss) for loss in losses) else math.nan
