"""Where does a surface over a grid have a given height?

Marching squares: in each cell of four neighbours the contour is taken as straight between the places on its edges where
linear interpolation reaches the level; in a saddle the mean of the four decides which corners belong together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Segment = tuple[float, float, float, float]  # x, y to x, y


def contour(values: NDArray[np.float64], xs: Sequence[float], ys: Sequence[float], level: float) -> list[Segment]:
    """Give the contour at a level as short straight pieces.

    Args:
        values: [rows, columns], rows along y.
        xs: positions of the columns, ascending.
        ys: positions of the rows, ascending.
        level: the height.

    Returns:
        Segments (x, y, x, y) in no order; none where the surface does not reach the level. Cells with a value that is
        not finite have none.
    """
    found: list[Segment] = []
    for i in range(values.shape[0] - 1):
        for j in range(values.shape[1] - 1):
            corners = [(i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)]  # around the cell
            heights = [float(values[corner]) - level for corner in corners]
            if not np.isfinite(heights).all():
                continue
            above = [height > 0 for height in heights]
            points = []
            for k in range(4):
                if above[k] != above[(k + 1) % 4]:
                    share = heights[k] / (heights[k] - heights[(k + 1) % 4])
                    (r0, c0), (r1, c1) = corners[k], corners[(k + 1) % 4]
                    points.append((xs[c0] + share * (xs[c1] - xs[c0]), ys[r0] + share * (ys[r1] - ys[r0])))
            if len(points) == 4 and above[0] != (sum(heights) > 0):  # a saddle whose first and third corner are apart
                points = [points[3], *points[:3]]
            found += [(*points[k], *points[k + 1]) for k in range(0, len(points) - 1, 2)]
    return found
