"""What does a training leave behind?

A trajectory: how error and loss went, epoch by epoch, and the weights at the steps that were asked for. `step-0` is
before the first step, `best` the epoch with the lowest validation error, `last` the end; `epoch-8` is after epoch 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from bequest.weights.algebra import Weights

METRICS: dict[str, type[pl.DataType]] = {
    "epoch": pl.Int64,  # 0 = before training
    "step": pl.Int64,  # optimiser steps done
    "split": pl.String,  # train, validation, test; all in evaluation mode, without augmentation
    "error": pl.Float64,  # 0..1, lower is better
    "loss": pl.Float64,  # mean over the examples of the split
    "learning_rate": pl.Float64,  # of the last step of the epoch; 0 before training
}


def metrics_table(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Make the metrics of a trajectory from dictionaries, a split of an epoch each; left-out columns are null."""
    listed = list(rows)
    columns = {name: pl.Series(name, [row.get(name) for row in listed], dtype=kind) for name, kind in METRICS.items()}
    return pl.DataFrame(columns)


@dataclass(frozen=True)
class Trajectory:
    """How a training went, and its checkpoints.

    Attributes:
        metrics: one row per epoch and split; see `METRICS`.
        checkpoints: weights by name; may be a lazy mapping that reads from disk.
    """

    metrics: pl.DataFrame
    checkpoints: Mapping[str, Weights] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation error; among equals the lowest loss, then the earliest."""
        rows = self.metrics.filter(pl.col("split") == "validation").sort("error", "loss", "epoch")
        return int(rows["epoch"][0])

    def way(self, end: str = "last") -> list[str]:
        """Name the checkpoints from the start to an end in the order of training.

        Args:
            end: `last` or `best`.

        Returns:
            `step-0`, those after the epochs before the end, and the end.
        """
        until = self.best_epoch if end == "best" else max(self.metrics["epoch"], default=0)
        epochs = sorted(int(name.removeprefix("epoch-")) for name in self.checkpoints if name.startswith("epoch-"))
        return ["step-0", *(f"epoch-{epoch}" for epoch in epochs if epoch < until), end]


def doubling_epochs(epochs: int) -> tuple[int, ...]:
    """Give the epochs 1, 2, 4, … below `epochs`: where to keep checkpoints of a pre-training."""
    return tuple(2**power for power in range(epochs.bit_length()) if 2**power < epochs)
