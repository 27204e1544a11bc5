"""How is a chart laid out that has a panel for each target and split?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    import altair


def by_target_and_split(rows: pl.DataFrame, panel: Callable[[pl.DataFrame], Any]) -> altair.TopLevelMixin:
    """Draw a panel for each target and split.

    Args:
        rows: what is drawn, with the columns `target` and `split`.
        panel: draws the rows of one target and split, without size or title.

    Returns:
        The one panel, as wide as its box; several small ones, two a row, each with its target and split as title.
    """
    import altair as alt

    parts = rows.partition_by("target", "split", maintain_order=True)
    if len(parts) == 1:
        single: altair.TopLevelMixin = panel(parts[0]).properties(width="container", height=300)
        return single
    titles = [", ".join(part[name][0] for name in ("target", "split") if part[name][0]) for part in parts]
    small = [
        panel(part).properties(width=280, height=240, title=name) for part, name in zip(parts, titles, strict=True)
    ]
    return alt.concat(*small, columns=2)
