"""Which pre-trained model should one start from?

Candidates are scored on the target's training examples before anything is trained (`bequest.transferability`), sorted
by one of the scores, and the first of them are fine-tuned with the same recipe, the same seeds and as many learning
rates each. The one with the lowest validation error is taken, and measured on test, once.

`sure` is `measured` where the best is better than the second on validation, the 95 percent interval of the paired
difference (over replicas; with one replica over examples) clear of 0, and learned the target at all (twice the accuracy
of guessing, `trained_accuracy`). Otherwise any of the first would do.

How far to trust the scores next time: Kendall's tau, the weighted tau and Pearson's correlation of each with the
validation accuracy (`rank_agreement`). Nothing is said of fewer than five candidates. Where only the first were
trained, the correlations are of those alone, which are more alike than all: a score looks worse than it is.

Rows: the scores (`a` candidate, `x` place by the score that sorted), `error` on validation for all that were trained
and on test for the one that was taken, `learning_rate`, `failed`; `kendall`, `weighted_kendall`, `pearson` and
`p_value` (`a` score); `seconds` and `images` of each part of the work (`a` candidate, `split` score or training).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from bequest.analyses.groups import bounded, counted, ranged
from bequest.analyses.intervals import Interval, mean_interval, paired_difference, share_interval
from bequest.analyses.result import table
from bequest.analyses.verdict import trained_accuracy
from bequest.decisions.decision import Decision
from bequest.decisions.fine_tunes import FineTune, Shown, as_examples, candidate, count, fine_tune, with_head
from bequest.decisions.rank_agreement import LEAST, Agreement, agreement
from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches
from bequest.evaluation.features import features
from bequest.evaluation.predict import measure, predict
from bequest.evaluation.transferability import OF_THE_HEAD, SCORES, transferability
from bequest.training.loop import Diverged, Examples
from bequest.training.recipe import Recipe
from bequest.weights.algebra import Weights

NAME = "source"
COMPARED = 2  # the best and the second
UNITS = {"probe": "share", "knn": "share", "cka": "similarity", "h_score": "", "h_score_shrunk": ""}  # others: nats


@dataclass
class _Candidate:
    """What is known of one candidate so far."""

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


def source(
    candidates: Mapping[str, nn.Module | Weights],
    training: Examples | Batches,
    validation: Batches,
    test: Batches,
    *,
    recipe: Recipe,
    model: nn.Module | None = None,
    task: str | tasks.Loss | tasks.Task = "classification",
    scores: Sequence[str] | None = None,
    by: str = "logme",
    top: int | None = None,
    learning_rates: Sequence[float] = (),
    replicas: int = 1,
    reference: nn.Module | None = None,
    at: str | None = None,
    seed: int = 0,
) -> Decision:
    """Rank pre-trained models for a target, fine-tune the first ones, and take the best.

    Args:
        candidates: name -> a network with the head of its source, or weights of `model`'s kind. They are left as they
            were. A network that was never trained may be among them: what it gets is what a source has to beat.
        training: labelled examples of the target; or batches of normalised images or dicts of inputs.
        validation: batches that choose the learning rate and the candidate.
        test: batches that are looked at once, with the candidate that was taken.
        recipe: how each candidate is fine-tuned.
        model: the network that weights among the candidates are of.
        task: loss and error.
        scores: which scores to make; None: all that can be made.
        by: the score by which candidates are sorted.
        top: how many of the first are fine-tuned, at least 1; None: all.
        learning_rates: tried for each candidate on validation, with replica 0; empty: the recipe's.
        replicas: fine-tunes of each candidate.
        reference: a network that was trained on the target, for `cka`.
        at: path of the module whose input are the features; None: the head.
        seed: of heads, data orders and N-LEEP.

    Returns:
        The decision; its weights are the best candidate's, of the replica with the lowest validation error.

    Raises:
        ValueError: if there are no candidates, `by` is not among the scores, or `top` or `replicas` is below 1.
    """
    if not candidates:
        raise ValueError("source needs at least one candidate: pass a dict of name -> network or weights")
    for what, number in (("top", top), ("replicas", replicas)):
        if number is not None and number < 1:
            raise ValueError(f"{what} has to be at least 1, not {number}")
    if by not in SCORES or (scores is not None and by not in scores):
        raise ValueError(f"candidates are sorted by {by!r}, and the scores are {', '.join(scores or SCORES)}")
    asked = tasks.task(task)
    shown = as_examples(training)
    seen = Shown(shown)
    looked_up = None if reference is None else features(reference, seen, at=at).features
    found = [
        _scored(name, given, seen, model=model, scores=scores, reference=looked_up, at=at, seed=seed)
        for name, given in candidates.items()
    ]
    if any(by not in one.scores for one in found):
        raise ValueError(
            f"{next(one.name for one in found if by not in one.scores)!r} has no score {by!r}; sort by "
            "one that all candidates have"
        )
    ranked = sorted(found, key=lambda one: -one.scores[by])
    chosen = ranked[: top or len(ranked)]
    for one in chosen:
        _train(one, shown, validation, recipe, asked, learning_rates, replicas, seed)
        for other in sorted((other for other in chosen if other.tunes), key=lambda other: other.order)[COMPARED:]:
            other.tunes = [replace(tune, weights={}) for tune in other.tunes]  # the memory is that of two, not of all
    trained = sorted((one for one in chosen if not one.failed), key=lambda one: one.order)
    agreements = {name: _agreement(name, trained, seed) for name in SCORES if any(name in one.scores for one in found)}
    n = {"validation": count(validation), "train": len(shown.targets)}
    rows = list(_rows(ranked, by, asked, n))
    rows += [row for name, one in agreements.items() if one for row in _agreement_rows(name, one)]
    costs = {"seconds": sum(sum(one.seconds.values()) for one in found)}
    costs |= {"images": sum(sum(one.images.values()) for one in found)}
    costs |= {
        f"{kind}_{what}": sum(getattr(one, what).get(kind, 0) for one in found)
        for kind in ("score", "training")
        for what in ("seconds", "images")
    }
    if not trained:
        advice = f"Every fine-tune of {', '.join(one.name for one in chosen)} diverged; lower the learning rate."
        return Decision(NAME, advice, table(NAME, rows), costs, "refused")
    best = trained[0]
    confirmed = _confirmed(best, shown, test, asked, seed)
    n["test"] = count(test)
    rows.append(_row("error", best.name, confirmed, split="test", unit=asked.units["error"]))
    costs["images"] += replicas * n["test"]
    difference = _difference(best, trained[1], validation, shown, asked, seed) if len(trained) > 1 else None
    if difference is not None:
        rows.append(_row("error_difference", best.name, difference, b=trained[1].name, split="validation"))
    learned = _learned(best, validation, asked)
    sure = learned and difference is not None and difference.high is not None and difference.high < 0
    advice = _advice(trained, confirmed, difference, sure, by, agreements, len(found), asked)
    if not learned:
        advice = f"No candidate learned the target, so they can't be compared. {advice}"
    weights = min(best.tunes, key=lambda tune: tune.score).weights
    return Decision(NAME, advice, table(NAME, rows), costs, "measured" if sure else "inconclusive", weights)


def _scored(
    name: str,
    given: nn.Module | Weights,
    seen: Shown,
    *,
    model: nn.Module | None,
    scores: Sequence[str] | None,
    reference: Tensor | None,
    at: str | None,
    seed: int,
) -> _Candidate:
    """Score one candidate by one pass of the training examples."""
    begun = time.perf_counter()
    network, headed = candidate(given, model)
    looked = features(network, seen, at=at)
    possible = [one for one in scores or SCORES if headed or one not in OF_THE_HEAD]
    if not scores:  # what cannot be made of these targets goes without saying
        if looked.targets.is_floating_point():
            possible = [one for one in possible if one in ("logme", "probe", "knn", "cka")]
        possible = [one for one in possible if one != "cka" or reference is not None]
    values = transferability(looked, reference=reference, scores=possible, seed=seed)
    images = len(seen.examples.targets)
    return _Candidate(name, network, values, {"score": time.perf_counter() - begun}, {"score": images})


def _train(
    one: _Candidate,
    shown: Examples,
    validation: Batches,
    recipe: Recipe,
    task: tasks.Task,
    rates: Sequence[float],
    replicas: int,
    seed: int,
) -> None:
    """Fine-tune a candidate: each learning rate with replica 0, then all replicas with the best."""
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


def _agreement(name: str, trained: Sequence[_Candidate], seed: int) -> Agreement | None:
    """How well a score ordered those that were trained and have it."""
    there = [one for one in trained if name in one.scores]
    if not there:
        return None
    return agreement([one.scores[name] for one in there], [1 - one.order[0] for one in there], seed=seed)


def _spread(errors: Sequence[float], n: int, task: tasks.Task) -> Interval:
    """The mean error: over replicas, or of one over its examples where they are independent."""
    if len(errors) > 1:
        return bounded(mean_interval(errors)) if task.shares else mean_interval(errors)
    return share_interval(round(errors[0] * n), n) if task.shares else Interval(errors[0], None, None, n)


def _confirmed(best: _Candidate, shown: Examples, test: Batches, task: tasks.Task, seed: int) -> Interval:
    network = with_head(best.model, shown.classes, replica=0, seed=seed)
    errors = [measure(network, test, task, weights=tune.weights)[1] for tune in best.tunes]
    return _spread(errors, count(test), task)


def _difference(
    best: _Candidate, second: _Candidate, validation: Batches, shown: Examples, task: tasks.Task, seed: int
) -> Interval:
    """Error of the best minus that of the second: paired over replicas, or over examples."""
    if len(best.tunes) > 1 or not task.shares:
        return paired_difference(best.errors, second.errors)

    def wrong(one: _Candidate) -> list[float]:
        network = with_head(one.model, shown.classes, replica=0, seed=seed)
        made = predict(network, validation, weights=one.tunes[0].weights)
        return (made.outputs.argmax(-1) != made.targets).double().flatten().tolist()

    return paired_difference(wrong(best), wrong(second))


def _learned(best: _Candidate, validation: Batches, task: tasks.Task) -> bool:
    """Whether the best candidate is clearly above guessing, where it is known how good that is."""
    if task.chance is None:
        return True
    chance = task.chance(torch.cat([targets.cpu() for _, targets in validation]))
    return 1 - best.order[0] >= trained_accuracy(chance)


def _row(metric: str, a: str | None, found: Interval | None = None, **more: Any) -> dict[str, Any]:
    numbers = {} if found is None else {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    return {"metric": metric, "a": a, "module": "*", "unit": "share", **numbers, **more}


def _rows(ranked: Sequence[_Candidate], by: str, task: tasks.Task, n: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for place, one in enumerate(ranked, start=1):
        yield _row("rank", one.name, value=place, n=1, unit="", b=by)
        for name, value in one.scores.items():
            yield _row(name, one.name, value=value, n=n["train"], split="train", unit=UNITS.get(name, "nats"), x=place)
        for what, unit in (("seconds", "s"), ("images", "images")):
            for kind, spent in getattr(one, what).items():
                yield _row(what, one.name, value=spent, n=1, split=kind, unit=unit)
        if one.failed:
            yield _row("failed", one.name, value=1, n=1, unit="runs")
        if one.tunes:
            spread = _spread(one.errors, n["validation"], task)
            yield _row("error", one.name, spread, split="validation", unit=task.units["error"])
            yield _row("learning_rate", one.name, value=one.rate, n=1, unit="")


def _agreement_rows(name: str, found: Agreement) -> Iterator[dict[str, Any]]:
    yield _row("kendall", name, found.kendall, unit="correlation")
    yield _row("weighted_kendall", name, found.weighted, unit="correlation")
    yield _row("pearson", name, found.pearson, unit="correlation")
    yield _row("p_value", name, value=found.p, n=found.kendall.n, unit="probability")


def _advice(
    trained: Sequence[_Candidate],
    confirmed: Interval,
    difference: Interval | None,
    sure: bool,
    by: str,
    agreements: Mapping[str, Agreement | None],
    there: int,
    task: tasks.Task,
) -> str:
    best = trained[0]

    def sized(found: Interval, unit: str = "%") -> str:
        """A share in percent, with its interval; a loss as it is."""
        return ranged(found, ".3f") if task.units["error"] == "loss" else f"{ranged(found, '.1f', 100)} {unit}"

    said = f"Start from {best.name}: fine-tuned it has an error of {sized(_alone(best.order[0]))} on validation"
    if difference is not None:
        word = "clearly better than" if sure else "not to be told apart from"
        said += f", {word} the next, {trained[1].name} (by {sized(_turned(difference), 'points')})"
    said += f", and of {sized(confirmed)} on test, which was looked at once; "
    said += f"{counted(len(trained), 'candidate')} of {there} {'was' if len(trained) == 1 else 'were'} trained"
    found = agreements.get(by)
    if found is None or found.kendall.n < LEAST:
        return f"{said}, too few to tell whether a score orders them right ({LEAST} are needed)."
    words = "orders them better than chance" if found.sure else "is not shown to order them better than chance"
    return f"{said}; {by} {words} (Kendall's tau {ranged(found.kendall)}, p = {found.p:.2g})."


def _alone(value: float) -> Interval:
    return Interval(value, None, None, 1)


def _turned(found: Interval) -> Interval:
    """The interval of minus the value."""
    ends = [None if end is None else -end for end in (found.high, found.low)]
    return Interval(-found.value, ends[0], ends[1], found.n)
