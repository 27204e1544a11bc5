"""What did a decision see, drawn?

Where a decision tried one thing at many places, a curve says more than a table: errors by the number of labels, and
what is lost by the epoch at which the pre-training is stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from bequest.analyses.pairs import ARMS
from bequest.report.charts import Chart

READING = {
    "labels": (
        "Test error by labelled images a class, on a log scale, mean and 95 % interval over replicas. A level line "
        "from a point of finetune to the curve of randinit ends at the labels that pre-training stands for."
    ),
    "checkpoint": (
        "Error after fine-tuning from a checkpoint minus that from the last one, paired by replica, with 95 % "
        "intervals; above 0 is worse. The dashed line is what may be lost. The ring is the chosen checkpoint on test, "
        "where it alone was looked at."
    ),
}


def decision_chart(decision: str, rows: pl.DataFrame, key: str, title: str) -> Chart:
    """Draw what a decision tried.

    Args:
        decision: its name.
        rows: of the decision, on one target.
        key: of the chart.
        title: of the chart.

    Returns:
        The chart with its rows; without a specification where there is no such drawing.
    """
    draw = DRAWN.get(decision)
    spec, error = None, ""
    if draw is not None:
        try:
            spec = draw(rows)
        except Exception as caught:  # one chart must not cost the reader the rest of the report
            error = f"{type(caught).__name__}: {caught}"
    return Chart(key, title, f"{title}. The table below has the numbers.", spec, error, rows=rows)


def _labels(rows: pl.DataFrame) -> dict[str, Any]:
    import altair as alt

    errors = _ended(rows.filter(metric="error", split="test").sort("x"))
    arms = errors["a"].unique(maintain_order=True).to_list()
    scale = alt.Scale(domain=arms, range=[ARMS.get(arm, ARMS["other"]) for arm in arms])
    sizes = sorted(set(errors["x"]))
    ticks = alt.Axis(values=sizes, format="~g", grid=False)
    log = alt.Scale(type="log", nice=False, padding=20)
    x = alt.X("x:Q", title="labelled images a class", axis=ticks, scale=log)
    return _whole(_layers(errors, x, alt.Color("a:N", title="arm", scale=scale), "test error (%)"))


def _checkpoint(rows: pl.DataFrame) -> dict[str, Any]:
    import altair as alt

    lost = _ended(rows.filter(metric="error_loss").sort("x"))
    seen, chosen = lost.filter(split="validation"), lost.filter(split="test")
    scale = alt.Scale(domain=["validation", "test"], range=["#2a78d6", "#d65f1e"])
    colour = alt.Color("split:N", title="split", scale=scale)
    x = alt.X("x:Q", title="epoch of the checkpoint", axis=alt.Axis(tickMinStep=1, grid=False))
    drawn = _layers(seen, x, colour, "error more than from the last (points)", points=True)
    ends = alt.Chart(chosen.select("x", "value", "low", "high", "split"))
    drawn += [
        ends.mark_rule(strokeWidth=2, opacity=0.5).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), colour),
        ends.mark_point(size=120, strokeWidth=2.5).encode(x, alt.Y("value:Q"), colour, tooltip=_tooltip("epoch")),
    ]
    margin = alt.Chart(rows.filter(metric="margin").select("value"))
    drawn.append(margin.mark_rule(strokeDash=[5, 4], color="#888888").encode(alt.Y("value:Q")))
    return _whole(drawn)


def _whole(layers: list[Any]) -> dict[str, Any]:
    import altair as alt

    made: dict[str, Any] = alt.layer(*layers).properties(width="container", height=240).to_dict()
    return made


def _layers(rows: pl.DataFrame, x: Any, colour: Any, title: str, *, points: bool = False) -> list[Any]:
    import altair as alt

    base = alt.Chart(rows.select("a", "x", "value", "low", "high", "split", "n"))
    axis = alt.Axis(labelExpr="format(datum.value * 100, '~g')") if points else alt.Axis(format="~%")
    y = alt.Y("value:Q", title=title, axis=axis, scale=alt.Scale(zero=points))
    return [
        base.mark_rule(strokeWidth=2, opacity=0.5).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), colour),
        base.mark_line(opacity=0.7).encode(x, y, colour),
        base.mark_point(filled=True, size=60, opacity=1).encode(x, y, colour, tooltip=_tooltip(str(x.title))),
    ]


def _tooltip(place: str) -> list[Any]:
    import altair as alt

    numbers = (alt.Tooltip(f"{name}:Q", format=".1%") for name in ("value", "low", "high"))
    return ["split:N", alt.Tooltip("x:Q", title=place), *numbers]


def _ended(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with a value; an interval that is not known is the value itself."""
    known = rows.drop_nulls("value")
    return known.with_columns(pl.coalesce(end, "value").alias(end) for end in ("low", "high"))


DRAWN: dict[str, Callable[[pl.DataFrame], dict[str, Any]]] = {"labels": _labels, "checkpoint": _checkpoint}
