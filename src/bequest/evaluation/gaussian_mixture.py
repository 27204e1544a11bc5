"""Into which soft groups do points fall?

A mixture of Gaussians with diagonal covariances, fitted by expectation and maximisation (Dempster et al. 1977) from
centres drawn by k-means++ (Arthur and Vassilvitskii 2007). Diagonal, because N-LEEP asks for five components a class
and few-shot targets have fewer examples than a full covariance has entries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LLOYD = 10  # steps of k-means before the mixture
STEPS = 100
TOLERANCE = 1e-3  # of the mean log likelihood, as scikit-learn has it
FLOOR = 1e-3  # of a variance, beside the mean variance of the points (chosen)


@dataclass(frozen=True)
class Mixture:
    """Gaussians with diagonal covariances.

    Attributes:
        weights: [K], sum 1.
        means: [K, D].
        variances: [K, D].
    """

    weights: Tensor
    means: Tensor
    variances: Tensor

    def joint(self, points: Tensor) -> Tensor:
        """Give log p(x, z) [N, K] for points [N, D]."""
        precisions = 1 / self.variances
        away = points**2 @ precisions.T - 2 * points @ (self.means * precisions).T + (self.means**2 * precisions).sum(1)
        scale = self.variances.log().sum(1) + points.shape[1] * math.log(2 * math.pi)
        return self.weights.log() - (away + scale) / 2

    def posterior(self, points: Tensor) -> Tensor:
        """Give p(z | x) [N, K] for points [N, D]."""
        return self.joint(points).softmax(1)


def fit_mixture(points: Tensor, components: int, *, seed: int = 0) -> Mixture:
    """Fit a mixture.

    Args:
        points: [N, D].
        components: K, at least 1 and at most N.
        seed: of the first centres.

    Returns:
        The mixture after at most 100 steps, in float64.

    Raises:
        ValueError: if there are too few points.
    """
    if not 1 <= components <= len(points):
        raise ValueError(f"{components} components need as many points; got {len(points)}")
    points = points.double()
    owners = _k_means(points, components, torch.Generator().manual_seed(seed))
    floor = FLOOR * float(points.var(0, correction=0).mean()) + 1e-12
    shares = torch.nn.functional.one_hot(owners, components).double()
    mixture, before = _maximised(points, shares, floor), -math.inf
    for _ in range(STEPS):
        joint = mixture.joint(points)
        level = float(joint.logsumexp(1).mean())
        if abs(level - before) < TOLERANCE:
            break
        mixture, before = _maximised(points, joint.softmax(1), floor), level
    return mixture


def _maximised(points: Tensor, shares: Tensor, floor: float) -> Mixture:
    """The mixture that fits soft groups best."""
    counts = shares.sum(0) + 10 * torch.finfo(torch.float64).eps
    means = shares.T @ points / counts[:, None]
    variances = (shares.T @ points**2 / counts[:, None] - means**2).clamp_min(0) + floor
    return Mixture(counts / counts.sum(), means, variances)


def _k_means(points: Tensor, components: int, generator: torch.Generator) -> Tensor:
    """The number of the nearest centre of each point [N]."""
    first = torch.randint(len(points), (1,), generator=generator)
    centres = points[first]
    nearest = _squares(points, centres)[:, 0]
    for _ in range(components - 1):
        odds = nearest if float(nearest.sum()) > 0 else torch.ones_like(nearest)
        chosen = points[torch.multinomial(odds, 1, generator=generator)]
        centres = torch.cat([centres, chosen])
        nearest = torch.minimum(nearest, _squares(points, chosen)[:, 0])
    owners = _squares(points, centres).argmin(1)
    for _ in range(LLOYD):
        shares = torch.nn.functional.one_hot(owners, components).double()
        counts = shares.sum(0)
        centres = torch.where((counts > 0)[:, None], shares.T @ points / counts.clamp_min(1)[:, None], centres)
        moved = _squares(points, centres).argmin(1)
        if bool((moved == owners).all()):
            break
        owners = moved
    return owners


def _squares(points: Tensor, centres: Tensor) -> Tensor:
    """Squared distances [N, K]."""
    product = points @ centres.T
    return ((points**2).sum(1)[:, None] - 2 * product + (centres**2).sum(1)).clamp_min(0)
