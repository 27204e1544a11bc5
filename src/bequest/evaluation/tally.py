"""How do the entries of several sets of weights differ, in one pass over each tensor?

All pairs are looked at together, piece by piece, so that weights larger than the memory are read from the disk once.
Differences of tensors of at most 32 bits are taken in float32, which rounds each by at most 6e-8 of itself, and of
others in float64. Squares and products are summed likewise over runs of 512 entries, whose sums are added in float64
and over pieces exactly: in float32 a distance is within 1e-6 of itself, most often within 1e-8. Counts are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bequest.weights.algebra import Weights

PIECE = 1 << 16  # entries; what is worked on stays in the cache of one core
SMALLEST = 1e-25  # sum in float32 below which products that vanished may count; 65,536 of those are below 1e-40
RUN = 512  # entries whose products are summed in their own precision
NEAR = 1e-6  # of the first of two entries; chosen: float32 rounds by at most 6e-8, so this is a few of its steps
Tally = dict[tuple[str, ...], float]
Array = NDArray[np.float32] | NDArray[np.float64]
# by how much entries moved, which did at all, which downwards, and whether that is counted from the start or to it
Move = tuple[Array, NDArray[np.bool_], NDArray[np.bool_], bool]


@runtime_checkable
class InPieces(Protocol):
    """Weights that give a tensor piece by piece, without having it in memory as a whole."""

    def pieces(self, name: str, entries: int) -> Iterator[Tensor]:
        """Give one tensor as flat pieces of so many entries, in order; a piece lasts until the next one is asked."""


def pieces(weights: Weights, name: str, entries: int = PIECE) -> Iterator[Tensor]:
    """Give one tensor as flat pieces, in order.

    Args:
        weights: where it is.
        name: its name.
        entries: of a piece; the last one may have fewer.

    Yields:
        Tensors [entries]; each may be overwritten when the next one is asked for.
    """
    if isinstance(weights, InPieces):
        yield from weights.pieces(name, entries)
    else:
        yield from weights[name].detach().reshape(-1).split(entries)


def tally(members: Mapping[str, Weights], name: str, *, start: str | None = None) -> Tally:
    """Count and sum what distinguishes one tensor in several sets of weights.

    Args:
        members: name -> weights that have this tensor, real and floating, all in one shape.
        name: of the tensor.
        start: which of the members the others started from; the products of their displacements are then given too.

    Returns:
        `("entries",)`: how many there are; `("square", a)`: sum of squares of the start, or of the first member where
        none is known; for each pair `("apart", a, b)`: sum of the squared differences, `("same", a, b)`: entries that
        are equal, `("near", a, b)`: those that differ by at most 1e-6 of a's, the equal ones included. With
        a start, for each pair of others: `("dot", a, b)`: product of the displacements, `("both", a, b)`: entries that
        changed in both, `("agree", a, b)`: those that changed in the same direction.

    Raises:
        ValueError: if an entry is not finite.
    """
    names = list(members)
    found: dict[tuple[str, ...], list[float]] = {}
    walks = [pieces(weights, name) for weights in members.values()]
    bench: _Bench | None = None
    with np.errstate(all="ignore"):  # what is not finite is told below
        for parts in zip(*walks, strict=True):
            if bench is None:  # the first piece is the longest
                bench = _Bench(names, start, parts[0].numel(), [part.dtype for part in parts])
            for key, value in bench.measure(parts):
                found.setdefault(key, []).append(value)
    totals = {key: math.fsum(values) for key, values in found.items()} or {("entries",): 0.0}
    if not all(map(math.isfinite, totals.values())):
        wrong = next((a for a in names if not _sound(members[a], name)), names[0])
        raise ValueError(
            f"{name} of {wrong!r} has entries that are not finite (NaN or infinite), or too large to square"
        )
    return totals


def _sound(weights: Weights, name: str) -> bool:
    return all(bool(torch.isfinite(part).all()) for part in pieces(weights, name))


def added(tallies: Iterable[Tally]) -> Tally:
    """Add tallies of several tensors, exactly where they are counts."""
    found: dict[tuple[str, ...], list[float]] = {}
    for one in tallies:
        for key, value in one.items():
            found.setdefault(key, []).append(value)
    return {key: math.fsum(values) for key, values in found.items()}


class _Bench:
    """Works on pieces in memory that is taken once: to take it anew for each would cost more than the arithmetic.

    In NumPy, whose comparisons and counts of bytes are the fastest, and which leaves the other cores to other tensors.
    """

    def __init__(self, names: Sequence[str], start: str | None, entries: int, dtypes: Sequence[torch.dtype]) -> None:
        self._names, self._start = names, start
        self._dtype = torch.float64 if torch.float64 in dtypes else torch.float32
        # numbers of 16 bits or fewer that differ at all do so by more than 1e-6 of themselves
        self._coarse = all(dtype.itemsize <= 2 for dtype in dtypes)
        self._plain = [dtype == self._dtype for dtype in dtypes]
        self._kept = {name: torch.empty(entries, dtype=self._dtype) for name in names}
        self._moved = {name: self._empty(entries) for name in names} if start else {}
        self._apart, self._spare, self._limit = (self._empty(entries) for _ in range(3))
        self._flags = np.empty(entries, dtype=bool)

    def _empty(self, entries: int) -> Array:
        return torch.empty(entries, dtype=self._dtype).numpy()

    def measure(self, parts: Sequence[Tensor]) -> Iterator[tuple[tuple[str, ...], float]]:
        """Give the numbers of one piece."""
        count = parts[0].numel()
        values = {
            name: (part if plain else self._kept[name][:count].copy_(part)).numpy()
            for name, part, plain in zip(self._names, parts, self._plain, strict=True)
        }
        yield ("entries",), float(count)
        reference = self._start or self._names[0]
        yield ("square", reference), _dot(values[reference], values[reference])
        moves: dict[str, Move] = {}
        for a, b in combinations(self._names, 2):
            mover = (b if self._start == a else a) if self._start in (a, b) else None
            apart = np.subtract(values[b], values[a], out=(self._moved[mover] if mover else self._apart)[:count])
            yield ("apart", a, b), _dot(apart, apart)
            yield from self._equal(a, b, values[a], apart)
            if mover:  # the sign of all moves is turned where the start is b: products and agreements stay
                moves[mover] = apart, apart != 0, np.signbit(apart), self._start == a
        for a, b in combinations(moves, 2):
            (first, moved, down, forth), (second, moved_too, down_too, forth_too) = moves[a], moves[b]
            product = _dot(first, second)
            yield ("dot", a, b), product if forth == forth_too else -product
            both = moved & moved_too
            yield ("both", a, b), float(np.count_nonzero(both))
            together = (down == down_too) if forth == forth_too else (down != down_too)
            yield ("agree", a, b), float(np.count_nonzero(together & both))

    def _equal(self, a: str, b: str, left: Array, apart: Array) -> Iterator[tuple[tuple[str, ...], float]]:
        """Entries that are equal, and that nearly are."""
        count = len(apart)
        flags, spare, limit = self._flags[:count], self._spare[:count], self._limit[:count]
        same = float(count - np.count_nonzero(np.not_equal(apart, 0, out=flags)))
        yield ("same", a, b), same
        if self._coarse or same == count:
            yield ("near", a, b), same
            return
        np.abs(np.multiply(left, NEAR, out=limit, dtype=left.dtype), out=limit)
        yield ("near", a, b), float(np.count_nonzero(np.less_equal(np.abs(apart, out=spare), limit, out=flags)))


def _dot(a: Array, b: Array) -> float:
    """Sum products, within a run in their own precision, or where float32 cannot hold their squares in float64."""
    whole = len(a) // RUN * RUN
    runs = np.vecdot(a[:whole].reshape(-1, RUN), b[:whole].reshape(-1, RUN))
    total = float(runs.sum(dtype=np.float64)) + float(np.dot(a[whole:], b[whole:]))
    if not SMALLEST < abs(total) < math.inf and a.dtype == np.float32 and a.any() and b.any():
        return float(np.dot(a.astype(np.float64), b.astype(np.float64)))
    return total
