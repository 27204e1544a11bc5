"""What does a step ask of the machines of a cluster, and how many devices train a run together?

`--engine ray` begins a step where so many processors, so much memory and so many GPUs are free; it computes with as
many threads as it has processors. `--engine local` reads `training.devices` alone. Nothing of it is part of the
identity of a step: more devices give the same numbers but for rounding, as another kind of device does.
"""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from bequest.study.options import Part
from bequest.training.recipe import Recipe

Kind = Literal["training", "analyses", "rest"]


class Need(Part):
    """What a step of a kind asks for."""

    cpus: int = Field(default=1, ge=1, le=1024)
    """Processors, and threads of the step."""
    gpus: float | None = Field(default=None, ge=0, le=64)
    """GPUs; a share like 0.25 lets four steps use one. Left out: one if the cluster has any, and none for `rest`."""
    memory_gib: float | None = Field(default=None, gt=0, le=65_536)
    """Memory in GiB that has to be free; not asked for if left out."""


class Training(Need):
    """What a training asks for; where several devices train a run together, each of them asks for all of it."""

    devices: int = Field(default=1, ge=1, le=64)
    """Devices of one machine that train a run together, a process each: GPUs, or shares of the processors."""

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.devices > 1 and self.gpus not in (None, 0, 1):
            raise ValueError(
                f"gpus is {self.gpus:g} beside {self.devices} devices, each of which has a GPU of its own; leave gpus "
                "out, or set it to 0 for processors alone"
            )
        return self


class Resources(Part):
    """What the steps of a study ask of a cluster, by kind."""

    training: Training = Training()
    """Pre-training, the arms, the trials of learning rates, the measuring of given weights."""
    analyses: Need = Need()
    """Predictions and all that is measured."""
    rest: Need = Need()
    """Drawing images, reading weights, choosing a learning rate, writing the report."""


def check_batches(examples: int, recipe: Recipe, resources: Resources) -> None:
    """Refuse more devices than the smallest batch of an epoch has examples; they differ by one at most.

    Args:
        examples: that are learned from.
        recipe: the most that a batch may have.
        resources: say how many devices train.

    Raises:
        ValueError: says what to change.
    """
    devices, smallest = resources.training.devices, examples // math.ceil(examples / recipe.batch_size)
    if smallest < devices:
        raise ValueError(
            f"resources.training.devices is {devices}, but {examples} training examples are cut into batches of as few "
            f"as {smallest}, less than one for each; lower the devices or raise the batch_size"
        )
