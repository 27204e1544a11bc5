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

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from bequest.analyses.intervals import Interval, paired_difference
from bequest.analyses.result import table
from bequest.analyses.verdict import trained_accuracy
from bequest.decisions.candidates import Candidate, score_candidate, train_candidate
from bequest.decisions.decision import Decision
from bequest.decisions.fine_tunes import SHOWN, as_examples, count, with_head
from bequest.decisions.rank_agreement import Agreement, agreement
from bequest.decisions.row import row
from bequest.decisions.source_told import advice as told
from bequest.decisions.source_told import agreement_rows, candidate_rows, spread
from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches
from bequest.evaluation.features import features
from bequest.evaluation.predict import measure, predict
from bequest.evaluation.transferability import SCORES
from bequest.training.examples import InOrder
from bequest.training.loop import Examples
from bequest.training.recipe import Recipe
from bequest.weights.algebra import Weights

NAME = "source"
COMPARED = 2  # the best and the second


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
    seen = InOrder(shown, SHOWN)
    looked_up = None if reference is None else features(reference, seen, at=at).features
    found = [
        score_candidate(name, given, seen, model=model, scores=scores, reference=looked_up, at=at, seed=seed)
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
        train_candidate(one, shown, validation, recipe, asked, learning_rates, replicas, seed)
        for other in sorted((other for other in chosen if other.tunes), key=lambda other: other.order)[COMPARED:]:
            other.tunes = [replace(tune, weights={}) for tune in other.tunes]  # the memory is that of two, not of all
    trained = sorted((one for one in chosen if not one.failed), key=lambda one: one.order)
    agreements = {name: _agreement(name, trained, seed) for name in SCORES if any(name in one.scores for one in found)}
    n = {"validation": count(validation), "train": len(shown.targets)}
    rows = list(candidate_rows(ranked, by, asked, n))
    rows += [made for name, one in agreements.items() if one for made in agreement_rows(name, one)]
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
    rows.append(row("error", best.name, confirmed, split="test", unit=asked.units["error"]))
    costs["images"] += replicas * n["test"]
    difference = _difference(best, trained[1], validation, shown, asked, seed) if len(trained) > 1 else None
    if difference is not None:
        rows.append(row("error_difference", best.name, difference, b=trained[1].name, split="validation"))
    learned = _learned(best, validation, asked)
    sure = learned and difference is not None and difference.high is not None and difference.high < 0
    advice = told(trained, confirmed, difference, sure, by, agreements, len(found), asked, learned=learned)
    weights = min(best.tunes, key=lambda tune: tune.score).weights
    return Decision(NAME, advice, table(NAME, rows), costs, "measured" if sure else "inconclusive", weights)


def _agreement(name: str, trained: Sequence[Candidate], seed: int) -> Agreement | None:
    """How well a score ordered those that were trained and have it."""
    there = [one for one in trained if name in one.scores]
    if not there:
        return None
    return agreement([one.scores[name] for one in there], [1 - one.order[0] for one in there], seed=seed)


def _confirmed(best: Candidate, shown: Examples, test: Batches, task: tasks.Task, seed: int) -> Interval:
    network = with_head(best.model, shown.classes, replica=0, seed=seed)
    errors = [measure(network, test, task, weights=tune.weights)[1] for tune in best.tunes]
    return spread(errors, count(test), task)


def _difference(
    best: Candidate, second: Candidate, validation: Batches, shown: Examples, task: tasks.Task, seed: int
) -> Interval:
    """Error of the best minus that of the second: paired over replicas, or over examples."""
    if len(best.tunes) > 1 or not task.shares:
        return paired_difference(best.errors, second.errors)

    def wrong(one: Candidate) -> list[float]:
        network = with_head(one.model, shown.classes, replica=0, seed=seed)
        made = predict(network, validation, weights=one.tunes[0].weights)
        return (made.outputs.argmax(-1) != made.targets).double().flatten().tolist()

    return paired_difference(wrong(best), wrong(second))


def _learned(best: Candidate, validation: Batches, task: tasks.Task) -> bool:
    """Whether the best candidate is clearly above guessing, where it is known how good that is."""
    if task.chance is None:
        return True
    chance = task.chance(torch.cat([targets.cpu() for _, targets in validation]))
    return 1 - best.order[0] >= trained_accuracy(chance)
