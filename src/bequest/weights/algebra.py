"""How are weights added, mixed and compared?

Weights are a value: a mapping from name to tensor, as `state_dict` gives it, parameters and buffers. Each function
returns new weights and leaves its arguments as they were. Integer and boolean tensors (counters) are never mixed: they
come from the first argument. Sums run in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def check_alike(a: Weights, b: Weights) -> None:
    """Refuse two sets of weights that are not of one architecture.

    Args:
        a: the reference.
        b: the other.

    Raises:
        ValueError: names the first tensors that are missing or differ in shape.
    """
    missing, further = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
    if missing or further:
        raise ValueError(
            f"the weights are of different networks: {len(missing)} tensors are only in the first "
            f"({', '.join(missing[:3]) or 'none'}), {len(further)} only in the second "
            f"({', '.join(further[:3]) or 'none'})"
        )
    for name, tensor in a.items():
        if tensor.shape != b[name].shape:
            raise ValueError(
                f"the weights are of different networks: {name} is {tuple(tensor.shape)} in the first and "
                f"{tuple(b[name].shape)} in the second"
            )


def mixable(tensor: Tensor) -> bool:
    """Tell whether a tensor may be interpolated: floating point or complex, not a counter or mask."""
    return tensor.is_floating_point() or tensor.is_complex()


def lerp(a: Weights, b: Weights, t: float) -> dict[str, Tensor]:
    """Give the point (1 - t) a + t b; t = 0 and t = 1 give the ends bit for bit.

    Args:
        a: weights at t = 0.
        b: weights at t = 1, of the same shapes.
        t: position on the line; outside 0..1 extrapolates.

    Returns:
        New weights in the dtype of `a`; tensors below 32 bits are mixed in float32 and rounded once.
    """
    check_alike(a, b)
    if t in (0, 1):
        end = a if t == 0 else b
        return {name: end[name].to(own, copy=True) if mixable(own) else own.clone() for name, own in a.items()}
    return {name: _mix([tensor, b[name]], [1 - t, t]) for name, tensor in a.items()}


def combine(members: Sequence[Weights], shares: Sequence[float]) -> dict[str, Tensor]:
    """Give the sum of shares[i] * members[i].

    Args:
        members: weights of one architecture, at least one.
        shares: one factor a member.

    Returns:
        New weights; counters come from the first member.

    Raises:
        ValueError: if there are no members, the numbers differ, or the architectures do.
    """
    if not members or len(members) != len(shares):
        raise ValueError(f"{len(members)} members need as many shares, and at least one; got {len(shares)}")
    for other in members[1:]:
        check_alike(members[0], other)
    return {name: _mix([member[name] for member in members], shares) for name in members[0]}


def mean(members: Sequence[Weights]) -> dict[str, Tensor]:
    """Give the uniform average of the members."""
    return combine(members, [1 / len(members)] * len(members))


def _mix(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    first = tensors[0]
    if not mixable(first):
        return first.clone()
    wide = torch.promote_types(first.dtype, torch.float32)
    total = first.to(wide) * shares[0]
    for tensor, share in zip(tensors[1:], shares[1:], strict=True):
        total.add_(tensor.to(total), alpha=share)
    return total.to(first.dtype)


def squared_norm(a: Weights, names: Iterable[str] | None = None) -> float:
    """Sum of squares over the named tensors (all mixable ones if none are named), in float64."""
    return math.fsum(_dot(wide, wide) for wide in (_wide(a[name]) for name in _chosen(a, names)))


def squared_distance(a: Weights, b: Weights, names: Iterable[str] | None = None) -> float:
    """Sum of squared differences over the named tensors (all mixable ones if none are named), in float64.

    Args:
        a: one set of weights.
        b: the other.
        names: the tensors to take. If none are named, the two must be of one architecture.

    Returns:
        The square of the distance, at least 0.
    """
    if names is None:
        check_alike(a, b)
    return math.fsum(_dot(apart, apart) for apart in (_difference(a, b, name) for name in _chosen(a, names)))


def cosine_between(origin: Weights, a: Weights, b: Weights, names: Iterable[str] | None = None) -> float:
    """Cosine of the angle at `origin` between the displacements to `a` and to `b`, -1..1.

    Args:
        origin: where both displacements start.
        a: the end of the first.
        b: the end of the second.
        names: the tensors to take; all mixable ones if none are named.

    Returns:
        The cosine in float64; NaN where one of the displacements is zero.
    """
    if names is None:
        check_alike(origin, a)
        check_alike(origin, b)
    chosen = _chosen(origin, names)
    dot = math.fsum(_dot(_difference(a, origin, name), _difference(b, origin, name)) for name in chosen)
    norm = math.sqrt(squared_distance(a, origin, chosen)) * math.sqrt(squared_distance(b, origin, chosen))
    return max(-1.0, min(1.0, dot / norm)) if norm > 0 else math.nan


def _chosen(weights: Weights, names: Iterable[str] | None) -> list[str]:
    return [name for name in weights if mixable(weights[name])] if names is None else list(names)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.complex128 if tensor.is_complex() else torch.float64)


def _difference(a: Weights, b: Weights, name: str) -> Tensor:
    """One tensor of a - b; never broadcast, which would give a number that means nothing."""
    if name not in a or name not in b:
        raise ValueError(f"the weights are of different networks: {name} is missing in one of them")
    if a[name].shape != b[name].shape:
        raise ValueError(
            f"{name} is {tuple(a[name].shape)} in one set of weights and {tuple(b[name].shape)} in the other; "
            "leave it out by naming the tensors to compare"
        )
    return _wide(a[name]) - _wide(b[name]).to(a[name].device)


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a.conj() * b).real.sum())
