"""How likely are a target's classes under a linear model of the features (LogME)?

Source: You et al. 2021. Each class is a regression of 0 and 1 on the features, without a constant: weights have the
prior N(0, 1 / alpha), noise is N(0, 1 / beta). LogME is the log evidence at the best alpha and beta, an example,
averaged over classes; it may be above 0. Only t = alpha / beta has to be searched: for each the best beta is known.

The published code differs in two ways. It stops its fixed point early (about 3e-4 below the maximum on the example of
the tests). And with more features than examples it lacks (D - rank) / 2 log(alpha), the prior of the directions that
have no data: on pure noise (20 examples, 50 features) it says +2.77 where the evidence is -1.07, and wide networks are
flattered. `form="published"` gives its numbers, for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from bequest.evaluation.class_scores import one_hot
from bequest.evaluation.taken_apart import TakenApart

GRID = torch.linspace(-12, 12, 49, dtype=torch.float64)  # log10 of t, beside the mean square of the singular values
STEPS = 60  # of the golden section, each of which leaves 0.62 of the interval
GOLDEN = (math.sqrt(5) - 1) / 2
EPSILON = 1e-5  # what the published code adds to denominators


def logme(parts: TakenApart, targets: Tensor, *, form: Literal["evidence", "published"] = "evidence") -> float:
    """Give the log of the maximum evidence.

    Args:
        parts: of the features.
        targets: class numbers int64 [N]; or labels [N, C] of 0 and 1, each a regression of its own, those that do not
            vary left out.
        form: `evidence`, the maximum itself; `published`, what the authors' code gives.

    Returns:
        The mean over classes, in nats an example; higher is a better fit.

    Raises:
        ValueError: if there is no such form, or no label varies.
    """
    if form not in ("evidence", "published"):
        raise ValueError(f"there is no form {form!r} of LogME; known: evidence, published")
    truth = one_hot(targets) if targets.ndim == 1 else targets.double()
    truth = truth[:, (truth != truth[0]).any(0)] if targets.ndim > 1 else truth
    if not truth.shape[1]:
        raise ValueError("no label varies over the examples, so there is nothing that features could tell")
    left, values = parts.uncentred
    squares = (left.T @ truth) ** 2
    rest = ((truth**2).sum(0) - squares.sum(0)).clamp_min(0)
    if form == "evidence":
        return float(_maximum(values**2, squares, rest, parts.examples).mean()) / parts.examples
    columns = zip(squares.unbind(1), rest.tolist(), strict=True)
    found = [_published(values**2, square, left_over, parts.examples, parts.width) for square, left_over in columns]
    return math.fsum(found) / len(found) / parts.examples


def _maximum(sigma: Tensor, squares: Tensor, rest: Tensor, n: int) -> Tensor:
    """The largest log evidence of each class [C]: the best point of a grid of t, made finer by golden section."""
    scale = float(sigma.mean()) if len(sigma) else 1.0

    def evidence(place: Tensor) -> Tensor:
        ratio = sigma[:, None] / (scale * 10**place)  # [k, C]
        missed = (squares / (1 + ratio)).sum(0) + rest  # squared error and penalty, of which beta is n over it
        return -(n * (missed.clamp_min(1e-300) / n).log() + ratio.log1p().sum(0) + n * (1 + math.log(2 * math.pi))) / 2

    best = torch.stack([evidence(place.expand(len(rest))) for place in GRID]).argmax(0)
    return _golden(evidence, GRID[(best - 1).clamp_min(0)], GRID[(best + 1).clamp_max(len(GRID) - 1)])


def _golden(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """The largest value between two ends, entry by entry."""
    for _ in range(STEPS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        falls = function(left) > function(right)
        low, high = torch.where(falls, low, left), torch.where(falls, right, high)
    return function((low + high) / 2)


def _published(sigma: Tensor, squares: Tensor, rest: float, n: int, width: int) -> float:
    """The evidence of one class as the published fixed point has it."""
    alpha = beta = 1.0
    for _ in range(11):
        t = alpha / beta
        gamma = float((sigma / (sigma + t)).sum())
        size = float((sigma * squares / (t + sigma) ** 2).sum())
        missed = float((squares / (1 + sigma / t) ** 2).sum()) + rest
        alpha, beta = gamma / (size + EPSILON), (n - gamma) / (missed + EPSILON)
        if abs(alpha / beta - t) / t <= 1e-3:
            break
    logs = width * math.log(alpha) + n * math.log(beta) - float((alpha + beta * sigma).log().sum())
    return (logs - beta * missed - alpha * size - n * math.log(2 * math.pi)) / 2
