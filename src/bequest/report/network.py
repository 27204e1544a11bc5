"""Where in the network does transfer live?

One picture of the network: a row a module in order of execution, and beside each other what was measured of it: how far
its weights moved, how alike its features are, what it costs to put it back, and along how many directions it moved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from bequest.analyses.pairs import ARMS, arm, kind, repeats_init
from bequest.report.charts import Chart

HOW = (
    "A row is a module, from input to output; a dot is the mean over runs or pairs (of mu the median) and its bar goes "
    "from the smallest to the largest. A module that moved far, costs much when it is put back to its start, or has "
    "features unlike P's is one that training on the target had to change; one where fine-tuned models stay near P in "
    "all measures is one whose transfer is reuse. The head of fine-tuned models is new and so always critical."
)
SERIES: dict[str, tuple[str, str]] = {  # what a dot is about -> colour, shape
    "finetune": (ARMS["finetune"], "circle"),
    "randinit": (ARMS["randinit"], "square"),
    "P & finetune": (ARMS["P"], "diamond"),
    "other": (ARMS["other"], "circle"),
}
OF_PAIRS = {"finetune & finetune": "finetune", "randinit & randinit": "randinit", "P & finetune": "P & finetune"}
DISTANCE, CKA, RISE, MU, RANK = "distance", "CKA", "rise when rewound", "mu", "directions of the move"
TITLES: dict[str, str] = {  # in the order of the picture
    DISTANCE: "distance, relative",
    CKA: "CKA",
    RISE: "error rise, rewound",
    MU: "criticality mu",
    RANK: "rank of the move",
}
SCHEMA = {"measure": pl.String, "module": pl.String, "models": pl.String, "value": pl.Float64}
WIDTH, STEP = 150, 20  # pixels of a panel and of a row


def module_measures(results: Mapping[str, pl.DataFrame], target: str | None) -> pl.DataFrame:
    """Collect what was measured of each module on a target.

    Args:
        results: name of an analysis -> its rows.
        target: name of the target.

    Returns:
        Columns measure (a key of `TITLES`), module, models (a key of `SERIES`), value, low, high, n; modules in order
        of execution within a measure. `low` and `high` are the smallest and the largest, n how many values there are.
    """
    here = {
        name: rows.filter(pl.col("target").eq_missing(pl.lit(target, pl.String)))
        for name, rows in results.items()
        if {"target", "module", "metric", "value", "a", "b"} <= set(rows.columns)
    }
    parts = [
        _pairs(here.get("distance"), DISTANCE, "l2_relative"),
        _pairs(_diagonal(here.get("similarity")), CKA, "cka"),
        *_criticality(here.get("criticality")),
        _ranks(here.get("spectrum")),
    ]
    found = pl.concat([part for part in parts if part is not None] or [pl.DataFrame(schema=SCHEMA)])
    order = _order(here)
    value, depth = pl.col("value"), {module: place for place, module in enumerate(order)}
    return (
        found.filter(value.is_not_null() & value.is_not_nan(), pl.col("module").is_in(order))
        .group_by("measure", "module", "models", maintain_order=True)
        .agg(
            pl.when(pl.col("measure").first() == MU).then(value.median()).otherwise(value.mean()).alias("value"),
            low=value.min(),
            high=value.max(),
            n=pl.len(),
        )
        .sort(
            pl.col("measure").replace_strict(list(TITLES), list(range(len(TITLES))), return_dtype=pl.Int64),
            pl.col("module").replace_strict(depth or {"": 0}, return_dtype=pl.Int64),
            maintain_order=True,
        )
    )


def _order(here: Mapping[str, pl.DataFrame]) -> list[str]:
    """Modules from input to output: by depth where it is known, else as the rows have them."""
    lists = []
    for name in ("criticality", "similarity", "distance"):
        rows = here.get(name)
        if rows is not None and rows.height:
            ranked = rows.sort("depth", nulls_last=True, maintain_order=True) if "depth" in rows.columns else rows
            named = ranked["module"].drop_nulls().unique(maintain_order=True)
            lists.append([module for module in named if module != "*"])
    longest = max(lists, key=len, default=[])
    return [*longest, *dict.fromkeys(module for one in lists for module in one if module not in longest)]


def _diagonal(rows: pl.DataFrame | None) -> pl.DataFrame | None:
    if rows is None or "module_b" not in rows.columns:
        return None
    return rows.filter(pl.col("module") == pl.col("module_b"))


def _pairs(rows: pl.DataFrame | None, measure: str, metric: str) -> pl.DataFrame | None:
    if rows is None:
        return None
    chosen = rows.filter(pl.col("metric") == metric, pl.col("b").is_not_null())
    kinds = [_of_pair(a, b) for a, b in chosen.select("a", "b").iter_rows()]
    return _told(chosen, measure, kinds)


def _of_pair(a: str, b: str) -> str | None:
    found = kind(a, b)
    return "other" if found == "other" else OF_PAIRS.get(found)


def _told(rows: pl.DataFrame, measure: str, models: Sequence[str | None]) -> pl.DataFrame:
    series = pl.Series("models", list(models), dtype=pl.String)
    named = rows.select("module", "value").with_columns(series, measure=pl.lit(measure))
    return named.filter(pl.col("models").is_not_null()).select(list(SCHEMA))


def _criticality(rows: pl.DataFrame | None) -> list[pl.DataFrame]:
    """The rise of the error with the module put back, and mu, of the straight way to the last weights."""
    if rows is None:
        return []
    for column, wanted in (("path", "direct"), ("end", "last")):
        if column in rows.columns:
            rows = rows.filter(pl.col(column).is_null() | (pl.col(column) == wanted))
    final = rows.filter(metric="final_error").select("a", "split", final="value").unique(["a", "split"])
    rewound = rows.filter(metric="rewind_error").join(final, on=["a", "split"], nulls_equal=True, maintain_order="left")
    rise = rewound.with_columns(value=pl.col("value") - pl.col("final"))
    return [_runs(rise, RISE), _runs(rows.filter(metric="mu"), MU)]


def _ranks(rows: pl.DataFrame | None) -> pl.DataFrame | None:
    """The effective rank of the displacement, as a share of the directions that there are, means over tensors."""
    if rows is None or "of" not in rows.columns:
        return None
    chosen = rows.filter(pl.col("of") == "displacement", pl.col("metric") == "effective_rank", pl.col("n") > 0)
    shares = chosen.with_columns(value=pl.col("value") / pl.col("n"))
    return _runs(shares.group_by("a", "module", maintain_order=True).agg(pl.col("value").mean()), RANK)


def _runs(rows: pl.DataFrame, measure: str) -> pl.DataFrame:
    arms = [None if repeats_init(a) else arm(a) for a in rows["a"]]
    known = {name: name if name in SERIES else None for name in ARMS}  # control arms are in the sections alone
    return _told(rows, measure, [None if one is None else known.get(one, "other") for one in arms])


def network_charts(results: Mapping[str, pl.DataFrame], targets: Sequence[str]) -> list[Chart]:
    """Draw the picture of the network for each target with two measures or more.

    Args:
        results: name of an analysis -> its rows.
        targets: the study's order of targets.

    Returns:
        The charts, with their rows.
    """
    charts: list[Chart] = []
    for target in targets or (None,):
        rows = module_measures(results, target)
        if rows["measure"].n_unique() < 2 or rows["module"].n_unique() < 2:
            continue
        key, heading = f"chart-network-{len(charts)}", target or "The network"
        said = f"What was measured of each module, {heading}. The table below has the numbers."
        try:
            spec = _drawn(rows).to_dict()
            charts.append(Chart(key, heading, said, spec, wide=True, target=target, rows=rows))
        except Exception as error:  # one chart must not cost the reader the rest of the report
            charts.append(Chart(key, heading, said, error=f"{type(error).__name__}: {error}", target=target, rows=rows))
    return charts


def _drawn(rows: pl.DataFrame) -> Any:
    """The panels of one target side by side, each a measure; only the first has the names of the modules."""
    import altair as alt

    order = rows["module"].unique(maintain_order=True).to_list()
    there = [name for name in SERIES if name in set(rows["models"])]
    looks = [SERIES[name] for name in there]
    colour = alt.Color("models:N", title="models", scale=alt.Scale(domain=there, range=[one[0] for one in looks]))
    shape = alt.Shape("models:N", title="models", scale=alt.Scale(domain=there, range=[one[1] for one in looks]))
    panels = []
    for place, part in enumerate(rows.partition_by("measure", maintain_order=True)):
        measure = str(part["measure"][0])
        labels = alt.Axis(grid=True, domain=False, ticks=False, labels=place == 0, labelLimit=140)
        y = alt.Y(
            "module:N", title=None, sort=order, axis=labels, scale=alt.Scale(domain=order, type="point", padding=0.5)
        )
        logarithmic = measure == MU or (measure == DISTANCE and part["low"].min() > 0)  # type: ignore[operator] # a float
        scale = alt.Scale(type="log", nice=False, padding=8) if logarithmic else alt.Scale(zero=True)
        form = "~%" if measure == RISE and _share(part) else "~g"
        axis = alt.Axis(format=form, tickCount=3, labelFlush=True)
        base = alt.Chart(_placed(part) if measure == MU else _told_as(part))
        x, low = (alt.X(name, title=TITLES[measure], axis=axis, scale=scale) for name in ("value:Q", "low:Q"))
        told = alt.Tooltip("told:N", title=TITLES[measure])
        tips = ["module:N", "models:N", told, alt.Tooltip("n:Q", title="values")]
        bars = base.mark_rule(strokeWidth=2, opacity=0.35).encode(low, y, alt.X2("high:Q"), colour)
        dots = base.mark_point(filled=True, size=70, opacity=0.9).encode(x, y, colour, shape, tooltip=tips)
        panels.append(alt.layer(bars, dots).properties(width=WIDTH, height={"step": STEP}))
    labels_width = 14 + 7 * min(20, max(len(name) for name in order))
    return alt.concat(*panels, columns=len(panels), spacing=28, usermeta={"panels": {"labels": labels_width}})


def _told_as(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.Series("told", [f"{value:.3g}" for value in rows["value"]], dtype=pl.String))


def _share(rows: pl.DataFrame) -> bool:
    """A rise of an error is a share; one of a loss may be larger."""
    return bool(rows["high"].abs().max() <= 1)  # type: ignore[operator] # a float


def _placed(rows: pl.DataFrame) -> pl.DataFrame:
    """Give mu a place on a logarithmic axis: 0 and inf a decade beyond the others; say what it is."""
    values = [value for name in ("value", "low", "high") for value in rows[name] if 0 < value < math.inf] or [1.0]
    low, high = min(values) / 10, max(values) * 10
    return _told_as(rows).with_columns(pl.col("value", "low", "high").clip(low, high))
