"""How is one point of weight space measured, the same way everywhere along a path or in a plane?

Loss and error on every split, of the weights that are in the model now. A network with BatchNorm gets its running
statistics collected again on training data first; without such data it is measured as it is, and a note says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches
from bequest.evaluation.batchnorm import has_batchnorm, refit_in_place
from bequest.evaluation.predict import tallied

Splits = Mapping[str | None, Batches]
Point = dict[str | None, tasks.Tally]

NOT_REFITTED = "BatchNorm was not refitted: pass training batches as calibration="


def splits_of(batches: Batches | Mapping[str, Batches]) -> dict[str | None, Batches]:
    """Give split -> batches; batches without a split get the name None."""
    if isinstance(batches, Mapping):
        return {split: one for split, one in batches.items()}
    return {None: batches}


@dataclass(frozen=True)
class Protocol:
    """Measures the weights that are in the model now; for use inside `mixture`, `line` or `preserved`.

    Attributes:
        model: a network in evaluation mode.
        splits: what is measured.
        task: loss and error.
        calibration: training data for BatchNorm; None measures with the statistics as they are.
    """

    model: nn.Module
    splits: Splits
    task: tasks.Task
    calibration: Batches | None = None
    note: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.calibration is None and has_batchnorm(self.model):
            object.__setattr__(self, "note", NOT_REFITTED)

    def here(self) -> Point:
        """Refit BatchNorm if there is any and measure every split."""
        if self.calibration is not None:
            refit_in_place(self.model, self.calibration)
        return {split: tallied(self.model, batches, self.task) for split, batches in self.splits.items()}

    @property
    def units(self) -> dict[str, str]:
        """Unit of error and of loss."""
        return dict(self.task.units)
