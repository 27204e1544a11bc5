"""On what conditions does a verdict stand: did the arms train, and were their learning rates chosen among several?

Models that never trained are near each other in all ways that are measured, and a learning rate that suits one arm
alone makes the other one look bad. Rows that say so: `final_error` (`a` is a run, split train), `chance_accuracy` (of
guessing), `learning_rates_tried` and `learning_rate_chosen` (`a` is an arm).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from bequest.analyses.pairs import arm
from bequest.analyses.verdict import trained_accuracy

AT_THE_EDGE = "at the edge"
TRAINING_UNKNOWN = "whether the arms trained is not known, as their train errors were not given"


def training_rows(errors: Mapping[str, float] | None, chance: float | None) -> Iterator[dict[str, Any]]:
    """Write how the runs trained.

    Args:
        errors: name of a run -> its train error at the end, 0..1.
        chance: accuracy of guessing, 0..1.

    Yields:
        Rows of `final_error` and `chance_accuracy`; none for what is not given.

    Raises:
        ValueError: if a number is not between 0 and 1.
    """
    for name, error in (errors or {}).items():
        row = {"metric": "final_error", "a": name, "module": "*", "split": "train", "n": 1, "unit": "share"}
        yield {**row, "value": _share(error, f"the error of {name!r}")}
    if chance is not None:
        row = {"metric": "chance_accuracy", "module": "*", "unit": "share"}
        yield {**row, "value": _share(chance, "the accuracy by chance")}


def untrained(errors: Mapping[str, float], chance: float, arms: Sequence[str]) -> str | None:
    """Name the first arm that failed to train.

    Args:
        errors: name of a run -> its error, 0..1; runs of other arms may be among them.
        chance: accuracy of guessing, 0..1.
        arms: the arms that a claim is about; those without errors are passed over.

    Returns:
        Part of a sentence, or None where the mean accuracy of each arm is high enough (`trained_accuracy`).
    """
    for name in arms:
        own = [error for run, error in errors.items() if arm(run) == name]
        accuracy = 1 - math.fsum(own) / len(own) if own else 1.0
        if accuracy < trained_accuracy(chance):
            right = f"{100 * accuracy:.1f} % right, {100 * chance:.1f} % by chance"
            return f"{name} is hardly better than chance here ({right})"
    return None


def trained(rows: pl.DataFrame, arms: Sequence[str] = ("finetune", "randinit")) -> tuple[str | None, bool]:
    """Read from the rows of one target whether the arms trained.

    Args:
        rows: rows of an analysis, with those of `training_rows` if they were given.
        arms: the arms that a claim is about.

    Returns:
        What `untrained` says of them, and whether that is known of all the arms.
    """
    ends = rows.filter(metric="final_error", split="train").drop_nulls("value")
    chance = rows.filter(metric="chance_accuracy").drop_nulls("value")
    errors = {name: value for name, value in ends.select("a", "value").iter_rows()}
    known = not chance.is_empty() and set(arms) <= {arm(name) for name in errors}
    return (untrained(errors, chance["value"][0], arms) if not chance.is_empty() else None), known


def tuning_rows(
    tried: Mapping[str, Sequence[float]] | None, chosen: Mapping[str, float] | None
) -> Iterator[dict[str, Any]]:
    """Write which learning rates were tried.

    Args:
        tried: arm -> the learning rates that were tried, above 0.
        chosen: arm -> the one that was taken.

    Yields:
        Rows of `learning_rates_tried` (how many) and `learning_rate_chosen` (with a note where it is the lowest or
        the highest of them).

    Raises:
        ValueError: if one that was not tried was chosen.
    """
    for name, rates in (tried or {}).items():
        count = len(set(rates))
        yield _tuned("learning_rates_tried", name, count, n=count, unit="learning rates")
    for name, rate in (chosen or {}).items():
        rates = (tried or {}).get(name, [])
        if rates and rate not in rates:
            raise ValueError(f"the learning rate {rate:g} of {name!r} is not among those tried: {sorted(set(rates))}")
        edge = AT_THE_EDGE if rates and rate in (min(rates), max(rates)) else None
        yield _tuned("learning_rate_chosen", name, rate, n=len(set(rates)) or None, unit="learning rate", note=edge)


def untuned(rows: pl.DataFrame, arms: Sequence[str] = ("finetune", "randinit")) -> list[str]:
    """Say which arms may have an unsuitable learning rate.

    Args:
        rows: rows of one target, with those of `tuning_rows` if they were given.
        arms: the arms that a claim is about.

    Returns:
        Parts of a sentence; none where each arm had a sweep and took a learning rate inside it.
    """
    found, unknown = [], []
    for name in arms:
        tried = rows.filter(metric="learning_rates_tried", a=name)
        chosen = rows.filter(metric="learning_rate_chosen", a=name)
        if tried.is_empty() or (chosen.is_empty() and tried["value"][0] > 1):
            unknown.append(name)
        elif tried["value"][0] < 2:
            found.append(f"the learning rate of {name} was not tuned")
        elif "note" in chosen.columns and chosen["note"][0] == AT_THE_EDGE:
            rate, count = chosen["value"][0], tried["value"][0]
            found.append(f"the learning rate of {name} ({rate:g}) is {AT_THE_EDGE} of the {count:.0f} tried")
    if not unknown:
        return found
    whose = "learning rates" if len(unknown) == len(arms) else f"learning rate of {' and '.join(unknown)}"
    return [f"{whose} not known to be tuned", *found]


def _share(value: float, name: str) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value:g}; it must be a share between 0 and 1")
    return value


def _tuned(metric: str, name: str, value: float, **more: Any) -> dict[str, Any]:
    return {"metric": metric, "a": name, "module": "*", "value": value, **more}
