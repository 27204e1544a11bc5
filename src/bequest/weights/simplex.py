"""Which mixes of several solutions does a test of their basin look at?

S is the set of all mixes with shares that are at least 0 and sum to 1: the segment of two members, the simplex of more.
Points are shares, float64 [samples, members]; nothing here is the size of a network. Randomness comes from the
generator; draws are spread evenly (stratified, mirrored) where that leaves means unbiased and makes them surer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def inside(members: int, samples: int, generator: torch.Generator) -> Tensor:
    """Draw points of S uniformly.

    Args:
        members: corners of S, at least 2.
        samples: number of points.
        generator: on the CPU.

    Returns:
        Shares [samples, members]. On a segment one point falls into each of `samples` equal parts.
    """
    if members == 2:
        second = _strata(samples, generator)
        return torch.stack([1 - second, second], dim=1)
    # Gaps between sorted uniform numbers: Dirichlet(1), which is uniform on the simplex.
    weights = -torch.log1p(-torch.rand(samples, members, generator=generator, dtype=torch.float64))
    return weights / weights.sum(1, keepdim=True)


def rays(members: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw rays from a point of S through another one, and where they leave S.

    Args:
        members: corners of S, at least 2.
        samples: number of rays, even: each comes with the one from its second point through its first.
        generator: on the CPU.

    Returns:
        Starts and exits, shares [samples, members] each; rays 2k and 2k + 1 belong together.
    """
    # Both points independent and uniform: a stratified start with a plain second point keeps each uniform.
    first = inside(members, samples // 2, generator)
    weights = -torch.log1p(-torch.rand(samples // 2, members, generator=generator, dtype=torch.float64))
    second = weights / weights.sum(1, keepdim=True)
    starts = torch.stack([first, second], dim=1).flatten(0, 1)
    goals = torch.stack([second, first], dim=1).flatten(0, 1)
    return starts, exits(starts, goals)


def exits(starts: Tensor, goals: Tensor) -> Tensor:
    """Give the points where rays leave S: w1 + a (w2 - w1) with the largest a that is still in S.

    Args:
        starts: w1, shares [n, members].
        goals: w2, shares [n, members], other than the starts.

    Returns:
        Shares [n, members]; at least one is exactly 0, on a segment one is exactly 1.
    """
    step = goals - starts
    reach = torch.where(step < 0, starts / -step, torch.inf)
    least = reach.min(1, keepdim=True)
    found = (starts + least.values * step).clamp_min(0).scatter(1, least.indices, 0.0)
    return found / found.sum(1, keepdim=True)


def beyond(starts: Tensor, ends: Tensor, distances: Tensor, inner: Tensor) -> Tensor:
    """Go on from the exits along the rays.

    Args:
        starts: where the rays begin, shares [n, members].
        ends: where they leave S, shares [n, members].
        distances: how far to go on, in the unit of the weights, [n].
        inner: inner products of the members' displacements (`paths.gram`), [members, members].

    Returns:
        Shares [n, members] that sum to 1; some are below 0 now.
    """
    step = ends - starts
    lengths = torch.einsum("ni,ij,nj->n", step, inner, step).clamp_min(0).sqrt()
    return ends + (distances / lengths)[:, None] * step


def half_normal(samples: int, generator: torch.Generator) -> Tensor:
    """Draw |z| for standard normal z, one from each of `samples` equally likely parts, in random order.

    Args:
        samples: how many.
        generator: on the CPU.

    Returns:
        float64 [samples], above 0; the mean tends to sqrt(2 / pi).
    """
    share = _strata(samples, generator).clamp(1e-12, 1 - 1e-12)
    drawn = math.sqrt(2) * torch.erfinv(share)
    return drawn[torch.randperm(samples, generator=generator)]


def _strata(samples: int, generator: torch.Generator) -> Tensor:
    """One uniform number from each of equal parts of 0..1, ascending."""
    jitter = torch.rand(samples, generator=generator, dtype=torch.float64)
    return (torch.arange(samples, dtype=torch.float64) + jitter) / samples
