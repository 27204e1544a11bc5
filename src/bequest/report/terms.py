"""Which words does a reader need before anything else?

What the arms are, for those who see a report first; only the arms that the study has.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from bequest.analyses.pairs import CONTROLS, arm

ALWAYS: dict[str, str] = {
    "P": "is the pre-trained network",
    "finetune": "goes on from P with a new head",
    "randinit": "starts from random weights",
}
CONTROL: dict[str, str] = {
    "meanvar": "has random weights with the mean and variance of each of P's tensors",
    "shuffled": "has P's weights in random order within each tensor",
    "probe": "trains a new head on P's frozen features",
}


def terms(results: Mapping[str, pl.DataFrame]) -> list[tuple[str, str]]:
    """Explain the arms that are in the rows.

    Args:
        results: name of an analysis -> its rows.

    Returns:
        A word and what it means, to be read after it; none where there are no rows of the two main arms.
    """
    there: set[str] = set()
    for rows in results.values():
        if "a" in rows.columns:
            there |= {arm(name) for name in rows["a"].drop_nulls().unique()}
    if not there & {"finetune", "randinit"}:
        return []
    return [*ALWAYS.items(), *((name, CONTROL[name]) for name in CONTROLS if name in there)]
