"""What is the answer in one line a target?

The test error of both arms and their paired difference, and the errors of the control arms, read from the rows of
`learning_curves`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from bequest.analyses.pairs import CONTROLS
from bequest.report.wording import signed


@dataclass(frozen=True)
class Headline:
    """The main numbers of a target, as texts.

    Attributes:
        target: its name.
        split: of the errors.
        finetune: error of the fine-tuned arm, percent.
        randinit: error of the other arm.
        difference: finetune - randinit, points.
        interval: of the difference; empty where there is none.
        n: pairs of replicas.
        controls: error of each control arm that there is, percent.
    """

    target: str
    split: str
    finetune: str
    randinit: str
    difference: str
    interval: str
    n: int
    controls: tuple[tuple[str, str], ...] = ()


def headlines(results: Mapping[str, pl.DataFrame], targets: Sequence[str]) -> list[Headline]:
    """Give the main numbers of each target that has them.

    Args:
        results: name of an analysis -> its rows.
        targets: names of the targets.

    Returns:
        One for each target with both arms; test where it was measured, else validation.
    """
    rows = results.get("learning_curves")
    if rows is None:
        return []
    found = []
    for target in targets:
        for split in ("test", "validation"):
            here = rows.filter(pl.col("target") == target, pl.col("split") == split)
            errors = {
                arm: here.filter(metric="final_error", a=arm).head(1)["value"].to_list()
                for arm in ("finetune", "randinit")
            }
            paired = here.filter(metric="error_difference", a="finetune", b="randinit").head(1)
            if all(errors.values()) and paired.height:
                others = here.filter(pl.col("a").is_in(CONTROLS), metric="final_error").drop_nulls("value")
                controls = dict(others.select("a", "value").iter_rows())
                found.append(_headline(target, split, errors, paired.row(0, named=True), controls))
                break
    return found


def _headline(
    target: str,
    split: str,
    errors: Mapping[str, list[float]],
    paired: Mapping[str, Any],
    controls: Mapping[str, float],
) -> Headline:
    interval = "" if paired["low"] is None else f"{signed(100 * paired['low'])} to {signed(100 * paired['high'])}"
    texts = {arm: f"{100 * value[0]:.1f} %" for arm, value in errors.items()}
    others = tuple((name, f"{100 * controls[name]:.1f} %") for name in CONTROLS if name in controls)
    difference = signed(100 * paired["value"])
    return Headline(target, split, **texts, difference=difference, interval=interval, n=paired["n"], controls=others)
