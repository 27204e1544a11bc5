"""Which charts does the page draw?

One for each analysis and target, and for each split, plane or path where those are drawn apart, so that each has the
width of its box; the colours of text and lines are set by the page, for light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from bequest.analyses.pairs import ARMS
from bequest.analyses.result import Result
from bequest.analyses.verdict import MISSING_RUN

CUTS: dict[str, tuple[str, ...]] = {  # analysis -> the columns by which its rows are cut: one box each
    "barrier": ("split",),
    "block_shuffle": ("permutation",),
    "connectivity": ("split",),
    "criticality": ("path", "end"),
    "matching": ("split",),
    "plane": ("a",),
    "valley": ("a", "path"),
}
WORDS: dict[tuple[str, str], str] = {  # column and value -> heading, where the value alone does not say it
    ("permutation", "fixed"): "one permutation a run",
    ("permutation", "per_image"): "a permutation for each image",
    ("path", "direct"): "direct path",
    ("path", "checkpoints"): "path through checkpoints",
    ("end", "best"): "to the best checkpoint",
    ("end", "last"): "to the last checkpoint",
}


@dataclass(frozen=True)
class Chart:
    """A chart of the page.

    Attributes:
        key: id of its element.
        title: shown above it.
        description: what it shows, for those who cannot see it.
        spec: Vega-Lite; None where it could not be made.
        error: why not.
        wide: whether it has panes side by side and needs a row of its own.
        target: that it is about, if it is about one.
        rows: what it is drawn from, for the table and the download.
    """

    key: str
    title: str
    description: str
    spec: dict[str, Any] | None = None
    error: str = ""
    wide: bool = False
    target: str | None = None
    rows: pl.DataFrame | None = None


def analysis_charts(name: str, title: str, rows: pl.DataFrame, targets: Sequence[str]) -> list[Chart]:
    """Draw the rows of an analysis, a chart for each target.

    Args:
        name: of the analysis.
        title: of the analysis, in words.
        rows: its rows.
        targets: the study's order of targets; others follow in order of appearance.

    Returns:
        The charts; one that fails carries its error in place of a spec.
    """
    found = rows["target"].unique(maintain_order=True).to_list()
    order = [target for target in targets if target in found] + [one for one in found if one not in targets]
    charts: list[Chart] = []
    for target in order:
        part = rows.filter(pl.col("target").eq_missing(pl.lit(target, pl.String)))
        for words, panel in _panels(name, target, part):
            heading, key = words or title, f"chart-{name}-{len(charts)}"
            described = f"{title}, {words}" if words else title
            try:
                spec = Result(name, panel).chart().to_dict()
                said = f"{described}. The table below has the numbers."
                charts.append(Chart(key, heading, said, spec, wide=_side_by_side(spec), target=target, rows=panel))
            except Exception as error:  # one chart must not cost the reader the rest of the report
                why = f"{type(error).__name__}: {error}"
                charts.append(Chart(key, heading, described, error=why, target=target, rows=panel))
    return charts


def _panels(name: str, target: str | None, rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Cut the rows of a target where the analysis draws its parts each for itself; give each part a heading."""
    drawn = rows.filter(pl.col("metric") != MISSING_RUN)  # a run that failed is told in words
    parts: list[tuple[tuple[str, ...], pl.DataFrame]] = [((target,) if target else (), drawn)]
    for column in CUTS.get(name, ()):
        parts = [piece for words, part in parts for piece in _cut(words, part, column)]
    return [(", ".join(words), part) for words, part in parts]


def _cut(words: tuple[str, ...], rows: pl.DataFrame, column: str) -> list[tuple[tuple[str, ...], pl.DataFrame]]:
    """Cut rows by the values of a column; those without one, such as the accuracy by chance, go with every part."""
    values = rows[column].drop_nulls().unique(maintain_order=True).to_list() if column in rows.columns else []
    if len(values) < 2:
        return [(words, rows)]
    here = pl.col(column)
    return [
        ((*words, WORDS.get((column, value), str(value))), rows.filter((here == value) | here.is_null()))
        for value in values
    ]


def _side_by_side(spec: Mapping[str, Any]) -> bool:
    """Tell whether a specification has panes next to each other."""
    return len(spec.get("hconcat", ())) > 1 or (len(spec.get("concat", ())) > 1 and spec.get("columns", 2) > 1)


def sweep_charts(sweep: pl.DataFrame) -> list[Chart]:
    """Draw the validation error of each tried learning rate, a chart a target; the chosen ones are filled.

    Args:
        sweep: columns target, arm, learning_rate, error (0..1), chosen.

    Returns:
        The charts.
    """
    import altair as alt

    charts = []
    for place, part in enumerate(sweep.partition_by("target", maintain_order=True)):
        arms = part["arm"].unique(maintain_order=True).to_list()
        scale = alt.Scale(domain=arms, range=[ARMS.get(arm, ARMS["other"]) for arm in arms])
        rates = sorted(set(part["learning_rate"]))
        x_axis = alt.Axis(values=rates, format="~g", grid=False)
        base = alt.Chart(part.select("arm", "learning_rate", "error", "chosen")).encode(
            alt.X(
                "learning_rate:Q",
                title="learning rate",
                axis=x_axis,
                scale=alt.Scale(type="log", nice=False, padding=20),
            ),
            alt.Y("error:Q", title="validation error (%)", axis=alt.Axis(format="~%"), scale=alt.Scale(zero=False)),
            alt.Color("arm:N", title="arm", scale=scale),
            tooltip=["arm:N", "learning_rate:Q", alt.Tooltip("error:Q", format=".1%"), "chosen:N"],
        )
        rings = base.mark_point(size=60, filled=False)
        chosen = base.transform_filter("datum.chosen").mark_point(size=110, filled=True, opacity=1)
        drawn = (base.mark_line(opacity=0.6) + rings + chosen).properties(width="container", height=200)
        target = str(part["target"][0])
        words = f"Validation error by learning rate, {target}. The table below has the numbers."
        charts.append(Chart(f"chart-sweep-{place}", target, words, drawn.to_dict(), target=target, rows=part))
    return charts
