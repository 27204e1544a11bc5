"""How are numbers of modules drawn: criticality, the rise of the error, and tables with a cell for each number?

What stands beside what in a table is in the order that is given, whatever the distances are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

ZERO, INFINITE = "0: rewinding is accepted", "inf: nothing is"
SIZE = {"width": 190, "height": {"step": 16}}
EVERY: dict[str, Any] = {"labelAngle": 0, "labelSeparation": 1}  # as many labels as there is room for


def heatmap(
    data: pl.DataFrame,
    across: tuple[str, str | None, Sequence[str]],
    down: tuple[str, str | None, Sequence[str]],
    shown: str,
    *,
    share: bool,
    tooltip: Sequence[Any],
) -> Any:
    """Draw a cell for each row, its number as colour.

    Args:
        data: a row a cell, with the column `value` and those of the two axes.
        across: column, title and order of the horizontal axis.
        down: the same of the vertical one, from top to bottom.
        shown: what the number is, title of the legend.
        share: whether it is one, written in percent.
        tooltip: what is said of a cell before its number.

    Returns:
        The chart, without size or title. Charts that are put together share their scale of colour.
    """
    import altair as alt

    said = alt.Tooltip("value:Q", title=shown, format=".1%" if share else ".3g")
    legend = alt.Legend(format="~%" if share else "~g", gradientLength=180)
    return (
        alt.Chart(data)
        .mark_rect()
        .encode(
            alt.X(f"{across[0]}:N", title=across[1], sort=list(across[2]), axis=alt.Axis(**EVERY)),
            alt.Y(f"{down[0]}:N", title=down[1], sort=list(down[2]), axis=alt.Axis(**EVERY)),
            alt.Color("value:Q", title=shown, scale=alt.Scale(scheme="viridis"), legend=legend),
            tooltip=[*tooltip, said],
        )
    )


def mus(rows: pl.DataFrame, colour: Any, y: Any, title: str) -> Any:
    """Draw criticality, a dot a run and module.

    Args:
        rows: metric `mu`, with the column `arm`; not empty.
        colour: channel of the arm.
        y: channel of the module.
        title: of the panel.

    Returns:
        The panel; 0 and inf stand at the edges in other shapes.
    """
    import altair as alt

    shapes = alt.Scale(domain=["found", ZERO, INFINITE], range=["circle", "triangle-left", "triangle-right"])
    return (
        alt.Chart(_placed(rows))
        .mark_point(filled=True, size=60, opacity=0.7)
        .encode(
            alt.X("shown:Q", title="criticality mu", axis=alt.Axis(tickCount=5), scale=alt.Scale(type="log")),
            y,
            colour,
            alt.Shape("kind:N", title=None, legend=alt.Legend(orient="bottom", columns=1), scale=shapes),
            tooltip=["a:N", "module:N", alt.Tooltip("mu:N", title="mu")],
        )
        .properties(**SIZE, title=title)
    )


def _placed(mu: pl.DataFrame) -> pl.DataFrame:
    """Give mu a place on a logarithmic axis: 0 and inf a decade beyond the others."""
    positive = [value for value in mu["value"] if 0 < value < math.inf] or [1.0]
    edges = {0.0: min(positive) / 10, math.inf: max(positive) * 10}
    kinds = {0.0: ZERO, math.inf: INFINITE}
    values = mu["value"].to_list()
    return mu.select("a", "arm", "module").with_columns(
        pl.Series("shown", [edges.get(value, value) for value in values], dtype=pl.Float64),
        pl.Series("kind", [kinds.get(value, "found") for value in values], dtype=pl.String),
        pl.Series("mu", [f"{value:.3g}" for value in values], dtype=pl.String),
    )


def rises(rows: pl.DataFrame, colour: Any, y: Any, present: Sequence[str], title: str) -> Any:
    """Draw the rise of the error with a module exchanged, a dot a run, and the mean size of the move of each arm.

    Args:
        rows: metrics `rewind_error`, `rerandomised_error`, `final_error` and `move`, with the column `arm`.
        colour: channel of the arm.
        y: channel of the module.
        present: the arms.
        title: of the panel, before what stands at its right; or empty.

    Returns:
        The panel.
    """
    import altair as alt

    kinds = {"rewind_error": "rewound", "rerandomised_error": "re-randomised"}
    data = _raised(rows, list(kinds)).with_columns(kind=pl.col("metric").replace(kinds))
    share = _shares(rows)
    shapes = alt.Scale(domain=list(kinds.values()), range=["circle", "cross"])
    x_title = f"{'error' if share else 'loss'} with the module exchanged minus final"
    dots = (
        alt.Chart(data.select("a", "arm", "module", "value", "rise", "kind"))
        .mark_point(filled=True, size=60, opacity=0.7)
        .encode(
            alt.X("rise:Q", title=x_title, axis=alt.Axis(format="~%") if share else alt.Axis()),
            y,
            colour,
            alt.Shape("kind:N", title=None, legend=alt.Legend(orient="bottom"), scale=shapes),
            tooltip=["a:N", "module:N", "kind:N", alt.Tooltip("value:Q", title="error", format=".3f")],
        )
    )
    moves = rows.filter(metric="move").group_by("module", "arm", maintain_order=True).agg(pl.col("value").mean())
    moves = moves.with_columns(move=pl.col("value").map_elements(lambda one: f"{one:.3g}", return_dtype=pl.String))
    texts = [
        alt.Chart(moves.filter(arm=name))
        .mark_text(align="right", fontSize=10)
        .encode(
            y,
            colour,
            x=alt.value(230 + 36 * place),
            text="move:N",
            tooltip=["arm:N", "module:N", alt.Tooltip("move:N", title="mean size of the move")],
        )
        for place, name in enumerate(present[:2])  # those of control arms are in the table
    ]
    words = ", ".join(word for word in (title, "at the right: size of the move") if word)
    above = alt.TitleParams(words, anchor="end", fontSize=11, fontWeight="normal", offset=2)
    return alt.layer(dots, *texts).properties(**SIZE, title=above)


def rewound(rows: pl.DataFrame, modules: Sequence[str], title: str) -> Any:
    """Draw the rise of the error with a module rewound to each checkpoint, or re-randomised, as a table of colours.

    Args:
        rows: metrics `rewind_error`, `path_error`, `rerandomised_error` and `final_error`, of the runs of one arm.
        modules: from top to bottom.
        title: of the table.

    Returns:
        The table, means over runs.
    """
    ends = {"rewind_error": "start", "rerandomised_error": "new"}
    data = _raised(rows, [*ends, "path_error"])
    epoch = pl.col("checkpoint").str.strip_prefix("epoch-")
    column = pl.col("metric").replace_strict(ends, default=None, return_dtype=pl.String).fill_null(epoch)
    data = data.with_columns(column.alias("column"))
    between = data.filter(metric="path_error")["column"].unique(maintain_order=True).to_list()
    if all(name.isdigit() for name in between):  # runs whose best epochs differ have others of them
        between.sort(key=int)
    cells = data.group_by("module", "column", maintain_order=True).agg(value=pl.col("rise").mean(), runs=pl.len())
    share = _shares(rows)
    drawn = heatmap(
        cells,
        ("column", "epoch rewound to; new: re-randomised", ["start", *between, "new"]),
        ("module", None, modules),
        f"rise of the {'error' if share else 'loss'}",
        share=share,
        tooltip=["module:N", "column:N", "runs:Q"],
    )
    return drawn.properties(**SIZE, title=title)


def _raised(rows: pl.DataFrame, metrics: Sequence[str]) -> pl.DataFrame:
    """The rows of exchanged modules with the column `rise`: how far they are above the final error of their run."""
    final = rows.filter(metric="final_error").select("a", "split", final="value")
    data = rows.filter(pl.col("metric").is_in(list(metrics))).join(final, on=["a", "split"], nulls_equal=True)
    return data.with_columns(rise=pl.col("value") - pl.col("final"))


def _shares(rows: pl.DataFrame) -> bool:
    return rows.filter(metric="rewind_error")["unit"].to_list()[:1] == ["share"]
