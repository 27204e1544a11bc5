"""After which epoch could the pre-training have stopped, and what would that have saved?

From fine-tunes of a series of checkpoints of the pre-training: the earliest checkpoint from which on every one loses at
most `margin` of accuracy, on validation, to the last one (mean over replicas, paired). That one alone is looked at on
test: `sure` is `measured` where its loss there is at most the margin too, with the whole 95 percent t interval. Where
the interval crosses the margin, or there is one replica, it is `inconclusive`. Where the last is chosen, it is
`measured` if what the nearest earlier one loses on validation is above the margin with the whole interval.

The analysis of the same name asks whether the claim of the paper holds, with a tolerance from the spread of the
replicas. Here the margin is what a user is willing to lose, so that a choice can be made with few replicas, and it is
checked on examples that did not choose.

Rows: `error_loss` (`x` epoch of the checkpoint; on test for the chosen one alone), `margin`, `chosen_epoch`, and what
stopping there saves: `saved_share` of the epochs, `saved_epochs`, `saved_images`, `saved_seconds` where known. A
pre-training with a learning rate that falls to zero ends its schedule at the last epoch: a run that is meant to stop
earlier falls earlier, and its end may be better than this checkpoint, not worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from bequest.analyses.groups import counted
from bequest.analyses.intervals import Interval, paired_difference
from bequest.analyses.pairs import replicas
from bequest.analyses.result import table
from bequest.analyses.verdict import trained_accuracy
from bequest.decisions.decision import Decision
from bequest.decisions.row import row
from bequest.training.outcome import final_error
from bequest.training.trajectory import Trajectory

NAME = "checkpoint"
MARGIN = 0.01  # chosen: a point of accuracy


def checkpoint(
    trajectories: Mapping[int, Mapping[str, Trajectory]],
    *,
    source: Trajectory | None = None,
    margin: float = MARGIN,
    arm: str = "finetune",
    chance: float | None = None,
    epoch_images: int | None = None,
    epoch_seconds: float | None = None,
    spent: Mapping[str, float] | None = None,
) -> Decision:
    """Find the earliest checkpoint of a pre-training that is enough.

    Args:
        trajectories: epoch of the checkpoint (0 is before pre-training) -> name of a run (`finetune/0`) -> its
            trajectory, with errors on validation and test; as the analysis `checkpoints` takes them.
        source: the pre-training, whose checkpoint the decision then carries.
        margin: accuracy that may be given up, 0..1.
        arm: which runs count; runs of other arms are left out.
        chance: accuracy of guessing, 0..1, by which it is told whether anything was learned; None: not told.
        epoch_images: examples that an epoch of the pre-training learns from, for what would be saved.
        epoch_seconds: how long such an epoch takes.
        spent: what the fine-tunes cost, `seconds` and `images`, if known; it becomes the costs of the decision.

    Returns:
        The decision; its weights are those of the chosen checkpoint where `source` has them.

    Raises:
        ValueError: if there are fewer than two checkpoints, one lacks a run, or a run has no validation or test error.
    """
    if not 0 <= margin <= 1:
        raise ValueError(f"margin is a share of accuracy, 0..1, not {margin}")
    epochs = sorted(trajectories)
    if len(epochs) < 2:
        raise ValueError(f"checkpoint needs fine-tunes from at least two checkpoints, got {len(epochs)}")
    runs = replicas(trajectories[epochs[-1]]).get(arm, [])
    if not runs:
        raise ValueError(
            f"there is no run of the arm {arm!r} at epoch {epochs[-1]}; there are {', '.join(trajectories[epochs[-1]])}"
        )
    for epoch in epochs:
        for name in runs:
            if name not in trajectories[epoch]:
                raise ValueError(f"all checkpoints need the same runs, but {name!r} is missing at epoch {epoch}")

    def lost(epoch: int, split: str) -> Interval:
        here, last = (
            [final_error(name, trajectories[at][name].metrics, split) for name in runs] for at in (epoch, epochs[-1])
        )
        return paired_difference(here, last)

    losses = {epoch: lost(epoch, "validation") for epoch in epochs}
    chosen = epochs[-1]
    for epoch in reversed(epochs):
        if losses[epoch].value > margin + 1e-12:  # equal but for rounding
            break
        chosen = epoch
    confirmed = lost(chosen, "test")
    rows = [row("error_loss", arm, found, split="validation", x=epoch) for epoch, found in losses.items()]
    rows.append(row("error_loss", arm, confirmed, split="test", x=chosen))
    rows += _saved(arm, chosen, epochs[-1], len(runs), epoch_images, epoch_seconds)
    rows.append(row("margin", None, value=margin, n=len(runs)))
    if chosen == epochs[-1]:
        nearest = losses[epochs[-2]].low
        sure = nearest is not None and nearest > margin + 1e-12
    else:
        sure = confirmed.high is not None and confirmed.high <= margin + 1e-12
    advice = _advice(chosen, epochs, losses, confirmed, margin, sure)
    ends = [final_error(name, trajectories[epochs[-1]][name].metrics, "validation") for name in runs]
    right = 1 - math.fsum(ends) / len(ends)
    if chance is not None and right < trained_accuracy(chance):
        sure = False
        advice = (
            f"Fine-tuning from the last checkpoint learned nothing: {100 * right:.1f} % right on validation where "
            f"guessing is {100 * chance:.1f} %, so there is nothing that an earlier one could lose."
        )
    weights = None if source is None else source.checkpoints.get(_called(chosen, epochs[-1]))
    return Decision(NAME, advice, table(NAME, rows), dict(spent or {}), "measured" if sure else "inconclusive", weights)


def _called(epoch: int, last: int) -> str:
    return "last" if epoch == last else f"epoch-{epoch}" if epoch else "step-0"


def _saved(
    arm: str, chosen: int, last: int, n: int, images: int | None, seconds: float | None
) -> Iterator[dict[str, Any]]:
    """What stopping at the chosen checkpoint would have saved of the pre-training."""
    spared = last - chosen
    yield row("chosen_epoch", arm, value=chosen, n=n, unit="epochs")
    yield row("saved_epochs", arm, value=spared, n=n, unit="epochs")
    yield row("saved_share", arm, value=spared / last, n=n)
    if images is not None:
        yield row("saved_images", arm, value=spared * images, n=n, unit="images")
    if seconds is not None:
        yield row("saved_seconds", arm, value=spared * seconds, n=n, unit="s")


def _advice(
    chosen: int, epochs: list[int], losses: Mapping[int, Interval], confirmed: Interval, margin: float, sure: bool
) -> str:
    last, n = epochs[-1], counted(confirmed.n, "replica")
    allowed = f"{100 * margin:.1f} points"
    if chosen == last:
        before = epochs[-2]
        begin = "Pre-train to the end" if sure else "Pre-train to the end, but it is not sure that this is needed"
        way_out = "" if sure else "; train more replicas, or allow more"
        return (
            f"{begin}: from epoch {before} of {last}, the nearest one tried, fine-tuning already loses "
            f"{_points(losses[before].value)}{_range(losses[before])} points on validation, with {allowed} allowed, "
            f"{n}{way_out}."
        )
    saved = f"{100 * (last - chosen) / last:.0f} % of the pre-training"
    numbers = (
        f"it loses {_points(losses[chosen].value)} points on validation and {_points(confirmed.value)}"
        f"{_range(confirmed)} on test, where it alone was looked at, with {allowed} allowed, {n}"
    )
    if chosen == 0:
        begin = f"Do without the pre-training, which saves all {last} epochs"
    else:
        begin = f"Stop the pre-training at epoch {chosen} of {last}, which saves {saved}"
    if sure:
        return f"{begin}: {numbers}."
    way_out = "train more replicas, or take a later checkpoint"
    if confirmed.value > margin:
        return f"Test does not confirm epoch {chosen}, which validation chose: {numbers}; {way_out}."
    return f"{begin}, but it is not sure: {numbers}; {way_out}."


def _points(value: float) -> str:
    return f"{100 * value + 0.0:.1f}".replace("-0.0", "0.0")


def _range(found: Interval) -> str:
    if found.low is None or found.high is None:
        return ""
    return f" ({_points(found.low)} to {_points(found.high)})"
