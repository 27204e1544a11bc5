"""What is the objective when one module is moved, redrawn or disturbed, and all others are final?

The final weights are in the model; the tensors of one module are overwritten in place, measured by replay, and put
back. BatchNorm's statistics belong to the module and move with it; noise goes to parameters alone. With calibration
batches the statistics of the whole network are collected again for each change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bequest.evaluation import tasks
from bequest.evaluation.applied import taken
from bequest.evaluation.batches import Batches
from bequest.evaluation.batchnorm import refit_in_place
from bequest.evaluation.replay import Replay
from bequest.weights.algebra import Weights, mixable
from bequest.weights.modules import Module

Objective = Literal["error", "loss"]
Values = Mapping[str, Tensor]


class Stage:
    """A model with its final weights in it; for use inside `preserved`.

    Attributes:
        clean: a copy of the weights that it stands at.
    """

    def __init__(self, model: nn.Module, calibration: Batches | None = None) -> None:
        """Refit BatchNorm if there are calibration batches, and remember the weights."""
        self.model, self.calibration = model, calibration
        if calibration is not None:
            refit_in_place(model, calibration)
        state = model.state_dict(keep_vars=True)
        self.live = {name: tensor.detach() for name, tensor in state.items() if isinstance(tensor, Tensor)}
        self.clean = taken(model)
        self._changed: set[str] = set()

    def owned(self, unit: Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Give the names of a module's floating parameters and buffers; of tied tensors the first name alone."""
        seen: set[int] = set()
        found: list[tuple[str, ...]] = []
        for names in (unit.parameters, unit.buffers):
            chosen = []
            for name in names:
                tensor = self.live[name]
                if mixable(tensor) and tensor.data_ptr() not in seen:
                    seen.add(tensor.data_ptr())
                    chosen.append(name)
            found.append(tuple(chosen))
        return found[0], found[1]

    def put(self, values: Values, noise: Values | None = None, sigma: float = 0.0) -> None:
        """Overwrite tensors of the model with values, and add sigma times the noise."""
        for name, value in values.items():
            live = self.live[name]
            if noise is None or name not in noise or sigma == 0:
                live.copy_(value)
            elif value.dtype == live.dtype:
                torch.add(value, noise[name], alpha=sigma, out=live)
            else:
                live.copy_(torch.add(value, noise[name], alpha=sigma))
        self._changed.update(values)

    def refit(self) -> Values:
        """Collect BatchNorm's statistics for what is in the model now; nothing without calibration batches."""
        if self.calibration is None:
            return {}
        refit_in_place(self.model, self.calibration)
        buffers = {name for name, _ in self.model.named_buffers() if name in self.live}
        self._changed |= buffers
        return {name: self.live[name].clone() for name in buffers}

    def restore(self) -> None:
        """Put the final weights back."""
        for name in self._changed:
            self.live[name].copy_(self.clean[name])
        self._changed.clear()


@dataclass(frozen=True)
class Road:
    """The way of one module from its start to its end, straight between its points.

    Attributes:
        parameters: names of what noise is added to.
        points: name -> tensor at the start, at checkpoints in between, and at the end; at least two.
        lengths: distance of each point from the start, over parameters.
    """

    parameters: tuple[str, ...]
    points: tuple[Values, ...]
    lengths: tuple[float, ...]

    def at(self, position: float) -> Values:
        """Give the tensors at a position, 0 (start) to 1 (end); points are given bit for bit."""
        before, share = self._place(position)
        first = self.points[before]
        if share == 0:
            return first
        return {name: torch.lerp(tensor, self.points[before + 1][name], share) for name, tensor in first.items()}

    def distance(self, position: float) -> float:
        """Give the distance of a position from the start; between points for the straight line alone."""
        before, share = self._place(position)
        return self.lengths[before] if share == 0 else position * self.lengths[-1]

    @property
    def positions(self) -> list[float]:
        """Positions of the points."""
        return [number / (len(self.points) - 1) for number in range(len(self.points))]

    def _place(self, position: float) -> tuple[int, float]:
        place = position * (len(self.points) - 1)
        before = min(math.floor(place + 1e-9), len(self.points) - 1)
        return before, 0.0 if abs(place - before) < 1e-9 else place - before


def road(stage: Stage, unit: Module, points: Sequence[Weights]) -> Road:
    """Lay the way of one module through weights.

    Args:
        stage: the model.
        unit: the module.
        points: weights at the start, at checkpoints, and at the end.

    Returns:
        The road; its tensors are on the model's device, at least float32. The end is the stage's own weights, so that
        refitted statistics are theirs.
    """
    parameters, buffers = stage.owned(unit)
    names = (*parameters, *buffers)

    def wide(weights: Weights) -> dict[str, Tensor]:
        return {
            name: weights[name]
            .detach()
            .to(stage.live[name].device, torch.promote_types(weights[name].dtype, torch.float32))
            for name in names
        }

    laid = tuple(wide(weights) for weights in (*points[:-1], stage.clean))
    lengths = tuple(
        math.sqrt(math.fsum(float((at[n].double() - laid[0][n].double()).square().sum()) for n in parameters))
        for at in laid
    )
    return Road(parameters, laid, lengths)


class Noise:
    """Unit normal noise for one module, the same for every position and sigma: common random numbers."""

    def __init__(self, like: Values, seeds: Sequence[int], keep_bytes: int) -> None:
        """Draws are kept if all together fit into the bytes, else drawn again each time."""
        self.like, self.seeds = like, seeds
        size = sum(tensor.nbytes for tensor in like.values()) * len(seeds)
        self._kept: dict[int, Values] | None = {} if size <= keep_bytes else None

    def draw(self, number: int) -> Values:
        """Give one draw, a tensor for each parameter."""
        if self._kept is not None and number in self._kept:
            return self._kept[number]
        generator = torch.Generator().manual_seed(self.seeds[number])  # on the CPU: the same on every device
        drawn = {
            name: torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(tensor)
            for name, tensor in self.like.items()
        }
        if self._kept is not None:
            self._kept[number] = drawn
        return drawn


def mean_objective(replay: Replay, task: tasks.Task, objective: Objective) -> float:
    """Measure what is in the model now on all batches that are held.

    Args:
        replay: holding its batches at the changed module.
        task: what to measure.
        objective: the task's error or its loss.

    Returns:
        The mean over all examples.
    """
    tally = tasks.Tally(task)
    for prefix in replay.held():
        tally.add(replay.run(prefix), prefix.targets)
    return chosen(tally, objective)


def cell_objective(replay: Replay, number: int, task: tasks.Task, objective: Objective) -> float:
    """Measure what is in the model now on one of the batches that are held.

    Args:
        replay: holding its batches at the changed module.
        number: of the batch.
        task: what to measure.
        objective: the task's error or its loss.

    Returns:
        The mean over the batch, weighted so that the plain mean over batches is the mean over all examples; right for
        tasks that are means over examples (`Task.by_example`), and for no other.
    """
    prefix = replay.one(number)
    tally = tasks.Tally(task)
    tally.add(replay.run(prefix), prefix.targets)
    return chosen(tally, objective) * tally.n * len(replay) / replay.examples


def chosen(tally: tasks.Tally, objective: Objective) -> float:
    """Give the mean error or the mean loss of a tally."""
    loss, error = tally.means()
    return error if objective == "error" else loss


def exchanged(
    stage: Stage, replay: Replay, changes: Mapping[str, Mapping[str, Values]], task: tasks.Task
) -> tuple[tasks.Tally, dict[tuple[str, str], tasks.Tally]]:
    """Measure the final model, and each of its modules exchanged, in one walk over the batches.

    A batch is run on from module to module with the final weights; at each the exchanged ones are replayed. So the
    memory is that of one batch.

    Args:
        stage: the model.
        replay: of the same model.
        changes: module -> name of the change -> its tensors; modules in order of execution.
        task: what to measure.

    Returns:
        The tally of the final model, and those of the changes by (module, name).
    """
    ready: dict[tuple[str, str], Values] = {}
    for unit, named in changes.items():
        for name, values in named.items():
            stage.put(values)
            ready[unit, name] = {**values, **stage.refit()}
            stage.restore()
    clean = tasks.Tally(task)
    tallies = {key: tasks.Tally(task) for key in ready}
    for start in replay.prefixes():
        at = start
        for unit, named in changes.items():
            ahead = replay.advance(at, unit)
            for name in named:
                stage.put(ready[unit, name])
                tallies[unit, name].add(replay.run(ahead), start.targets)
                stage.restore()
            at = at if ahead.unit is None else ahead  # a module that is run in full leaves the batch where it was
        clean.add(replay.run(at), start.targets)
    return clean.settled(), {key: tally.settled() for key, tally in tallies.items()}
