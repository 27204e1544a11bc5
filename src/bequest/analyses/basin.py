"""Do several solutions lie in one basin, and how far does it reach?

Source: Neyshabur et al. 2020, Definition 3.1. S is the segment between two solutions, or the simplex of all mixes of
three or more (a claim about a region needs three: a segment cannot tell a basin from a valley floor). With mu the mean
of l over S, S is an (eps, delta)-basin if (1) l differs from mu by eps or less on average in S, (2) it is 2 eps or more
above mu after Gaussian noise of length delta on the boundary of S, and (3) as far above after going on beyond the
boundary by a length of about delta. See `bequest.evaluation.basins` for the formulas.

For l the `loss` and the `error` (column `of`), on each split: `eps` is measured as the left side of (1) unless given.
`delta`, in the unit of weight distance, is the smallest at which the loss on the first split reaches both (2) and (3),
unless given; `delta_random` and `delta_extrapolated` are the smallest for (2) and for (3) alone. `condition_1`,
`condition_2` and `condition_3` are the left sides at `delta`, of every l, with 95 % intervals over draws; `random` and
`extrapolated` (x = delta, first split) those at every delta that was tried. `mean` is mu, `members` the mean of l at
the solutions themselves, `rise` their difference, `diameter` the largest distance between two of them. BatchNorm is
refitted at every point.

How to read it: `rise` near 0 and a small `eps` say that S has no inner wall; `delta` says how far away the outer one
is. Any l that varies little has a tiny eps, and then (2) and (3) ask for little: read the left sides, not only whether
they pass. Random directions are flatter than extrapolated ones as a rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from torch import Tensor, nn

from bequest.analyses.pairs import ARMS, arm, repeats_init
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict, judge_targets, trained_accuracy
from bequest.evaluation import tasks
from bequest.evaluation.basins import Direction, Estimate, Landscape, Survey
from bequest.evaluation.batches import Batches
from bequest.evaluation.chance import chance_rows
from bequest.evaluation.mixtures import Noise, mixture, parameter_names
from bequest.evaluation.protocol import Protocol, splits_of
from bequest.weights.algebra import Weights, check_alike
from bequest.weights.paths import gram

if TYPE_CHECKING:
    import altair

NAME = "basin"
THRESHOLD = 0.02  # Frankle et al. 2020: below 2 points of error there is no wall
WAYS: tuple[tuple[str, Direction], ...] = (("2", "random"), ("3", "extrapolated"))  # condition, how it leaves S
RULE = (
    "The simplex of three or more fine-tuned models (Neyshabur et al. 2020, Definition 3.1; BatchNorm refitted). Holds "
    "if on train and test the mean error inside is at most 2 points above that of its corners and varies by at most 2 "
    "points (95 % over draws), there is a delta at which the loss rises by 2 eps both in random and in extrapolated "
    "directions, and the simplex of random inits does have a wall; does not hold if the rise inside is clearly above 2 "
    "points. Draws are counted; the models are one set."
)


def basin(
    model: nn.Module,
    members: Mapping[str, Weights],
    batches: Batches | Mapping[str, Batches],
    *,
    calibration: Batches | None = None,
    task: str | tasks.Loss | tasks.Task = "classification",
    samples: int = 16,
    seed: int = 0,
    eps: Mapping[str, float] | None = None,
    delta: float | None = None,
) -> Result:
    """Measure the left sides of the definition of a basin for the segment or simplex of some weights.

    Args:
        model: the network to run them in; it is left as it was.
        members: name -> weights, at least two, all of the model's shapes.
        batches: (inputs, targets) to measure on; or split -> such batches, of which the first is searched for delta.
        calibration: training data for BatchNorm's statistics.
        task: name of a task, a task, or a loss (outputs, targets) -> mean loss.
        samples: points drawn for each expectation, even. A search measures the first split about eight times as often.
        seed: of all draws.
        eps: `loss` and `error` -> epsilon; what is left out is measured.
        delta: distance of conditions (2) and (3); None searches for the smallest.

    Returns:
        The rows; metrics as described at the top of this file. `a` and `b` name the two members, or `a` all of more.

    Raises:
        ValueError: if there are too few members, or they do not fit the model or each other, or samples is odd.
    """
    names = list(members)
    if len(names) < 2:
        raise ValueError(f"a basin needs two members or more; got {len(names)}: {', '.join(names) or 'none'}")
    given = dict(eps or {})
    if wrong := given.keys() - {"loss", "error"}:
        raise ValueError(f"eps is given for `loss` and `error`, not for {sorted(wrong)[0]!r}")
    if delta is not None and not delta > 0:
        raise ValueError(f"delta is a distance above 0, not {delta}")
    chosen = tasks.task(task)
    splits = splits_of(batches)
    weights = list(members.values())
    for other in weights[1:]:
        check_alike(weights[0], other)
    label = {"a": names[0], "b": names[1]} if len(names) == 2 else {"a": " + ".join(names), "b": None}
    base = {**label, "module": "*", "members_n": len(names)}
    rows: list[dict[str, Any]] = []
    rows += [{**base, **row} for split, one in splits.items() for row in chance_rows(one, chosen, split)]
    whole = Protocol(model, splits, chosen, calibration)
    inner = gram(weights, parameter_names(model))
    with mixture(model, weights) as go:

        def landscape(some: list[str | None]) -> Landscape:
            protocol = Protocol(model, {split: splits[split] for split in some}, chosen, calibration)

            def measure(shares: Tensor, noise: Noise | None) -> Tensor:
                go(shares.tolist(), noise)
                means = [tally.means() for tally in protocol.here().values()]
                return torch.tensor([number for pair in means for number in pair], dtype=torch.float64)

            return measure

        everywhere = landscape(list(splits))
        everything = Survey(everywhere, inner, samples, seed)
        corners = torch.stack([everywhere(corner, None) for corner in torch.eye(len(names), dtype=torch.float64)])
        first, *others = splits
        # The search looks at the first split alone; the others are measured where it ended.
        search = Survey(landscape([first]), inner, samples, seed, given=everything.values[:, :2])
        rest = Survey(landscape(others), inner, samples, seed, given=everything.values[:, 2:])
        rows.append({**base, "metric": "diameter", "value": search.diameter, "n": len(names), "unit": "L2"})
        about = {**base, "split": first, "of": "loss", "n": samples, "unit": "L2", "note": whole.note}
        found, reached = _distances(search, about, given.get("loss"), delta)
        rows += reached
        for place, (split, of) in enumerate((split, of) for split in splits for of in ("loss", "error")):
            about = {**base, "split": split, "of": of, "unit": whole.units[of], "note": whole.note}
            survey, column = (search, place) if split == first else (rest, place - 2)
            rows += _conditions(survey, column, about, float(corners[:, place].mean()), given.get(of), found)
        for place, of in enumerate(("loss", "error")):
            about = {**base, "split": first, "of": of, "unit": whole.units[of], "note": whole.note}
            rows += _profile(search, place, about)
    return Result(NAME, table(NAME, rows))


def _distances(
    search: Survey, row: Mapping[str, Any], eps: float | None, delta: float | None
) -> tuple[float | None, list[dict[str, Any]]]:
    """Find delta for the loss, unless it is given, and say how."""
    used = float(search.epsilon.value[0]) if eps is None else eps
    rows, found, why = [], delta, "delta was given"
    if delta is None and used > 0 and math.isfinite(used):
        for _, way in WAYS:
            rows.append({**row, "metric": f"delta_{way}", "value": search.smallest_delta(way, 0, 2 * used)})
        found = search.joint_delta(0, 2 * used)
        why = "the smallest with (2) and (3)" if found else "(2) and (3) were not both reached, far as was looked"
    elif delta is None:
        why = f"eps is {used}, so that any delta or none would do; give eps="
    return found, [*rows, {**row, "metric": "delta", "value": found, "note": _joined(row["note"], why)}]


def _conditions(
    survey: Survey, place: int, about: Mapping[str, Any], corners: float, eps: float | None, delta: float | None
) -> Iterator[dict[str, Any]]:
    """What the definition asks of one function on one split."""
    mean, measured = survey.mean, survey.epsilon
    row = {**about, "n": survey.samples}
    yield {**row, "metric": "mean", **_ranged(mean, place)}
    yield {**row, "metric": "members", "value": _finite(corners), "n": about["members_n"]}
    yield {**row, "metric": "rise", **_ranged(mean, place, corners)}
    chosen = {"value": eps, "note": _joined(about["note"], "eps was given")}
    yield {**row, "metric": "eps", **(_ranged(measured, place) if eps is None else chosen)}
    yield {**row, "metric": "condition_1", **_ranged(measured, place)}
    for number, way in WAYS:
        at = {"value": None} if delta is None else _ranged(survey.outside(way, delta), place)
        yield {**row, "metric": f"condition_{number}", **at}


def _profile(survey: Survey, place: int, about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The left sides of (2) and (3) at every delta that a search came past."""
    for _, way in WAYS:
        for delta in survey.measured(way):
            side = survey.outside(way, delta)
            yield {**about, "metric": way, "x": delta, "n": survey.samples, **_ranged(side, place)}


def _ranged(estimate: Estimate, place: int, less: float = 0.0) -> dict[str, float | None]:
    value, half = float(estimate.value[place]) - less, 1.96 * float(estimate.error[place])
    return {"value": _finite(value), "low": _finite(value - half), "high": _finite(value + half)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _joined(*notes: str | None) -> str | None:
    return "; ".join(note for note in notes if note) or None


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge claim C7 for each target by the simplex of its fine-tuned models.

    Args:
        rows: the rows of this analysis, of one or several targets.

    Returns:
        One verdict, or none where no simplex of three fine-tuned models was measured.
    """
    return judge_targets(rows, _one_basin)


def _one_basin(rows: pl.DataFrame, target: str | None) -> Verdict | None:
    """Apply the rule of C7 to the rows of one target."""
    sets = {which: _simplex(rows, which) for which in ("finetune", "randinit")}
    tuned, random = sets["finetune"], sets["randinit"]
    if tuned is None:
        return None
    rises = {split: _row(tuned, "rise", split, "error") for split in tuned["split"].drop_nulls().unique().sort()}
    rises = rises or {None: _row(tuned, "rise", None, "error")}
    worst = max(rises.values(), key=lambda row: row["value"] if row["value"] is not None else math.inf)
    delta = tuned.filter(metric="delta")["value"][0]
    spreads = {split: _row(tuned, "eps", split, "error") for split in rises}
    told = ", ".join(f"{_range(row)}{f' on {split}' if split else ''}" for split, row in rises.items())
    others = {} if random is None else {split: _row(random, "rise", split, "error") for split in rises}
    numbers = f"the mean error inside their simplex minus that at its corners is {told} points"
    if others:
        numbers += ", for random inits " + ", ".join(_range(row) for row in others.values())
    numbers += "; no delta was found" if delta is None else f"; delta {delta:.3g}"

    def say(status: Any, sentence: str) -> Verdict:
        ends = (_percent(worst["low"]), _percent(worst["high"]))
        return Verdict("C7", status, f"{sentence}: {numbers}.", RULE, int(worst["n"]), *ends, target=target)

    if tuned["note"].cast(pl.String).str.contains("not refitted").fill_null(False).any():
        return say("inconclusive", "BatchNorm was not refitted")
    if failed := _untrained(sets):
        return say("inconclusive", failed)
    if any(row["low"] is None for row in (*rises.values(), *spreads.values())):
        return say("inconclusive", "The error is not finite, or has no interval")
    if any(row["low"] > THRESHOLD for row in rises.values()):
        return say("does not hold", "There is a wall inside")
    if any(row["high"] > THRESHOLD for row in (*rises.values(), *spreads.values())):
        return say("inconclusive", "The interval crosses 2 points")
    if delta is None or not all(_reached(tuned, split) for split in rises):
        return say("holds under conditions", "No wall inside, but none was found outside either")
    if not others or not {"train", "test"} <= rises.keys():
        return say("holds under conditions", "No wall inside, not measured on random inits too, or not on both splits")
    if not all(row["low"] is not None and row["low"] > THRESHOLD for row in others.values()):
        return say("inconclusive", "No wall inside, but none between random inits either")
    return say("holds", "One basin")


def _reached(rows: pl.DataFrame, split: str | None) -> bool:
    """Tell whether the loss on a split meets (2) and (3) at delta."""
    sides = [_row(rows, f"condition_{number}", split, "loss")["value"] for number, _ in WAYS]
    eps = _row(rows, "eps", split, "loss")["value"]
    return eps is not None and all(side is not None and side >= 2 * eps for side in sides)


def _simplex(rows: pl.DataFrame, which: str) -> pl.DataFrame | None:
    """The rows of the largest set of three or more models of one arm; a set with a repeated init is passed over."""
    found = None
    for part in rows.filter(pl.col("members_n") >= 3).partition_by("a", maintain_order=True):
        names = part["a"][0].split(" + ")
        alike = all(arm(name) == which and not repeats_init(name) for name in names)
        if alike and (found is None or part["members_n"][0] > found["members_n"][0]):
            found = part
    return found


def _row(rows: pl.DataFrame, metric: str, split: str | None, of: str) -> dict[str, Any]:
    wanted = (pl.col("metric") == metric) & pl.col("split").eq_missing(pl.lit(split, pl.String)) & (pl.col("of") == of)
    return rows.filter(wanted).row(0, named=True)


def _untrained(sets: Mapping[str, pl.DataFrame | None]) -> str | None:
    for name, rows in sets.items():
        if rows is None or (chance := rows.filter(metric="chance_accuracy")).is_empty():
            continue
        split = "train" if "train" in chance["split"] else chance["split"][0]
        value = chance.filter(pl.col("split").eq_missing(pl.lit(split, pl.String)))["value"][0]
        error = _row(rows, "members", split, "error")["value"]
        if error is not None and 1 - error < trained_accuracy(value):
            return f"{name} is hardly better than chance here"
    return None


def _range(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "no finite number of"
    text = f"{100 * row['value']:.1f}"
    return text if row["low"] is None else f"{text} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw how far the loss rises above its mean over S, by distance from S, in random and in extrapolated directions.

    Args:
        rows: the rows of this analysis, of one or several targets.

    Returns:
        The chart; a curve that stays low for long belongs to a wide basin.
    """
    import altair as alt

    data = rows.filter(
        pl.col("metric").is_in(["random", "extrapolated"]), pl.col("of") == "loss", pl.col("value").is_not_null()
    )
    split = next(iter(data["split"]), None)
    names = data.select(
        pl.col("a").str.split(" + ").list.first().str.split("/").list.first().alias("arm"),
        pl.concat_str("a", "b", separator=" + ", ignore_nulls=True).alias("members"),
        "target",
        "metric",
        "x",
        "value",
        "low",
        "high",
    ).with_columns(pl.when(pl.col("arm").is_in(list(ARMS))).then("arm").otherwise(pl.lit("other")).alias("arm"))
    present = [name for name in ARMS if name in set(names["arm"])]
    dashes = alt.Scale(domain=["extrapolated", "random"], range=[[1, 0], [4, 3]])
    drawn: altair.TopLevelMixin = (
        alt.Chart(names)
        .mark_line(point=True, strokeWidth=2)
        .encode(
            alt.X("x:Q", title="delta, distance from the set (L2)", scale=alt.Scale(type="log", nice=False)),
            alt.Y(
                "value:Q",
                title=f"loss{f' on {split}' if split else ''} above the mean inside",
                scale=alt.Scale(type="symlog"),
            ),
            alt.Color("arm:N", title="arm", scale=alt.Scale(domain=present, range=[ARMS[n] for n in present])),
            alt.StrokeDash("metric:N", title="direction", scale=dashes, legend=alt.Legend(symbolType="stroke")),
            alt.Detail(["members:N", "target:N"]),
            tooltip=[
                "members:N",
                alt.Tooltip("metric:N", title="direction"),
                alt.Tooltip("x:Q", title="delta", format=".3g"),
                alt.Tooltip("value:Q", title="loss above the mean", format=".3f"),
            ],
        )
        .properties(width="container", height=280)
    )
    return drawn
