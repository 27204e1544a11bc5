"""Are two solutions apart, or only their channels in another order?

Source: Ainsworth, Hayase, Srinivasa, Git Re-Basin (2022); Jordan et al., REPAIR (2022); the claim that random inits end
in different basins is Neyshabur et al. 2020, section 3.4, in raw coordinates.

For each pair the line from a to b is measured three times, column `treatment`:

* `raw`: as they are.
* `matched`: b's channels reordered to be nearest to a, which does not change what b computes.
* `repaired`: matched, and each channel's mean and deviation along the line set to the mix of the two ends'.

`error` (0..1) and `loss` have x = t; `barrier_error` and `barrier_loss` are Entezari's, `_frankle`, `_midpoint` and
`_gsaltintas` the other definitions (`bequest.evaluation.barriers`). `l2` is the distance of the parameters, raw and
matched. BatchNorm is refitted on training data at every t, in all three; there, REPAIR sets only layers that no
BatchNorm reads, and where there are none, `repaired` is `matched` and a note says so. `error_naive`, `loss_naive` and
`barrier_error_naive`, `barrier_loss_naive` are those of `matched` without the refit. Intervals of `error` are Wilson's.

How to read it: a barrier that matching removes was one of coordinates; what is left of it is an upper bound, for the
best permutation is not known. Matching is known to succeed for wide networks and to fall short for narrow ones.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from torch import nn

from bequest.analyses.groups import Group, grouped, ranged
from bequest.analyses.intervals import bounded, share_interval
from bequest.analyses.pairs import kind
from bequest.analyses.panels import by_target_and_split
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict
from bequest.evaluation import tasks
from bequest.evaluation.applied import line, preserved, put
from bequest.evaluation.barriers import DEFINITIONS, entezari
from bequest.evaluation.batches import Batches, walk
from bequest.evaluation.batchnorm import has_batchnorm
from bequest.evaluation.matching import find, on_device
from bequest.evaluation.predict import tallied
from bequest.evaluation.protocol import Point, Protocol, splits_of
from bequest.evaluation.repair import Repair, repaired_layers
from bequest.models.fitting import fit_weights
from bequest.models.symmetry import symmetry_of
from bequest.weights.algebra import Weights, squared_distance
from bequest.weights.symmetry import permute

if TYPE_CHECKING:
    import altair

NAME = "matching"
TREATMENTS: dict[str, str] = {"raw": "#d95f26", "matched": "#8a63d2", "repaired": "#2e9e6b"}  # -> colour
ALREADY = "BatchNorm reads every layer: refitting it is what REPAIR does"
NOTHING = "there is no hidden layer to repair"


def matching(
    model: nn.Module,
    endpoints: Mapping[str, Weights],
    batches: Batches | Mapping[str, Batches],
    *,
    points: int = 11,
    calibration: Batches | None = None,
    task: str | tasks.Loss | tasks.Task = "classification",
    pairs: Sequence[tuple[str, str]] | None = None,
    by: Literal["weights", "activations"] = "weights",
    seed: int = 0,
) -> Result:
    """Measure the barriers between pairs of weights: raw, matched, and repaired.

    Args:
        model: the network to run them in; it is left as it was.
        endpoints: name -> weights, at least two, all of the model's shapes.
        batches: (inputs, targets) to measure on; or split -> such batches.
        points: points on each line, the ends included, at least 3.
        calibration: training data for BatchNorm, REPAIR and activation matching; without it nothing is repaired.
        task: name of a task, a task, or a loss (outputs, targets) -> mean loss.
        pairs: pairs of names; None takes all.
        by: match channels by their weights, or by what they do on the calibration data.
        seed: of the order in which weight matching visits the groups of channels.

    Returns:
        The rows; metrics as described at the top of this file.

    Raises:
        ValueError: if there are too few endpoints or points, weights do not fit, or the network's permutations cannot
            be found.
    """
    if points < 3:
        raise ValueError(f"a line needs at least 3 points; got {points}")
    if by not in ("weights", "activations") or (by == "activations" and calibration is None):
        raise ValueError(f"by={by!r}: channels are matched by 'weights', or by 'activations' on calibration data")
    chosen = _pairs(endpoints, pairs)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    ends: dict[str, Weights] = {}
    for name in dict.fromkeys(name for pair in chosen for name in pair):
        fit_weights(model, endpoints[name])
        shared = any(tensor.untyped_storage().data_ptr() in own for tensor in endpoints[name].values())
        ends[name] = {key: value.clone() for key, value in endpoints[name].items()} if shared else endpoints[name]
    protocol = Protocol(model, splits_of(batches), tasks.task(task), calibration)
    symmetry = symmetry_of(model, on_device(model, next(walk(next(iter(protocol.splits.values()))))[0]))
    layers = repaired_layers(model, calibration) if calibration is not None else []
    ts = [index / (points - 1) for index in range(points)]
    solutions: dict[str, Point] = {}
    with preserved(model):
        for name, weights in ends.items():
            put(model, weights)
            solutions[name] = protocol.here()
    parameters = [name for name, _ in model.named_parameters()]
    rows: list[dict[str, Any]] = []
    for a, b in chosen:
        orders = find(
            model, symmetry, ends[a], ends[b], batches=calibration if by == "activations" else None, seed=seed
        )
        moved = permute(ends[b], symmetry, orders)
        between = solutions[a], solutions[b]
        pair = {"a": a, "b": b, "module": "*"}
        for treatment, other in (("raw", ends[b]), ("matched", moved)):
            told = {**pair, "treatment": treatment}
            distance = math.sqrt(squared_distance(ends[a], other, parameters))
            rows.append({**told, "metric": "l2", "value": distance, "n": 1, "unit": "parameter"})
            beside = treatment == "matched" and calibration is not None and has_batchnorm(model)
            curve, naive = _along(protocol, ends[a], other, ts, between, naively=beside)
            rows += _rows({**told, "note": protocol.note}, ts, curve, protocol)
            if beside:
                rows += _rows(told, ts, naive, protocol, suffix="_naive")
        if calibration is not None:
            note = None
            if layers:
                curve = _repaired(protocol, Repair(model, ends[a], moved, layers, calibration), ts, between)
            else:
                note = ALREADY if has_batchnorm(model) else NOTHING
            rows += _rows({**pair, "treatment": "repaired", "note": note}, ts, curve, protocol)
    return Result(NAME, table(NAME, rows))


def _pairs(endpoints: Mapping[str, Weights], pairs: Sequence[tuple[str, str]] | None) -> list[tuple[str, str]]:
    if len(endpoints) < 2:
        raise ValueError(f"matching needs two endpoints; got {len(endpoints)}: {', '.join(endpoints) or 'none'}")
    for name in (name for pair in pairs or () for name in pair):
        if name not in endpoints:
            near = difflib.get_close_matches(name, endpoints, n=1, cutoff=0.0)
            raise ValueError(f"there is no endpoint {name!r}; the nearest is {near[0]!r}")
    return list(dict.fromkeys(pairs)) if pairs is not None else list(combinations(endpoints, 2))


def _along(
    protocol: Protocol, a: Weights, b: Weights, ts: Sequence[float], ends: tuple[Point, Point], *, naively: bool
) -> tuple[list[Point], list[Point]]:
    """Measure the line, refitted and perhaps naive; reordering does not change the ends, which are measured already."""
    curve, naive = [ends[0]], []
    with line(protocol.model, a, b) as go:
        for t in ts:
            inner = t not in (0, 1)
            if not (inner or naively):
                continue
            go(t)
            if naively:
                naive.append(
                    {split: tallied(protocol.model, one, protocol.task) for split, one in protocol.splits.items()}
                )
            if inner:
                curve.append(protocol.here())
    return [*curve, ends[1]], naive


def _repaired(protocol: Protocol, points: Repair, ts: Sequence[float], ends: tuple[Point, Point]) -> list[Point]:
    curve = [ends[0]]
    for t in ts[1:-1]:
        with preserved(protocol.model):
            put(protocol.model, points.at(t))
            curve.append({split: tallied(protocol.model, one, protocol.task) for split, one in protocol.splits.items()})
    return [*curve, ends[1]]


def _rows(
    told: Mapping[str, Any], ts: Sequence[float], curve: Sequence[Point], protocol: Protocol, suffix: str = ""
) -> Iterator[dict[str, Any]]:
    """The curve of one pair under one treatment, and its barriers."""
    for split in curve[0]:
        tallies = [point[split] for point in curve]
        means = [tally.means() for tally in tallies]
        n = tallies[0].n
        for metric, values in (("error", [error for _, error in means]), ("loss", [loss for loss, _ in means])):
            row = {**told, "split": split, "n": n, "unit": protocol.units[metric]}
            for t, value in zip(ts, values, strict=True):
                at = {**row, "x": t, "metric": metric + suffix, "value": _finite(value)}
                if metric == "error" and protocol.task.shares:
                    share = share_interval(round(value * n), n)
                    at |= {"low": share.low, "high": share.high}
                yield at
            for ending, height in ({suffix: entezari} if suffix else DEFINITIONS).items():
                yield {**row, "metric": f"barrier_{metric}{ending}", "value": _finite(height(values, ts))}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge nothing alone: what matching says belongs to the sentence on C8 (see `modulo_order`).

    Args:
        rows: the rows of this analysis.

    Returns:
        No verdict.
    """
    return ()


def modulo_order(rows: pl.DataFrame, target: str | None = None, pair: str = "randinit & randinit") -> str | None:
    """Say what matching leaves of the barriers, for the sentence on claim C8.

    Args:
        rows: the rows of this analysis.
        target: the target to speak of.
        pair: the kind of pair, a key of `pairs.KINDS`.

    Returns:
        A clause with the mean barriers in points of error, on the test split if that was measured; None where there
        are no such pairs.
    """
    own = rows.filter(pl.col("target").eq_missing(target), metric="barrier_error")
    if own.is_empty():
        return None
    split = "test" if "test" in own["split"] else own["split"][0]
    own = own.filter(pl.col("split").eq_missing(split))
    found: dict[str, Group] = {}
    for treatment in TREATMENTS:
        groups = grouped(own.filter(treatment=treatment))
        if pair in groups:
            found[treatment] = groups[pair]
    if not {"raw", "matched"} <= found.keys():
        return None
    raw, matched = (ranged(bounded(found[treatment].mean), ".1f", 100) for treatment in ("raw", "matched"))
    clause = f"with channels matched, barriers go from {raw} to {matched} points of error"
    noted = own.filter(pl.col("note").is_not_null(), treatment="repaired") if "note" in own.columns else own.clear()
    if "repaired" in found and noted.is_empty():
        clause += f", and to {ranged(bounded(found['repaired'].mean), '.1f', 100)} with their statistics repaired"
    count = len(found["raw"].values)
    return clause + (f" on {split}" if split else "") + f" ({count} pair{'s' if count > 1 else ''})"


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw the error along the line, a colour a treatment, a panel for each target and split.

    Args:
        rows: the rows of this analysis.

    Returns:
        The chart.
    """
    return by_target_and_split(rows.filter(metric="error"), _panel)


def _panel(data: pl.DataFrame) -> Any:
    """The chart of one target and split."""
    import altair as alt

    kinds = pl.Series("kind", [kind(a, b) for a, b in data.select("a", "b").iter_rows()], dtype=pl.String)
    data = data.select("a", "b", "x", "value", "treatment", kinds)
    present = [name for name in TREATMENTS if name in set(data["treatment"])]
    colours = alt.Scale(domain=present, range=[TREATMENTS[name] for name in present])
    shown = ["a:N", "b:N", "kind:N", "treatment:N"]
    return (
        alt.Chart(data)
        .mark_line(strokeWidth=2)
        .encode(
            alt.X("x:Q", title="t, from a (0) to b (1)", axis=alt.Axis(grid=False)),
            alt.Y("value:Q", title="error (%)", axis=alt.Axis(format="~%"), scale=alt.Scale(zero=True)),
            alt.Color("treatment:N", title="channels of b", scale=colours, sort=present),
            alt.Detail(["a:N", "b:N"]),
            tooltip=[*shown, alt.Tooltip("x:Q", title="t"), alt.Tooltip("value:Q", title="error", format=".1%")],
        )
    )
