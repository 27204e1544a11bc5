"""How many examples does a simple classifier on a model's features get right?

A linear probe (ridge regression of the one-hot classes, with a constant, in closed form) and k nearest neighbours.
Without other examples to be tried on, each example is answered by a classifier that has not seen it (leave one out,
exactly, without fitting again). Both give answers [M, C] whose largest entry is the class; for several labels an
example each column is a label of its own, and its answers rank the examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bequest.evaluation.class_scores import one_hot
from bequest.evaluation.taken_apart import TakenApart

PENALTIES = torch.logspace(-6, 3, 19, dtype=torch.float64)  # beside the mean square of the singular values (chosen)
LEAST_LEFT = 1e-9  # of 1 - leverage: an example that alone decides its own answer
NEIGHBOURS = 5
AT_ONCE = 2**24  # distances in memory


def linear_probe(parts: TakenApart, targets: Tensor, tried: Tensor | None = None) -> Tensor:
    """Give the answers of a linear probe.

    Args:
        parts: of the features of the examples that it is fitted on.
        targets: their class numbers int64 [N], or labels [N, C].
        tried: features [M, D] of other examples; None: leave one out.

    Returns:
        [M or N, classes that occur] or [M or N, C], near 1 where it is the class. The penalty is the one with the
        smallest squared error of leaving one out.
    """
    truth = _columns(targets)
    level = truth.mean(0)
    product = parts.left.T @ (truth - level)
    scale = float((parts.values**2).mean()) if len(parts.values) else 1.0
    best, lowest, found = 0.0, float("inf"), level.expand(len(truth), -1)
    for penalty in (PENALTIES * scale).tolist():
        shares = parts.values**2 / (parts.values**2 + penalty)
        leverage = 1 / parts.examples + (parts.left**2 * shares).sum(1)
        missed = truth - level - parts.left @ (shares[:, None] * product)
        missed = missed / (1 - leverage).clamp_min(LEAST_LEFT)[:, None]
        if (error := float((missed**2).sum())) < lowest:
            best, lowest, found = penalty, error, truth - missed
    if tried is None:
        return found
    weights = parts.values / (parts.values**2 + best)
    return level + parts.placed(tried) @ (weights[:, None] * product)


def nearest_neighbours(
    parts: TakenApart, targets: Tensor, tried: Tensor | None = None, *, k: int = NEIGHBOURS
) -> Tensor:
    """Give the answers of the k nearest examples.

    Args:
        parts: of the features of the examples that are asked.
        targets: their class numbers int64 [N], or labels [N, C].
        tried: features [M, D] of other examples; None: leave one out.
        k: how many are asked, at most all there are.

    Returns:
        [M or N, classes that occur] or [M or N, C]: the share of the neighbours that say so; among classes with equal
        shares the one with the nearest neighbour is ahead.
    """
    truth = _columns(targets)
    points = parts.points
    asking = points if tried is None else parts.placed(tried)
    k = min(k, len(points) - (tried is None))
    votes = torch.full((k,), 1 / k, dtype=torch.float64) + 1e-6 * torch.arange(k, 0, -1)
    found = []
    for start in range(0, len(asking), step := max(1, AT_ONCE // len(points))):
        away = torch.cdist(asking[start : start + step], points, compute_mode="use_mm_for_euclid_dist")
        if tried is None:
            away[torch.arange(len(away)), start + torch.arange(len(away))] = torch.inf
        nearest = away.topk(k, largest=False).indices
        found.append((votes[:, None] * truth[nearest]).sum(1))
    return torch.cat(found)


def _columns(targets: Tensor) -> Tensor:
    return one_hot(targets) if targets.ndim == 1 else targets.double()
