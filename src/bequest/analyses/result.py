"""What does an analysis give back?

A `Result`: `rows`, a long polars table (one number a row, with its interval and count); `arrays`, optional tensors
under a name; and two things made from the rows alone, a chart and the verdicts. Rows are the product: every chart
and every sentence of a report can be made again from the saved table.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from bequest.analyses.intervals import RANGES

if TYPE_CHECKING:
    import altair
    from torch import Tensor

    from bequest.analyses.verdict import Verdict

COLUMNS: dict[str, type[pl.DataType]] = {
    "analysis": pl.String,  # the name of the analysis that made the row
    "target": pl.String,  # the target data set within a study; null for a call from Python
    "a": pl.String,  # the first named thing (a run, a model, weights)
    "b": pl.String,  # the second one, where the number is about a pair
    "module": pl.String,  # a named unit of the network; "*" for the whole of it
    "split": pl.String,  # train, validation or test
    "x": pl.Float64,  # what the number is a function of (epoch, t, block size)
    "metric": pl.String,  # one of the names in design.md, section 4
    "value": pl.Float64,
    "low": pl.Float64,  # ends of the interval, null where the number has none
    "high": pl.Float64,
    "n": pl.Int64,  # how many observations stand behind the value
    "unit": pl.String,
}


def table(analysis: str, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Make the long table of an analysis from plain dictionaries.

    Args:
        analysis: the name that goes into the `analysis` column.
        rows: a dictionary a row; columns of `COLUMNS` that are left out are null, further columns are kept.

    Returns:
        A frame with the columns of `COLUMNS` in their order, then any further ones. Intervals that leave the range of
        their number are cut to it (`RANGES`).
    """
    listed = [{"analysis": analysis, **row, **_cut(row)} for row in rows]
    further = {key: None for row in listed for key in row if key not in COLUMNS}
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in listed] for name in (*COLUMNS, *further)}
    frame = pl.DataFrame(columns, strict=False)
    return frame.with_columns(pl.col(name).cast(kind) for name, kind in COLUMNS.items())


def _cut(row: Mapping[str, Any]) -> dict[str, float]:
    """The ends of a row's interval inside the range that its metric can have, as far as it has both."""
    known = RANGES.get(row.get("unit") or "", {}).get(row["metric"]) if "metric" in row else None
    ends = {end: row[end] for end in ("low", "high") if row.get(end) is not None}
    return {end: min(max(value, known[0]), known[1]) for end, value in ends.items()} if known else {}


NUMBERS = {"value", "low", "high", "n", "unit", "note"}  # what a row says, not what it is about


@dataclass(frozen=True, repr=False)
class Result:
    """The outcome of one analysis.

    Attributes:
        analysis: its name: that of a file under `bequest/analyses`, or of a plug-in, that can draw and judge the rows.
        rows: the long table; see `COLUMNS`.
        arrays: further tensors by name, for results that are not numbers in a table.
    """

    analysis: str
    rows: pl.DataFrame
    arrays: Mapping[str, Tensor] = field(default_factory=dict)

    def select(self, metric: str, **where: Any) -> pl.DataFrame:
        """Give the rows of a metric.

        Args:
            metric: a name from the `metric` column.
            where: column name and the value that it must have; None means null.

        Returns:
            The rows that match all conditions, in order.

        Raises:
            KeyError: if a column does not exist.
        """
        rows = self.rows.filter(pl.col("metric") == metric)
        for column, wanted in where.items():
            if column not in rows.columns:
                raise KeyError(f"{self.analysis} has no column {column!r}; it has {', '.join(rows.columns)}")
            rows = rows.filter(pl.col(column).is_null() if wanted is None else pl.col(column) == wanted)
        return rows

    def value(self, metric: str, **where: Any) -> float:
        """Give the one number that a metric has under these conditions.

        Args:
            metric: a name from the `metric` column.
            where: column name and the value that it must have; None means null.

        Returns:
            The value.

        Raises:
            KeyError: if no row, or more than one, matches.
        """
        rows = self.select(metric, **where)
        if rows.height != 1:
            raise KeyError(self._ambiguous(rows, metric, where))
        return float(rows["value"][0])

    def _ambiguous(self, rows: pl.DataFrame, metric: str, where: Mapping[str, Any]) -> str:
        """Say why a value was not the only one, and what would make it so."""
        said = f"{self.analysis}: {rows.height} rows have metric {metric!r} and {dict(where)}; one was asked for. "
        if not rows.height:
            known = self.rows["metric"].unique().sort().to_list()
            close = difflib.get_close_matches(metric, known, n=1)
            return said + (f"Did you mean {close[0]!r}? " if close else "") + f"Metrics here: {', '.join(known)}"
        free = {
            name: rows[name].unique(maintain_order=True).to_list()
            for name in rows.columns
            if name not in NUMBERS | where.keys()
        }
        several = {name: values[:4] for name, values in free.items() if len(values) > 1}
        return said + "They differ in " + "; ".join(f"{name}: {values}" for name, values in several.items())

    def __repr__(self) -> str:
        metrics = ", ".join(self.rows["metric"].unique(maintain_order=True).to_list())
        arrays = f", {len(self.arrays)} arrays" if self.arrays else ""
        return f"Result({self.analysis}: {self.rows.height} rows{arrays}; metrics: {metrics})"

    def chart(self) -> altair.TopLevelMixin:
        """Draw the rows.

        Returns:
            An altair chart.
        """
        from bequest.analyses.plugins import maker

        drawn: altair.TopLevelMixin = maker(self.analysis).chart(self.rows)
        return drawn

    @property
    def verdict(self) -> tuple[Verdict, ...]:
        """What the rows say of each claim that this analysis can judge."""
        from bequest.analyses.plugins import maker

        judged: tuple[Verdict, ...] = maker(self.analysis).verdict(self.rows)
        return judged
