"""Where does the gain of pre-training come from: the scale of P's weights, or its features?

The differences between arms, in the order of the argument, as one small table; read from the rows of `learning_curves`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from bequest.analyses.pairs import CONTROLS
from bequest.report.tables import Table
from bequest.report.wording import DASH, interval, signed

STEPS: dict[tuple[str, str], str] = {  # a minus b -> what it tells
    ("finetune", "randinit"): "all of pre-training",
    ("meanvar", "randinit"): "mean and variance of P's weights alone",
    ("shuffled", "randinit"): "values of P's weights alone",
    ("finetune", "meanvar"): "features, on top of mean and variance",
    ("finetune", "shuffled"): "features, on top of the values",
    ("probe", "randinit"): "P's features alone, not adapted",
    ("finetune", "probe"): "adapting P's features",
}


def contrasts(rows: pl.DataFrame, targets: Sequence[str]) -> Table | None:
    """Set out what each arm gains on another.

    Args:
        rows: the rows of the learning curves, of all targets.
        targets: the study's order of targets.

    Returns:
        The table, with errors and mean train accuracies in points; None where no control arm was compared.
    """
    if not {"a", "b", "target"} <= set(rows.columns):
        return None
    paired = rows.filter(pl.col("metric").is_in(["error_difference", "mean_train_accuracy_difference"]))
    if paired.filter(pl.col("a").is_in(CONTROLS) | pl.col("b").is_in(CONTROLS)).is_empty():
        return None
    found = paired["target"].unique(maintain_order=True).to_list()
    order = [one for one in targets if one in found] + [one for one in found if one not in targets]
    lines = []
    for target in order:
        here = paired.filter(pl.col("target").eq_missing(pl.lit(target, pl.String)))
        split = "test" if "test" in here["split"] else "validation"
        for (a, b), words in STEPS.items():
            better = here.filter(metric="error_difference", split=split, a=a, b=b)
            faster = here.filter(metric="mean_train_accuracy_difference", a=a, b=b)
            if better.height:
                told = [words, f"{a} minus {b}", *_points(better), *_points(faster)]
                lines.append([*([target] if len(order) > 1 else []), *told, str(better["n"][0])])
    caption = "Where the gain comes from: paired differences in points, with 95 % intervals over replicas"
    headers = ["what it tells", "difference", "error", "interval", "mean train accuracy", "interval", "pairs"]
    numeric = [False, False, True, True, True, True, True]
    if len(order) > 1:
        headers, numeric = ["target", *headers], [False, *numeric]
    return Table(caption, headers, numeric, lines)


def _points(rows: pl.DataFrame) -> list[str]:
    if rows.is_empty() or rows["value"][0] is None:
        return [DASH, DASH]
    row: Mapping[str, Any] = rows.row(0, named=True)
    ends = [None if row[end] is None else 100 * row[end] for end in ("low", "high")]
    return [signed(100 * row["value"]), interval(ends[0], ends[1])]
