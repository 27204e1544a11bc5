"""Transfer or not: how many labels is pre-training worth?

A learning curve over sizes of the target, in images a class (`shots`), of the arms `finetune` and `randinit`: the error
at the last epoch on validation and on test, mean over replicas with its t interval. `equivalent_shots` at n is the
number of shots at which training from random init gets the error that fine-tuning has with n: the first crossing of
randinit's curve, straight between the sizes tried on a log scale of shots. `worth` is that number beside n: at 4,
pre-training saves three of four labels; below 1 it costs some. Where even the largest size tried does not get there,
the answer is `more than the largest tried`: no value, `low` the largest size, `note` says so; and likewise `at most
the smallest tried`. Intervals are bootstraps over replicas (95 percent); an end that is not known is null.

The advice is for the largest size: to transfer, or not, by the error on validation; `sure` is `measured` where the
paired difference on validation and on test is clear of 0 on the same side, `inconclusive` otherwise, and with one
replica. The rates of both arms should be tuned with equal budgets at each size, or one of them pays for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bequest.analyses.groups import counted, ranged
from bequest.analyses.intervals import Interval, bounded, mean_interval, paired_difference
from bequest.analyses.pairs import replica_pairs, replicas
from bequest.analyses.result import table
from bequest.analyses.verdict import trained_accuracy
from bequest.decisions.decision import Decision
from bequest.decisions.row import row
from bequest.training.outcome import final_error
from bequest.training.trajectory import Trajectory

NAME = "labels"
TUNED, FRESH = "finetune", "randinit"
MORE, FEWER = "more than the largest tried", "at most the smallest tried"
DRAWS = 1000
Errors = NDArray[np.float64]  # [sizes, replicas]


def labels(
    trajectories: Mapping[int, Mapping[str, Trajectory]],
    *,
    chance: float | None = None,
    spent: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Decision:
    """Say how many labels pre-training is worth, and whether to transfer.

    Args:
        trajectories: shots (images a class) -> name of a run (`finetune/0`, `randinit/0`) -> its trajectory, with
            errors on validation and test. At least two sizes. Other arms get their curves too. `learn_sizes` makes
            them.
        chance: accuracy of guessing, 0..1, by which it is told whether anything was learned; None: not told.
        spent: what the trainings cost, `seconds` and `images`, if known; it becomes the costs of the decision.
        seed: of the bootstrap.

    Returns:
        The decision; it has no weights.

    Raises:
        ValueError: if there are fewer than two sizes, an arm is missing, or a size lacks a run that another has.
    """
    sizes = sorted(trajectories)
    if len(sizes) < 2 or sizes[0] < 1:
        raise ValueError(f"labels needs at least two sizes of the target, 1 shot or more; got {sizes}")
    runs = replicas(trajectories[sizes[0]])
    for size in sizes:
        odd = sorted(set(trajectories[size]) ^ set(trajectories[sizes[0]]))
        if odd:
            raise ValueError(f"all sizes need the same runs, but {odd[0]!r} is not at {sizes[0]} and {size} shots")
    for which in (TUNED, FRESH):
        if which not in runs:
            raise ValueError(f"labels compares finetune and randinit, and there is no run of {which!r}")
    rows: list[dict[str, Any]] = []
    differences: dict[str, Interval] = {}
    for split in ("validation", "test"):
        errors = {which: _errors(trajectories, sizes, names, split) for which, names in runs.items()}
        for which, found in errors.items():
            for size, values in zip(sizes, found, strict=True):
                rows.append(row("error", which, bounded(mean_interval(values.tolist())), split=split, x=size))
        tuned, fresh = (_errors(trajectories, sizes, names, split) for names in _pairs(runs))
        for place, size in enumerate(sizes):
            differences[split] = paired_difference(tuned[place].tolist(), fresh[place].tolist())  # the last is kept
            rows.append(row("error_difference", TUNED, differences[split], b=FRESH, split=split, x=size))
            shots, note = equivalent(sizes, errors[TUNED][place], errors[FRESH], seed=seed)
            rows.append(row("equivalent_shots", TUNED, shots, b=FRESH, split=split, x=size, unit="shots", note=note))
            worth = _scaled(shots, 1 / size)
            rows.append(row("worth", TUNED, worth, b=FRESH, split=split, x=size, unit="times", note=note))
    better = all(found.high is not None and found.high < 0 for found in differences.values())
    worse = all(found.low is not None and found.low > 0 for found in differences.values())
    made = table(NAME, rows)
    least = min(_mean(made.filter(split="validation"), which, sizes[-1]).value for which in (TUNED, FRESH))
    right = 1 - least
    if chance is not None and right < trained_accuracy(chance):
        advice = (
            f"Nothing was learned from {counted(sizes[-1], 'label')} a class: the better arm is {100 * right:.1f} % "
            f"right on validation where guessing is {100 * chance:.1f} %, so there is nothing to decide by."
        )
        return Decision(NAME, advice, made, dict(spent or {}), "inconclusive")
    advice = _advice(made, sizes, differences["validation"], sure=better or worse)
    return Decision(NAME, advice, made, dict(spent or {}), "measured" if better or worse else "inconclusive")


def equivalent(sizes: Sequence[int], tuned: Errors, fresh: Errors, *, seed: int = 0) -> tuple[Interval, str | None]:
    """Give the number of shots at which one curve reaches an error.

    Args:
        sizes: shots that were tried [sizes], rising.
        tuned: the error to reach, a replica each [replicas].
        fresh: the curve that is to reach it [sizes, replicas]; as many replicas are resampled together.
        seed: of the bootstrap.

    Returns:
        The number with its interval, and a note where it lies outside of what was tried: then the value is NaN and one
        end says where it was looked for.
    """
    value = crossing(sizes, fresh.mean(1), float(tuned.mean()))
    n = min(len(tuned), fresh.shape[1])
    low: float | None = None
    high: float | None = None
    if n > 1:
        generator = np.random.default_rng(seed)
        first = generator.integers(0, len(tuned), (DRAWS, len(tuned)))
        together = len(tuned) == fresh.shape[1]
        other = first if together else generator.integers(0, fresh.shape[1], (DRAWS, fresh.shape[1]))
        drawn = _crossings(sizes, fresh[:, other].mean(2), tuned[first].mean(1))
        # no straight line between ends that may be infinite
        low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975], method="inverted_cdf"))
    if math.isinf(value):
        return Interval(math.nan, low if low and math.isfinite(low) else sizes[-1], None, n), MORE
    if value == 0:
        return Interval(math.nan, None, high if high and math.isfinite(high) else sizes[0], n), FEWER
    notes = []
    if low == 0:
        low = None
        notes.append(f"its lower end is {FEWER}")
    if high is not None and math.isinf(high):
        high = None
        notes.append(f"its upper end is {MORE}")
    return Interval(value, low, high, n), "; ".join(notes) or None


def crossing(sizes: Sequence[int], curve: Errors, level: float) -> float:
    """Give the first number of shots at which a curve of errors is at most a level.

    Args:
        sizes: shots that were tried, rising.
        curve: an error each.
        level: the error to reach.

    Returns:
        The number, straight between sizes on a log scale; 0 where the smallest size is more than enough; infinity where
        none is.
    """
    return float(_crossings(sizes, curve[:, None], np.array([level]))[0])


def _crossings(sizes: Sequence[int], curves: Errors, levels: Errors) -> Errors:
    """The crossings of many curves [sizes, draws] with a level each [draws]."""
    logs = np.log(np.array(sizes, float))
    enough = curves <= levels + 1e-12  # equal but for rounding
    place = enough.argmax(0)
    columns = np.arange(curves.shape[1])
    before, after = curves[np.maximum(place - 1, 0), columns], curves[place, columns]
    fall = np.where(before > after, before - after, 1.0)
    share = np.clip((before - levels) / fall, 0, 1)
    between = np.exp(logs[np.maximum(place - 1, 0)] + share * (logs[place] - logs[np.maximum(place - 1, 0)]))
    first = np.where(np.abs(curves[0] - levels) <= 1e-12, float(sizes[0]), 0.0)
    return np.where(~enough.any(0), np.inf, np.where(place == 0, first, between))


def _errors(
    trajectories: Mapping[int, Mapping[str, Trajectory]], sizes: Sequence[int], names: Sequence[str], split: str
) -> Errors:
    return np.array([[final_error(name, trajectories[size][name].metrics, split) for name in names] for size in sizes])


def _pairs(runs: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """The runs of the two arms that belong together, in the same order."""
    pairs = replica_pairs(runs[TUNED], runs[FRESH])
    if not pairs:
        raise ValueError(f"no replica of finetune has the number of one of randinit: {runs[TUNED]}, {runs[FRESH]}")
    return [a for a, _ in pairs], [b for _, b in pairs]


def _scaled(found: Interval, factor: float) -> Interval:
    ends = [None if end is None else factor * end for end in (found.low, found.high)]
    return Interval(factor * found.value, ends[0], ends[1], found.n)


def _advice(rows: pl.DataFrame, sizes: Sequence[int], difference: Interval, *, sure: bool) -> str:
    """Whether to transfer at the largest size, and what pre-training is worth where that is known best."""
    test = rows.filter(split="test")
    means = {which: _mean(test, which, sizes[-1]) for which in (TUNED, FRESH)}
    verb = "Transfer" if difference.value < 0 else "Do not transfer" if difference.value > 0 else "Either will do"
    if not sure:
        verb = "It is not sure whether to transfer"
    said = (
        f"{verb}: with {counted(sizes[-1], 'label')} a class fine-tuning has {ranged(means[TUNED], '.1f', 100)} % "
        f"errors on test and training from random init {ranged(means[FRESH], '.1f', 100)} %, "
        f"{counted(difference.n, 'replica')}; "
    )
    return said + _worth(test.filter(metric="equivalent_shots").sort("x"), sizes)


def _mean(rows: pl.DataFrame, which: str, size: int) -> Interval:
    found = rows.filter(metric="error", a=which, x=size).row(0, named=True)
    return Interval(found["value"], found["low"], found["high"], found["n"])


def _worth(rows: pl.DataFrame, sizes: Sequence[int]) -> str:
    known = rows.filter(pl.col("value").is_not_null())
    if known.height:
        best = known.row(-1, named=True)  # the largest size for which an answer was found
        shots = Interval(best["value"], best["low"], best["high"], best["n"])
        if shots.value < best["x"]:
            costs = shots.high is not None and shots.high < best["x"]
            return (
                f"with {counted(int(best['x']), 'label')} a class fine-tuning is {'only ' if costs else ''}as good as "
                f"training from random init with {ranged(shots, '.1f')}{': pre-training costs some' if costs else ''}."
            )
        return (
            f"pre-training makes {counted(int(best['x']), 'label')} a class as good as {ranged(shots, '.0f')} without "
            f"it, {shots.value / best['x']:.1f} times as many."
        )
    if (rows["note"] == MORE).all():
        return (
            f"without pre-training even {sizes[-1]} labels a class ({MORE}) are not as good as {sizes[0]} with it: it "
            f"is worth more than {sizes[-1] / sizes[0]:.3g} times as many."
        )
    if (rows["note"] == FEWER).all():
        return f"without pre-training {counted(sizes[0], 'label')} a class ({FEWER}) is as good as {sizes[-1]} with it."
    return "what it is worth lies outside of the sizes tried."
