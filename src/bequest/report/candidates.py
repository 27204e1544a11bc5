"""What did a decision try, side by side?

A row for each thing that was tried, with the errors in percent and their 95 percent intervals. Of a checkpoint what it
loses to the last one, of a size of the target both arms; the words of the headings say the unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from bequest.analyses.groups import ranged
from bequest.analyses.intervals import Interval, bounded
from bequest.report.tables import Table, number
from bequest.report.wording import DASH, MINUS

SPENT = {  # metric -> heading, what to divide by
    "flops": ("arithmetic (thousand million operations)", 1e9),
    "memory": ("memory of a step (MB)", 1e6),
    "seconds": ("seconds", 1.0),
    "inferences": ("networks an answer", 1.0),
    "learning_rate": ("learning rate", 1.0),
}
SCORES = ("logme", "leep", "nleep", "nce", "h_score", "h_score_shrunk", "probe", "knn", "cka")
Row = Mapping[str, Any]


def candidates(decision: str, rows: pl.DataFrame, caption: str) -> Table | None:
    """Put what was tried side by side.

    Args:
        decision: its name.
        rows: of a decision.
        caption: of the table.

    Returns:
        The table; None where the rows have nothing that was tried.
    """
    makers: dict[str, Callable[[pl.DataFrame], dict[str, dict[str, str]]]] = {
        "checkpoint": _epochs,
        "labels": _sizes,
    }
    tried = makers.get(decision, _named)(rows)
    if not tried:
        return None
    headers = list(dict.fromkeys(name for cells in tried.values() for name in cells))
    lines = [[name, *(cells.get(header, DASH) for header in headers)] for name, cells in tried.items()]
    first = {"checkpoint": "checkpoint", "labels": "labels a class"}.get(decision, "tried")
    return Table(caption, [first, *headers], [decision == "labels", *(True for _ in headers)], lines)


def _named(rows: pl.DataFrame) -> dict[str, dict[str, str]]:
    """The candidates that have names: errors first, then what they cost."""
    whole = rows.filter((pl.col("module") == "*").fill_null(value=True), pl.col("a").is_not_null())
    alphas = dict(whole.filter(metric="alpha").select("a", "value").iter_rows())
    names = whole.filter(pl.col("metric").is_in(["error", "failed", "rank"]))["a"].unique(maintain_order=True)
    errors: dict[str, dict[str, str]] = {name: {} for name in names}
    gaps: dict[str, dict[str, str]] = {name: {} for name in errors}
    scores: dict[str, dict[str, str]] = {name: {} for name in errors}
    spent: dict[str, dict[str, str]] = {name: {} for name in errors}
    for row in whole.iter_rows(named=True):
        name, metric, domain = row["a"], row["metric"], row.get("domain")
        elsewhere = name in alphas and row["x"] is not None and row["x"] != alphas[name]
        if name not in errors or elsewhere:
            continue
        if metric == "error" and (domain or row["split"]):
            errors[name][_heading(f"{domain or row['split']} error", row)] = _sized(row)
        elif metric == "difference" and row["split"] == "test" and domain is None:
            gaps[name][_heading(f"test error minus that of {row['b']}", row, "points")] = _sized(row, cut=False)
        elif metric in SPENT and row["split"] in (None, "training"):
            heading, scale = SPENT[metric]
            spent[name][heading] = number(row["value"] / scale)
        elif metric in SCORES:
            scores[name][metric.replace("_", " ")] = number(row["value"])
        elif metric == "failed" and row["value"]:
            spent[name]["failed"] = "yes"
    order = [part for parts in (errors, gaps, scores, spent) for part in parts.values()]
    headers = list(dict.fromkeys(heading for cells in order for heading in cells))
    joined = {name: errors[name] | gaps[name] | scores[name] | spent[name] for name in errors}
    return {name: {heading: cells.get(heading, DASH) for heading in headers} for name, cells in joined.items()}


def _epochs(rows: pl.DataFrame) -> dict[str, dict[str, str]]:
    """What a checkpoint of the pre-training loses to the last one."""
    tried: dict[str, dict[str, str]] = {}
    for row in rows.filter(metric="error_loss").sort("x").iter_rows(named=True):
        cells = tried.setdefault(f"epoch {number(row['x'])}", {})
        cells[_heading(f"more {row['split']} error than the last", row, "points")] = _sized(row, cut=False)
    return tried


def _sizes(rows: pl.DataFrame) -> dict[str, dict[str, str]]:
    """Both arms at each size of the target, on test."""
    tried: dict[str, dict[str, str]] = {}
    for row in rows.filter(pl.col("split") == "test").sort("x", maintain_order=True).iter_rows(named=True):
        cells = tried.setdefault(number(row["x"]), {})
        if row["metric"] == "error":
            cells[_heading(f"{row['a']} test error", row)] = _sized(row)
        elif row["metric"] == "error_difference":
            cells[_heading(f"{row['a']} minus {row['b']}", row, "points")] = _sized(row, cut=False)
        elif row["metric"] == "equivalent_shots":
            known = row["value"] is not None
            cells["as good as this many without pre-training"] = (
                ranged(_interval(row), ".1f") if known else row["note"] or DASH
            )
    return tried


def _heading(words: str, row: Row, unit: str = "%") -> str:
    return words if row["unit"] == "loss" else f"{words} ({unit})"


def _sized(row: Row, *, cut: bool = True) -> str:
    """A share in percent with its interval, a loss as it is."""
    if row["value"] is None:
        return DASH
    if row["unit"] == "loss":
        return ranged(_interval(row), ".3f").replace("-", MINUS)
    found = bounded(_interval(row)) if cut else _interval(row)
    return ranged(found, ".1f", 100).replace("-", MINUS)


def _interval(row: Row) -> Interval:
    return Interval(row["value"], row["low"], row["high"], row["n"])
