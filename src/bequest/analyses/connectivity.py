"""Is there a curved path of low loss between two solutions, where the straight line has a barrier?

Source: Garipov et al. 2018; Draxler et al. 2018. A Bezier curve or polygonal chain between fixed ends is trained on
training data (`bequest.training.curves`) and then measured, as the straight line is, at points t in 0..1 (x = t), with
BatchNorm refitted at each, the ends included.

`error` (0..1; intervals are Wilson's) and `loss` along the path; column `path` is `bezier`, `chain` or, the control,
`line`. `max_error` and `max_loss` are the highest values; `barrier_error` and `barrier_loss` the largest height above
the straight line between the ends' values (Entezari), at least 0; `length` the length of the path in the unit of weight
distance (of `line` the distance of the ends). n counts examples. The trained control weights are among the arrays.

How to read it: up to 0.02 (2 points of error) of `barrier_error` counts as connected. A path that was found is a proof;
one that was not may need a longer training or more bends. Low on train and not on test is a path through solutions that
fit the training data and generalise less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
from torch import nn

from bequest.analyses.intervals import share_interval
from bequest.analyses.pairs import KINDS, arm
from bequest.analyses.pairs import kind as kind_of
from bequest.analyses.panels import by_target_and_split
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict, judge_targets, trained_accuracy
from bequest.evaluation import tasks
from bequest.evaluation.barriers import entezari
from bequest.evaluation.batches import Batches
from bequest.evaluation.batchnorm import has_batchnorm
from bequest.evaluation.chance import chance_rows
from bequest.evaluation.mixtures import mixture, parameter_names
from bequest.evaluation.protocol import Point, Protocol, splits_of
from bequest.training.curves import train_curve
from bequest.weights.algebra import Weights
from bequest.weights.paths import PathKind, gram, path_length, path_shares

if TYPE_CHECKING:
    import altair

NAME = "connectivity"
THRESHOLD = 0.02  # Frankle et al. 2020: below 2 points of error a pair is connected
LEAST_PAIRS = 3
RULE = (
    "Entezari's error barrier, after BatchNorm was refitted where there is any. A pair counts if its straight line has "
    "a barrier above 2 points on some split; it is connected if the trained path has at most 2 points on train and on "
    "test. Holds if all of at least 3 pairs are connected; under conditions if they are fewer, some are not, or only "
    "on train; does not hold if of at least 3 pairs none is, on train either. A path is looked for by one training."
)


def connect(
    model: nn.Module,
    a: Weights,
    b: Weights,
    training_batches: Batches,
    *,
    batches: Batches | Mapping[str, Batches] | None = None,
    calibration: Batches | None = None,
    kind: PathKind = "bezier",
    bends: int = 1,
    epochs: int = 40,
    learning_rate: float = 0.1,
    seed: int = 0,
    points: int = 21,
    task: str | tasks.Loss | tasks.Task = "classification",
    names: tuple[str, str] = ("a", "b"),
) -> Result:
    """Train a path between two weights and measure it, beside the straight line.

    Args:
        model: the network; it is left as it was.
        a: weights at t = 0.
        b: weights at t = 1.
        training_batches: what the path is trained on, (inputs, targets), shuffled: every batch with all classes.
        batches: what is measured; or split -> such batches. None measures the training batches, as `train`.
        calibration: training data for BatchNorm's statistics; None takes the training batches.
        kind: `bezier` or `chain`.
        bends: control weights between the ends, at least 1.
        epochs: passes over the training batches.
        learning_rate: peak of a cosine schedule of SGD with momentum 0.9.
        seed: of the places along the path that training visits.
        points: points at which it is measured, the ends included, at least 3.
        task: name of a task, a task, or a loss (outputs, targets) -> mean loss.
        names: of a and b, for the rows.

    Returns:
        The rows; metrics as described at the top of this file. Arrays `control-1/NAME` …: the trained control weights.

    Raises:
        ValueError: if there are too few points or bends, or the weights do not fit the model or each other.
    """
    if points < 3:
        raise ValueError(f"a path needs at least 3 points; got {points}")
    chosen = tasks.task(task)
    options: dict[str, Any] = {"kind": kind, "bends": bends, "epochs": epochs, "learning_rate": learning_rate}
    controls = train_curve(model, a, b, training_batches, seed=seed, task=chosen, **options)
    splits = splits_of({"train": training_batches} if batches is None else batches)
    statistics = training_batches if calibration is None else calibration
    protocol = Protocol(model, splits, chosen, statistics if has_batchnorm(model) else None)
    ts = [index / (points - 1) for index in range(points)]
    curves: dict[str, list[Point]] = {kind: [], "line": []}
    with mixture(model, controls) as go:
        for path, count in ((kind, len(controls)), ("line", 2)):
            for t in ts:
                if path == "line" and t in (0, 1):
                    curves[path].append(curves[kind][0 if t == 0 else -1])
                    continue
                shares = path_shares(kind if path == kind else "chain", count, t)
                go(shares if path == kind else [shares[0], *[0.0] * bends, shares[1]], None)
                curves[path].append(protocol.here())
    base = {"a": names[0], "b": names[1], "module": "*"}
    rows: list[dict[str, Any]] = []
    rows += [{**base, **row} for split, one in splits.items() for row in chance_rows(one, chosen, split)]
    inner = gram(controls, parameter_names(model))
    lengths = {kind: path_length(kind, inner), "line": path_length("chain", inner[[0, -1]][:, [0, -1]])}
    for path, curve in curves.items():
        rows += _curve_rows({**base, "path": path}, ts, curve, protocol)
        rows.append({**base, "path": path, "metric": "length", "value": lengths[path], "unit": "L2"})
    trained = {
        f"control-{place}/{name}": tensor.detach().cpu()
        for place, control in enumerate(controls[1:-1], 1)
        for name, tensor in control.items()
    }
    return Result(NAME, table(NAME, rows), trained)


def _curve_rows(
    base: Mapping[str, Any], ts: Sequence[float], curve: Sequence[Point], protocol: Protocol
) -> Iterator[dict[str, Any]]:
    """The curve of one path and what is said of it as a whole."""
    for split in protocol.splits:
        tallies = [point[split] for point in curve]
        n = tallies[0].n
        means = [tally.means() for tally in tallies]
        for metric, values in (("error", [error for _, error in means]), ("loss", [loss for loss, _ in means])):
            row = {**base, "split": split, "n": n, "unit": protocol.units[metric]}
            for t, value in zip(ts, values, strict=True):
                at = {**row, "metric": metric, "x": t, "value": _finite(value)}
                if metric == "error" and protocol.task.shares:
                    share = share_interval(round(value * n), n)
                    at |= {"low": share.low, "high": share.high}
                yield at
            highest = max(values) if all(math.isfinite(value) for value in values) else math.nan
            broken = {"note": "not finite everywhere on the path"} if math.isnan(highest) else {}
            yield {**row, "metric": f"max_{metric}", "value": _finite(highest), **broken}
            yield {**row, "metric": f"barrier_{metric}", "value": _finite(entezari(values, ts)), **broken}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge claim C11 for each target.

    Args:
        rows: the rows of this analysis, of one or several pairs and targets.

    Returns:
        One verdict, or none where there are no rows.
    """
    return judge_targets(rows, _connected)


def _connected(rows: pl.DataFrame, target: str | None) -> Verdict | None:
    """Apply the rule of C11 to the rows of one target."""
    barriers = rows.filter(metric="barrier_error")
    if barriers.is_empty():
        return None
    heights: dict[tuple[str, str], dict[str, dict[str | None, float]]] = {}
    for a, b, path, split, value in barriers.select("a", "b", "path", "split", "value").iter_rows():
        height = math.inf if value is None else value
        which = "line" if path == "line" else "path"
        known = heights.setdefault((a, b), {}).setdefault(which, {})
        known[split] = min(height, known.get(split, math.inf))  # of a Bezier and a chain, the better one
    walled = {pair: found for pair, found in heights.items() if max(found["line"].values()) > THRESHOLD}
    n = len(walled)
    if failed := _untrained(rows):
        return Verdict("C11", "inconclusive", f"{failed}.", RULE, n, target=target)
    if not walled:
        sentence = f"None of the {len(heights)} straight lines has a barrier above 2 points, so none had to be avoided."
        return Verdict("C11", "inconclusive", sentence, RULE, 0, target=target)
    everywhere = [pair for pair, found in walled.items() if max(found["path"].values()) <= THRESHOLD]
    fitted = [pair for pair, found in walled.items() if found["path"].get("train", math.inf) <= THRESHOLD]
    worst = [max(max(found[which].values()) for found in walled.values()) for which in ("path", "line")]
    pairs = "the one pair" if n == 1 else f"{len(everywhere)} of {n} pairs"
    numbers = (
        f"highest barrier {100 * worst[0]:.1f} points of error along the trained path, {100 * worst[1]:.1f} along the "
        f"straight line"
    )

    def say(status: Any, sentence: str) -> Verdict:
        return Verdict("C11", status, f"{sentence}: {numbers}.", RULE, n, target=target)

    if len(everywhere) == n:
        if {"train", "test"} <= set(barriers["split"]) and n >= LEAST_PAIRS:
            return say("holds", f"All {n} pairs are connected by a path, not by the line")
        return say("holds under conditions", f"Connected by a path, not by the line, for {pairs} that were tried")
    if everywhere:
        return say("holds under conditions", f"A path was found for {pairs}")
    if fitted:
        return say("holds under conditions", f"Paths are low on train for {len(fitted)} of {n} pairs, not on test")
    if n >= LEAST_PAIRS:
        return say("does not hold", f"No path was found for any of {n} pairs by this training")
    return say("inconclusive", "No path was found by this training, which is no proof that there is none")


def _untrained(rows: pl.DataFrame) -> str | None:
    """Say which end is hardly better than guessing, on train if that was measured."""
    chance = rows.filter(metric="chance_accuracy")
    if chance.is_empty():
        return None
    split = pl.col("split").eq_missing(pl.lit("train" if "train" in chance["split"] else chance["split"][0], pl.String))
    least = trained_accuracy(chance.filter(split)["value"][0])
    ends = rows.filter(split, pl.col("metric") == "error", pl.col("path") == "line", pl.col("x").is_in([0.0, 1.0]))
    for a, b, x, value in ends.select("a", "b", "x", "value").iter_rows():
        if value is not None and 1 - value < least:
            name = a if x == 0 else b
            return f"{name} is hardly better than chance here, so {arm(name)} has no solution to connect"
    return None


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw the error along the trained paths (solid) and along the straight lines (dashed), a panel a target and split.

    Args:
        rows: the rows of this analysis.

    Returns:
        The chart; a solid curve that stays flat where the dashed one rises is a path around a barrier.
    """
    return by_target_and_split(rows.filter(metric="error"), _panel)


def _panel(data: pl.DataFrame) -> Any:
    """The chart of one target and split."""
    import altair as alt

    kinds = pl.Series("kind", [kind_of(a, b) for a, b in data.select("a", "b").iter_rows()], dtype=pl.String)
    data = data.select("a", "b", "x", "value", "path", kinds)
    present = [name for name in KINDS if name in set(kinds)]
    dashes = {"bezier": [1, 0], "chain": [8, 3], "line": [3, 3]}
    paths = [name for name in dashes if name in set(data["path"])]
    shown = ["a:N", "b:N", "path:N", alt.Tooltip("x:Q", title="t")]
    return (
        alt.Chart(data)
        .mark_line(strokeWidth=2)
        .encode(
            alt.X("x:Q", title="t, from a (0) to b (1)", axis=alt.Axis(grid=False)),
            alt.Y("value:Q", title="error (%)", axis=alt.Axis(format="~%"), scale=alt.Scale(zero=True)),
            alt.Color("kind:N", title="pair", scale=alt.Scale(domain=present, range=[KINDS[name] for name in present])),
            alt.StrokeDash("path:N", title="path", scale=alt.Scale(domain=paths, range=[dashes[one] for one in paths])),
            alt.Detail(["a:N", "b:N"]),
            tooltip=[*shown, alt.Tooltip("value:Q", title="error", format=".1%")],
        )
    )
