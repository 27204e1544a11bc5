"""What does the loss look like in the plane through three solutions?

Source: Neyshabur et al. 2020, section 3.4 (pictures of a basin); Garipov et al. 2018 (the plane through three points).
`error` (0..1) and `loss` over a grid of the plane; `x` and `y` are distances in weight space from the first corner, at
right angles. BatchNorm is refitted at every point. Points with `measured` false (n = 0) were interpolated: a coarse
grid is refined only where the contour `level` of the loss on the first split passes or the surface is rough, within a
`budget` of points (see `bequest.evaluation.refinement`). On other splits `level` is the median of what was measured.

`corner` rows give the place of the three weights, with loss and error there in `corner_loss` and `corner_error`;
`trajectory` rows those of checkpoints, in their order (`step`), projected: their value is the distance from the plane.

How to read it: one dark valley that holds two solutions is one basin; a ridge between them is a barrier. It is a
picture of two directions among millions: a valley here says nothing of the others. A trajectory far from the plane only
seems to walk on the surface.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from torch import nn

from bequest.analyses.pairs import ARMS, arm
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import MISSING_RUN, Verdict
from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches
from bequest.evaluation.contours import contour
from bequest.evaluation.mixtures import mixture, parameter_names
from bequest.evaluation.protocol import Point, Protocol, splits_of
from bequest.evaluation.refinement import Place, interpolated, refined
from bequest.weights.algebra import Weights
from bequest.weights.planes import plane_shares, plane_through, project

if TYPE_CHECKING:
    import altair

NAME = "plane"
MARGIN = 0.25  # of the larger side of the box around the corners, left free on every side
BANDS = 7  # bands of colour


def plane(
    model: nn.Module,
    corners: Mapping[str, Weights],
    batches: Batches | Mapping[str, Batches],
    *,
    trajectories: Mapping[str, Iterable[Weights]] | None = None,
    calibration: Batches | None = None,
    task: str | tasks.Loss | tasks.Task = "classification",
    points: int = 17,
    budget: float = 1 / 3,
    levels: Sequence[float] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Result:
    """Measure loss and error over the plane through three weights.

    Args:
        model: the network to run them in; it is left as it was.
        corners: three names -> weights of the model's shapes; the first gets (0, 0), the second lies on the x axis.
        batches: (inputs, targets) to measure on; or split -> such batches.
        trajectories: name -> weights in order of training, drawn where they are nearest to the plane; walked once.
        calibration: training data for BatchNorm's statistics; never the data that is measured.
        task: name of a task, a task, or a loss (outputs, targets) -> mean loss.
        points: points a side. There is something to save where points - 1 has factors of two: 9, 17, 25, 33.
        budget: largest share of the points that is measured, 0..1; 1 measures them all.
        levels: of the loss, where contours are looked for; None takes the median of the coarse grid.
        notes: corner -> what it is, for its rows.

    Returns:
        The rows; metrics as described at the top of this file.

    Raises:
        ValueError: if there are not three corners, they lie on one line, or do not fit the model.
    """
    if len(corners) != 3:
        raise ValueError(f"a plane goes through three weights; got {len(corners)}: {', '.join(corners) or 'none'}")
    ends = list(corners.values())
    laid = plane_through(ends[0], ends[1], ends[2], parameter_names(model))
    paths = {name: [project(laid, weights) for weights in steps] for name, steps in (trajectories or {}).items()}
    xs, ys = _axes([*laid.places, *((x, y) for path in paths.values() for x, y, _ in path)], points)
    protocol = Protocol(model, splits_of(batches), tasks.task(task), calibration)
    found: dict[Place, Point] = {}
    first = next(iter(protocol.splits))
    with mixture(model, ends) as go:

        def measure(places: list[Place]) -> list[float]:
            for row, column in places:
                go(plane_shares(laid, xs[column], ys[row]), None)
                found[row, column] = protocol.here()
            return [found[place][first].means()[0] for place in places]

        surface = refined(measure, points, levels=levels, budget=budget)
        at_corners = []
        for k in range(3):
            go([float(k == j) for j in range(3)], None)
            at_corners.append(protocol.here())
    base = {"a": " + ".join(corners), "module": "*", "note": protocol.note}
    rows: list[dict[str, Any]] = []
    for split in protocol.splits:
        chosen = split == first or levels is not None
        contours = surface.levels if chosen else [_median([point[split].means()[0] for point in found.values()])]
        about = {**base, "metric": "level", "split": split, "unit": protocol.units["loss"]}
        rows += [{**about, "value": _finite(level)} for level in contours]
    for name, (x, y), point in zip(corners, laid.places, at_corners, strict=True):
        said = "; ".join(note for note in ((notes or {}).get(name), protocol.note) if note) or None
        here = {**base, "b": name, "x": x, "y": y, "note": said}
        rows.append({**here, "metric": "corner", "value": 0.0, "unit": "L2"})
        rows += _numbers(here, point, protocol, "corner_")
    for name, path in paths.items():
        for step, (x, y, off) in enumerate(path):
            place = {"x": x, "y": y, "value": off, "step": step, "unit": "L2"}
            rows.append({**base, "b": name, "metric": "trajectory", **place})
    rows += _surfaces(base, found, surface.measured, xs, ys, protocol)
    return Result(NAME, table(NAME, rows))


def _axes(places: Sequence[tuple[float, float]], points: int) -> tuple[list[float], list[float]]:
    """Evenly spaced x and y around the places, a margin wider."""
    lows = [min(place[k] for place in places) for k in range(2)]
    highs = [max(place[k] for place in places) for k in range(2)]
    margin = MARGIN * max(high - low for low, high in zip(lows, highs, strict=True))
    xs, ys = (np.linspace(low - margin, high + margin, points).tolist() for low, high in zip(lows, highs, strict=True))
    return xs, ys


def _numbers(row: Mapping[str, Any], point: Point, protocol: Protocol, prefix: str = "") -> Iterator[dict[str, Any]]:
    for split, tally in point.items():
        for metric, value in zip(("loss", "error"), tally.means(), strict=True):
            about = {"split": split, "n": tally.n, "unit": protocol.units[metric]}
            yield {**row, **about, "metric": prefix + metric, "value": _finite(value)}


def _surfaces(
    base: Mapping[str, Any],
    found: Mapping[Place, Point],
    measured: np.ndarray[Any, np.dtype[np.bool_]],
    xs: Sequence[float],
    ys: Sequence[float],
    protocol: Protocol,
) -> Iterator[dict[str, Any]]:
    """Every point of the grid, for each split and metric."""
    for split in protocol.splits:
        for k, metric in enumerate(("loss", "error")):
            values = np.full(measured.shape, np.nan)
            for place, point in found.items():
                values[place] = point[split].means()[k]
            filled = interpolated(values, measured)
            if protocol.task.lowest == 0 and metric == "error":
                filled = filled.clip(0, 1)  # a spline may overshoot
            for i, y in enumerate(ys):
                for j, x in enumerate(xs):
                    n = found[i, j][split].n if measured[i, j] else 0
                    yield {
                        **base,
                        "split": split,
                        "metric": metric,
                        "x": x,
                        "y": y,
                        "value": _finite(float(filled[i, j])),
                        "n": n,
                        "measured": bool(measured[i, j]),
                        "unit": protocol.units[metric],
                    }


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Give no verdict: a plane is a picture; `barrier` and `basin` judge.

    Args:
        rows: the rows of this analysis.

    Returns:
        Nothing.
    """
    return ()


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw each plane as bands of loss with its contour, corners and trajectories, a panel a plane and split.

    Args:
        rows: the rows of this analysis.

    Returns:
        The chart; of each plane the panels of its splits stand side by side.
    """
    import altair as alt

    lines: list[tuple[str, list[tuple[str | None, Any]]]] = []
    for part in rows.filter(pl.col("metric") != MISSING_RUN).partition_by("target", "a", maintain_order=True):
        splits = part.filter(metric="loss")["split"].unique(maintain_order=True).to_list()
        title = ", ".join(word for word in (part["target"][0], part["a"][0]) if word)
        lines.append((title, [(split, _panel(part, split)) for split in splits]))
    if len(lines) == 1 and len(lines[0][1]) == 1:
        single: altair.TopLevelMixin = lines[0][1][0][1].properties(width="container", height=340)
        return single
    drawn = []
    for title, panels in lines:
        if len(panels) == 1:
            drawn.append(panels[0][1].properties(width=290, height=260, title=title))
            continue
        size = 280 if len(lines) == 1 else 150  # several planes may have to share half a page
        small = [panel.properties(width=size, height=size, title=split or "") for split, panel in panels]
        drawn.append(alt.hconcat(*small, title=title).resolve_scale(color="independent"))
    if len(drawn) == 1:
        one: altair.TopLevelMixin = drawn[0]
        return one
    several: altair.TopLevelMixin = alt.vconcat(*drawn).resolve_scale(color="independent")
    return several


def _panel(rows: pl.DataFrame, split: str | None) -> Any:
    """One plane on one split."""
    import altair as alt

    surface = rows.filter(metric="loss").filter(pl.col("split").eq_missing(pl.lit(split, pl.String)))
    xs, ys = (surface[axis].unique().sort().to_list() for axis in ("x", "y"))
    half = {"x": (xs[1] - xs[0]) / 2, "y": (ys[1] - ys[0]) / 2}
    boxes = surface.select(
        *((pl.col(axis) + sign * half[axis]).alias(name) for axis, sign, name in _EDGES),
        pl.col("value").alias("loss"),
        "measured",
    )
    known = surface["value"].drop_nulls()
    bands = sorted({float(np.quantile(known.to_numpy(), k / BANDS)) for k in range(1, BANDS)})
    x_axis, y_axis = (
        alt.Scale(domain=[ends[0] - half[axis], ends[-1] + half[axis]], nice=False, zero=False)
        for axis, ends in (("x", xs), ("y", ys))
    )
    picture = (
        alt.Chart(boxes)
        .mark_rect()
        .encode(
            alt.X("x:Q", title="distance along the first side (L2)", scale=x_axis, axis=alt.Axis(grid=False)),
            alt.X2("x2:Q"),
            alt.Y("y:Q", title="distance at right angles (L2)", scale=y_axis, axis=alt.Axis(grid=False)),
            alt.Y2("y2:Q"),
            alt.Color(
                "loss:Q",
                title=f"loss{f' on {split}' if split else ''}",
                scale=alt.Scale(type="threshold", domain=bands, scheme="viridis"),
                legend=alt.Legend(format=".2f"),
            ),
            tooltip=[alt.Tooltip("loss:Q", format=".3f"), "measured:N"],
        )
    )
    grid = surface.sort("y", "x")["value"].fill_null(math.nan).to_numpy().reshape(len(ys), len(xs))
    own = pl.col("split").eq_missing(pl.lit(split, pl.String))
    pieces = [
        dict(zip(("x", "y", "x2", "y2"), piece, strict=True))
        for level in rows.filter(own, pl.col("metric") == "level")["value"].drop_nulls()
        for piece in contour(grid, xs, ys, level)
    ]
    layers: list[Any] = [picture]
    if pieces:
        lines = alt.Chart(pl.DataFrame(pieces)).mark_rule(color="white", strokeWidth=1.5)
        layers.append(lines.encode(alt.X("x:Q"), alt.Y("y:Q"), alt.X2("x2:Q"), alt.Y2("y2:Q")))
    return alt.layer(*layers, *_walks(rows))


_EDGES = (("x", -1, "x"), ("x", 1, "x2"), ("y", -1, "y"), ("y", 1, "y2"))


def _walks(rows: pl.DataFrame) -> Iterator[Any]:
    """The trajectories and the corners, on top."""
    import altair as alt

    walked = rows.filter(metric="trajectory").select("b", "x", "y", "step", pl.col("value").alias("off"))
    if not walked.is_empty():
        shown: list[Any] = [
            alt.Tooltip("b:N", title="run"),
            alt.Tooltip("step:O"),
            alt.Tooltip("off:Q", title="off the plane", format=".3g"),
        ]
        base = alt.Chart(walked).encode(alt.X("x:Q"), alt.Y("y:Q"), alt.Detail("b:N"), tooltip=shown)
        yield base.mark_line(color="white", strokeWidth=2, strokeDash=[4, 2]).encode(alt.Order("step:Q"))
        yield base.mark_point(color="white", filled=True, size=18, opacity=1)
    corners = rows.filter(metric="corner").select(pl.col("b").alias("name"), "x", "y")
    colours = pl.Series("colour", [ARMS.get(arm(name), ARMS["other"]) for name in corners["name"]], dtype=pl.String)
    marks = alt.Chart(corners.with_columns(colours)).encode(alt.X("x:Q"), alt.Y("y:Q"), tooltip=["name:N"])
    yield marks.mark_point(filled=True, size=110, opacity=1, stroke="white", strokeWidth=2).encode(
        alt.Color("colour:N", scale=None)
    )
    named = marks.encode(alt.Text("name:N"))
    yield named.mark_text(dy=-13, fontWeight="bold", stroke="black", strokeWidth=3, strokeOpacity=0.6)
    yield named.mark_text(dy=-13, fontWeight="bold", color="white")  # white on a dark rim is read on any colour
