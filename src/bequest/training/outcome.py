"""By which two numbers is a training judged: how good it ended, and how fast it got there?

Read from the metrics of a trajectory. The speed is that of Neyshabur et al. 2020 (figure 3): the mean of the train
accuracy over the epochs.
"""

from __future__ import annotations

import polars as pl


def final_error(name: str, metrics: pl.DataFrame, split: str) -> float:
    """Give the error at the last epoch that has one.

    Args:
        name: of the run, for messages.
        metrics: columns epoch, split, error.
        split: train, validation or test.

    Returns:
        The error, 0..1.

    Raises:
        ValueError: if the split was never measured.
    """
    last = metrics.filter(pl.col("split") == split).sort("epoch").tail(1)
    if last.is_empty():
        raise ValueError(f"the metrics of {name!r} have no {split} error; they have {sorted(set(metrics['split']))}")
    return float(last["error"][0])


def mean_train_accuracy(name: str, metrics: pl.DataFrame, *, until: int | None = None) -> float:
    """Give the mean train accuracy over the epochs from 1 on.

    Args:
        name: of the run, for messages.
        metrics: columns epoch, split, error.
        until: the last epoch to take; None: all.

    Returns:
        The mean, 0..1; higher is faster.

    Raises:
        ValueError: if there is no train error after epoch 0.
    """
    train = metrics.filter(pl.col("split") == "train", pl.col("epoch") > 0)
    errors = train.filter(pl.col("epoch") <= until)["error"] if until is not None else train["error"]
    if errors.is_empty():
        raise ValueError(f"the metrics of {name!r} have no train error after epoch 0, so there is no speed")
    return 1 - float(errors.mean())  # type: ignore[arg-type] # mean() is typed for any column


def shared_epochs(metrics: list[pl.DataFrame]) -> int:
    """Give the last epoch that all trainings have."""
    return min(max(int(epoch) for epoch in one["epoch"]) for one in metrics)
