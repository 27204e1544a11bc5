"""Which average of several solutions is best on validation?

Source: Wortsman et al. 2022 (model soups), and for the interpolation with the pre-trained weights Wortsman et al. 2022
(WiSE-FT). `uniform` is the mean of all. `greedy` begins with the best member and tries the others from best to worst:
one stays in the mean if the validation error does not get worse. (The paper's recipe; its code asks for strictly
better.) So greedy never ends above the error of the best member. `interpolated` goes from the pre-trained weights
(alpha 0) to a fine-tuned end (alpha 1); both ends are what was given, bit for bit.

Every mix gets BatchNorm statistics of its own. A mean of one member is that member, with its own statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from bequest.decisions.scores import Scales, Score
from bequest.evaluation.batches import Batches
from bequest.weights.algebra import Weights, lerp, mean


@dataclass(frozen=True)
class Trial:
    """One member that greedy tried.

    Attributes:
        name: of the member.
        error: validation error of the mean with it.
        kept: whether it stayed.
    """

    name: str
    error: float
    kept: bool


@dataclass(frozen=True)
class Mix:
    """An average of members, or a point between two sets of weights.

    Attributes:
        weights: of the mix.
        score: on validation.
        names: the members in it.
        trials: what greedy tried, in order.
        alpha: share of the fine-tuned end in an interpolation.
    """

    weights: Weights = field(repr=False)
    score: Score
    names: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    alpha: float = 1.0


def uniform(scales: Scales, members: Mapping[str, Weights], names: Sequence[str], batches: Batches) -> Mix:
    """Average members with equal shares.

    Args:
        scales: what measures.
        members: name -> weights.
        names: those to average, at least one.
        batches: validation examples.

    Returns:
        The mean with its score.
    """
    weights = _mean(scales, members, names)
    return Mix(weights, scales.score(weights, batches), tuple(names))


def greedy(scales: Scales, members: Mapping[str, Weights], ranked: Sequence[str], best: Score, batches: Batches) -> Mix:
    """Average members as long as that does not make the validation error worse.

    Args:
        scales: what measures.
        members: name -> weights.
        ranked: names, best first.
        best: validation score of the first.
        batches: validation examples.

    Returns:
        The mean with its score, which is at most that of the first member.
    """
    kept, weights, score = [ranked[0]], members[ranked[0]], best
    trials = [Trial(ranked[0], best.error, kept=True)]
    for name in ranked[1:]:
        tried = _mean(scales, members, [*kept, name])
        found = scales.score(tried, batches)
        better = found.error <= score.error  # false where it is not a number
        trials.append(Trial(name, found.error, better))
        if better:
            kept, weights, score = [*kept, name], tried, found
    return Mix(weights, score, tuple(kept), tuple(trials))


def interpolated(
    scales: Scales, base: Weights, end: Weights, end_score: Score, alphas: Sequence[float], batches: Batches
) -> tuple[Mix, list[tuple[float, Score]]]:
    """Choose a point on the line from the pre-trained weights to a fine-tuned end.

    Args:
        scales: what measures.
        base: pre-trained weights, at alpha 0. Tensors that it lacks or that have another shape (a head of other
            classes) are taken from the end, so that only what both have is interpolated.
        end: fine-tuned weights, at alpha 1.
        end_score: their validation score.
        alphas: the points to try, 0..1.
        batches: validation examples.

    Returns:
        The point with the lowest validation error, then the lowest loss, then the largest alpha; and the score at
        every alpha, in order.
    """
    start = completed(base, end)
    best, found = Mix(end, end_score, alpha=1.0), [(1.0, end_score)]
    for alpha in sorted(set(alphas) - {1.0}, reverse=True):
        point: Weights = lerp(start, end, alpha)
        if alpha > 0:
            point = scales.refitted(point)
        score = scales.score(point, batches)
        found.append((alpha, score))
        if score.order < best.score.order:
            best = Mix(point, score, alpha=alpha)
    return best, found[::-1]


def completed(base: Weights, end: Weights) -> dict[str, Tensor]:
    """Give the base what it lacks, or has in another shape, from the end."""
    return {
        name: base[name] if name in base and base[name].shape == tensor.shape else tensor
        for name, tensor in end.items()
    }


def _mean(scales: Scales, members: Mapping[str, Weights], names: Sequence[str]) -> Weights:
    if len(names) == 1:
        return members[names[0]]
    return scales.refitted(mean([members[name] for name in names]))
