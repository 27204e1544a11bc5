"""Which modules have to be what they became, and which could as well have stayed where they started?

Source: Neyshabur et al. 2020 (claim: higher modules are more critical); Chatterji et al. 2020 (definition); Zhang et
al. 2022 (rewinding and re-randomising). One module i is changed, all others are final.

`rewind_error`: the objective with the module at its start; `rerandomised_error`: with a fresh draw of its init;
`path_error`: with it at a checkpoint (column `checkpoint`; x = distance from the start). `move` = ||theta_F -
theta_0||, the size of what was taken back, over parameters (n of them); `move_relative` in units of the start's norm.
Compare drops with it beside. Column `end`: which weights of the run are final, the `last` or the `best`.

`mu` = least d(a)^2 / sigma^2 over positions a of the path and normal noise sigma, both 0..1, at which the expected
objective is at or below `tolerance`; d(a) is the distance from the start (a * move on the straight line), x is d at the
least. `alpha` and `sigma` are where it is; `sigma_relative` is sigma over the root mean square of the final
parameters, as raw sigma depends on their scale. mu = 0: rewinding is accepted; inf: nothing is, not even no noise.
`mu_sum` over modules is the network's. mu has no unit; small is uncritical: a wide valley reaches near to the start.

The objective is the task's error (0..1), or its loss. The tolerance is 1.01 times the final objective if none is given
(as in Meta-Dataset's code), and 0.01 where the final one is 0, as one percent of nothing would accept nothing.
BatchNorm's statistics move with their module. They are refitted only with `calibration`; then the naive errors stand
beside as `rewind_error_naive`, `rerandomised_error_naive`.

`final_error` is the objective of the final model; `forwards` the forward passes over all examples that it all took, a
replay from a module counted by its share (`bequest.evaluation.replay`; its note names modules that cannot be replayed).
n counts examples, for `move` parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from torch import nn

from bequest.analyses.groups import ranged, rank_correlation
from bequest.analyses.intervals import Interval, bounded, mean_interval, share_interval
from bequest.analyses.module_charts import EVERY, mus, rewound, rises
from bequest.analyses.pairs import ARMS, arm, replicas
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import MISSING_RUN, Status, Verdict, judge_targets, trained_accuracy
from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches, walk
from bequest.evaluation.batchnorm import has_batchnorm
from bequest.evaluation.chance import chance_rows
from bequest.evaluation.perturbation import Objective
from bequest.evaluation.tolerance import PRECISION
from bequest.evaluation.valleys import Measured, Network, Protocol, measured, named
from bequest.models.head import head_name
from bequest.models.order import modules as ordered
from bequest.training.seeds import fold
from bequest.weights.algebra import Weights, check_alike
from bequest.weights.modules import Module

if TYPE_CHECKING:
    import altair

NAME = "criticality"
NAIVE = "BatchNorm's statistics moved with the module and were not refitted: pass training batches as calibration="
LEAST_REPLICAS = 3
RULE = (
    "Spearman's rank correlation with depth, a number a replica, of mu and of the error after rewinding, on the direct "
    "path to the last weights; for fine-tuned models without the head, which is new and so always critical. The trend "
    "is upward if both 95 % intervals are above 0. Holds if it is so for fine-tuned models and random inits; under "
    "conditions if for fine-tuned models alone, or if on another path or to another end a mean correlation has the "
    "other sign; does not hold if for fine-tuned models both intervals are below 0. At least 3 replicas. The interval "
    "is that of mu."
)
WAYS = {  # path and end -> in words
    ("direct", "last"): "straight to the last weights",
    ("direct", "best"): "straight to the best weights",
    ("checkpoints", "last"): "through checkpoints to the last weights",
    ("checkpoints", "best"): "through checkpoints to the best weights",
}

Trend = dict[str, Interval]


def criticality(
    model: nn.Module,
    initial: Weights,
    final: Weights,
    batches: Batches,
    *,
    tolerance: float | None = None,
    task: str | tasks.Loss | tasks.Task = "classification",
    objective: Objective = "error",
    path: Literal["direct"] | Sequence[Weights] | Mapping[str, Weights] = "direct",
    modules: Sequence[Module] | None = None,
    draws: int = 10,
    seed: int = 0,
    rerandomised: Weights | Callable[[int], Weights] | None = None,
    calibration: Batches | None = None,
    precision: float = PRECISION,
    cache_bytes: int = 2**30,
    name: str = "final",
    split: str | None = None,
    end: str | None = None,
) -> Result:
    """Measure how critical each module of a trained network is.

    Args:
        model: the network to run the weights in; it is left as it was.
        initial: weights at the start (for a fine-tuned model the pre-trained ones with the fresh head), or at any
            checkpoint to rewind to.
        final: weights at the end, of the same shapes.
        batches: (inputs, targets), the same on every walk; for the definition, training data.
        tolerance: highest objective accepted, absolute; None takes 1.01 times the final one.
        task: name of a task, a task, or a loss (outputs, targets) -> mean loss.
        objective: the task's error or its loss.
        path: straight from start to end; or the checkpoints in between, in order, with or without names.
        modules: units in order of execution; None finds them.
        draws: of noise, for the expectation; 0 leaves mu out and only exchanges modules.
        seed: of the noise and of `rerandomised`.
        rerandomised: weights of another init, or a function seed -> such weights.
        calibration: training data to refit BatchNorm on, for each change and draw (slow); None is naive.
        precision: of mu, relative; a coarser one takes fewer passes.
        cache_bytes: bound on the activations kept between evaluations; a quarter as much may hold noise.
        name: what the run is called in the rows (`finetune/0`).
        split: which split the batches are, for the rows.
        end: which end of the run the final weights are (`last`, `best`), for the rows.

    Returns:
        The rows; metrics as described at the top of this file.

    Raises:
        ValueError: if weights do not fit, draws is negative, or the precision is not above 0.
    """
    if draws < 0 or not precision > 0:
        raise ValueError(f"draws must be 0 or more and the precision above 0, got {draws} and {precision}")
    if isinstance(path, str) and path != "direct":
        raise ValueError(f"path is 'direct' or a list of checkpoints, not {path!r}")
    between = {} if isinstance(path, str) else named(path)
    redrawn = rerandomised(seed) if callable(rerandomised) else rerandomised
    points = [initial, *between.values(), final]
    for other in [*points[:-1], *([] if redrawn is None else [redrawn])]:
        check_alike(final, other)
    units = list(modules) if modules is not None else ordered(model, next(iter(walk(batches)))[0])
    seeds = {unit.name: [fold(seed, unit.name, draw) for draw in range(draws)] for unit in units}
    protocol = Protocol(tasks.task(task), objective, calibration, cache_bytes)
    network = measured(
        model,
        points,
        batches,
        units,
        protocol,
        straight=isinstance(path, str),
        tolerance=tolerance,
        redrawn=redrawn,
        seeds=seeds if draws else None,
        precision=precision,
    )
    note = NAIVE if has_batchnorm(model) and calibration is None else None
    unit = protocol.task.units["error"] if objective == "error" else "loss"
    shares = protocol.task.shares and objective == "error"
    rows = list(_network_rows(network, note, tolerance))
    rows += chance_rows(batches, protocol.task)
    for one in network.modules:
        rows += _module_rows(one, network.examples, note, shares, unit, list(between))
    shared = {"a": name, "split": split, "path": "direct" if isinstance(path, str) else "checkpoints", "end": end}
    return Result(NAME, table(NAME, _completed(rows, model, units, shared)))


def _network_rows(network: Network, note: str | None, tolerance: float | None) -> Iterator[dict[str, Any]]:
    """The numbers about all modules together."""
    n = network.examples
    yield _row("*", "final_error", network.final, n, note=note)
    zero = "the final objective is 0, and 1.01 times 0 would accept nothing: 0.01 is accepted"
    yield _row("*", "tolerance", network.tolerance, n, note=zero if tolerance is None and not network.final else None)
    whole = f"run in full: {', '.join(network.whole)}" if network.whole else None
    yield _row("*", "forwards", network.passes, n, unit="forward passes", note=whole)
    if all(one.valley for one in network.modules):
        total = math.fsum(one.valley.mu for one in network.modules if one.valley)
        yield _row("*", "mu_sum", total, n, note=note)


def _module_rows(
    one: Measured, n: int, note: str | None, shares: bool, unit: str, between: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The numbers about one module."""
    name = one.unit.name
    move = one.lengths[-1]
    yield _row(name, "move", move, one.count, unit="parameter")
    relative = move / one.start_norm if one.start_norm else math.nan
    yield _row(name, "move_relative", relative, one.count, unit="share of the start")
    for suffix, errors in (("", one.errors), ("_naive", one.naive)):
        for label, value in errors.items():
            kind, _, place = label.partition(" ")
            row = _row(name, f"{kind}_error{suffix}", value, n, note=note, unit=unit)
            if place:
                row |= {"x": one.lengths[int(place)], "checkpoint": between[int(place) - 1]}
            if shares:
                interval = share_interval(round(value * n), n)
                row |= {"low": interval.low, "high": interval.high}
            yield row
    if one.valley is None:
        return
    valley, said = one.valley, note
    if valley.mu == 0:
        said = "rewinding is accepted"
    elif math.isinf(valley.mu):
        said = "nothing is accepted, not even without noise"
    scale = one.final_norm / math.sqrt(one.count) if one.count else 0.0
    numbers = [
        ("mu", valley.mu, None),
        ("alpha", valley.position, "share of the path"),
        ("sigma", valley.sigma, "parameter"),
        ("sigma_relative", valley.sigma / scale if scale else math.nan, "root mean square"),
    ]
    for metric, value, of in numbers:
        yield _row(name, metric, value, n, x=valley.distance, unit=of, note=said)


def _row(module: str, metric: str, value: float, n: int, **further: Any) -> dict[str, Any]:
    return {"module": module, "metric": metric, "value": value, "n": n, "note": None, **further}


def _completed(
    rows: Sequence[dict[str, Any]], model: nn.Module, units: Sequence[Module], shared: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Add what rows share, the depth of each module and whether it is the head; numbers that are none become null."""
    depths = {unit.name: depth for depth, unit in enumerate(units)}
    try:
        weight = f"{head_name(model)}.weight"
    except ValueError:
        weight = ""
    heads = {unit.name for unit in units if weight in unit.parameters}
    for row in rows:
        known = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        module = row["module"]
        yield {**known, **shared, "depth": depths.get(module), "head": module in heads if module in depths else None}


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge claim C9 for each target, for fine-tuned models (without the head) and random inits apart.

    Args:
        rows: the rows of this analysis, of several runs.

    Returns:
        One verdict, or none where there is no fine-tuned run.
    """
    return judge_targets(rows, _judged)


def _judged(rows: pl.DataFrame, target: str | None) -> Verdict | None:
    """Apply the rule to the rows of one target."""
    ways = {way: _of(rows, *way) for way in WAYS}
    rows, arms, trends = _trends(ways.pop(("direct", "last")))
    if "finetune" not in arms:
        return None
    words = {"finetune": "fine-tuned models without the head", "randinit": "random inits"}
    numbers = "; ".join(f"in {words[which]} {_told(trend)}" for which, trend in trends.items())
    others, agreed = _others(ways, trends)
    first = next(iter(trends["finetune"].values()), Interval(math.nan, None, None, 0))
    n = min(len(names) for which, names in arms.items() if which in trends)

    def say(status: Status, sentence: str) -> Verdict:
        return Verdict(
            "C9",
            status,
            f"{sentence}: rank correlation with depth {numbers}{others}.",
            RULE,
            n,
            first.low,
            first.high,
            target,
        )

    if not _trained(rows, arms["finetune"]):
        return say("inconclusive", "finetune is hardly better than chance here")
    if len(arms["finetune"]) < LEAST_REPLICAS:
        return say("inconclusive", f"Fewer than {LEAST_REPLICAS} replicas")
    if all(one.high is not None and one.high < 0 for one in trends["finetune"].values()):
        return say("does not hold", "Lower modules are more critical")
    if not _upward(trends["finetune"]):
        return say("inconclusive", "No clear trend in fine-tuned models")
    if "randinit" not in trends or len(arms["randinit"]) < LEAST_REPLICAS or not _trained(rows, arms["randinit"]):
        return say("holds under conditions", "Of fine-tuned models; random inits cannot be judged")
    if not _upward(trends["randinit"]):
        return say("holds under conditions", "Of fine-tuned models, but not of random inits")
    if not agreed:
        return say("holds under conditions", "Higher modules are more critical, but not by every way to measure it")
    return say("holds", "Higher modules are more critical")


def _of(rows: pl.DataFrame, path: str, end: str) -> pl.DataFrame:
    """The rows of one path and end; an end without a name is the last."""
    rows = rows.filter(path=path)
    return rows.filter(pl.col("end").fill_null("last") == end) if "end" in rows.columns else rows.filter(end == "last")


def _trends(rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, list[str]], dict[str, Trend]]:
    arms = replicas(rows["a"].unique(maintain_order=True))
    return rows, arms, {which: _trend(rows, arms[which]) for which in ("finetune", "randinit") if which in arms}


def _others(ways: Mapping[tuple[str, str], pl.DataFrame], trends: Mapping[str, Trend]) -> tuple[str, bool]:
    """Say whether the other paths and ends agree: the same signs of the mean correlations."""
    same: list[str] = []
    other: list[str] = []
    for way, rows in ways.items():
        found = _trends(rows)[2]
        values = [
            (one.value, trends[which][metric].value)
            for which, trend in found.items()
            for metric, one in trend.items()
            if metric in trends.get(which, {})
        ]
        if values:
            agree = all((a > 0) == (b > 0) and (a < 0) == (b < 0) for a, b in values)
            numbers = ", ".join(format(trend["mu"].value, "+.2f") for trend in found.values() if "mu" in trend)
            (same if agree else other).append(WAYS[way] + (f" ({numbers} of mu)" if numbers else ""))
    said = f"; the same {' and '.join(same)}" if same else ""
    return said + (f"; otherwise {' and '.join(other)}" if other else ""), not other


def _trend(rows: pl.DataFrame, runs: Sequence[str]) -> Trend:
    """The rank correlation with depth of each number, over the replicas of one arm."""
    found: Trend = {}
    for metric in ("mu", "rewind_error"):
        values = []
        for run in runs:
            own = rows.filter(a=run, metric=metric).unique("module", keep="first").sort("depth")
            if arm(run) == "finetune":
                own = own.filter(~pl.col("head"))
            if own.height > 1:
                correlation = rank_correlation(range(own.height), own["value"].to_list())
                values.append(0.0 if math.isnan(correlation) else correlation)  # all modules alike: no trend
        if values:
            found[metric] = bounded(mean_interval(values), -1.0, 1.0)
    return found


def _told(trend: Trend) -> str:
    names = {"mu": "of mu", "rewind_error": "of the error after rewinding"}
    return " and ".join(f"{ranged(value, '+.2f')} {names[metric]}" for metric, value in trend.items())


def _upward(trend: Trend) -> bool:
    return all(one.low is not None and one.low > 0 for one in trend.values())


def _trained(rows: pl.DataFrame, runs: Sequence[str]) -> bool:
    """Is the arm clearly better than guessing? Unknown counts as yes."""
    chance = rows.filter(pl.col("a").is_in(runs), metric="chance_accuracy")["value"]
    errors = rows.filter(pl.col("a").is_in(runs), metric="final_error")["value"]
    return chance.is_empty() or 1 - float(errors.mean() or 0.0) >= trained_accuracy(float(chance[0]))  # type: ignore[arg-type] # polars types the mean of any column


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw mu of each module, the rise of the error with it exchanged, and, of checkpoints, that of rewinding to each.

    Args:
        rows: the rows of this analysis, of one target.

    Returns:
        The chart: for each path and end a panel of mu, a dot a run, where 0 and inf stand at the edges in other shapes;
        for each end one of the rises, with the mean size of the move of each arm at the right; and for each end and arm
        a table of module by checkpoint, rewound to it, with the re-randomised module as its last column.
    """
    import altair as alt

    rows = rows.filter(pl.col("metric") != MISSING_RUN)
    names = pl.Series("arm", [arm(a) for a in rows["a"]], dtype=pl.String)
    rows = rows.with_columns(names.map_elements(lambda one: one if one in ARMS else "other", return_dtype=pl.String))
    present = [name for name in ARMS if name in set(rows["arm"])]
    modules = rows.filter(pl.col("module") != "*").sort("depth")["module"].unique(maintain_order=True).to_list()
    colour = alt.Color(
        "arm:N",
        title="arm",
        legend=alt.Legend(orient="top"),
        scale=alt.Scale(domain=present, range=[ARMS[name] for name in present]),
    )
    y = alt.Y("module:N", title=None, sort=modules, axis=alt.Axis(**EVERY))
    ways = {way: found for way in WAYS if not (found := _of(rows, *way)).is_empty()}
    ends = {end: next(found for way, found in ways.items() if way[1] == end) for _, end in ways}
    told = {way: WAYS[way] if len(ways) > 1 else "" for way in ways}
    parts: list[Any] = []
    searched = {way: own.filter(metric="mu") for way, own in ways.items()}
    if panels := [mus(mu, colour, y, told[way]) for way, mu in searched.items() if not mu.is_empty()]:
        parts.append(alt.vconcat(*panels))
    parts += [
        rises(own, colour, y, present, f"from the {end} weights" if len(ends) > 1 else "") for end, own in ends.items()
    ]
    tables = [
        rewound(ways["checkpoints", end].filter(arm=which), modules, ", ".join([which, *[end] * (len(ends) > 1)]))
        for end in ends
        for which in present
        if ("checkpoints", end) in ways and which in set(ways["checkpoints", end]["arm"])
    ]
    drawn = alt.vconcat(*parts).resolve_scale(shape="independent")
    if tables:
        drawn = alt.vconcat(drawn, alt.vconcat(*tables)).resolve_scale(color="independent")
    whole: altair.TopLevelMixin = drawn
    return whole
