"""How alike are weights, in a sentence? The answer to the title of a comparison of weights alone."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from bequest.analyses.pairs import PRETRAINED

LEAST_KEPT = 0.001  # share of unchanged entries that is worth a word; chosen
MOST_NAMED = 4  # models that are named one by one


def how_far(distance: pl.DataFrame, changes: pl.DataFrame) -> str:
    """Say how far weights are apart, and whether they moved in one direction.

    Args:
        distance: rows of that analysis.
        changes: rows of that analysis, for the same weights.

    Returns:
        A sentence or two; nothing where no pair has a distance.
    """
    apart, cosine = _whole(distance, "l2_relative"), _whole(distance, "cosine")
    same = _whole(changes, "unchanged")
    moved = {b: value for (a, b), value in apart.items() if a == PRETRAINED}
    between = {pair: value for pair, value in apart.items() if PRETRAINED not in pair}
    said = []
    if moved:
        shown = [_moved(name, value, same.get((PRETRAINED, name))) for name, value in moved.items()]
        said.append(f"Relative to the norm of the base's weights, {_listed(shown)}.")
    if between:
        said.append(_between(between, based=bool(moved)))
    if cosine:
        ends = sorted({f"{value:.2f}" for value in (min(cosine.values()), max(cosine.values()))}, key=float)
        said.append(f"The cosine between their moves is {' to '.join(ends)}: 1 is one direction, 0 unrelated ones.")
    return " ".join(said)


def _whole(rows: pl.DataFrame, metric: str) -> dict[tuple[str, str], float]:
    """The values of a metric for the whole network, by pair."""
    found = rows.filter(metric=metric, module="*").drop_nulls(["b", "value"])
    return {(a, b): value for a, b, value in found.select("a", "b", "value").iter_rows()}


def _moved(name: str, share: float, same: float | None) -> str:
    kept = f" ({_percent(same)} of its entries unchanged)" if same is not None and same >= LEAST_KEPT else ""
    return f"{_file(name)} moved by {_percent(share)}{kept}"


def _between(apart: dict[tuple[str, str], float], *, based: bool) -> str:
    """How far the models are from each other, or the nearest and the farthest two."""
    (a, b), near = min(apart.items(), key=lambda item: item[1])
    of = "" if based else f" of the norm of {_file(next(iter(apart))[0])}"
    if len(apart) > 1:
        (c, d), far = max(apart.items(), key=lambda item: item[1])
        return (
            f"Of {len(apart)} pairs the nearest are {_file(a)} and {_file(b)}, {_percent(near)}{of} apart, the "
            f"farthest {_file(c)} and {_file(d)}, {_percent(far)}."
        )
    if near == 0:
        return f"{_file(a)} and {_file(b)} are the same in all numbers that were compared."
    return f"{_file(a)} and {_file(b)} are {_percent(near)}{of} apart."


def _listed(parts: Sequence[str]) -> str:
    shown = [*parts[:MOST_NAMED], *([f"{len(parts) - MOST_NAMED} more are below"] if len(parts) > MOST_NAMED else [])]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _file(name: str) -> str:
    """The name of a file without that of its arm."""
    return f'"{name.partition("/")[2] or name}"'


def _percent(share: float) -> str:
    """A share in percent, with three digits that count and never as 0 or 100 where it is not."""
    text = f"{100 * share:.3g}"
    if text == "100" and share < 1:
        return "more than 99.9 %"
    return f"{float(text):g} %"
