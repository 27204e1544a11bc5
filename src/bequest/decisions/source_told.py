"""How is the ranking of sources written down: as rows, and as an advice?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bequest.analyses.groups import counted, ranged
from bequest.analyses.intervals import Interval, bounded, mean_interval, share_interval
from bequest.decisions.candidates import Candidate
from bequest.decisions.rank_agreement import LEAST, Agreement
from bequest.decisions.row import row
from bequest.evaluation import tasks

UNITS = {"probe": "share", "knn": "share", "cka": "similarity", "h_score": "", "h_score_shrunk": ""}  # others: nats


def spread(errors: Sequence[float], n: int, task: tasks.Task) -> Interval:
    """Give the mean error with its interval.

    Args:
        errors: a replica each.
        n: examples that each was measured on.
        task: what the error is.

    Returns:
        Over replicas; of one replica over its examples, where they are independent.
    """
    if len(errors) > 1:
        return bounded(mean_interval(errors)) if task.shares else mean_interval(errors)
    return share_interval(round(errors[0] * n), n) if task.shares else Interval(errors[0], None, None, n)


def candidate_rows(
    ranked: Sequence[Candidate], by: str, task: tasks.Task, n: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    """Give the rows of the candidates, in the order of the score `by`; `n` counts the examples of each split."""
    for place, one in enumerate(ranked, start=1):
        yield row("rank", one.name, value=place, n=1, unit="", b=by)
        for name, value in one.scores.items():
            yield row(name, one.name, value=value, n=n["train"], split="train", unit=UNITS.get(name, "nats"), x=place)
        for what, unit in (("seconds", "s"), ("images", "images")):
            for kind, spent in getattr(one, what).items():
                yield row(what, one.name, value=spent, n=1, split=kind, unit=unit)
        if one.failed:
            yield row("failed", one.name, value=1, n=1, unit="runs")
        if one.tunes:
            errors = spread(one.errors, n["validation"], task)
            yield row("error", one.name, errors, split="validation", unit=task.units["error"])
            yield row("learning_rate", one.name, value=one.rate, n=1, unit="")


def agreement_rows(name: str, found: Agreement) -> Iterator[dict[str, Any]]:
    """Give the rows of how well a score ordered the candidates."""
    yield row("kendall", name, found.kendall, unit="correlation")
    yield row("weighted_kendall", name, found.weighted, unit="correlation")
    yield row("pearson", name, found.pearson, unit="correlation")
    yield row("p_value", name, value=found.p, n=found.kendall.n, unit="probability")


def advice(
    trained: Sequence[Candidate],
    confirmed: Interval,
    difference: Interval | None,
    sure: bool,
    by: str,
    agreements: Mapping[str, Agreement | None],
    there: int,
    task: tasks.Task,
    *,
    learned: bool = True,
) -> str:
    """Say what to start from.

    Args:
        trained: those that were trained, best first.
        confirmed: error of the best on test.
        difference: error of the best minus that of the second; None where there is no second.
        sure: whether the best is clearly better.
        by: the score that sorted.
        agreements: of each score with the truth.
        there: how many candidates there were.
        task: what the error is.
        learned: whether the best one is clearly above guessing.

    Returns:
        One sentence.
    """
    best = trained[0]

    def sized(found: Interval, unit: str = "%") -> str:
        """A share in percent, with its interval; a loss as it is."""
        return ranged(found, ".3f") if task.units["error"] == "loss" else f"{ranged(found, '.1f', 100)} {unit}"

    begin = f"Start from {best.name}: fine-tuned it has"
    if not learned:
        begin = f"No candidate learned the target, so nothing can be advised: the best one, {best.name}, has"
    said = f"{begin} an error of {sized(_alone(best.order[0]))} on validation"
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
