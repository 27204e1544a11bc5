"""How is a frame shown as a table?

Numbers get four significant digits, columns that say nothing are left out, and long tables are cut with a count of
what is not shown: the stored rows have it all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from bequest.report.wording import DASH, MINUS

MOST_ROWS = 150


@dataclass(frozen=True)
class Table:
    """A table ready for the page.

    Attributes:
        caption: what it shows.
        headers: column titles.
        numeric: whether a column holds numbers.
        rows: texts, a list a row.
        marked: positions of rows to draw attention to.
        left_out: how many rows are not shown.
    """

    caption: str
    headers: list[str]
    numeric: list[bool]
    rows: list[list[str]]
    marked: frozenset[int] = frozenset()
    left_out: int = 0


def number(value: Any) -> str:
    """Write a value for a reader: four significant digits, a minus sign, a dash for nothing."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return {math.inf: "∞", -math.inf: MINUS + "∞"}.get(value, "not a number")
        if value == int(value) and abs(value) < 1e6:
            return str(int(value)).replace("-", MINUS)
        return f"{value:.4g}".replace("-", MINUS)
    if isinstance(value, int):
        return str(value).replace("-", MINUS)
    return str(value)


def result_table(rows: pl.DataFrame, caption: str, *, most: int = MOST_ROWS) -> Table:
    """Show the rows of an analysis: single numbers first, then curves.

    Args:
        rows: the long table.
        caption: of the table.
        most: rows to show.

    Returns:
        The table, without the columns `analysis` and those that are empty or always `*`.
    """
    by_class = pl.col("metric").str.ends_with("_in_class")
    ordered = rows.sort(by_class, pl.col("x").is_not_null(), maintain_order=True)
    kept = [
        name
        for name in ordered.columns
        if name != "analysis" and ordered[name].drop_nulls().len() and set(ordered[name].head(10**5)) != {"*"}
    ]
    return frame_table(ordered.select(kept), caption, most=most)


def frame_table(frame: pl.DataFrame, caption: str, *, most: int = MOST_ROWS) -> Table:
    """Show any frame.

    Args:
        frame: the rows; a column `status` marks rows where it is not `done`, columns named as errors are percentages.
        caption: of the table.
        most: rows to show.

    Returns:
        The table.
    """
    shown = frame.head(most)
    shares = ["error" in name.split("_") and frame[name].dtype.is_float() for name in frame.columns]
    rows = [
        [_percent(value) if share else number(value) for value, share in zip(row, shares, strict=True)]
        for row in shown.iter_rows()
    ]
    marked = frozenset[int]()
    if "status" in shown.columns:
        marked = frozenset(place for place, status in enumerate(shown["status"]) if status != "done")
    headers = [name.replace("_", " ") + " (%)" * share for name, share in zip(frame.columns, shares, strict=True)]
    numeric = [kind.is_numeric() for kind in frame.dtypes]
    return Table(caption, headers, numeric, rows, marked, frame.height - shown.height)


def _percent(share: float | None) -> str:
    return number(share) if share is None or not math.isfinite(share) else f"{100 * share:.1f}"
