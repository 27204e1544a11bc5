"""How much pre-training is enough?

Source: Neyshabur et al. 2020, section 3.6 and figure 7: fine-tune from a series of checkpoints of the pre-training
(`x` is the epoch of the checkpoint) and compare with its last one.

`error` (final, split test or validation, and train) and `mean_train_accuracy` (optimisation speed over the epochs that
all runs have) are of the fine-tunes. `error_loss` is the error minus that of the same replica from the last checkpoint,
`speed_loss` the speed from the last one minus this one: positive is a cost. `source_error` is that of the pre-training,
`source_progress` the share of its whole gain in accuracy that a checkpoint has. `plateau_epoch` is the first epoch from
which on the progress stays above 97.5 percent (chosen): the beginning of the last plateau.

`sufficient_epoch` is the smallest epoch whose mean loss is at most `tolerance`, unless given the half-width of the
95 % t interval of the last checkpoint's error. Its own interval is a bootstrap over replicas, rounded outwards to
checkpoints. `sufficient_fraction` is the same as a share of the whole.

How to read it: the claim is that one may stop earlier; read the epoch beside the plateau of the source. The learning
rate of fine-tuning should be chosen for each checkpoint, or a checkpoint pays for a rate that was tuned for another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bequest.analyses.groups import counted
from bequest.analyses.intervals import Interval, bootstrap, bounded, mean_interval, paired_difference
from bequest.analyses.pairs import replicas
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Status, Verdict, judge_targets, trained_accuracy
from bequest.training.outcome import final_error, mean_train_accuracy, shared_epochs

if TYPE_CHECKING:
    import altair

    from bequest.training.trajectory import Trajectory

NAME = "checkpoints"
PLATEAU = 0.975  # chosen: on ImageNet (figure 7) it puts the beginning of the last plateau at epoch 61 of 90
WIDEST = 0.02  # chosen: a tolerance of more than two points would let almost any checkpoint pass
SPEED = "mean_train_accuracy"
RULE = (
    "Sufficient is the smallest checkpoint that loses no more accuracy than the half-width of the 95 % t interval of "
    "the last one's error, or a tolerance that was given; losses are paired by replica. Holds if a checkpoint before "
    "the last plateau of the source surely is sufficient (its whole interval); under conditions if one on the plateau "
    "is; does not hold if none but the last is. Inconclusive otherwise, with a tolerance above 2 points, when "
    "fine-tuning failed to train, or where even the start of the pre-training is sufficient. The interval is a "
    "bootstrap over replicas of the sufficient epoch."
)
SERIES = {  # what the chart draws -> colour
    "final accuracy": "#2a78d6",
    "mean train accuracy": "#b8860b",
    "source accuracy": "#2e9e6b",
}


def checkpoints(
    trajectories: Mapping[int, Mapping[str, Trajectory]],
    *,
    source: Trajectory,
    tolerance: float | None = None,
    chance: float | None = None,
) -> Result:
    """Compare fine-tunes from a series of checkpoints of the pre-training.

    Args:
        trajectories: epoch of the checkpoint (0 is before pre-training) -> name of a run (`finetune/0`) -> its
            trajectory. The largest epoch is what the others are compared with.
        source: the pre-training, for its error at each epoch.
        tolerance: accuracy that may be given up, 0..1; None: the half-width of the interval of the last checkpoint.
        chance: accuracy of guessing on the target, 0..1, by which the verdict tells whether an arm was trained.

    Returns:
        The rows; metrics as described at the top of this file.

    Raises:
        ValueError: if there are fewer than two checkpoints, the source was not measured at one, or a run is missing in
            one of them.
    """
    if len(trajectories) < 2:
        raise ValueError(f"checkpoints needs fine-tunes from at least two checkpoints, got {len(trajectories)}")
    epochs = sorted(trajectories)
    names = list(trajectories[epochs[-1]])
    for epoch in epochs:
        if set(trajectories[epoch]) != set(names):
            odd = sorted(set(trajectories[epoch]) ^ set(names))
            raise ValueError(
                f"all checkpoints need the same runs, but {odd[0]!r} is not at epochs {epoch} and {epochs[-1]}"
            )
    every = [run.metrics for runs in trajectories.values() for run in runs.values()]
    split = "test" if all((metrics["split"] == "test").any() for metrics in every) else "validation"
    until = shared_epochs(every)
    rows = list(_source_rows(source.metrics, epochs))
    for which, runs in replicas(names).items():
        metrics = {t: [(name, trajectories[t][name].metrics) for name in runs] for t in epochs}
        finals = {t: [final_error(*one, split) for one in here] for t, here in metrics.items()}
        trains = {t: [final_error(*one, "train") for one in here] for t, here in metrics.items()}
        speeds = {t: [mean_train_accuracy(*one, until=until) for one in here] for t, here in metrics.items()}
        for metric, part, values in (("error", split, finals), ("error", "train", trains), (SPEED, "train", speeds)):
            rows += _course_rows(metric, part, which, runs, values)
        losses = {t: paired_difference(finals[t], finals[epochs[-1]]) for t in epochs}
        for t, found in losses.items():
            rows.append(_row("error_loss", which, found, split=split, x=t))
            rows.append(_row("speed_loss", which, paired_difference(speeds[epochs[-1]], speeds[t]), split="train", x=t))
        rows += _sufficient_rows(which, finals, tolerance)
    if chance is not None:
        rows.append(_row("chance_accuracy", None, value=chance))
    return Result(NAME, table(NAME, rows))


def _row(metric: str, a: str | None, found: Interval | None = None, **more: Any) -> dict[str, Any]:
    numbers = {} if found is None else {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    return {"metric": metric, "a": a, "module": "*", "unit": "share", **numbers, **more}


def _source_rows(metrics: pl.DataFrame, epochs: list[int]) -> Iterator[dict[str, Any]]:
    """The course of the pre-training, how far each epoch was, and where the last plateau begins."""
    split = "validation" if (metrics["split"] == "validation").any() else "train"
    course = metrics.filter(pl.col("split") == split).sort("epoch")
    errors: dict[int, float] = dict(course.select("epoch", "error").iter_rows())
    missing = [epoch for epoch in epochs if epoch not in errors]
    if missing:
        raise ValueError(
            f"the source has no {split} error at epoch {missing[0]}, where a checkpoint was taken; its epochs are "
            f"{min(errors, default=None)} to {max(errors, default=None)}"
        )
    first, last = min(errors), max(errors)
    gain = errors[first] - errors[last]
    progress = {t: (errors[first] - error) / gain if gain > 0 else None for t, error in errors.items()}
    for t, error in errors.items():
        yield _row("source_error", "P", value=error, n=1, split=split, x=t)
        yield _row("source_progress", "P", value=progress[t], n=1, split=split, x=t)
    plateau: int | None = None
    for t in sorted(errors, reverse=True):
        share = progress[t]
        if share is None or share < PLATEAU:
            break
        plateau = t
    yield _row("plateau_epoch", "P", value=plateau, n=1, split=split, unit="epochs")


def _course_rows(
    metric: str, split: str, which: str, runs: list[str], values: Mapping[int, list[float]]
) -> Iterator[dict[str, Any]]:
    """A number of each run and its mean over the arm, by checkpoint."""
    for t, found in values.items():
        for name, value in zip(runs, found, strict=True):
            yield _row(metric, name, value=value, n=1, split=split, x=t)
        if runs != [which]:
            yield _row(metric, which, bounded(mean_interval(found)), split=split, x=t)


def _sufficient_rows(
    which: str, finals: Mapping[int, list[float]], tolerance: float | None
) -> Iterator[dict[str, Any]]:
    """The smallest checkpoint that is enough, with its interval."""
    epochs = sorted(finals)
    final = mean_interval(finals[epochs[-1]])
    allowed = tolerance if tolerance is not None else None if final.high is None else final.high - final.value
    yield _row("tolerance", which, value=allowed, n=final.n)
    if allowed is None:
        yield _row("sufficient_epoch", which, n=final.n, unit="epochs")
        return
    errors = np.array([finals[t] for t in epochs])
    losses = errors - errors[-1]

    def smallest(indices: NDArray[np.int64]) -> float:
        enough = losses[:, indices].mean(1) <= allowed + 1e-12  # equal but for rounding
        return float(epochs[int(enough.argmax())])

    found = bootstrap(smallest, final.n)
    if final.n < 2 or found.low is None or found.high is None:
        found = Interval(found.value, None, None, final.n)
    else:
        low = max(t for t in epochs if t <= found.low)
        found = Interval(found.value, low, min(t for t in epochs if t >= found.high), final.n)
    yield _row("sufficient_epoch", which, found, unit="epochs")
    shares = [None if one is None else one / epochs[-1] for one in (found.low, found.high)]
    yield _row("sufficient_fraction", which, Interval(found.value / epochs[-1], shares[0], shares[1], final.n))


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge claim C10 for each target, by the arm `finetune` or the only one there is.

    Args:
        rows: the rows of this analysis, of one or several targets.

    Returns:
        One verdict, or none where there are several arms and none is `finetune`.
    """
    return judge_targets(rows, _judged)


def _judged(rows: pl.DataFrame, target: str | None) -> Verdict | None:
    """Apply the rule to the rows of one target."""
    arms = rows.filter(pl.col("metric") == "sufficient_epoch")["a"].to_list()
    which = "finetune" if "finetune" in arms else arms[0] if len(arms) == 1 else None
    if which is None:
        return None

    def get(metric: str, **where: Any) -> dict[str, Any]:
        return rows.filter(pl.col("metric") == metric, **where).row(0, named=True)

    found, allowed = get("sufficient_epoch", a=which), get("tolerance", a=which)["value"]
    losses = rows.filter(pl.col("metric") == "error_loss", a=which).sort("x")
    last, n = losses["x"][-1], found["n"]

    def say(status: Status, sentence: str) -> Verdict:
        return Verdict("C10", status, sentence, RULE, n=n, low=found["low"], high=found["high"], target=target)

    if allowed is None or found["low"] is None:
        return say("inconclusive", "One replica has no interval.")
    plateau = get("plateau_epoch")["value"]
    at = get("error_loss", a=which, x=found["value"])
    slower = get("speed_loss", a=which, x=found["value"])
    begins = f"begins at epoch {plateau:.0f}" if plateau is not None else "could not be found"
    numbers = (
        f"the smallest sufficient checkpoint is epoch {found['value']:.0f} of {last:.0f} ({found['low']:.0f} to "
        f"{found['high']:.0f}), {100 * found['value'] / last:.0f} % of the pre-training. There the source has "
        f"{_share(get('source_progress', x=found['value'])['value'])} of its gain; its last plateau {begins}. The "
        f"checkpoint loses {_points(at['value'])} points with {_points(allowed)} allowed, and "
        f"{_points(slower['value'])} points of mean train accuracy, {counted(n, 'replica')}"
    )
    chance = rows.filter(pl.col("metric") == "chance_accuracy")["value"].to_list()
    fitted = 1 - get("error", a=which, split="train", x=last)["value"]
    if chance and fitted < trained_accuracy(chance[0]):
        return say("inconclusive", f"{which} failed to train from the last checkpoint: {100 * fitted:.1f} % right.")
    if allowed > WIDEST:
        return say("inconclusive", f"The replicas differ too much, {100 * allowed:.1f} points: {numbers}.")
    if found["value"] == 0:
        return say("inconclusive", f"Pre-training gives nothing here that a checkpoint could lose: {numbers}.")
    if found["low"] == last:
        return say("does not hold", f"Only the last checkpoint is enough: {numbers}.")
    if found["high"] == last:
        return say("inconclusive", f"No earlier checkpoint is surely enough: {numbers}.")
    if plateau is not None and found["high"] < plateau:
        return say("holds", f"A checkpoint before the last plateau is enough: {numbers}.")
    return say("holds under conditions", f"From the last plateau of the source on: {numbers}.")


def _points(value: float) -> str:
    return f"{100 * value + 0.0:.1f}".replace("-0.0", "0.0")


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.0f} %"


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw accuracy and speed of the fine-tunes by epoch of the checkpoint and by accuracy of the source.

    Args:
        rows: the rows of this analysis; each target is one more row of panes.

    Returns:
        The chart; bars are the intervals over replicas, the dotted line the smallest sufficient checkpoint, the grey
        one where the last plateau of the source begins.
    """
    import altair as alt

    targets = rows["target"].n_unique()
    panes: list[Any] = []
    for part in rows.partition_by("target", maintain_order=True):
        title = str(part["target"][0]) if targets > 1 else ""
        panes += [pane.properties(width=260, height=220, title=title) for pane in _panes(part)]
    return alt.concat(*panes, columns=2)


def _panes(rows: pl.DataFrame) -> tuple[Any, Any]:
    import altair as alt

    sufficient = rows.filter(pl.col("metric") == "sufficient_epoch")
    which = "finetune" if "finetune" in sufficient["a"].to_list() else sufficient["a"][0]
    accuracy = {"value": 1 - pl.col("value"), "low": 1 - pl.col("high"), "high": 1 - pl.col("low")}
    source = rows.filter(pl.col("metric") == "source_error").with_columns(**accuracy)
    final = rows.filter(pl.col("metric") == "error", pl.col("split") != "train", a=which).with_columns(**accuracy)
    speed = rows.filter(pl.col("metric") == SPEED, a=which)
    drawn = zip(SERIES, (final, speed, source), strict=True)
    data = pl.concat([part.with_columns(pl.lit(name).alias("series")) for name, part in drawn])
    ends = [pl.coalesce(end, "value").clip(0, 1).alias(end) for end in ("low", "high")]
    at = source.select("x", pl.col("value").alias("source"))
    data = data.select("series", "x", "value", "n", *ends).join(at, on="x").sort("x")
    colour = alt.Color("series:N", title=None, scale=alt.Scale(domain=list(SERIES), range=list(SERIES.values())))
    y = alt.Y("value:Q", title="accuracy (%)", axis=alt.Axis(format="~%"), scale=alt.Scale(zero=False))
    tooltip = [
        *("series:N", alt.Tooltip("x:Q", title="epoch of the checkpoint")),
        *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("value", "low", "high", "source")),
        alt.Tooltip("n:Q", title="replicas"),
    ]

    def layers(base: alt.Chart, x: alt.X) -> list[Any]:
        tuned = base.transform_filter("datum.series != 'source accuracy'")
        return [
            tuned.mark_rule(strokeWidth=2, opacity=0.5).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), colour),
            base.mark_line().encode(x, y, colour),
            tuned.mark_point(filled=True, size=45, opacity=1).encode(x, y, colour, tooltip=tooltip),
        ]

    ticks = alt.Axis(values=final["x"].to_list(), labelOverlap="greedy", format="d", grid=False)
    epoch = alt.X("x:Q", title="epoch of the checkpoint", scale=alt.Scale(type="symlog"), axis=ticks)
    marks = rows.filter(pl.col("metric") == "plateau_epoch", pl.col("value").is_not_null()).select("value")
    line = alt.Chart(marks).mark_rule(color="#7f7f7f", strokeDash=[4, 3]).encode(alt.X("value:Q"))
    enough = sufficient.filter(pl.col("a") == which, pl.col("value").is_not_null()).select("value")
    dotted = alt.Chart(enough).mark_rule(color=SERIES["final accuracy"], strokeDash=[1, 3]).encode(alt.X("value:Q"))
    by_epoch = alt.layer(*layers(alt.Chart(data), epoch), line, dotted)
    reached = alt.X("source:Q", title="accuracy of the source (%)", axis=alt.Axis(format="~%", grid=False))
    tuned = data.filter(pl.col("series") != "source accuracy")
    return by_epoch, alt.layer(*layers(alt.Chart(tuned), reached))
