"""How far apart are two sets of weights, and where in the network?

Source: Neyshabur et al. 2020, section 3.3 and Table 2 (claim: fine-tuned models are near each other). It does not say
whether its totals are over all weights at once or sums of the modules' norms, so both are given.

Over the parameters only, not BatchNorm's running statistics, which are in the unit of activations:
`l2` is the norm of the difference, per module and for the whole network (`*`, the root of the sum of squares);
`l2_sum` the sum of the modules' norms; `l2_per_sqrt_n` the norm divided by the root of the number of parameters, so the
root-mean-square change of one parameter, which takes the modules' size out; `l2_relative` the norm divided by that of
the start (of both starts, root-mean-square, where they differ; of `a` where no start is known). `cosine` is that of the
angle between the two displacements, each from its own start: 0 is unrelated, 1 the same direction. `l2_from_start` is
the length of one run's own displacement. n counts parameters, not observations.
`cosine_from_one_start` is the cosine over all modules that started equal in both runs, for pairs that differ in one
module (a fresh head) at most. Two runs that move by independent directions from one start have cosine 0, and are
sqrt(2) times as far from each other as from the start; nearer than that is the same as a cosine above 0.

How to read it: raw distances grow with learning rate, steps and module size; compare pairs within one study only.
Fine-tuned models may be near each other for no better reason than a short way from one start: see that cosine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from torch import Tensor

from bequest.analyses.conditions import TRAINING_UNKNOWN, trained, training_rows
from bequest.analyses.groups import Group, counted, difference, grouped, ranged, rank_correlation
from bequest.analyses.intervals import Interval, bounded
from bequest.analyses.panels import by_target, pair_channels, with_kinds
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict, judge_targets, limited
from bequest.evaluation.tally import Tally
from bequest.weights.algebra import Weights, mixable
from bequest.weights.modules import Module

if TYPE_CHECKING:
    import altair

NAME = "distance"
UNITS = {"l2": "parameter", "l2_sum": "parameter", "l2_per_sqrt_n": "parameter", "l2_relative": "share of the start"}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # how torch names them
TOGETHER = "cosine_from_one_start"
LEAST_PAIRS = 3  # as for the basin: three replicas an arm
RULE = (
    "Holds if pairs of random inits are farther apart than fine-tuned pairs by a factor whose 95 % interval is above 1 "
    "for the distance over all weights, for the sum over modules and relative to the start alike; under conditions if "
    "only some of the three are, if it is not known whether the arms trained, or unless the interval of the cosine "
    "between the fine-tuned models' moves is above 0, the head left out: any short way from one start leaves models "
    "near each other, so that alone says nothing. Does not hold if all three are below 1. Inconclusive if an arm "
    "failed to train (train accuracy below twice chance). Replicas are counted, not pairs; at least 3 pairs. "
    "Per parameter the factor is that of the raw distance. The trend over depth is Spearman's rank correlation."
)


def distance(a: Weights, b: Weights, *, modules: Sequence[Module] | None = None) -> Result:
    """Measure the distance between two sets of weights of one architecture.

    Args:
        a: the reference; its norm is the unit of `l2_relative`.
        b: the other.
        modules: ordered units, as `bequest.modules` gives them; None groups tensors by the path they hang on.

    Returns:
        Rows with a = "a" and b = "b".

    Raises:
        ValueError: if the weights are of different networks.
    """
    return distances({"a": a, "b": b}, modules=modules)


def distances(
    weights: Mapping[str, Weights],
    *,
    modules: Sequence[Module] | None = None,
    initial: Mapping[str, Weights] | None = None,
    errors: Mapping[str, float] | None = None,
    chance: float | None = None,
) -> Result:
    """Measure the distances of all pairs, and how far each run moved.

    Args:
        weights: name -> weights. One module (the head) may have another shape, or be missing; it is then left out of
            that pair, and the rows of `*` say so in `note`.
        modules: ordered units; None groups tensors by the path they hang on. Tensors outside them are grouped so too.
        initial: name -> the weights that this run started from; not needed for all.
        errors: name of a run -> its train error at the end, 0..1, by which the verdict tells whether an arm trained.
        chance: accuracy of guessing, 0..1, likewise.

    Returns:
        The rows; metrics as described at the top of this file.

    Raises:
        ValueError: if fewer than two sets of weights are given, or two are of different networks, or an error is no
            share.
    """
    if len(weights) < 2:
        raise ValueError(f"a distance needs two sets of weights; got {len(weights)}: {', '.join(weights) or 'none'}")
    starts = {name: initial[name] for name in weights if initial and name in initial}
    units: dict[str, list[str]] = {}
    for member in weights.values():
        for name, tensors in _units(member, modules).items():
            units.setdefault(name, []).extend(tensor for tensor in tensors if tensor not in units[name])
    rows = list(training_rows(errors, chance))
    rows += [row for name, start in starts.items() for row in _moved(name, weights[name], start, units)]
    for a, b in combinations(weights, 2):
        rows += _pair_rows(a, b, weights, starts, units)
    return Result(NAME, table(NAME, rows))


def _units(weights: Weights, modules: Sequence[Module] | None) -> dict[str, list[str]]:
    """Give the parameters of each module; a tensor that shares its memory with an earlier one counts once."""
    units = {module.name: [name for name in module.parameters if name in weights] for module in modules or ()}
    done = {name for module in modules or () for name in (*module.parameters, *module.buffers)}
    seen = {_place(weights[name]) for name in done if name in weights}
    for name, tensor in weights.items():
        if name in done or not mixable(tensor) or name.rpartition(".")[2] in STATISTICS or _place(tensor) in seen:
            continue
        seen.add(_place(tensor))
        units.setdefault(name.rpartition(".")[0] or name, []).append(name)
    return units


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.device


def _pair_rows(
    a: str, b: str, weights: Mapping[str, Weights], starts: Mapping[str, Weights], units: Mapping[str, list[str]]
) -> Iterator[dict[str, Any]]:
    """All numbers about one pair: sums of squares per module first, then every metric from them."""
    left_out = [name for names in units.values() for name in names if not _comparable(weights[a], weights[b], name)]
    if len({unit for unit, names in units.items() if set(names) & set(left_out)}) > 1 or (len(units) < 2 and left_out):
        raise ValueError(
            f"{a!r} and {b!r} are of different networks: {len(left_out)} tensors are missing in one or have another "
            f"shape ({', '.join(left_out[:3])}). Only one module, the head, may differ"
        )
    note = f"without {', '.join(left_out)}: not of one shape" if left_out else None
    both = [starts[name] for name in (a, b) if name in starts] or [weights[a]]
    sums: dict[str, list[float]] = {}  # module -> count, squared distance, squared start, dot, |da|^2, |db|^2
    for unit, names in units.items():
        chosen = [name for name in names if name not in left_out]
        if chosen:
            parts = [_sums(name, weights[a], weights[b], both, starts.get(a), starts.get(b)) for name in chosen]
            sums[unit] = [math.fsum(column) for column in zip(*parts, strict=True)]
    yield from _rows_of(a, b, sums, note, started=a in starts and b in starts)
    if a in starts and b in starts:
        apart = [unit for unit in sums if not _alike(starts[a], starts[b], units[unit])]
        rest = [values for unit, values in sums.items() if unit not in apart]
        if rest and len(apart) <= 1:
            count, dot, norm_a, norm_b = (math.fsum(values[k] for values in rest) for k in (0, 3, 4, 5))
            norm = math.sqrt(norm_a * norm_b)
            note = f"without {apart[0]}: it started apart" if apart else None
            row = {"a": a, "b": b, "module": "*", "n": int(count), "note": note, "unit": "cosine"}
            cosine = max(-1.0, min(1.0, dot / norm)) if norm else None
            yield {**row, "metric": "cosine_from_one_start", "value": cosine}


def _rows_of(
    a: str, b: str, sums: Mapping[str, Sequence[float]], note: str | None, *, started: bool
) -> Iterator[dict[str, Any]]:
    """The metrics of one pair from the sums of its modules: count, squared distance, squared start, dot, squares."""
    total = [math.fsum(column) for column in zip(*sums.values(), strict=True)]
    for unit, values in {"*": total, **sums}.items():
        count, squared, start, dot, norm_a, norm_b = values
        row = {"a": a, "b": b, "module": unit, "n": int(count), "note": note if unit == "*" else None}
        measured = {
            "l2": math.sqrt(squared),
            "l2_per_sqrt_n": math.sqrt(squared / count),
            "l2_relative": math.sqrt(squared / start) if start else None,
        }
        if unit == "*":
            measured["l2_sum"] = math.fsum(math.sqrt(part[1]) for part in sums.values())
        for metric, value in measured.items():
            yield {**row, "metric": metric, "value": value, "unit": UNITS[metric]}
        if started:
            norm = math.sqrt(norm_a * norm_b)
            cosine = max(-1.0, min(1.0, dot / norm)) if norm else None  # no direction where a run did not move
            yield {**row, "metric": "cosine", "value": cosine, "unit": "cosine"}


def distances_of(
    tallies: Mapping[str, Tally], members: Sequence[str], *, start: str | None = None, note: str | None = None
) -> Result:
    """Give the distances of all pairs from what was counted in one pass over the files.

    Args:
        tallies: module -> its sums, as `bequest.evaluation.tally` gives them, of the parameters alone.
        members: names of the sets of weights, in the order of the tallies.
        start: the first of them, if that is what the others started from.
        note: what the whole leaves out, in words.

    Returns:
        The rows; `l2_relative` is relative to the start, or to the first member where none is known.
    """
    rows: list[dict[str, Any]] = []
    known = start or members[0]
    for name in members:
        if start is not None and name != start:
            moved = {unit: (one["entries",], one["apart", start, name]) for unit, one in tallies.items()}
            rows += _moved_rows(name, moved)
    for a, b in combinations(members, 2):
        both = start is not None and start not in (a, b)
        sums = {
            unit: (
                one["entries",],
                one["apart", a, b],
                one["square", known],
                one["dot", a, b] if both else 0.0,
                one["apart", known, a] if both else 0.0,
                one["apart", known, b] if both else 0.0,
            )
            for unit, one in tallies.items()
        }
        made = list(_rows_of(a, b, sums, note, started=both))
        rows += made
        rows += [{**row, "metric": TOGETHER} for row in made if row["metric"] == "cosine" and row["module"] == "*"]
    return Result(NAME, table(NAME, rows))


def _alike(a: Weights, b: Weights, names: Sequence[str]) -> bool:
    """Tell whether two starts are one in these tensors, as far as both have them in one shape."""
    return all(torch.equal(a[name], b[name]) for name in names if name in a and name in b)


def _comparable(a: Weights, b: Weights, name: str) -> bool:
    return name in a and name in b and a[name].shape == b[name].shape


def _sums(
    name: str, a: Weights, b: Weights, starts: Sequence[Weights], start_a: Weights | None, start_b: Weights | None
) -> tuple[float, ...]:
    """Count, squared distance, mean squared start, and dot and squares of the displacements of one tensor."""
    left, right = a[name].double(), b[name].double()
    start = math.fsum(float(one[name].double().square().sum()) for one in starts if name in one) / len(starts)
    measured = (left.numel(), float((left - right).square().sum()), start)
    if start_a is None or start_b is None:
        return (*measured, 0.0, 0.0, 0.0)
    moved_a, moved_b = left - start_a[name].double(), right - start_b[name].double()
    squares = float(moved_a.square().sum()), float(moved_b.square().sum())
    return (*measured, float((moved_a * moved_b).sum()), *squares)


def _moved(name: str, weights: Weights, start: Weights, units: Mapping[str, list[str]]) -> Iterator[dict[str, Any]]:
    """How far one run is from its own start."""
    squares: dict[str, tuple[int, float]] = {}
    for unit, names in units.items():
        chosen = [one for one in names if one in weights]
        for one in chosen:
            if not _comparable(weights, start, one):
                raise ValueError(f"the start of {name!r} does not fit it: {one} is missing or has another shape")
        if chosen:
            moved = math.fsum(float((weights[one].double() - start[one].double()).square().sum()) for one in chosen)
            squares[unit] = sum(weights[one].numel() for one in chosen), moved
    yield from _moved_rows(name, squares)


def _moved_rows(name: str, squares: Mapping[str, tuple[float, float]]) -> Iterator[dict[str, Any]]:
    total = sum(count for count, _ in squares.values()), math.fsum(value for _, value in squares.values())
    for unit, (count, value) in {"*": total, **squares}.items():
        row = {"a": name, "module": unit, "metric": "l2_from_start", "n": int(count), "unit": "parameter"}
        yield {**row, "value": math.sqrt(value)}


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge claim C6 for each target.

    Args:
        rows: the rows of this analysis, of one or several targets.

    Returns:
        One verdict, or none where there are no pairs of both arms.
    """
    return judge_targets(rows, _judged)


def _judged(rows: pl.DataFrame, target: str | None) -> Verdict | None:
    """Apply the rule to the rows of one target."""
    whole = rows.filter(module="*")
    groups = {metric: grouped(whole.filter(metric=metric)) for metric in ("l2", "l2_sum", "l2_relative", TOGETHER)}
    tuned, random = (groups["l2"].get(name) for name in ("finetune & finetune", "randinit & randinit"))
    if tuned is None or random is None:
        return None
    ratios = {
        metric: _ratio(groups[metric]["randinit & randinit"], groups[metric]["finetune & finetune"])
        for metric in ("l2", "l2_sum", "l2_relative")
        if {"randinit & randinit", "finetune & finetune"} <= groups[metric].keys()
    }
    n = min(tuned.replicas, random.replicas)
    numbers = f"random inits are {ranged(ratios['l2'])} times as far apart as fine-tuned models"
    others = {"l2_sum": "as a sum over modules", "l2_relative": "relative to the start"}
    numbers += "".join(f", {ranged(ratios[metric])} {words}" for metric, words in others.items() if metric in ratios)
    numbers += (
        f". The mean l2 is {random.mean.value:.3g} and {tuned.mean.value:.3g}, over {len(random.values)} and "
        f"{counted(len(tuned.values), 'pair')} of {counted(n, 'replica')} an arm"
    )
    if "P & finetune" in groups["l2"]:
        numbers += f"; fine-tuning moved {groups['l2']['P & finetune'].mean.value:.3g} from P"
    moves = groups[TOGETHER].get("finetune & finetune")
    if moves is not None:
        numbers += f". The moves without the head have cosine {ranged(bounded(moves.mean, -1.0))}"
    numbers += _trend(rows)

    def say(status: Any, sentence: str) -> Verdict:
        ratio = ratios["l2"]
        return Verdict("C6", status, sentence, RULE, n=n, low=ratio.low, high=ratio.high, target=target)

    failed, known = trained(rows)
    if failed:
        return say("inconclusive", f"{failed}: {numbers}.")
    if min(len(tuned.values), len(random.values)) < LEAST_PAIRS:
        return say("inconclusive", f"Fewer than {LEAST_PAIRS} pairs of a kind: {numbers}.")
    conditions = [] if known else [TRAINING_UNKNOWN]
    if moves is None:
        conditions.append(
            "where fine-tuned models started is not known, so the way from there may just have been short"
        )
    elif moves.mean.low is None or moves.mean.low <= 0:
        conditions.append("no nearer than independent moves from one start are: that follows from a short way alone")
    above = [metric for metric, ratio in ratios.items() if ratio.low is not None and ratio.low > 1]
    below = [metric for metric, ratio in ratios.items() if ratio.high is not None and ratio.high < 1]
    if len(above) == 3:
        return limited(say("holds", f"Nearer by every measure: {numbers}."), conditions)
    if above:
        found = say("holds under conditions", f"Nearer by {' and '.join(above)} only: {numbers}.")
        return limited(found, conditions)
    if len(below) == 3:
        return say("does not hold", f"Farther by every measure: {numbers}.")
    return say("inconclusive", f"This cannot be told, as an interval crosses 1: {numbers}.")


def _ratio(first: Group, second: Group) -> Interval:
    """Ratio of typical distances (geometric means), with its interval from the logarithms."""
    logs = [
        Group(group.kind, group.pairs, tuple(math.log(max(value, 1e-300)) for value in group.values))
        for group in (first, second)
    ]
    found = difference(*logs)
    ends = [None if end is None else math.exp(min(end, 700.0)) for end in (found.low, found.high)]
    return Interval(math.exp(min(found.value, 700.0)), ends[0], ends[1], found.n)


def _trend(rows: pl.DataFrame) -> str:
    """The rank correlation of distance with depth between fine-tuned models, in words, for three normalisations."""
    found = []
    for metric in ("l2", "l2_per_sqrt_n", "l2_relative"):
        depths = [
            group["finetune & finetune"].mean.value
            for part in rows.filter(pl.col("module") != "*", metric=metric).partition_by("module", maintain_order=True)
            if "finetune & finetune" in (group := grouped(part))
        ]
        if len(depths) >= 3:
            found.append(f"{rank_correlation(range(len(depths)), depths):+.2f} ({metric})")
    return f". Rank correlation of distance with depth {', '.join(found)}" if found else ""


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw the distance of each module relative to its start, a dot a pair and a line through the means of each kind.

    Args:
        rows: the rows of this analysis; several targets become small charts side by side.

    Returns:
        The chart, with a logarithmic scale; pairs of distance 0 are not drawn.
    """
    return by_target(rows, _panel)


def _panel(rows: pl.DataFrame) -> Any:
    """The chart of one target."""
    import altair as alt

    metrics = ["l2_relative", "l2", "l2_per_sqrt_n"]
    data = rows.filter(pl.col("metric").is_in(metrics), pl.col("module") != "*", pl.col("b").is_not_null())
    order = data["module"].unique(maintain_order=True).to_list()
    data = data.pivot(on="metric", index=["a", "b", "module"], values="value").filter(pl.col("l2_relative") > 0)
    data = with_kinds(data)
    colour, dash, shape = pair_channels(data)
    x = alt.X("module:N", title="module, from input to output", sort=order)
    y_title, scale = "distance / norm of the start", alt.Scale(type="log")
    tooltip = ["a:N", "b:N", "module:N", *(alt.Tooltip(f"{metric}:Q", format=".3g") for metric in metrics)]
    base = alt.Chart(data)
    dots = base.mark_point(filled=True, size=32, opacity=0.6)
    means = base.mark_line(strokeWidth=2)
    mean = alt.Y("mean(l2_relative):Q", title=y_title, scale=scale)
    return alt.layer(
        means.encode(x, mean, colour, dash),
        dots.encode(x, alt.Y("l2_relative:Q", title=y_title, scale=scale), colour, shape, tooltip=tooltip),
    )
