"""Is fine-tuning better than training from random init, and does it get there faster?

Source: Neyshabur et al. 2020, section 2 and figure 2. Every number is in evaluation mode.

`error` and `loss` are functions of the epoch (`x`; 0 is before training), for each run (`a` = `finetune/0`) and for
each arm (`a` = `finetune`: mean over replicas with Student's t interval, at epochs that every replica has).
`final_error` is the error at the last epoch. `mean_train_accuracy` is the paper's optimisation speed: the mean of the
train accuracy over epochs 1 to the last, 0 to 1, higher is faster. `epochs_to_error` is the first epoch whose
validation error is at most `threshold_error`; unless the caller gives a level, it is the lowest one that every
replica of every arm reaches, control arms left out. A run that never gets to the level has no value there, and
`never_reached` counts it. `error_difference`, `mean_train_accuracy_difference` and `epochs_to_error_difference` are
a - b over pairs of replicas with one number (`finetune/0` with `randinit/0`): negative errors and epochs, and positive
accuracies, speak for a. Intervals of errors and accuracies are cut to 0..1, those of differences are not.

Control arms say where a difference comes from. `meanvar` and `shuffled` have the scale of P's weights and none of its
features: what they gain on `randinit` is the scale, what `finetune` gains on them is features. `probe` trains a new
head on P's frozen features: what it gains on `randinit` is what features do without being adapted.

`learning_rates_tried` counts the learning rates that an arm was tried with, and `learning_rate_chosen` is the one that
was taken: an arm whose learning rate was not tuned, or is the lowest or highest tried, may be worse than it need be.

A run like `randinit/0b` repeats the init of another. It has its own curve, and takes no part in the mean of its arm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from bequest.analyses.conditions import tuning_rows, untuned
from bequest.analyses.groups import counted, ranged
from bequest.analyses.intervals import Interval, bounded, mean_interval
from bequest.analyses.pairs import ARMS, CONTROLS, arm, repeats_init, replica_pairs
from bequest.analyses.panels import by_target
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict, judge_targets, limited, trained_accuracy

if TYPE_CHECKING:
    import altair

NAME = "learning_curves"
SPLITS = ("train", "validation", "test")
SCALE = ("meanvar", "shuffled")  # the control arms that have the scale of P's weights
RULE = (
    "Holds if, paired by replica, the test error at the last epoch is lower and the mean train accuracy over the "
    "epochs is higher for finetune than for randinit, both 95 % t intervals clear of 0; under conditions unless the "
    "learning rate of each arm was chosen among several and not at their edge; does not hold if one interval is clear "
    "of 0 on the other side. Inconclusive otherwise, with fewer than 2 pairs, with unequal epochs, or when an "
    "arm failed to train: its train accuracy ended below twice chance (or twice its start, where chance is not given). "
    "The interval is of the difference in error, in points."
)


class Curves(Protocol):
    """What is needed of a trajectory: `metrics`, with the columns epoch, split, error and loss."""

    @property
    def metrics(self) -> pl.DataFrame:
        """One row for each epoch and split; error 0..1."""


def learning_curves(
    trajectories: Mapping[str, Curves],
    *,
    threshold: float | None = None,
    chance: float | None = None,
    tried: Mapping[str, Sequence[float]] | None = None,
    chosen: Mapping[str, float] | None = None,
) -> Result:
    """Compare the course of training of the runs and of the arms that they belong to.

    Args:
        trajectories: name of a run (`finetune/0`; a name without a slash is an arm of one run) -> its trajectory.
        threshold: validation error, 0..1, for `epochs_to_error`; None: the lowest that every replica reaches, those of
            control arms left out.
        chance: accuracy of guessing, 0..1, by which the verdict tells whether an arm was trained; None: the accuracy
            before training takes its place.
        tried: arm -> the learning rates that it was tried with; None: not known.
        chosen: arm -> the one of them that was taken.

    Returns:
        The rows; metrics as described at the top of this file.

    Raises:
        ValueError: if there are no trajectories, one has no training epochs, a run is named like an arm,
            or a chosen learning rate was not tried.
    """
    if not trajectories:
        raise ValueError("learning_curves needs at least one trajectory: pass a dict of name -> trajectory")
    runs = {name: _checked(name, trajectory.metrics) for name, trajectory in trajectories.items()}
    arms = _arms(runs)
    rows = [row for name, metrics in runs.items() for row in _curve_rows(name, metrics)]
    speeds = {name: _speed(metrics) for name, metrics in runs.items()}
    level = threshold if threshold is not None else _reached_by_all(runs, arms)
    epochs = {name: _first_epoch(metrics, level) for name, metrics in runs.items()}
    for name in runs:
        speed_n = runs[name].filter((pl.col("split") == "train") & (pl.col("epoch") > 0)).height
        if speeds[name] is not None:
            rows.append(_row("mean_train_accuracy", name, speeds[name], split="train", n=speed_n, unit="share"))
        if level is not None:
            rows.append(_row("epochs_to_error", name, epochs[name], split="validation", n=1, unit="epochs"))
    if level is not None:
        rows.append(_row("threshold_error", None, level, split="validation", unit="share"))
    if chance is not None:
        rows.append(_row("chance_accuracy", None, chance, unit="share"))
    rows += tuning_rows(tried, chosen)
    for group, names in arms.items():
        if names != [group]:
            rows += _arm_rows(group, [runs[name] for name in names])
            rows += _mean_row("mean_train_accuracy", group, [speeds[name] for name in names], "train", "share")
            if level is not None:
                rows += _mean_row("epochs_to_error", group, [epochs[name] for name in names], "validation", "epochs")
        if level is not None:
            never = sum(epochs[name] is None for name in names)
            rows.append(_row("never_reached", group, never, split="validation", n=len(names), unit="runs"))
    for a, b in combinations(sorted(arms, key=lambda name: (name != "finetune", name == "randinit")), 2):
        rows += _difference_rows(a, b, replica_pairs(arms[a], arms[b]), runs, epochs)
    return Result(NAME, table(NAME, rows))


def _checked(name: str, metrics: pl.DataFrame) -> pl.DataFrame:
    """Refuse metrics that lack a column or have nothing after epoch 0; sort them."""
    missing = [column for column in ("epoch", "split", "error", "loss") if column not in metrics.columns]
    if missing:
        raise ValueError(f"the metrics of {name!r} have no column {missing[0]!r}; they have {metrics.columns}")
    if metrics.filter(pl.col("epoch") > 0).is_empty():
        raise ValueError(f"the metrics of {name!r} have no epoch after 0, so there is no curve")
    return metrics.sort("epoch")


def _arms(runs: Mapping[str, pl.DataFrame]) -> dict[str, list[str]]:
    """Group the names of runs by arm, without those that repeat an init."""
    arms: dict[str, list[str]] = {}
    for name in runs:
        if not repeats_init(name):
            arms.setdefault(arm(name), []).append(name)
    for group, names in arms.items():
        if group in names and len(names) > 1:
            raise ValueError(f"the run {group!r} is named like the arm of {names}; call it {group}/{len(names)}")
    return arms


def _row(metric: str, a: str | None, value: float | None, **more: Any) -> dict[str, Any]:
    return {"metric": metric, "a": a, "module": "*", "value": value, **more}


def _with(metric: str, a: str, found: Interval, **more: Any) -> dict[str, Any]:
    return _row(metric, a, found.value, low=found.low, high=found.high, n=found.n, **more)


def _curve_rows(name: str, metrics: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """The curves of one run and its final errors."""
    for metric, unit in (("error", "share"), ("loss", "nats")):
        for epoch, split, value in metrics.select("epoch", "split", metric).iter_rows():
            yield _row(metric, name, value, split=split, x=epoch, n=1, unit=unit)
    for split in SPLITS:
        last = metrics.filter(pl.col("split") == split).tail(1)
        if last.height:
            yield _row("final_error", name, last["error"][0], split=split, x=last["epoch"][0], n=1, unit="share")


def _arm_rows(group: str, replicas: list[pl.DataFrame]) -> Iterator[dict[str, Any]]:
    """The mean curves of an arm at the epochs that all its replicas have, and its mean final errors."""
    together = pl.concat([metrics.select("epoch", "split", "error", "loss") for metrics in replicas])
    grouped = together.group_by("epoch", "split", maintain_order=True).agg("error", "loss").sort("epoch")
    for epoch, split, errors, losses in grouped.iter_rows():
        if len(errors) == len(replicas):
            yield _with("error", group, bounded(mean_interval(errors)), split=split, x=epoch, unit="share")
            yield _with("loss", group, mean_interval(losses), split=split, x=epoch, unit="nats")
    for split in SPLITS:
        last = [metrics.filter(pl.col("split") == split).tail(1) for metrics in replicas]
        if all(one.height for one in last):
            ends = {one["epoch"][0] for one in last}
            mean = bounded(mean_interval([one["error"][0] for one in last]))
            yield _with("final_error", group, mean, split=split, x=ends.pop() if len(ends) == 1 else None, unit="share")


def _mean_row(metric: str, group: str, values: list[float | None], split: str, unit: str) -> Iterator[dict[str, Any]]:
    """The mean over replicas; without a value where one of them has none, as the mean of the rest would flatter."""
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        mean = mean_interval(known)
        yield _with(metric, group, bounded(mean) if unit == "share" else mean, split=split, unit=unit)
    else:
        yield _row(metric, group, None, split=split, n=len(known), unit=unit)


def _speed(metrics: pl.DataFrame, until: int | None = None) -> float | None:
    """Mean train accuracy over the epochs from 1 on."""
    train = metrics.filter((pl.col("split") == "train") & (pl.col("epoch") > 0))
    if until is not None:
        train = train.filter(pl.col("epoch") <= until)
    mean = train["error"].mean()
    return None if mean is None else 1 - float(mean)  # type: ignore[arg-type] # mean() is typed for any column


def _best(metrics: pl.DataFrame) -> float | None:
    best = metrics.filter(pl.col("split") == "validation")["error"].min()
    return None if best is None else float(best)  # type: ignore[arg-type] # min() is typed for any column


def _reached_by_all(runs: Mapping[str, pl.DataFrame], arms: Mapping[str, list[str]]) -> float | None:
    """The lowest validation error that every replica gets to; None where one of them has no validation."""
    # a control arm must not move the level at which the others are compared: a probe may never get far
    counting = [names for which, names in arms.items() if which not in CONTROLS] or list(arms.values())
    best = [_best(runs[name]) for names in counting for name in names]
    known = [value for value in best if value is not None]
    return max(known) if known and len(known) == len(best) else None


def _first_epoch(metrics: pl.DataFrame, level: float | None) -> float | None:
    if level is None:
        return None
    there = metrics.filter((pl.col("split") == "validation") & (pl.col("error") <= level))
    return float(there["epoch"][0]) if there.height else None


def _difference_rows(
    a: str,
    b: str,
    pairs: list[tuple[str, str]],
    runs: Mapping[str, pl.DataFrame],
    epochs: Mapping[str, float | None],
) -> Iterator[dict[str, Any]]:
    """Paired differences a - b; the speed over the epochs that both runs of a pair have."""
    for split in SPLITS:
        found: list[float] = []
        ends: set[int] = set()
        for left, right in pairs:
            last = [runs[name].filter(pl.col("split") == split).tail(1) for name in (left, right)]
            if all(one.height for one in last):
                found.append(last[0]["error"][0] - last[1]["error"][0])
                ends |= {one["epoch"][0] for one in last}
        if found:
            x = ends.pop() if len(ends) == 1 else None
            yield _with("error_difference", a, mean_interval(found), b=b, split=split, x=x, unit="share")
    speeds: list[float] = []
    for left, right in pairs:
        until = min(runs[left]["epoch"].max(), runs[right]["epoch"].max())  # type: ignore[type-var] # integers
        both = [_speed(runs[name], until) for name in (left, right)]  # type: ignore[arg-type] # an integer
        if both[0] is not None and both[1] is not None:
            speeds.append(both[0] - both[1])
    if speeds:
        metric = "mean_train_accuracy_difference"
        yield _with(metric, a, mean_interval(speeds), b=b, split="train", unit="share")
    steps = [(epochs[left], epochs[right]) for left, right in pairs]
    reached = [left - right for left, right in steps if left is not None and right is not None]
    if reached and len(reached) == len(steps):
        metric = "epochs_to_error_difference"
        yield _with(metric, a, mean_interval(reached), b=b, split="validation", unit="epochs")


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge claim C1 for each target.

    Args:
        rows: the rows of this analysis, of one or several targets.

    Returns:
        One verdict, or none where there are no arms `finetune` and `randinit`.
    """
    return judge_targets(rows, _judged)


def _judged(rows: pl.DataFrame, target: str | None) -> Verdict | None:
    """Apply the rule to the rows of one target."""

    def get(metric: str, **where: str) -> dict[str, Any] | None:
        chosen = rows.filter(pl.col("metric") == metric, **where)
        return chosen.row(0, named=True) if chosen.height else None

    arms = {"a": "finetune", "b": "randinit"}
    by_split = [get("error_difference", split=split, **arms) for split in ("test", "validation")]
    better = by_split[0] or by_split[1]
    faster = get("mean_train_accuracy_difference", **arms)
    if better is None or faster is None:
        return None
    n = min(better["n"], faster["n"])

    ends = [None if better[end] is None else 100 * better[end] for end in ("low", "high")]

    def say(status: Any, sentence: str) -> Verdict:
        return Verdict("C1", status, sentence, RULE, n=n, low=ends[0], high=ends[1], target=target)

    numbers = (
        f"{better['split']} error of finetune minus randinit {_points(better)} points, mean train accuracy "
        f"{_points(faster)} points, {counted(n, 'pair')}"
    ) + _sources(rows, better["split"])
    for name in ("finetune", "randinit"):
        if failed := _failed(rows, name):
            return say("inconclusive", f"{name} failed to train: {failed}; {numbers}.")
    if better["x"] is None:
        return say("inconclusive", f"The arms were trained for unequal numbers of epochs; {numbers}.")
    if better["low"] is None or faster["low"] is None:
        return say("inconclusive", f"One pair of replicas has no interval: {numbers}.")
    if better["low"] > 0 or faster["high"] < 0:
        return say("does not hold", f"{'Worse' if better['low'] > 0 else 'Slower'}: {numbers}.")
    if better["high"] < 0 and faster["low"] > 0:
        return limited(say("holds", f"Better and faster: {numbers}."), untuned(rows))
    clear = "Better, but not clearly faster" if better["high"] < 0 else "Faster, but not clearly better"
    clear = clear if better["high"] < 0 or faster["low"] > 0 else "Neither is clear of 0"
    return say("inconclusive", f"{clear}: {numbers}.")


def _failed(rows: pl.DataFrame, name: str) -> str | None:
    """Say of an arm of one target that it failed to train, if it did."""
    end = rows.filter(metric="final_error", a=name, split="train")["value"].to_list()
    start = rows.filter(metric="error", a=name, split="train", x=0)["value"].to_list()
    chance = rows.filter(metric="chance_accuracy")["value"].to_list() or [1 - value for value in start]
    if not end or not chance or 1 - end[0] >= trained_accuracy(chance[0]):
        return None
    return f"train accuracy {100 * (1 - end[0]):.1f} % at the end, {100 * chance[0]:.1f} % by chance or before training"


def _sources(rows: pl.DataFrame, split: str) -> str:
    """Say what the control arms add: how much is the scale of the weights, features on top of it, features alone."""
    failed = [name for name in CONTROLS if _failed(rows, name)]

    def differences(*pairs: tuple[str, str]) -> dict[str, str]:
        own = rows.filter(metric="error_difference", split=split)
        found = {(a, b): own.filter(a=a, b=b) for a, b in pairs if not {a, b} & set(failed)}
        return {a if a in CONTROLS else b: _points(row.row(0, named=True)) for (a, b), row in found.items() if len(row)}

    scale = differences(*((name, "randinit") for name in SCALE))
    features = differences(*(("finetune", name) for name in SCALE))
    frozen = differences(("probe", "randinit"))
    told = {
        "the scale of P's weights alone changes it by": [f"{value} with {name}" for name, value in scale.items()],
        "features on top of that by": [f"{value} over {name}" for name, value in features.items()],
        "P's features frozen under a new head by": [f"{value} with {name}" for name, value in frozen.items()],
    }
    parts = [f"{words} {' and '.join(values)}" for words, values in told.items() if values]
    parts += [f"{' and '.join(failed)} failed to train"] if failed else []
    return f". By the control arms, in points of {split} error: {'; '.join(parts)}" if parts else ""


def _points(row: Mapping[str, Any]) -> str:
    """A difference of shares, in points with its interval."""
    return ranged(Interval(row["value"], row["low"], row["high"], row["n"]), "+.1f", 100)


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw the error over the epochs: a line an arm with its interval, solid for validation and dashed for train.

    Args:
        rows: the rows of this analysis; several targets become small charts side by side.

    Returns:
        The chart; the test error at the last epoch is a diamond with its interval.
    """
    return by_target(rows, _panel, height=280, small=(280, 220))


def _panel(rows: pl.DataFrame) -> altair.LayerChart | altair.FacetChart:
    """The chart of one target."""
    import altair as alt

    there = [arm(name) for name in rows.filter(metric="error")["a"].unique(maintain_order=True)]
    groups = list(dict.fromkeys([*(name for name in ARMS if name in there), *there]))
    data = rows.filter(pl.col("metric") == "error", pl.col("a").is_in(groups))
    last = pl.col("x") == pl.col("x").max().over("a")
    ends = [pl.coalesce(end, "value").clip(0, 1).alias(end) for end in ("low", "high")]
    data = data.filter((pl.col("split") != "test") | last).select("a", "split", "x", "value", "n", *ends)
    top = min(1.0, 1.08 * max([0.01, *data["value"]]))
    colours = alt.Scale(domain=groups, range=[ARMS.get(name, ARMS["other"]) for name in groups])
    colour = alt.Color("a:N", title="arm", scale=colours)
    dashes = alt.Scale(domain=["validation", "train"], range=[[1, 0], [5, 3]])
    dash = alt.StrokeDash("split:N", title="split", scale=dashes)
    x = alt.X("x:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False))
    y = alt.Y("value:Q", title="error (%)", scale=alt.Scale(domain=[0, top]), axis=alt.Axis(format="~%"))
    band = (alt.Y("low:Q"), alt.Y2("high:Q"))
    tooltip = [
        *(alt.Tooltip("a:N", title="arm"), "split:N", alt.Tooltip("x:Q", title="epoch")),
        *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("value", "low", "high")),
        alt.Tooltip("n:Q", title="replicas"),
    ]
    base = alt.Chart(data)
    course = base.transform_filter("datum.split != 'test'")
    end = base.transform_filter("datum.split == 'test'")
    return alt.layer(
        course.mark_area(opacity=0.13, clip=True).encode(x, *band, colour, alt.Detail("split:N")),
        course.mark_line(clip=True).encode(x, y, colour, dash, tooltip=tooltip),
        end.mark_rule(clip=True).encode(x, *band, colour),
        end.mark_point(shape="diamond", size=80, filled=True, opacity=1).encode(x, y, colour, tooltip=tooltip),
    )
