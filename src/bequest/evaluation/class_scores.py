"""How well do a model's features or outputs fit the classes of a target, by formula alone?

Sources: LEEP (Nguyen et al. 2020), NCE (Tran et al. 2019), H-score (Bao et al. 2019), its shrunk form (Ibrahim et al.
2021, with Ledoit and Wolf 2004). All are higher for a better fit, and none can be compared across targets.

LEEP and NCE are mean log likelihoods in nats, at most 0, and need the head of the source. The H-score is at most
classes - 1 and reaches that whenever D >= N, whatever the features; the shrunk one does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bequest.evaluation.taken_apart import TakenApart


def leep(probabilities: Tensor, targets: Tensor) -> float:
    """Give the log expected empirical prediction.

    Args:
        probabilities: [N, Z], of the source's classes for each example of the target; each row sums to 1.
        targets: class numbers int64 [N].

    Returns:
        The mean log likelihood in nats, at most 0.

    Raises:
        ValueError: if rows are no probabilities.
    """
    theta = probabilities.double()
    if theta.ndim != 2 or bool((theta < 0).any()) or not bool(((theta.sum(1) - 1).abs() < 1e-4).all()):
        raise ValueError(f"LEEP needs probabilities [N, Z] whose rows sum to 1; got {list(theta.shape)}")
    shares = one_hot(targets)
    joint = shares.T @ theta / len(theta)
    mass = joint.sum(0)
    conditional = torch.where(mass > 0, joint / mass.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    likelihood = ((shares @ conditional) * theta).sum(1)
    return float(likelihood.log().mean())


def nce(sources: Tensor, targets: Tensor) -> float:
    """Give the negative conditional entropy of the target's classes given those that the source head names.

    Args:
        sources: class numbers int64 [N], the source head's first choice.
        targets: class numbers int64 [N].

    Returns:
        -H(target | source) in nats, at most 0.
    """
    joint = one_hot(targets).T @ one_hot(sources) / len(targets)
    conditional = joint / joint.sum(0)
    return float(torch.special.xlogy(joint, conditional).sum())


def h_score(parts: TakenApart, targets: Tensor, *, shrunk: bool = False) -> float:
    """Give the H-score: tr(cov(f)^-1 cov(E[f | y])).

    Args:
        parts: of the features.
        targets: class numbers int64 [N].
        shrunk: take the Ledoit-Wolf covariance instead of the pseudo-inverse; and (1 - shrinkage) of the other one.

    Returns:
        The score, 0 to classes - 1.
    """
    shares = one_hot(targets)
    counts = shares.sum(0)
    means = (shares.T @ parts.points) / counts[:, None]
    between = (counts[:, None] / parts.examples * means**2).sum(0)
    variances = parts.values**2 / parts.examples
    if not shrunk:
        return float((between / variances).sum())
    share = shrinkage(parts)
    level = float(variances.sum()) / parts.width
    return float(((1 - share) * between / ((1 - share) * variances + share * level)).sum())


def shrinkage(parts: TakenApart) -> float:
    """Give the share of the identity in the covariance of Ledoit and Wolf, 0..1."""
    n, d = parts.examples, parts.width
    variances = parts.values**2 / n
    level = float(variances.sum()) / d
    squares = float((variances**2).sum())
    fourth = float(((parts.points**2).sum(1) ** 2).sum()) / n
    away = (squares - d * level**2) / d
    noise = min((fourth - squares) / (d * n), away)
    return max(0.0, noise / away) if away > 0 else 1.0


def one_hot(targets: Tensor) -> Tensor:
    """Give float64 [N, classes that occur], a column for each class in ascending order."""
    columns: Tensor = targets[:, None] == targets.unique()
    return columns.double()
