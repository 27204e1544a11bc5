"""Is there a barrier on the straight line between two solutions?

Source: Neyshabur et al. 2020, section 3.4 (claims: fine-tuned pairs lie in one basin, random inits do not, even from
one seed); Entezari et al. 2022 (the definition); Jordan et al. 2022 (BatchNorm).

`error` (0..1) and `loss` at the weights (1 - t) a + t b, x = t. All tensors move, frozen ones too. A network with
BatchNorm gets its running statistics collected again on training data (`calibration`) at every t, the ends included, so
that the ends are the models as this protocol sees them. Beside it the naive curve, `error_naive` and `loss_naive`, with
the statistics interpolated; its barrier is often one of the statistics and not of the weights. Networks without
BatchNorm have no naive rows; those with it but without `calibration` have only naive ones, and a note that says so.

`barrier_error` and `barrier_loss` are Entezari's, the largest height above the straight line between the ends' values;
`_frankle`, `_midpoint` and `_gsaltintas` are the other definitions (see `bequest.evaluation.barriers`), `_naive` is
Entezari's on the naive curve. n counts examples; intervals of `error` are Wilson's. The verdict's t intervals are cut
at 0 where they are shown: no barrier is below it. `chance_accuracy` is what guessing gives (the share of the largest
class; an AUROC of 0.5), `classes_left_out` counts those without an AUROC.

How to read it: up to 0.02 (2 points of error) counts as no barrier (Frankle et al. 2020). It speaks of the segment
alone, in raw coordinates: permuting the channels of a network changes its line to others and not its function.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import polars as pl
from torch import nn

from bequest.analyses.conditions import untrained
from bequest.analyses.groups import SAME_INIT, Group, counted, grouped, ranged
from bequest.analyses.intervals import Interval, bounded, share_interval
from bequest.analyses.panels import by_target_and_split, pair_channels, with_kinds
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict, judge_targets
from bequest.evaluation import tasks
from bequest.evaluation.applied import line, preserved, put
from bequest.evaluation.barriers import DEFINITIONS, entezari
from bequest.evaluation.batches import Batches
from bequest.evaluation.batchnorm import has_batchnorm, refit_in_place
from bequest.evaluation.chance import chance_rows
from bequest.evaluation.predict import tallied
from bequest.weights.algebra import Weights, check_alike

if TYPE_CHECKING:
    import altair

Point = dict[tuple[str | None, str], tasks.Tally]  # (split, "" or "_naive") -> what was measured

NAME = "barrier"
THRESHOLD = 0.02  # Frankle et al. 2020: below 2 points of error a pair is connected
LEAST_PAIRS = 3
BASIN = (
    "Entezari's error barrier, after BatchNorm was refitted where there is any. Holds if on train and test the 95 % "
    "interval for fine-tuned pairs ends at or below 2 points and before that for random-init pairs begins; does not "
    "hold if on one of them it is clearly above 2 points. Replicas are counted, not pairs; at least 3 pairs of a kind."
)
APART = (
    "Entezari's error barrier, after BatchNorm was refitted where there is any. Holds if, on every split, the 95 % "
    "interval for random-init pairs is above 2 points, and that for pairs from the same init, too; under conditions if "
    "only different inits are, or with fewer than 3 inits that have such a pair, as one pair has no interval. Does not "
    "hold if the interval ends at or below 2 points. At least 3 pairs. n and interval are those of different inits."
)


def barrier(
    model: nn.Module,
    endpoints: Mapping[str, Weights],
    batches: Batches | Mapping[str, Batches],
    *,
    points: int = 21,
    calibration: Batches | None = None,
    task: str | tasks.Loss | tasks.Task = "classification",
    pairs: Sequence[tuple[str, str]] | None = None,
    tell: Callable[[float], None] | None = None,
) -> Result:
    """Measure error and loss on the lines between pairs of weights.

    Args:
        model: the network to run them in; it is left as it was.
        endpoints: name -> weights, at least two, all of the model's shapes.
        batches: (inputs, targets) to measure on; or split -> such batches.
        points: points on each line, the ends included, at least 3.
        calibration: training data for BatchNorm's statistics, never test data. Where train is measured too, its error
            is one on the images that the statistics come from.
        task: name of a task, a task, or a loss (outputs, targets) -> mean loss.
        pairs: pairs of names; None takes all. Each endpoint is evaluated once, in however many pairs it is.
        tell: is told the share that is done, 0..1, after each pair.

    Returns:
        The rows; metrics as described at the top of this file.

    Raises:
        ValueError: if there are too few endpoints or points, or weights do not fit the model or each other.
    """
    if points < 3:
        raise ValueError(f"a line needs at least 3 points; got {points}")
    chosen = _pairs(endpoints, pairs)
    ends = _ends(model, endpoints, chosen)
    splits = dict(batches) if isinstance(batches, Mapping) else {None: batches}
    measured = _Protocol(model, splits, calibration, tasks.task(task))
    ts = [index / (points - 1) for index in range(points)]
    solutions: dict[str, Point] = {}
    with preserved(model):
        for name, weights in ends.items():
            put(model, weights)
            solutions[name] = measured.here()
    rows: list[dict[str, Any]] = []
    rows += [row for split, one in splits.items() for row in chance_rows(one, measured.task, split)]
    for place, (a, b) in enumerate(chosen):
        curve = [solutions[a]]
        with line(model, ends[a], ends[b]) as go:
            for t in ts[1:-1]:
                go(t)
                curve.append(measured.here())
        rows += _pair_rows({"a": a, "b": b, "module": "*"}, ts, [*curve, solutions[b]], measured)
        if tell is not None:
            tell((place + 1) / len(chosen))
    return Result(NAME, table(NAME, rows))


class _Protocol:
    """Measures the weights that are in the model now, on all splits, the same way everywhere."""

    def __init__(
        self, model: nn.Module, splits: Mapping[Any, Batches], calibration: Batches | None, task: tasks.Task
    ) -> None:
        self.model, self.splits, self.calibration, self.task = model, splits, calibration, task
        self.batchnorm = has_batchnorm(model)
        self.note = None
        if self.batchnorm and calibration is None:
            self.note = "BatchNorm was not refitted: pass training batches as calibration="

    def here(self) -> Point:
        """Measure: first as it is, if that is naive, then with refitted statistics."""
        found: Point = {}
        if self.batchnorm:
            found |= {(split, "_naive"): tallied(self.model, one, self.task) for split, one in self.splits.items()}
            if self.calibration is None:
                return found
            refit_in_place(self.model, self.calibration)
        return found | {(split, ""): tallied(self.model, one, self.task) for split, one in self.splits.items()}


def _pairs(endpoints: Mapping[str, Weights], pairs: Sequence[tuple[str, str]] | None) -> list[tuple[str, str]]:
    if len(endpoints) < 2:
        raise ValueError(f"a line needs two endpoints; got {len(endpoints)}: {', '.join(endpoints) or 'none'}")
    for name in (name for pair in pairs or () for name in pair):
        if name not in endpoints:
            near = difflib.get_close_matches(name, endpoints, n=1, cutoff=0.0)
            raise ValueError(f"there is no endpoint {name!r}; the nearest is {near[0]!r}")
    return list(dict.fromkeys(pairs)) if pairs is not None else list(combinations(endpoints, 2))


def _ends(model: nn.Module, endpoints: Mapping[str, Weights], pairs: Sequence[tuple[str, str]]) -> dict[str, Weights]:
    """Give the endpoints of the pairs, checked, with memory of their own where they are the model's own tensors."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    ends: dict[str, Weights] = {}
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        weights = endpoints[name]
        if ends:
            first = next(iter(ends))
            try:
                check_alike(ends[first], weights)
            except ValueError as error:
                raise ValueError(
                    f"there is no line between {first!r} and {name!r}: {error}. Heads of different numbers of classes "
                    "cannot be mixed; give both the same head, or compare them by similarity"
                ) from error
        shared = any(tensor.untyped_storage().data_ptr() in own for tensor in weights.values())
        ends[name] = {key: tensor.clone() for key, tensor in weights.items()} if shared else weights
    return ends


def _pair_rows(
    pair: Mapping[str, str], ts: Sequence[float], curve: Sequence[Point], measured: _Protocol
) -> Iterator[dict[str, Any]]:
    """The curve of one pair and its barriers."""
    for split, protocol in curve[0]:
        tallies = [point[split, protocol] for point in curve]
        n = tallies[0].n
        row: dict[str, Any] = {**pair, "split": split, "n": n, "note": measured.note}
        means = [tally.means() for tally in tallies]
        values = {"error": [error for _, error in means], "loss": [loss for loss, _ in means]}
        for metric, heights in values.items():
            row["unit"] = measured.task.units[metric]
            for t, value in zip(ts, heights, strict=True):
                at = {**row, "x": t, "metric": metric + protocol, "value": _finite(value)}
                if metric == "error" and measured.task.shares:
                    share = share_interval(round(value * n), n)
                    at |= {"low": share.low, "high": share.high}
                yield at
            definitions = {"_naive": entezari} if protocol else DEFINITIONS
            for suffix, height in definitions.items():
                value = height(heights, ts)
                broken = {"note": "not finite everywhere on the line"} if math.isnan(value) else {}
                yield {**row, "metric": f"barrier_{metric}{suffix}", "value": _finite(value), **broken}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge claims C7 and C8 for each target.

    Args:
        rows: the rows of this analysis, of one or several targets.

    Returns:
        A verdict for each claim that there are pairs for.
    """
    return judge_targets(rows, _one_basin) + judge_targets(rows, _apart)


def _one_basin(rows: pl.DataFrame, target: str | None) -> Verdict | None:
    """Apply the rule of C7 to the rows of one target."""
    groups, refitted = _groups(rows)
    tuned = {split: one["finetune & finetune"] for split, one in groups.items() if "finetune & finetune" in one}
    random = {split: one["randinit & randinit"] for split, one in groups.items() if "randinit & randinit" in one}
    if not tuned or tuned.keys() != random.keys():
        return None
    means = {split: (tuned[split].mean, random[split].mean) for split in tuned}
    n = min(min(tuned[split].replicas, random[split].replicas) for split in tuned)
    worst = max((pair[0] for pair in means.values()), key=lambda mean: mean.value)
    counts = [len(next(iter(groups.values())).values) for groups in (tuned, random)]
    numbers = (
        f"barriers in points of error between fine-tuned models and between random inits are {_listed(means)} "
        f"({counts[0]} and {counted(counts[1], 'pair')} of {counted(n, 'replica')} an arm)"
    )
    naive = {
        split: tuple(group[name].mean for name in ("finetune & finetune", "randinit & randinit") if name in group)
        for split, group in _groups(rows, "barrier_error_naive")[0].items()
    }
    numbers += f". Without the refit of BatchNorm they are {_listed(naive)}" if naive and refitted else ""

    def say(status: Any, sentence: str) -> Verdict:
        return Verdict("C7", status, f"{sentence}: {numbers}.", BASIN, n, *_points(worst), target=target)

    if failed := _untrained(rows, ("finetune", "randinit")):
        return say("inconclusive", failed)
    if not refitted:
        return say("inconclusive", "BatchNorm was not refitted")
    if min(len(group.values) for group in (*tuned.values(), *random.values())) < LEAST_PAIRS:
        return say("inconclusive", f"Fewer than {LEAST_PAIRS} pairs of a kind")
    if any(_above(pair[0]) for pair in means.values()):
        return say("does not hold", "There is a barrier between fine-tuned models")
    if not all(_below(pair[0]) for pair in means.values()):
        return say("inconclusive", "This cannot be told, as the interval crosses 2 points")
    if not all((pair[0].high or 0) < (pair[1].low or 0) for pair in means.values()):
        return say("inconclusive", "No barrier between fine-tuned models, but none clearly higher between random inits")
    if not {"train", "test"} <= means.keys():
        return say("holds under conditions", "Not measured on both train and test")
    return say("holds", "No barrier")


def _apart(rows: pl.DataFrame, target: str | None) -> Verdict | None:
    """Apply the rule of C8 to the rows of one target."""
    groups, refitted = _groups(rows)
    random = {split: one["randinit & randinit"] for split, one in groups.items() if "randinit & randinit" in one}
    if not random:
        return None
    same = {split: one[SAME_INIT] for split, one in groups.items() if SAME_INIT in one}
    means = {split: (group.mean,) for split, group in random.items()}
    lowest = min((mean for (mean,) in means.values()), key=lambda mean: mean.value)
    n = min(group.replicas for group in random.values())
    count = len(next(iter(random.values())).values)
    numbers = f"barriers in points of error between random inits are {_listed(means)} ({counted(count, 'pair')})"
    if same:
        pairs = min(len(group.values) for group in same.values())
        numbers += (
            f"; between runs from the same init {_listed({split: (group.mean,) for split, group in same.items()})} "
        )
        numbers += "(one pair, no interval)" if pairs == 1 else f"({pairs} pairs)"

    def say(status: Any, sentence: str) -> Verdict:
        return Verdict("C8", status, f"{sentence}: {numbers}.", APART, n, *_points(lowest), target=target)

    if failed := _untrained(rows, ("randinit",)):
        return say("inconclusive", failed)
    if not refitted:
        return say("inconclusive", "BatchNorm was not refitted")
    if min(len(group.values) for group in random.values()) < LEAST_PAIRS:
        return say("inconclusive", f"Fewer than {LEAST_PAIRS} pairs")
    if any(_below(mean) for (mean,) in means.values()):
        return say("does not hold", "There is no barrier between random inits")
    if not all(_above(mean) for (mean,) in means.values()):
        return say("inconclusive", "This cannot be told, as the interval crosses 2 points")
    if not same:
        return say("holds under conditions", "Different inits are apart; no pair from the same init was measured")
    if min(group.mean.value for group in same.values()) <= THRESHOLD:
        return say("holds under conditions", "Different inits are apart, pairs from the same init are not")
    if min(group.replicas for group in same.values()) < LEAST_PAIRS:
        return say("holds under conditions", f"A barrier, but from the same init of fewer than {LEAST_PAIRS} inits")
    if not all(_above(group.mean) for group in same.values()):
        return say("holds under conditions", "Different inits are apart, pairs from the same init not clearly")
    return say("holds", "A barrier, from the same init too")


def _groups(rows: pl.DataFrame, metric: str = "barrier_error") -> tuple[dict[str | None, dict[str, Group]], bool]:
    """Give the pairs by split and kind, and whether they are of the right protocol, not naive for want of it."""
    chosen = rows.filter(metric=metric)
    refitted = not chosen.is_empty()
    if not refitted:
        chosen = rows.filter(metric="barrier_error_naive")
    parts = chosen.partition_by("split", maintain_order=True)
    return {part["split"][0]: grouped(part) for part in parts}, refitted


def _untrained(rows: pl.DataFrame, arms: Sequence[str]) -> str | None:
    """Say which arm failed to train, by the errors at the ends, on train if that was measured."""
    chance = rows.filter(metric="chance_accuracy")
    if chance.is_empty():
        return None
    split = "train" if "train" in chance["split"] else chance["split"][0]
    row = chance.filter(pl.col("split").eq_missing(split)).row(0, named=True)
    metric = "error" if not rows.filter(metric="error").is_empty() else "error_naive"
    ends = rows.filter(pl.col("metric") == metric, pl.col("split").eq_missing(split), pl.col("x").is_in([0.0, 1.0]))
    values = [(a if x == 0 else b, value) for a, b, x, value in ends.select("a", "b", "x", "value").iter_rows()]
    return untrained({name: value for name, value in values if value is not None}, row["value"], arms)


def _above(mean: Interval) -> bool:
    return mean.low is not None and mean.low > THRESHOLD


def _below(mean: Interval) -> bool:
    return mean.high is not None and mean.high <= THRESHOLD


def _points(mean: Interval) -> tuple[float | None, float | None]:
    """The ends in points of error; a barrier is never below 0."""
    shown = bounded(mean)
    return tuple(None if end is None else 100 * end for end in (shown.low, shown.high))  # type: ignore[return-value]


def _listed(means: Mapping[str | None, tuple[Interval, ...]]) -> str:
    texts = [
        " and ".join(ranged(bounded(mean), ".1f", 100) for mean in pair) + (f" on {split}" if split else "")
        for split, pair in means.items()
    ]
    return ", ".join(texts)


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw the error along the line, a curve a pair, a panel for each target and split; the naive curves are thin.

    Args:
        rows: the rows of this analysis.

    Returns:
        The chart; a curve that stays below the straight line between its ends has no barrier.
    """
    return by_target_and_split(rows.filter(pl.col("metric").is_in(["error", "error_naive"])), _panel)


def _panel(data: pl.DataFrame) -> Any:
    """The chart of one target and split."""
    import altair as alt

    naive = pl.when(pl.col("metric") == "error").then(pl.lit("refitted")).otherwise(pl.lit("naive"))
    data = with_kinds(data.select("a", "b", "x", "value", naive.alias("protocol")))
    colour, dash, _ = pair_channels(data)
    both = data["protocol"].unique().sort(descending=True).to_list()
    widths = alt.Scale(domain=both, range=[2.25 if one == "refitted" else 0.75 for one in both])
    legend, shown = (alt.Legend(), ["a:N", "b:N", "protocol:N"]) if len(both) > 1 else (None, ["a:N", "b:N"])
    return (
        alt.Chart(data)
        .mark_line()
        .encode(
            alt.X("x:Q", title="t, from a (0) to b (1)", axis=alt.Axis(grid=False)),
            alt.Y("value:Q", title="error (%)", axis=alt.Axis(format="~%"), scale=alt.Scale(zero=True)),
            colour,
            dash,
            alt.StrokeWidth("protocol:N", title="BatchNorm", sort=both, scale=widths, legend=legend),
            alt.Detail(["a:N", "b:N"]),
            tooltip=[*shown, alt.Tooltip("x:Q", title="t"), alt.Tooltip("value:Q", title="error", format=".1%")],
        )
    )
