"""How do the entries of several sets of weights differ, in one pass over each tensor?

All pairs are looked at together, piece by piece, so that weights larger than the memory are read from the disk once.
Differences of tensors of at most 32 bits are taken in float32, which rounds each by at most 6e-8 of itself, and of
others in float64; sums of squares and products run in float64 over pieces, and their totals in exact sums. Counts are
exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from bequest.weights.algebra import Weights

PIECE = 1 << 16  # entries; what is worked on stays in the cache of one core. At most 2**24, so float32 counts are exact
NEAR = 1e-6  # of the first of two entries; chosen: float32 rounds by at most 6e-8, so this is a few of its steps
Tally = dict[tuple[str, ...], float]


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
    """Works on pieces in memory that is taken once: to take it anew for each would cost more than the arithmetic."""

    def __init__(self, names: Sequence[str], start: str | None, entries: int, dtypes: Sequence[torch.dtype]) -> None:
        self._names, self._start, self._entries = names, start, entries
        self._dtype = torch.float64 if torch.float64 in dtypes else torch.float32
        # numbers of 16 bits or fewer that differ at all do so by more than 1e-6 of themselves
        self._coarse = all(dtype.itemsize <= 2 for dtype in dtypes)
        self._plain = [dtype == self._dtype for dtype in dtypes]
        self._kept = {name: self._empty() for name in names}
        self._moved = {name: self._empty() for name in names} if start else {}
        self._apart, self._spare, self._limit = self._empty(), self._empty(), self._empty()
        self._doubles = [torch.empty(entries, dtype=torch.float64) for _ in range(2)]

    def _empty(self) -> Tensor:
        return torch.empty(self._entries, dtype=self._dtype)

    def measure(self, parts: Sequence[Tensor]) -> Iterator[tuple[tuple[str, ...], float]]:
        """Give the numbers of one piece."""
        count = parts[0].numel()
        values = {
            name: part if plain else self._kept[name][:count].copy_(part)
            for name, part, plain in zip(self._names, parts, self._plain, strict=True)
        }
        yield ("entries",), float(count)
        reference = self._start or self._names[0]
        yield ("square", reference), self._dot(values[reference], values[reference])
        moves: dict[str, Tensor] = {}
        for a, b in combinations(self._names, 2):
            mover = (b if self._start == a else a) if self._start in (a, b) else None
            apart = torch.sub(values[b], values[a], out=(self._moved[mover] if mover else self._apart)[:count])
            square = self._dot(apart, apart)
            yield ("apart", a, b), square
            yield from self._equal(a, b, values[a], values[b], apart, square)
            if mover:
                moves[mover] = apart if self._start == a else apart.neg_()
        for a, b in combinations(moves, 2):
            yield ("dot", a, b), self._dot(moves[a], moves[b])
            signs = torch.sign(moves[a], out=self._spare[:count])
            signs.mul_(torch.sign(moves[b], out=self._limit[:count]))  # 1: together, -1: apart, 0: one did not move
            agree, balance = _count(torch.clamp(signs, min=0, out=self._limit[:count])), float(signs.sum())
            yield ("both", a, b), 2 * agree - balance
            yield ("agree", a, b), agree

    def _equal(
        self, a: str, b: str, left: Tensor, right: Tensor, apart: Tensor, square: float
    ) -> Iterator[tuple[tuple[str, ...], float]]:
        """Entries that are equal, and that nearly are."""
        count = apart.numel()
        spare, limit = self._spare[:count], self._limit[:count]
        same = _count(torch.eq(left, right, out=spare)) if square or self._dtype == torch.float64 else float(count)
        yield ("same", a, b), same
        if self._coarse or same == count:
            yield ("near", a, b), same
            return
        torch.mul(left, NEAR, out=limit).abs_()
        yield ("near", a, b), _count(torch.abs(apart, out=spare).le_(limit))

    def _dot(self, a: Tensor, b: Tensor) -> float:
        first = self._doubles[0][: a.numel()].copy_(a)
        return float(torch.dot(first, first if a is b else self._doubles[1][: b.numel()].copy_(b)))


def _count(ones: Tensor) -> float:
    return float(ones.sum())  # of zeros and ones, fewer than 2**24: exact in float32
