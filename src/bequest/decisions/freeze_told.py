"""What is said of freezing: which way is advised, the rows, the sentence, and how sure it is?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl
import torch

from bequest.analyses.intervals import Interval, bounded, mean_interval
from bequest.analyses.result import table
from bequest.decisions.scores import Score, paired
from bequest.decisions.trials import Trial
from bequest.decisions.ways import Way
from bequest.decisions.wording import apart, errors, listed
from bequest.evaluation.tasks import Task
from bequest.weights.modules import Module


@dataclass(frozen=True)
class Tried:
    """A way and what came out of it.

    Attributes:
        way: what was tried.
        rate: its learning rate.
        runs: one a replica; empty if it failed.
        failure: why it did.
    """

    way: Way
    rate: float
    runs: tuple[Trial, ...]
    failure: str = ""

    @property
    def scores(self) -> list[Score]:
        """On validation, one a replica."""
        return [run.score for run in self.runs]

    @property
    def cost(self) -> tuple[float, int]:
        """What the cheapest has least of: arithmetic, then learning parameters."""
        return self.runs[0].flops, self.runs[0].learning


@dataclass
class Outcome:
    """What was tried and chosen.

    Attributes:
        tried: every way, in the order in which they were trained.
        best: that with the lowest mean validation error, then the lowest loss.
        chosen: the cheapest that cannot be told from it.
        limit: difference on test that counts as none.
        tested: name of a way -> scores on test, one a replica.
    """

    tried: Sequence[Tried]
    best: Tried
    chosen: Tried
    limit: float
    tested: dict[str, list[Score]] = field(default_factory=dict)

    @property
    def price(self) -> Interval | None:
        """Test error of the chosen way minus that of the best; None without test."""
        if not self.tested:
            return None
        return differences(self.tested[self.chosen.way.name], self.tested[self.best.way.name])


def mean_error(scores: Sequence[Score]) -> Interval:
    """Give the mean error: with Student's t over replicas, of a single one with Wilson's interval over examples."""
    return scores[0].interval if len(scores) == 1 else mean_interval([score.error for score in scores])


def differences(a: Sequence[Score], b: Sequence[Score]) -> Interval:
    """Give the mean error of one way minus that of another, replica by replica and example by example."""
    value = math.fsum(one.error - other.error for one, other in zip(a, b, strict=True)) / len(a)
    pairs = [(one.wrong, other.wrong) for one, other in zip(a, b, strict=True)]
    apart = [left - right for left, right in pairs if left is not None and right is not None]
    if len(apart) < len(pairs):
        gaps = [one.error - other.error for one, other in zip(a, b, strict=True)]
        return mean_interval(gaps) if len(gaps) > 1 else Interval(value, None, None, a[0].n)
    return paired(torch.stack(apart).mean(0))


def chosen_of(tried: Sequence[Tried], limit: float) -> Outcome:
    """Choose the best way on validation, and the cheapest that cannot be told from it.

    Args:
        tried: the ways, at least one of which did not fail.
        limit: difference on test that counts as none.

    Returns:
        The outcome, not yet tested.

    Raises:
        ValueError: if all failed.
    """
    there = [one for one in tried if one.runs]
    if not there:
        raise ValueError(f"every way failed; {tried[0].way.name}: {tried[0].failure}")
    best = min(there, key=_goodness)
    high = mean_error(best.scores).high

    def as_good(one: Tried) -> bool:
        gap = differences(one.scores, best.scores)
        within = high is not None and mean_error(one.scores).value <= high
        return one is best or (within and gap.low is not None and gap.low <= 0)

    return Outcome(tried, best, min(filter(as_good, there), key=lambda one: one.cost), limit)


def sure(outcome: Outcome) -> Literal["measured", "inconclusive", "refused"]:
    """Tell how far the numbers carry, by the rule at the top of `freeze.py`."""
    price = outcome.price
    if price is None:
        return "inconclusive"
    if outcome.chosen is outcome.best:
        return "measured"
    return "measured" if price.high is not None and price.high <= outcome.limit else "inconclusive"


def advice(outcome: Outcome, order: Sequence[str], task: Task) -> str:
    """Say in one sentence what to do.

    Args:
        outcome: what was tried and chosen.
        order: modules below the head.
        task: for the unit of the error.

    Returns:
        The sentence with its numbers.
    """
    chosen, best, parts = outcome.chosen, outcome.best, [_what(outcome.chosen.way, order)]
    whole = next((one for one in outcome.tried if one.way.rule == "finetune" and not one.way.frozen and one.runs), None)
    if whole is not None and whole is not chosen:
        shares = [
            f"{100 * mine / all_:.0f} % of the {name}"
            for name, mine, all_ in (
                ("arithmetic", chosen.runs[0].flops, whole.runs[0].flops),
                ("memory of a step", chosen.runs[0].memory, whole.runs[0].memory),
                ("seconds", _seconds(chosen), _seconds(whole)),
            )
            if all_ > 0
        ]
        parts.append(f"it takes {listed(shares)} of training everything")
    if not outcome.tested:
        validation = errors(task, mean_error(chosen.scores).value)
        parts.append(f"{validation} error on validation, not confirmed, as no test examples were given")
    else:
        on_test = errors(task, mean_error(outcome.tested[chosen.way.name]).value)
        text = f"on test it has {on_test} error"
        if chosen is not best and (price := outcome.price) is not None:
            other = errors(task, mean_error(outcome.tested[best.way.name]).value)
            text += f", {apart(task, price)} {best.way.name}, the best on validation ({other})"
            if price.low is not None and price.high is not None and price.low > 0 and price.high > outcome.limit:
                parts[0] = f"Test does not confirm what validation chose, to {parts[0][:1].lower()}{parts[0][1:]}"
        parts.append(text)
    return f"{'; '.join(parts)}."


def _what(way: Way, order: Sequence[str]) -> str:
    if way.rule == "probe":
        return "Train the head alone and freeze everything below it"
    if way.frozen:
        beginning = tuple(order[: len(way.frozen)]) == way.frozen and len(way.frozen) > 1
        named = f"everything up to {way.frozen[-1]}" if beginning else listed(way.frozen)
        return f"Freeze {named} ({len(way.frozen)} of {len(order)} modules below the head)"
    return {
        "finetune": "Freeze nothing: train everything",
        "lp-ft": "Freeze nothing: train the head first, then everything (LP-FT)",
        "slower": "Freeze nothing: train everything, slower towards the input",
        "auto-rgn": "Freeze nothing: train everything, as fast as the gradients say (auto-RGN)",
    }[way.rule]


def told(outcome: Outcome, units: Sequence[Module], task: Task) -> pl.DataFrame:
    """Make the rows.

    Args:
        outcome: what was tried and chosen.
        units: modules of the network.
        task: for the units.

    Returns:
        The long table.
    """
    rows: list[dict[str, Any]] = []
    for one in outcome.tried:
        rows += ({"a": one.way.name, "module": "*", **row} for row in _rows(one, outcome, units, task))
    return table("freeze", [{"note": None, **row} for row in rows])


def _rows(one: Tried, outcome: Outcome, units: Sequence[Module], task: Task) -> Iterator[dict[str, Any]]:
    yield {"metric": "learning_rate", "value": one.rate, "unit": "peak"}
    for unit in units:
        yield {"module": unit.name, "metric": "frozen", "value": float(unit.name in one.way.frozen), "unit": "0 or 1"}
    yield {"metric": "failed", "value": float(not one.runs), "unit": "0 or 1", "note": one.failure or None}
    if not one.runs:
        return
    yield from _errors(one.scores, "validation", task)
    if one is not outcome.best:
        gap = differences(one.scores, outcome.best.scores)
        yield _gap(gap, outcome.best.way.name, "validation", task)
    if one.way.name in outcome.tested:
        yield from _errors(outcome.tested[one.way.name], "test", task)
        if one is outcome.chosen and one is not outcome.best and outcome.price is not None:
            yield _gap(outcome.price, outcome.best.way.name, "test", task)
    first = one.runs[0]
    yield {"metric": "seconds", "value": _seconds(one), "n": len(one.runs), "unit": "s"}
    yield {"metric": "flops", "value": first.flops, "unit": "operations"}
    yield {"metric": "memory", "value": first.memory, "unit": "bytes"}
    yield {"metric": "kept", "value": first.kept, "unit": "bytes"}
    yield {"metric": "learning", "value": first.learning, "unit": "parameters"}
    for unit in units:
        found = [first.ratios[name] for name in unit.parameters if name in first.ratios]
        if found:
            mean = sum(found) / len(found)
            yield {"module": unit.name, "metric": "gradient_ratio", "value": mean, "n": len(found), "unit": "multiple"}


def _errors(scores: Sequence[Score], split: str, task: Task) -> Iterator[dict[str, Any]]:
    mean = bounded(mean_error(scores)) if task.shares else mean_error(scores)
    ends = {"low": mean.low, "high": mean.high, "n": mean.n, "split": split}
    yield {"metric": "error", "value": mean.value, "unit": task.units["error"], **ends}
    loss = math.fsum(score.loss for score in scores) / len(scores)
    yield {"metric": "loss", "value": loss, "unit": task.units["loss"], "split": split, "n": mean.n}


def _gap(gap: Interval, best: str, split: str, task: Task) -> dict[str, Any]:
    ends = {"low": gap.low, "high": gap.high, "n": gap.n, "split": split, "b": best}
    return {"metric": "difference", "value": gap.value, "unit": task.units["error"], **ends}


def _seconds(one: Tried) -> float:
    return math.fsum(run.seconds for run in one.runs) / len(one.runs)


def _goodness(one: Tried) -> tuple[float, float]:
    errors, losses = [score.error for score in one.scores], [score.loss for score in one.scores]
    means = (math.fsum(errors) / len(errors), math.fsum(losses) / len(losses))
    return (math.inf if math.isnan(means[0]) else means[0], math.inf if math.isnan(means[1]) else means[1])
