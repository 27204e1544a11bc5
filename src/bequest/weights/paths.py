"""Which weights lie on a curve between two solutions?

A path is given by its control weights w_0 … w_n; the first and the last are its ends. A Bezier curve takes them with
Bernstein's shares (for three: (1-t)^2, 2t(1-t), t^2), a polygonal chain goes straight from one to the next (Garipov et
al. 2018). Every point is a mix of the control weights whose shares sum to 1, so t = 0 and t = 1 give the ends bit for
bit, and with the middle one at the mean of the ends the curve is the straight line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from bequest.weights.algebra import Weights, combine, lerp, mixable

PathKind = Literal["bezier", "chain"]

# Gauss-Legendre nodes and weights on -1..1, eight of them; a curve's speed is smooth, and each of 32 pieces gets these.
_NODES = (0.1834346424956498, 0.5255324099163290, 0.7966664774136267, 0.9602898564975363)
_FACTORS = (0.3626837833783620, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763)
_PIECES = 32


def path_shares(kind: PathKind, controls: int, t: float) -> tuple[float, ...]:
    """Give the share of each control at t.

    Args:
        kind: `bezier` or `chain`.
        controls: number of control weights, the ends included, at least 2.
        t: position, 0 (first end) to 1 (last end).

    Returns:
        One share a control, summing to 1; exactly one-hot at t = 0 and t = 1.

    Raises:
        ValueError: if the kind is unknown, there are fewer than two controls, or t is outside 0..1.
    """
    _check(kind, controls)
    if not 0 <= t <= 1:
        raise ValueError(f"a path goes from t = 0 to t = 1; got {t}")
    last = controls - 1
    if kind == "chain":
        return tuple(max(0.0, 1 - abs(t * last - k)) for k in range(controls))
    return tuple(math.comb(last, k) * t**k * (1 - t) ** (last - k) for k in range(controls))


def path_point(kind: PathKind, controls: Sequence[Weights], t: float) -> dict[str, Tensor]:
    """Give the weights at t.

    Args:
        kind: `bezier` or `chain`.
        controls: control weights of one architecture, the ends included.
        t: position, 0..1.

    Returns:
        New weights; counters come from the first end, except at t = 1, where all is the last end's.
    """
    shares = path_shares(kind, len(controls), t)
    used = [(control, share) for control, share in zip(controls, shares, strict=True) if share != 0]
    if len(used) == 1:
        return {name: tensor.clone() for name, tensor in used[0][0].items()}
    return combine([control for control, _ in used], [share for _, share in used])


def straight_controls(a: Weights, b: Weights, bends: int) -> list[Weights]:
    """Place control weights evenly on the straight line: where the training of a path begins.

    Args:
        a: the first end.
        b: the last end.
        bends: control weights between the ends, at least 1.

    Returns:
        The controls, the ends themselves (not copies) first and last; the path through them is the straight line.

    Raises:
        ValueError: if there are no bends.
    """
    if bends < 1:
        raise ValueError(f"a path that can bend needs at least 1 control between its ends; got {bends}")
    return [a, *(lerp(a, b, (k + 1) / (bends + 1)) for k in range(bends)), b]


def gram(members: Sequence[Weights], names: Iterable[str] | None = None) -> Tensor:
    """Give the inner products of the displacements from the first member.

    Args:
        members: weights of one architecture, at least one.
        names: the tensors that count; all mixable ones if none are named.

    Returns:
        float64 [m, m]: entry (i, j) is the inner product of members[i] - members[0] and members[j] - members[0]. The
        squared distance of two mixes with shares p and q is (p - q)' G (p - q).
    """
    first = members[0]
    chosen = [name for name in first if mixable(first[name])] if names is None else list(names)
    total = torch.zeros(len(members), len(members), dtype=torch.float64)
    for name in chosen:
        origin = first[name].detach().double().flatten()
        apart = torch.stack([member[name].detach().to(origin).flatten() - origin for member in members])
        total += (apart @ apart.T).cpu()
    return total


def path_length(kind: PathKind, inner: Tensor) -> float:
    """Give the length of a path.

    Args:
        kind: `bezier` or `chain`.
        inner: `gram` of its control weights, float64 [m, m].

    Returns:
        The length in the unit of the weights, at least the distance between the ends.
    """
    controls = len(inner)
    _check(kind, controls)
    if kind == "chain":
        hops = [_unit(controls, k + 1) - _unit(controls, k) for k in range(controls - 1)]
        return math.fsum(_norm(hop, inner) for hop in hops)
    # The derivative of a Bezier curve is one degree lower, through the differences of its controls.
    differences = torch.stack([_unit(controls, b) - _unit(controls, a) for a, b in pairwise(range(controls))])
    total = []
    for piece in range(_PIECES):
        for node, factor in zip(_NODES, _FACTORS, strict=True):
            for sign in (-1, 1):
                t = (piece + (1 + sign * node) / 2) / _PIECES
                shares = torch.tensor(path_shares("bezier", controls - 1, t) if controls > 2 else (1.0,))
                speed = (controls - 1) * _norm(shares.double() @ differences, inner)
                total.append(factor / (2 * _PIECES) * speed)
    return math.fsum(total)


def _check(kind: str, controls: int) -> None:
    if kind not in get_args(PathKind):
        raise ValueError(f"there is no path of kind {kind!r}; known: {', '.join(get_args(PathKind))}")
    if controls < 2:
        raise ValueError(f"a path needs its two ends; got {controls} control weights")


def _unit(size: int, place: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64)[place]


def _norm(shares: Tensor, inner: Tensor) -> float:
    return math.sqrt(max(0.0, float(shares @ inner @ shares)))
