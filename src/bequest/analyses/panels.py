"""How do charts lay out a panel for each target, tell kinds of pairs apart, and draw means with their intervals?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from bequest.analyses.pairs import ACROSS, LOOKS, kind

if TYPE_CHECKING:
    import altair


def by_target(
    rows: pl.DataFrame,
    panel: Callable[[pl.DataFrame], Any],
    *,
    height: int = 300,
    small: tuple[int, int] = (280, 240),
    columns: Sequence[str] = ("target",),
) -> altair.TopLevelMixin:
    """Draw a panel for each target.

    Args:
        rows: what is drawn, with the named columns.
        panel: draws the rows of one target, without size or title.
        height: of a single panel, pixels.
        small: width and height of each of several panels, pixels.
        columns: what has a panel of its own.

    Returns:
        The one panel, as wide as its box; several small ones, two a row, with what they show as title.
    """
    import altair as alt

    parts = rows.partition_by(*columns, maintain_order=True)
    if len(parts) == 1:
        single: altair.TopLevelMixin = panel(parts[0]).properties(width="container", height=height)
        return single
    titles = [", ".join(part[name][0] for name in columns if part[name][0]) for part in parts]
    drawn = [
        panel(part).properties(width=small[0], height=small[1], title=name)
        for part, name in zip(parts, titles, strict=True)
    ]
    return alt.concat(*drawn, columns=2)


def by_target_and_split(rows: pl.DataFrame, panel: Callable[[pl.DataFrame], Any]) -> altair.TopLevelMixin:
    """Draw a panel for each target and split.

    Args:
        rows: what is drawn, with the columns `target` and `split`.
        panel: draws the rows of one target and split, without size or title.

    Returns:
        The one panel, as wide as its box; several small ones, two a row, each with its target and split as title.
    """
    return by_target(rows, panel, columns=("target", "split"))


def means(data: pl.DataFrame, x: Any, y: Any, colour: Any, tooltip: Sequence[Any]) -> Any:
    """Draw means as points on a line, with their intervals as bars.

    Args:
        data: columns value, low, high (shares, 0..1), n and those of the channels.
        x: channel of the horizontal axis.
        y: channel of the value.
        colour: channel of the series.
        tooltip: what is said of a point before its value.

    Returns:
        The layers.
    """
    import altair as alt

    shares = [alt.Tooltip(f"{name}:Q", format=".1%") for name in ("value", "low", "high")]
    base = alt.Chart(data)
    points = base.mark_point(filled=True, size=45, opacity=1)
    return alt.layer(
        base.mark_rule(strokeWidth=2, opacity=0.5).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), colour),
        base.mark_line().encode(x, y, colour),
        points.encode(x, y, colour, tooltip=[*tooltip, *shares, alt.Tooltip("n:Q", title="replicas")]),
    )


def with_kinds(rows: pl.DataFrame) -> pl.DataFrame:
    """Say of each pair what it compares, and leave out the pairs across control arms, which would hide the others.

    Args:
        rows: columns a and b, the names of two runs.

    Returns:
        The rows with the columns `kind`, a key of `KINDS`, and `shape`, that of its dots.
    """
    kinds = [kind(a, b) for a, b in rows.select("a", "b").iter_rows()]
    shapes = [LOOKS[name].shape for name in kinds]
    told = [pl.Series(name, values, dtype=pl.String) for name, values in (("kind", kinds), ("shape", shapes))]
    return rows.with_columns(told).filter(pl.col("kind") != ACROSS)


def pair_channels(rows: pl.DataFrame, *, lines: bool = True) -> tuple[Any, Any, Any]:
    """Give the colour, the dash and the shape by kind of pair, with one legend.

    Args:
        rows: what is drawn, as `with_kinds` gives it.
        lines: whether there are lines; the legend then has their dashes, else the shapes of dots.

    Returns:
        Colour for every mark, dash for lines, shape for points.
    """
    import altair as alt

    there = set(rows["kind"])
    present = {name: look for name, look in LOOKS.items() if name in there}
    looks = list(present.values())
    colours, dashes, shapes = (
        alt.Scale(domain=list(present), range=values)
        for values in ([one.colour for one in looks], [list(one.dash) for one in looks], [one.shape for one in looks])
    )
    strokes = alt.Legend(symbolType="stroke", symbolSize=300)  # long enough for a dash and a dot
    dash = alt.StrokeDash("kind:N", title="pair", scale=dashes, legend=strokes)
    if not lines:
        colour = alt.Color("kind:N", title="pair", scale=colours)
        return colour, dash, alt.Shape("kind:N", title="pair", scale=shapes)
    colour = alt.Color("kind:N", title="pair", scale=colours, legend=strokes)
    return colour, dash, alt.Shape("shape:N", scale=None)  # by name: a scale would put shapes into the legend
