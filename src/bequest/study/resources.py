"""What does a step ask of the machines of a cluster?

Only `--engine ray` reads it: a step begins where so many processors, so much memory and so many GPUs are free. It is no
part of the identity of a step. A step computes with as many threads as it has processors.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bequest.study.options import Part

Kind = Literal["training", "analyses", "rest"]


class Need(Part):
    """What a step of a kind asks for."""

    cpus: int = Field(default=1, ge=1, le=1024)
    """Processors, and threads of the step."""
    gpus: float | None = Field(default=None, ge=0, le=64)
    """GPUs; a share like 0.25 lets four steps use one. Left out: one if the cluster has any, and none for `rest`."""
    memory_gib: float | None = Field(default=None, gt=0, le=65_536)
    """Memory in GiB that has to be free; not asked for if left out."""


class Resources(Part):
    """What the steps of a study ask of a cluster, by kind."""

    training: Need = Need()
    """Pre-training, the arms, the trials of learning rates, the measuring of given weights."""
    analyses: Need = Need()
    """Predictions and all that is measured."""
    rest: Need = Need()
    """Drawing images, reading weights, choosing a learning rate, writing the report."""
