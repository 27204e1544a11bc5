"""Is a set S an (epsilon, delta)-basin of a function l?

Definition 3.1 of Neyshabur et al. 2020, for S the segment or simplex of some members, U_S uniform on S, mu = E l(w):

1. E |l(w) - mu| <= epsilon, w ~ U_S.
2. E [l(f + nu) - mu] >= 2 epsilon: f the point where the ray from w1 through w2 leaves S (both ~ U_S), nu Gaussian
   noise with expected squared norm delta^2 over all coordinates.
3. E [l(f + |z| (f - w1) / ||f - w1||) - mu] >= 2 epsilon, z ~ N(0, delta^2): going on beyond the boundary.

What is computed are the left sides, by sampling, with standard errors. The same draws serve every delta, so that a left
side is as smooth in delta as l is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from bequest.evaluation.mixtures import Noise
from bequest.weights import simplex

Landscape = Callable[[Tensor, Noise | None], Tensor]  # shares [members], a noise -> values of l, float64 [k]
Direction = Literal["random", "extrapolated"]

STEPS_PER_DOUBLING = 2  # deltas lie on a lattice of factor sqrt(2) (the paper's: 2), so that searches share points
DOUBLINGS = 6  # the search goes this far to both sides of the diameter of S, where it begins


@dataclass(frozen=True)
class Estimate:
    """A mean over draws, for several functions at once.

    Attributes:
        value: float64 [k].
        error: standard error [k]; draws that were spread evenly make it err on the large side.
    """

    value: Tensor
    error: Tensor


@dataclass(frozen=True)
class Survey:
    """The left sides of the definition for one set S, measured when they are asked for.

    Attributes:
        landscape: the function; several at once are fine (losses on several splits).
        inner: inner products of the members' displacements (`paths.gram`), [members, members].
        samples: points in S, and rays out of it, even.
        seed: of all draws.
        given: values at the points in S, float64 [samples, k], where they were measured already.
    """

    landscape: Landscape
    inner: Tensor
    samples: int
    seed: int = 0
    given: Tensor | None = None
    _known: dict[tuple[Direction, float], Estimate] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if len(self.inner) < 2 or self.samples < 2 or self.samples % 2:
            raise ValueError(
                f"a basin needs at least 2 members and an even number of samples, at least 2; got {len(self.inner)} "
                f"members and {self.samples} samples"
            )
        if float(self.diameter) == 0:
            raise ValueError("the members of a basin are all the same weights: there is no set to speak of")

    @cached_property
    def diameter(self) -> float:
        """The largest distance between two members."""
        square = self.inner.diagonal()
        return float((square[:, None] + square[None, :] - 2 * self.inner).max().clamp_min(0).sqrt())

    @cached_property
    def values(self) -> Tensor:
        """Values of l at points drawn uniformly from S, float64 [samples, k]."""
        if self.given is not None:
            return self.given
        points = simplex.inside(len(self.inner), self.samples, self._generator(0))
        return torch.stack([self.landscape(point, None) for point in points])

    @cached_property
    def mean(self) -> Estimate:
        """The mean of l over S, mu."""
        return _mean(self.values)

    @cached_property
    def epsilon(self) -> Estimate:
        """The left side of (1): the mean absolute deviation of l from mu over S."""
        return _mean((self.values - self.values.mean(0)).abs())

    def outside(self, direction: Direction, delta: float) -> Estimate:
        """Give the left side of (2), `random`, or of (3), `extrapolated`, at a delta.

        Args:
            direction: of the way out of S.
            delta: in the unit of the weights, at least 0.

        Returns:
            Mean of l at that distance minus mu, [k]; infinite where l is not finite.
        """
        if (direction, delta) not in self._known:
            values = torch.stack([self.landscape(shares, noise) for shares, noise in self._probes(direction, delta)])
            pairs = torch.where(values.isfinite(), values, torch.inf).unflatten(0, (-1, 2)).mean(1)
            found = _mean(pairs)
            error = torch.hypot(found.error, self.mean.error)
            self._known[direction, delta] = Estimate(found.value - self.mean.value, error)
        return self._known[direction, delta]

    def measured(self, direction: Direction) -> list[float]:
        """The deltas asked for so far, ascending."""
        return sorted(delta for known, delta in self._known if known == direction)

    def smallest_delta(self, direction: Direction, function: int, threshold: float) -> float | None:
        """Find the smallest delta at which a left side reaches a threshold, by doubling, then bisection.

        Args:
            direction: which condition.
            function: place of the function among the k.
            threshold: 2 epsilon.

        Returns:
            A delta of the lattice around the diameter of S; the lowest of the lattice if that is enough, None
            if the highest is not.
        """
        return self._search(lambda delta: float(self.outside(direction, delta).value[function]) >= threshold)

    def joint_delta(self, function: int, threshold: float) -> float | None:
        """Find the smallest delta with both (2) and (3), from the smallest of each.

        Args:
            function: place of the function among the k.
            threshold: 2 epsilon.

        Returns:
            The larger of the two, moved up the lattice should one of them fail there again; None if there is none.
        """
        found = [self.smallest_delta(direction, function, threshold) for direction in ("random", "extrapolated")]
        if found[0] is None or found[1] is None:
            return None
        delta = max(found[0], found[1])
        while delta <= self._delta(DOUBLINGS * STEPS_PER_DOUBLING) * (1 + 1e-9):
            if all(float(self.outside(way, delta).value[function]) >= threshold for way in ("random", "extrapolated")):
                return delta
            delta = self._delta(round(math.log2(delta / self._delta(0)) * STEPS_PER_DOUBLING) + 1)
        return None

    @cached_property
    def _rays(self) -> tuple[Tensor, Tensor]:
        return simplex.rays(len(self.inner), self.samples, self._generator(1))

    @cached_property
    def _lengths(self) -> Tensor:
        return simplex.half_normal(self.samples, self._generator(2))

    def _stream(self, purpose: int) -> int:
        return (self.seed * 1_000_003 + purpose) % 2**63  # any seed, also one of 63 bits

    def _generator(self, purpose: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._stream(purpose))

    def _probes(self, direction: Direction, delta: float) -> list[tuple[Tensor, Noise | None]]:
        starts, ends = self._rays
        if direction == "random":
            # The rays of a pair leave on opposite sides: in a bowl, one noise for both goes up here and down there.
            noises = [Noise(delta, self._stream(10 + place // 2)) for place in range(self.samples)]
            return list(zip(ends, noises, strict=True))
        return [(point, None) for point in simplex.beyond(starts, ends, delta * self._lengths, self.inner)]

    def _delta(self, step: int) -> float:
        return self.diameter * math.exp2(step / STEPS_PER_DOUBLING)

    def _search(self, enough: Callable[[float], bool]) -> float | None:
        limit = DOUBLINGS * STEPS_PER_DOUBLING
        step = 0
        if enough(self._delta(0)):
            high = 0
            while step > -limit and enough(self._delta(step - STEPS_PER_DOUBLING)):
                step = high = step - STEPS_PER_DOUBLING
            if step <= -limit:
                return self._delta(step)
            low = high - STEPS_PER_DOUBLING
        else:
            while not enough(self._delta(step + STEPS_PER_DOUBLING)):
                step += STEPS_PER_DOUBLING
                if step >= limit:
                    return None
            low, high = step, step + STEPS_PER_DOUBLING
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(self._delta(middle)) else (middle, high)
        return self._delta(high)


@dataclass(frozen=True)
class Conditions:
    """The left sides of the definition for one function.

    Attributes:
        mean: mu.
        condition_1: E |l - mu|; S is an (epsilon, delta)-basin only if this is at most epsilon.
        condition_2: mean excess over mu after random noise, to be at least 2 epsilon.
        condition_3: mean excess over mu beyond the boundary, to be at least 2 epsilon.
        errors: standard errors of the four, in this order.
    """

    mean: float
    condition_1: float
    condition_2: float
    condition_3: float
    errors: tuple[float, float, float, float]


def conditions(
    loss: Callable[[Tensor], float], members: Tensor, *, delta: float, samples: int = 1000, seed: int = 0
) -> Conditions:
    """Compute the left sides of the definition for any function of n numbers.

    Args:
        loss: l, from a point [n] to a number.
        members: corners of S, float [m, n]: its segment or simplex is S.
        delta: distance of conditions (2) and (3).
        samples: draws for each expectation, even.
        seed: of the draws.

    Returns:
        The four expectations.
    """
    survey = vectors(lambda point: torch.tensor([loss(point)], dtype=torch.float64), members, samples, seed)
    sides = [survey.mean, survey.epsilon, survey.outside("random", delta), survey.outside("extrapolated", delta)]
    mean, first, second, third = (float(side.value) for side in sides)
    errors = tuple(float(side.error) for side in sides)
    return Conditions(mean, first, second, third, (errors[0], errors[1], errors[2], errors[3]))


def vectors(function: Callable[[Tensor], Tensor], members: Tensor, samples: int, seed: int = 0) -> Survey:
    """Survey a function of n numbers.

    Args:
        function: from a point [n] to values [k].
        members: corners of S, [m, n].
        samples: draws for each expectation, even.
        seed: of the draws.

    Returns:
        The survey.
    """
    members = members.double()
    apart = members - members[0]

    def landscape(shares: Tensor, noise: Noise | None) -> Tensor:
        point = shares @ members
        if noise is not None:
            drawn = torch.randn(point.shape, generator=torch.Generator().manual_seed(noise.seed), dtype=torch.float64)
            point = point + noise.norm / math.sqrt(point.numel()) * drawn
        return function(point)

    return Survey(landscape, apart @ apart.T, samples, seed)


def _mean(values: Tensor) -> Estimate:
    n = len(values)
    error = values.std(0) / math.sqrt(n) if n > 1 else torch.full_like(values[0], torch.nan)
    return Estimate(values.mean(0), error)
