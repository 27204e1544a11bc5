"""At which points of a grid does a surface have to be measured to be drawn?

A coarse grid first. Then, at half the spacing again and again, only the cells that a contour passes through, and those
where the last measurements were far from what had been expected. What is not measured is interpolated smoothly (thin
plate spline of the logarithm where all values are positive). A budget bounds the points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]
Place = tuple[int, int]  # row, column

COARSE = 5  # fewest points a side of the first grid
SURPRISE = 0.1  # off by more than this share of the middle half of the values, a cell is looked at more closely
NEIGHBOURS = 64  # of each interpolated point, where there are more than this


@dataclass(frozen=True)
class Surface:
    """A surface over a square grid.

    Attributes:
        values: [points, points], row (y) first; interpolated where it was not measured.
        measured: bool [points, points].
        levels: of the contours that decided where to look.
    """

    values: Grid
    measured: NDArray[np.bool_]
    levels: tuple[float, ...]


def refined(
    measure: Callable[[list[Place]], Sequence[float]],
    points: int,
    *,
    levels: Sequence[float] | None = None,
    budget: float = 1 / 3,
) -> Surface:
    """Measure a surface where it matters.

    Args:
        measure: gives the values at places (row, column), which come sorted by row.
        points: points a side, at least 2. There is something to save where points - 1 has factors of two:
            9, 17, 25, 33.
        levels: of the contours to be found; None takes the median of the coarse grid.
        budget: largest share of all points that is measured, 0..1; 1 measures every point.

    Returns:
        The surface.

    Raises:
        ValueError: if there are fewer than two points a side, or the budget is not in 0..1.
    """
    if points < 2 or not 0 < budget <= 1:
        raise ValueError(f"a grid needs at least 2 points a side and a budget above 0 to 1; got {points} and {budget}")
    values = np.full((points, points), np.nan)
    measured = np.zeros((points, points), dtype=bool)

    def look(places: list[Place]) -> None:
        if places:
            rows, columns = map(list, zip(*sorted(places), strict=True))
            values[rows, columns] = np.asarray(measure(sorted(places)), dtype=np.float64)
            measured[rows, columns] = True

    stride = 1 if budget == 1 else _coarse_stride(points)
    look([(row, column) for row in range(0, points, stride) for column in range(0, points, stride)])
    chosen = tuple(levels) if levels is not None else (float(np.nanmedian(values)),)
    left = int(budget * points * points) - int(measured.sum())
    filled = interpolated(values, measured)
    surprised = np.zeros((points, points), dtype=bool)
    while stride > 1:
        cells = _cells(filled, surprised, chosen, stride)
        stride //= 2
        new: dict[Place, None] = {}
        for row, column in cells:
            corners = [(row + i * stride, column + j * stride) for i in range(3) for j in range(3)]
            fresh = [place for place in corners if not measured[place] and place not in new]
            if len(new) + len(fresh) <= left:
                new |= dict.fromkeys(fresh)
        look(list(new))
        left -= len(new)
        surprised = np.zeros((points, points), dtype=bool)
        spread = _scale(values[measured])
        for place in new:
            surprised[place] = abs(_tamed(values)[place] - _tamed(filled)[place]) > SURPRISE * spread
        filled = interpolated(values, measured)
    return Surface(filled, measured, chosen)


def interpolated(values: Grid, measured: NDArray[np.bool_]) -> Grid:
    """Fill a grid from the points that were measured.

    Args:
        values: [rows, columns]; what stands at points that were not measured does not matter.
        measured: bool [rows, columns]; the four corners have to be.

    Returns:
        A new grid, with the measured values as they were.
    """
    filled = values.copy()
    missing = ~measured
    if not missing.any():
        return filled
    from scipy.interpolate import RBFInterpolator  # costs a third of a second to import

    places = np.argwhere(measured).astype(np.float64)
    known = values[measured]
    finite = np.where(np.isfinite(known), known, np.max(known[np.isfinite(known)], initial=0.0))
    positive = bool((finite > 0).all())
    near = NEIGHBOURS if len(places) > NEIGHBOURS else None
    spline = RBFInterpolator(places, np.log(finite) if positive else finite, neighbors=near)
    drawn = spline(np.argwhere(missing).astype(np.float64))
    filled[missing] = np.exp(drawn) if positive else drawn
    return filled


def _coarse_stride(points: int) -> int:
    """The largest power of two that divides the grid and leaves `COARSE` points a side."""
    stride = 1
    while (points - 1) % (2 * stride) == 0 and (points - 1) // (2 * stride) + 1 >= COARSE:
        stride *= 2
    return stride


def _cells(filled: Grid, surprised: NDArray[np.bool_], levels: Sequence[float], stride: int) -> list[Place]:
    """Lower corners of the cells to look into: those with a contour first, then the surprising ones."""
    last = len(filled) - 1
    crossed, odd = [], []
    for row in range(0, last, stride):
        for column in range(0, last, stride):
            part = np.s_[row : row + stride + 1, column : column + stride + 1]
            if any(filled[part].min() <= level <= filled[part].max() for level in levels):
                crossed.append((row, column))
            elif surprised[part].any():
                odd.append((row, column))
    return _spread_out(crossed) + _spread_out(odd)


def _spread_out(cells: list[Place]) -> list[Place]:
    """Order cells so that any first part of them, all that a budget may allow, is spread over the whole contour."""
    return [cell for _, cell in sorted((index * 0.6180339887 % 1, cell) for index, cell in enumerate(cells))]


def _tamed(values: Grid) -> Grid:
    """Logarithms where all values are positive, as in the interpolation."""
    known = values[np.isfinite(values)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(values) if (known > 0).all() else values


def _scale(known: Grid) -> float:
    """Distance of the quartiles, in the scale of the interpolation."""
    tamed = _tamed(known)
    tamed = tamed[np.isfinite(tamed)]
    return float(np.subtract(*np.quantile(tamed, [0.75, 0.25]))) if tamed.size else 0.0
