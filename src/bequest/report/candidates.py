"""What did a decision try, side by side?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

NUMBERS = ("difference", "flops", "memory", "seconds", "inferences", "learning_rate")  # columns, after the errors


def candidates(rows: pl.DataFrame) -> pl.DataFrame:
    """Put what was tried side by side, a row a candidate.

    Args:
        rows: of a decision.

    Returns:
        Columns `tried`, the errors by split and domain, and further numbers that the rows have.
    """
    whole = rows.filter((pl.col("module") == "*").fill_null(value=True), pl.col("a").is_not_null())
    alphas = dict(whole.filter(metric="alpha").select("a", "value").iter_rows())
    tried: dict[str, dict[str, Any]] = {}
    for row in whole.iter_rows(named=True):
        column = _column(row)
        if column is None or (row["a"] in alphas and row["x"] is not None and row["x"] != alphas[row["a"]]):
            continue
        tried.setdefault(row["a"], {})[column] = row["value"]
    order: Mapping[str, None] = {name: None for values in tried.values() for name in values}
    errors = [name for name in order if "error" in name]
    columns = errors + [name for name in (one.replace("_", " ") for one in NUMBERS) if name in order]
    content = {"tried": list(tried)} | {name: [values.get(name) for values in tried.values()] for name in columns}
    return pl.DataFrame({name.replace(" ", "_"): values for name, values in content.items()}, strict=False)


def _column(row: Mapping[str, Any]) -> str | None:
    """The column of a number; None for one that is not of a candidate alone."""
    if row["metric"] == "error":
        domain = row.get("domain")
        return f"{domain or row['split']} error" if domain or row["split"] else "error"
    if row["metric"] == "difference" and row["split"] == "test" and row.get("domain") is None:
        return "difference"
    return row["metric"].replace("_", " ") if row["metric"] in NUMBERS[1:] else None
