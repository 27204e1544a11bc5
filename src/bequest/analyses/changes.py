"""Which share of the parameters changed at all, and did two fine-tunes change them in the same direction?

Source: the arithmetic of task vectors (Ilharco et al. 2023) and their merging (TIES, Yadav et al. 2023): fine-tunes can
be added where they change other entries, or the same ones in the same direction. Counted entry by entry over the
parameters, not BatchNorm's running statistics, for each module and for the whole network (`*`).

`unchanged` is the share of entries that are equal in a and b, bit by bit but for the sign of 0; where the start (P) is
known, a is the start. `nearly_unchanged` is the share of those that differ by at most 1e-6 of a's entry, the equal ones
included: what the rounding of float32 explains. `changed_in_both` is the share of entries that differ from the start in
a and in b, `sign_agreement` the share of those that moved in the same direction; n counts the entries that a share is
of.

How to read it: a sparse change has `unchanged` near 1 (a frozen module has 1; 16-bit numbers swallow small steps). A
`sign_agreement` of 0.5 is that of unrelated moves, 1 the same direction everywhere; it says nothing of sizes, which is
what the cosine in `distance` weighs by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import polars as pl

from bequest.analyses.pairs import ARMS, PRETRAINED, arm
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict
from bequest.evaluation.tally import Tally, added

if TYPE_CHECKING:
    import altair

NAME = "changes"


def changes(
    tallies: Mapping[str, Tally], members: Sequence[str], *, start: str | None = None, note: str | None = None
) -> Result:
    """Give the shares of entries that changed, and that changed together.

    Args:
        tallies: module -> its counts, as `bequest.evaluation.tally` gives them, of the parameters alone.
        members: names of the sets of weights, in the order of the tallies.
        start: the first of them, if that is what the others started from; pairs with it are then those of `unchanged`.
        note: what the whole leaves out, in words.

    Returns:
        The rows, as described at the top of this file.

    Raises:
        ValueError: if there are fewer than two members, or no modules.
    """
    if len(members) < 2 or not tallies:
        raise ValueError(f"changes need two sets of weights with tensors in common; got {', '.join(members) or 'none'}")
    rows: list[dict[str, Any]] = []
    for unit, one in {"*": added(tallies.values()), **tallies}.items():
        said = {"module": unit, "note": note if unit == "*" else None}
        rows += [{**row, **said} for row in _rows(one, members, start)]
    return Result(NAME, table(NAME, rows))


def _rows(one: Tally, members: Sequence[str], start: str | None) -> Iterator[dict[str, Any]]:
    entries = one["entries",]
    for a, b in combinations(members, 2):
        row = {"a": a, "b": b, "unit": "share"}
        if start is None or a == start:
            for metric, key in (("unchanged", "same"), ("nearly_unchanged", "near")):
                yield {**row, "metric": metric, "value": _share(one[key, a, b], entries), "n": int(entries)}
        else:
            both = one["both", a, b]
            yield {**row, "metric": "changed_in_both", "value": _share(both, entries), "n": int(entries)}
            yield {**row, "metric": "sign_agreement", "value": _share(one["agree", a, b], both), "n": int(both)}


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge nothing: none of the poster's claims is about single entries.

    Args:
        rows: the rows of this analysis.

    Returns:
        No verdicts.
    """
    return ()


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw the share that changed, and the agreement of the directions, module by module.

    Args:
        rows: the rows of this analysis.

    Returns:
        The chart; one pane where no start is known.
    """
    import altair as alt

    changed = rows.filter(metric="unchanged").with_columns(value=1 - pl.col("value"))
    panes = [_pane(changed, "share of the entries that changed", None)]
    agreeing = rows.filter(pl.col("metric") == "sign_agreement", pl.col("value").is_not_null())
    if agreeing.height:
        panes.append(_pane(agreeing, "same direction, of those that changed in both", 0.5))
    drawn: altair.TopLevelMixin = alt.concat(*panes, columns=1).resolve_scale(color="independent")
    return drawn


def _pane(rows: pl.DataFrame, title: str, chance: float | None) -> Any:
    """A dot a pair and module, and a line through the means; chance in grey."""
    import altair as alt

    data = rows.filter(pl.col("module") != "*", pl.col("value").is_not_null()).select("a", "b", "module", "value", "n")
    order = data["module"].unique(maintain_order=True).to_list()
    names = (
        data["b"]
        if (data["a"] == PRETRAINED).all()
        else pl.Series([f"{a} & {b}" for a, b in data.select("a", "b").iter_rows()], dtype=pl.String)
    )
    data = data.with_columns(names.alias("weights"))
    x = alt.X("module:N", title="module, by the order of the names", sort=order, axis=alt.Axis(labelLimit=120))
    y = alt.Y("value:Q", title=title, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=260) if data["weights"].n_unique() > 1 else None
    scale = alt.Undefined if legend else alt.Scale(range=[ARMS.get(arm(str(data["b"][0])), ARMS["other"])])
    colour = alt.Color("weights:N", title=None, legend=legend, scale=scale)
    tooltip = ["a:N", "b:N", "module:N", alt.Tooltip("value:Q", title=title, format=".2%"), alt.Tooltip("n:Q")]
    base = alt.Chart(data)
    layers = [
        base.mark_line(strokeWidth=1, opacity=0.5).encode(x, y, colour),
        base.mark_circle(size=36, opacity=0.8).encode(x, y, colour, tooltip=tooltip),
    ]
    if chance is not None:
        layers.append(base.mark_rule(color=ARMS["other"], strokeDash=[4, 3]).encode(y=alt.datum(chance)))
    return alt.layer(*layers).properties(width=280, height=220)
