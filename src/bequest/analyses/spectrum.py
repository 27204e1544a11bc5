"""Along which directions do the weights of each module act, and along which did training move them?

Source: the appendix of Neyshabur et al. 2020 on the spectrum of modules; it has no numbers to compare with. A weight
tensor is the matrix [out, everything else] (`tensor`, one more column, names it; vectors have no spectrum); `of` says
whether a row is about the `weights` or their `displacement` from the start of the run.

`stable_rank` is ||W||_F^2 / ||W||_2^2, `effective_rank` the exponential of the entropy of the singular values as shares
of their sum, `spectral_norm` the largest singular value; n counts singular values. `overlap_left` (directions of the
outputs) and `overlap_right` (of the inputs) are the mean squared cosine between the subspaces of the first `x` singular
directions of a and b, 0 to 1; `expected` is what two random subspaces have, x over the dimension. The singular values
themselves are in `arrays`, as `run/of/tensor`.

How to read it: an overlap far above `expected` means that two runs act (or moved) along the same directions; a small
rank that few of them carry most of the matrix. Where singular values are nearly alike, single directions mean little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import polars as pl
from torch import Tensor

from bequest.analyses.pairs import ARMS, KINDS, arm
from bequest.analyses.panels import pair_channels, with_kinds
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict
from bequest.weights.algebra import Weights
from bequest.weights.modules import Module
from bequest.weights.spectra import Spectrum, as_matrix, decompose, effective_rank, overlap, stable_rank

if TYPE_CHECKING:
    import altair

NAME = "spectrum"
TOP = 5  # chosen: directions that are compared


def spectrum(
    weights: Mapping[str, Weights],
    *,
    modules: Sequence[Module] | None = None,
    initial: Mapping[str, Weights] | None = None,
    top: int = TOP,
) -> Result:
    """Decompose the weight matrices of several runs and compare their first directions.

    Args:
        weights: name -> weights. Tensors that a run lacks or has in another shape are left out of its pairs.
        modules: ordered units, as `bequest.modules` gives them; None groups tensors by the path they hang on.
        initial: name -> the weights that this run started from; not needed for all.
        top: how many directions are compared, at most half of a matrix's smaller side.

    Returns:
        The rows, and the singular values in `arrays`; as described at the top of this file.

    Raises:
        ValueError: if there are no weights or no matrices in them, an entry is not finite, a start does not fit, or
            `top` is below 1.
    """
    if not weights or top < 1:
        raise ValueError("spectrum needs at least one set of weights, and at least one direction to compare")
    rows: list[dict[str, Any]] = []
    arrays: dict[str, Tensor] = {}
    for tensor, module in _matrices(weights, modules).items():
        for of in ("weights", "displacement"):
            found: dict[str, Spectrum] = {}
            for name, member in weights.items():
                start = None if of == "weights" else (initial or {}).get(name)
                matrix = as_matrix(member[tensor]) if tensor in member else None
                if matrix is not None and (of == "weights" or start is not None):
                    found[name] = _decomposed(name, tensor, matrix, start, top)
            where = {"module": module, "tensor": tensor, "of": of}
            for name, one in found.items():
                arrays[f"{name}/{of}/{tensor}"] = one.values
                rows += [{**row, **where} for row in _own_rows(name, one.values)]
            for a, b in combinations(found, 2):
                if found[a].shape == found[b].shape:
                    rows += [{**row, **where} for row in _pair_rows(a, b, found[a], found[b])]
    if not rows:
        raise ValueError("none of the weights is a matrix, so there is no spectrum; were only vectors given?")
    return Result(NAME, table(NAME, rows), arrays)


def _matrices(weights: Mapping[str, Weights], modules: Sequence[Module] | None) -> dict[str, str]:
    """Name of each tensor that is a matrix in some run -> its module, in the order of the modules."""
    owner = {name: module.name for module in modules or () for name in module.parameters}
    buffers = {name for module in modules or () for name in module.buffers}
    for member in weights.values():
        for name in member:
            owner.setdefault(name, name.rpartition(".")[0] or name)
    return {
        name: module
        for name, module in owner.items()
        if name not in buffers
        and any(as_matrix(member[name]) is not None for member in weights.values() if name in member)
    }


def _decomposed(name: str, tensor: str, matrix: Tensor, start: Weights | None, top: int) -> Spectrum:
    if start is not None:
        before = as_matrix(start[tensor]) if tensor in start else None
        if before is None or before.shape != matrix.shape:
            raise ValueError(f"the start of {name!r} does not fit it: {tensor} is missing or has another shape")
        matrix = matrix - before.to(matrix.device)
    try:
        return decompose(matrix, top=top)
    except ValueError as error:
        raise ValueError(f"{tensor} of {name!r}: {error}") from None


def _own_rows(name: str, values: Tensor) -> Iterator[dict[str, Any]]:
    """The numbers of one matrix; ranks of a zero matrix are null."""
    row = {"a": name, "n": len(values)}
    yield {**row, "metric": "stable_rank", "value": stable_rank(values), "unit": "directions"}
    yield {**row, "metric": "effective_rank", "value": effective_rank(values), "unit": "directions"}
    yield {**row, "metric": "spectral_norm", "value": float(values[0]), "unit": "parameter"}


def _pair_rows(a: str, b: str, left: Spectrum, right: Spectrum) -> Iterator[dict[str, Any]]:
    """The overlap on both sides; none where one of the two matrices is zero."""
    k = min(left.directions, right.directions)
    if k == 0:
        return
    for metric, one, other in (
        ("overlap_left", left.left, right.left),
        ("overlap_right", left.right, right.right),
    ):
        value = overlap(one[:, :k], other[:, :k])
        row = {"a": a, "b": b, "metric": metric, "x": k, "value": value, "n": k, "unit": "share"}
        yield {**row, "expected": k / one.shape[0]}


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge nothing: none of the poster's claims is about spectra.

    Args:
        rows: the rows of this analysis.

    Returns:
        No verdicts.
    """
    return ()


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw the effective rank of each arm and the overlap of each kind of pair through the network, side by side.

    Args:
        rows: the rows of this analysis; each target is one more row of panes.

    Returns:
        The chart. Lines are means over runs and pairs; it shows displacements where there are any, and what random
        subspaces have in grey.
    """
    import altair as alt

    targets = rows["target"].n_unique()
    panes: list[Any] = []
    for part in rows.partition_by("target", maintain_order=True):
        title = str(part["target"][0]) if targets > 1 else ""
        panes += [pane.properties(width=280, height=220, title=title) for pane in _panes(part)]
    drawn: altair.TopLevelMixin = alt.concat(*panes, columns=1).resolve_scale(
        color="independent", strokeDash="independent"
    )
    return drawn


def _panes(rows: pl.DataFrame) -> list[Any]:
    """One pane for the ranks, one for the overlaps if there are pairs."""
    import altair as alt

    of = "displacement" if (rows["of"] == "displacement").any() else "weights"
    here = rows.filter(pl.col("of") == of).with_columns(pl.col("tensor").str.strip_suffix(".weight"))
    order = here["tensor"].unique(maintain_order=True).to_list()
    x = alt.X("tensor:N", title="weights, from input to output", sort=order, axis=alt.Axis(labelLimit=120))
    ranks = here.filter(pl.col("metric") == "effective_rank", pl.col("value").is_not_null())
    arms = pl.Series("arm", [arm(name) for name in ranks["a"]], dtype=pl.String)
    known = [name for name in ARMS if name in set(arms)]
    known += [name for name in arms.unique(maintain_order=True) if name not in known]
    ranked = alt.Chart(ranks.with_columns(arms).select("a", "arm", "module", "tensor", "value", "n"))
    scale = alt.Scale(domain=known, range=[ARMS.get(name, ARMS["other"]) for name in known])
    title = f"effective rank of the {of}"
    tooltip = ["a:N", "tensor:N", alt.Tooltip("value:Q", title=title, format=".3g"), alt.Tooltip("n:Q", title="of")]
    panes = [_lines(ranked, x, title, alt.Color("arm:N", title="run", scale=scale), tooltip)]
    pairs = here.filter(pl.col("metric") == "overlap_right")
    if pairs.is_empty():
        return panes
    data = with_kinds(pairs).select("a", "b", "kind", "module", "tensor", "x", "value", "expected")
    base = alt.Chart(data)
    tooltip = [
        *("a:N", "b:N", "tensor:N", alt.Tooltip("x:Q", title="directions")),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "expected")),
    ]
    colour, dash, shape = pair_channels(data)
    drawn = _lines(base, x, f"overlap of the {of}'s inputs", colour, tooltip, dash, shape)
    chance = base.mark_line(color=KINDS["other"], strokeDash=[4, 3]).encode(x, alt.Y("mean(expected):Q"))
    return [*panes, alt.layer(drawn, chance)]


def _lines(base: Any, x: Any, title: str, colour: Any, tooltip: list[Any], *of_pairs: Any) -> Any:
    """A dot for each run or pair, and a line through the means."""
    import altair as alt

    zero = alt.Scale(zero=True)
    return alt.layer(
        base.mark_line().encode(x, alt.Y("mean(value):Q", title=title, scale=zero), colour, *of_pairs[:1]),
        base.mark_point(filled=True, size=28, opacity=0.6).encode(
            x, alt.Y("value:Q", title=title, scale=zero), colour, *of_pairs[1:], tooltip=tooltip
        ),
    )
