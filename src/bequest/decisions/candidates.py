"""What is known of a candidate to start from: its scores, then what came out when it was trained?"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from bequest.decisions.fine_tunes import FineTune, candidate, fine_tune, with_head
from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches
from bequest.evaluation.features import Features, features
from bequest.evaluation.transferability import OF_THE_HEAD, ONE_CLASS, SCORES, transferability
from bequest.training.examples import InOrder
from bequest.training.loop import Diverged, Examples
from bequest.training.recipe import Recipe
from bequest.weights.algebra import Weights


@dataclass
class Candidate:
    """What is known of one candidate so far.

    Attributes:
        name: of the candidate.
        model: with the head of its source.
        scores: score -> value; more is better.
        seconds: what took how long: `score`, `training`.
        images: examples through the network, likewise.
        rate: the learning rate that was chosen.
        tunes: the fine-tunes, a replica each; empty if it was not trained, or diverged.
        failed: whether it diverged.
    """

    name: str
    model: nn.Module
    scores: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    rate: float | None = None
    tunes: list[FineTune] = field(default_factory=list)
    failed: bool = False

    @property
    def errors(self) -> list[float]:
        """Validation error of each replica."""
        return [tune.score[0] for tune in self.tunes]

    @property
    def order(self) -> tuple[float, float]:
        """Mean validation error, then loss: lower is better."""
        return math.fsum(self.errors) / len(self.tunes), math.fsum(tune.score[1] for tune in self.tunes)


def score_candidate(
    name: str,
    given: nn.Module | Weights,
    seen: InOrder,
    *,
    model: nn.Module | None,
    scores: Sequence[str] | None,
    reference: Tensor | None,
    at: str | None,
    seed: int,
) -> Candidate:
    """Score one candidate by one pass of the training examples; those that lack a label are left out of the scores.

    Args:
        name: of the candidate.
        given: a network, or weights of `model`'s kind.
        seen: the training examples.
        model: the network that weights are of.
        scores: which scores; None: all that can be made.
        reference: features of a network that was trained on the target.
        at: path of the module whose input are the features; None: the head.
        seed: of N-LEEP.

    Returns:
        The candidate with its scores.
    """
    begun = time.perf_counter()
    network, headed = candidate(given, model)
    looked = features(network, seen, at=at)
    if looked.targets.is_floating_point():  # examples that lack a label tell nothing of it, and are left out
        known = ~looked.targets.isnan().any(1)
        looked = Features(looked.features[known], looked.outputs[known], looked.targets[known])
        reference = None if reference is None else reference[known]
    possible = [one for one in scores or SCORES if headed or one not in OF_THE_HEAD]
    if not scores:  # what cannot be made of these targets goes without saying
        if looked.targets.is_floating_point():
            possible = [one for one in possible if one not in ONE_CLASS]
        possible = [one for one in possible if one != "cka" or reference is not None]
    values = transferability(looked, reference=reference, scores=possible, seed=seed)
    images = len(seen.examples.targets)
    return Candidate(name, network, values, {"score": time.perf_counter() - begun}, {"score": images})


def train_candidate(
    one: Candidate,
    shown: Examples,
    validation: Batches,
    recipe: Recipe,
    task: tasks.Task,
    rates: Sequence[float],
    replicas: int,
    seed: int,
) -> None:
    """Fine-tune a candidate: each learning rate with replica 0, then all replicas with the best.

    Args:
        one: the candidate; what comes out is written into it.
        shown: what it learns from.
        validation: what chooses the rate.
        recipe: how.
        task: loss and error.
        rates: learning rates; empty: the recipe's.
        replicas: how many are trained.
        seed: of heads and orders.
    """
    begun = time.perf_counter()

    def tuned(replica: int, rate: float) -> FineTune:
        network = with_head(one.model, shown.classes, replica=replica, seed=seed)
        how = recipe.model_copy(update={"learning_rate": rate})
        watch = {"validation": validation}
        tune = fine_tune(network, shown, recipe=how, replica=replica, seed=seed, task=task, watch=watch)
        one.images["training"] = one.images.get("training", 0) + tune.images
        return tune

    tried: dict[float, FineTune] = {}
    for rate in dict.fromkeys(rates or (recipe.learning_rate,)):
        try:
            tried[rate] = tuned(0, rate)
        except Diverged:
            continue
    if tried:
        one.rate = min(tried, key=lambda rate: tried[rate].score)
        try:
            one.tunes = [tried[one.rate], *(tuned(replica, one.rate) for replica in range(1, replicas))]
        except Diverged:
            one.tunes = []
    one.failed = not one.tunes
    one.seconds["training"] = time.perf_counter() - begun
