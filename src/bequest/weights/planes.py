"""Which weights lie in the plane through three solutions?

Coordinates are distances in weight space: the origin is the first corner, x points to the second, y is at right angles
to x, on the side of the third. Every point is a mix of the three corners whose shares sum to 1, outside the triangle
too, so nothing the size of a network is kept beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bequest.weights.algebra import Weights, check_alike, combine, mixable
from bequest.weights.paths import gram


@dataclass(frozen=True)
class Plane:
    """The plane through three weights, with orthonormal coordinates.

    Attributes:
        corners: the three weights.
        names: the tensors that span it and in which distances are taken.
        places: (x, y) of each corner: (0, 0), (width, 0), (x of the third, height).
    """

    corners: tuple[Weights, Weights, Weights]
    names: tuple[str, ...]
    places: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


def plane_through(origin: Weights, second: Weights, third: Weights, names: Iterable[str] | None = None) -> Plane:
    """Lay the plane through three weights.

    Args:
        origin: gets (0, 0).
        second: gets (width, 0).
        third: gets (x, height), height > 0.
        names: the tensors in which distances are taken (parameters, say); all mixable ones if none are named.

    Returns:
        The plane.

    Raises:
        ValueError: if the architectures differ or the three lie on one line.
    """
    check_alike(origin, second)
    check_alike(origin, third)
    chosen = tuple(name for name in origin if mixable(origin[name])) if names is None else tuple(names)
    inner = gram([origin, second, third], chosen)
    width = math.sqrt(float(inner[1, 1]))
    x = float(inner[1, 2]) / width if width else 0.0
    height = math.sqrt(max(0.0, float(inner[2, 2]) - x * x))
    if width == 0 or height <= 1e-6 * max(width, math.sqrt(float(inner[2, 2]))):
        raise ValueError("there is no plane through three weights that lie on one line, or of which two are the same")
    return Plane((origin, second, third), chosen, ((0.0, 0.0), (width, 0.0), (x, height)))


def plane_shares(plane: Plane, x: float, y: float) -> tuple[float, float, float]:
    """Give the shares of the three corners at (x, y).

    Args:
        plane: from `plane_through`.
        x: along the line from the first corner to the second.
        y: at right angles to it.

    Returns:
        Three shares that sum to 1; exactly one-hot at a corner's own coordinates.
    """
    (_, _), (width, _), (left, height) = plane.places
    third = y / height
    second = (x - third * left) / width
    return (1 - second - third, second, third)


def plane_point(plane: Plane, x: float, y: float) -> dict[str, Tensor]:
    """Give the weights at (x, y).

    Args:
        plane: from `plane_through`.
        x: along the line from the first corner to the second.
        y: at right angles to it.

    Returns:
        New weights; counters come from the first corner, except at the others' own places.
    """
    shares = plane_shares(plane, x, y)
    used = [(corner, share) for corner, share in zip(plane.corners, shares, strict=True) if share != 0]
    if len(used) == 1:
        return {name: tensor.clone() for name, tensor in used[0][0].items()}
    return combine([corner for corner, _ in used], [share for _, share in used])


def project(plane: Plane, weights: Weights) -> tuple[float, float, float]:
    """Give the place in the plane that is nearest to given weights.

    Args:
        plane: from `plane_through`.
        weights: of the same architecture.

    Returns:
        x, y, and the distance of the weights from the plane.
    """
    inner = gram([*plane.corners, weights], plane.names)
    (_, _), (width, _), (left, height) = plane.places
    x = float(inner[1, 3]) / width
    y = (float(inner[2, 3]) - left * x) / height
    return x, y, math.sqrt(max(0.0, float(inner[3, 3]) - x * x - y * y))


def basis(plane: Plane) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give the two orthonormal directions of the plane.

    Args:
        plane: from `plane_through`.

    Returns:
        u (along x) and v (along y) in float64, over `plane.names`.
    """
    (_, _), (width, _), (left, height) = plane.places
    u, v = {}, {}
    for name in plane.names:
        origin, second, third = (corner[name].detach().to(torch.float64) for corner in plane.corners)
        u[name] = (second - origin) / width
        v[name] = (third - origin - left * u[name]) / height
    return u, v
