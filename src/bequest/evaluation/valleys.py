"""How critical is each module of a network: all that is measured of it, without tables.

First every module is exchanged in one walk over the batches (rewound, redrawn, put to each checkpoint). Then, for each
module whose rewinding is not accepted, its batches are held where it starts, and the least distance^2 / sigma^2 is
searched. The definitions are in `bequest.analyses.criticality`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from bequest.evaluation import tasks
from bequest.evaluation.applied import preserved, put
from bequest.evaluation.batches import Batches
from bequest.evaluation.batchnorm import has_batchnorm
from bequest.evaluation.layout import in_fast_layout
from bequest.evaluation.perturbation import (
    Noise,
    Objective,
    Road,
    Stage,
    Values,
    cell_objective,
    chosen,
    exchanged,
    mean_objective,
    road,
)
from bequest.evaluation.replay import Replay
from bequest.evaluation.sequential import SLACK, Seen, compared
from bequest.evaluation.tolerance import PRECISION, Valley, widest_valley
from bequest.weights.algebra import Weights
from bequest.weights.modules import Module

POSITIONS = 10  # on the straight line, the start not counted; refined around the best
RELATIVE = 1.01  # of the final objective: Meta-Dataset's threshold
NOTHING = 0.01  # the threshold where the final objective is 0 (chosen): one point of error


@dataclass(frozen=True)
class Protocol:
    """What is measured, and how.

    Attributes:
        task: gives loss and error.
        objective: which of them.
        calibration: training data to refit BatchNorm on, for each change and draw; None is naive.
        cache_bytes: bound on the activations kept between evaluations.
    """

    task: tasks.Task
    objective: Objective = "error"
    calibration: Batches | None = None
    cache_bytes: int = 2**30


@dataclass(frozen=True)
class Measured:
    """One module.

    Attributes:
        unit: its names.
        lengths: distance of each point of its road from the start.
        count: parameters.
        start_norm: of its parameters at the start.
        final_norm: of its parameters at the end.
        errors: "rewind", "rerandomised" or "path k" (k-th point of the road) -> the objective.
        naive: the same without refit; empty where there was none.
        valley: where mu is least; None if it was not asked for.
    """

    unit: Module
    lengths: tuple[float, ...]
    count: int
    start_norm: float
    final_norm: float
    errors: Mapping[str, float]
    naive: Mapping[str, float]
    valley: Valley | None


@dataclass(frozen=True)
class Network:
    """All modules.

    Attributes:
        examples: how many were measured.
        final: the objective of the final model.
        tolerance: the highest objective that was accepted.
        passes: forward passes over all examples, replays by their share, without the check.
        whole: names of the modules that could not be replayed.
        modules: in order of execution.
    """

    examples: int
    final: float
    tolerance: float
    passes: float
    whole: tuple[str, ...]
    modules: tuple[Measured, ...]


def measured(
    model: nn.Module,
    points: Sequence[Weights],
    batches: Batches,
    units: Sequence[Module],
    protocol: Protocol,
    *,
    straight: bool,
    tolerance: float | None = None,
    redrawn: Weights | None = None,
    seeds: Mapping[str, Sequence[int]] | None = None,
    precision: float = PRECISION,
) -> Network:
    """Measure all modules of a network.

    Args:
        model: the network; left as it was.
        points: weights at the start, at checkpoints in between, and at the end.
        batches: (inputs, targets), the same on every walk.
        units: the modules in order of execution.
        protocol: what is measured.
        straight: look everywhere on the line; else at the points alone.
        tolerance: highest objective accepted; None: 1.01 times the final one, 0.01 where that is 0.
        redrawn: weights of another init.
        seeds: module -> seeds of its draws of noise; None leaves the valleys out.
        precision: of mu, relative.

    Returns:
        What was measured.
    """
    points = [_own(model, point) for point in points]
    with preserved(model), torch.inference_mode():
        put(model, points[-1])
        batches = in_fast_layout([model], batches)
        calibration = protocol.calibration if has_batchnorm(model) else None
        naive: dict[tuple[str, str], tasks.Tally] = {}
        if calibration is not None:  # first as it is; then the refitted statistics are the final ones
            stage = Stage(model)
            changes = {unit.name: _changes(road(stage, unit, points), redrawn) for unit in units}
            naive = exchanged(stage, Replay(model, units, batches), changes, protocol.task)[1]
        stage = Stage(model, calibration)
        roads = {unit.name: road(stage, unit, points) for unit in units}
        replay = Replay(model, units, batches, cache_bytes=protocol.cache_bytes)
        changes = {name: _changes(way, redrawn) for name, way in roads.items()}
        clean, errors = exchanged(stage, replay, changes, protocol.task)
        final = chosen(clean, protocol.objective)
        if tolerance is None:
            tolerance = final + (RELATIVE - 1) * abs(final) if final != 0 else NOTHING
        found = []
        for unit in units:
            own, plain = (
                {label: chosen(tally, protocol.objective) for (name, label), tally in one.items() if name == unit.name}
                for one in (errors, naive)
            )
            way, valley = roads[unit.name], None
            # a module whose parameters did not move is at its end at no distance, whatever its statistics did
            reached = own["rewind"] if max(way.lengths) else min(own["rewind"], final)
            if seeds is not None and (reached <= tolerance or not max(way.lengths)):
                found_nothing = Valley(math.inf, math.nan, math.nan, math.nan, 0)
                valley = Valley(0.0, 0.0, math.nan, 0.0, 0) if reached <= tolerance else found_nothing
            elif seeds is not None:
                noise = Noise(
                    {n: way.points[0][n] for n in way.parameters}, seeds[unit.name], protocol.cache_bytes // 4
                )
                replay.hold(unit.name)
                known = dict(
                    zip(way.positions[1:-1], (own[f"path {k}"] for k in range(1, len(points) - 1)), strict=True)
                )
                known[1.0] = final
                valley = _valley(
                    stage, replay, way, noise, protocol, tolerance, known, straight=straight, precision=precision
                )
            start, end = _norm(way, way.points[0]), _norm(way, way.points[-1])
            count = sum(way.points[0][n].numel() for n in way.parameters)
            found.append(Measured(unit, way.lengths, count, start, end, own, plain, valley))
        return Network(clean.n, final, tolerance, replay.passes, replay.whole, tuple(found))


def sampled(
    model: nn.Module,
    points: Sequence[Weights],
    batches: Batches,
    units: Sequence[Module],
    protocol: Protocol,
    seeds: Mapping[str, Sequence[int]],
    sigmas: Mapping[str, Sequence[float]],
    positions: Sequence[float] | None,
) -> Iterator[tuple[str, float, float, list[float], int]]:
    """Measure modules on a grid of positions and noise.

    Args:
        model: the network; left as it was when the last is given.
        points: weights at the start, at checkpoints in between, and at the end.
        batches: (inputs, targets), the same on every walk.
        units: all modules in order of execution.
        protocol: what is measured.
        seeds: module -> seeds of its draws; these modules are measured.
        sigmas: module -> noise in units of a parameter.
        positions: on the path, 0..1; None takes the points.

    Yields:
        Module, distance from the start, sigma, the objective of each draw (of one, where sigma is 0), examples.
    """
    points = [_own(model, point) for point in points]
    with preserved(model), torch.inference_mode():
        put(model, points[-1])
        batches = in_fast_layout([model], batches)
        stage = Stage(model, protocol.calibration if has_batchnorm(model) else None)
        chosen_units = [unit for unit in units if unit.name in seeds]
        replay = Replay(model, chosen_units, batches, cache_bytes=protocol.cache_bytes)
        for unit in chosen_units:
            way = road(stage, unit, points)
            noise = Noise({n: way.points[0][n] for n in way.parameters}, seeds[unit.name], protocol.cache_bytes // 4)
            replay.hold(unit.name)
            for position in positions if positions is not None else way.positions:
                for sigma in sigmas[unit.name]:
                    found = []
                    for draw in range(len(noise.seeds) if sigma else 1):
                        stage.put(way.at(position), noise.draw(draw), sigma)
                        stage.refit()
                        found.append(mean_objective(replay, protocol.task, protocol.objective))
                        stage.restore()
                    yield unit.name, way.distance(position), sigma, found, replay.examples


def _valley(
    stage: Stage,
    replay: Replay,
    way: Road,
    noise: Noise,
    protocol: Protocol,
    limit: float,
    known: dict[float, float],
    *,
    straight: bool,
    precision: float,
) -> Valley:
    """Search for the least mu of one module whose rewinding is not accepted."""
    lowest = protocol.task.lowest
    draws = len(noise.seeds)
    # a cell is a draw on one batch; a whole draw where a refit is dear, or where a batch alone has no such objective
    parted = stage.calibration is None and protocol.task.by_example
    batches = len(replay) if parted else 1
    reference: list[Seen] = []

    def looked(position: float, sigma: float, complete: bool = False) -> float:
        values = way.at(position)

        def cell(number: int) -> float:
            draw = number % draws
            stage.put(values, noise.draw(draw), sigma)
            stage.refit()
            if parted:
                place = (draw + number // draws) % batches  # every draw meets every batch once
                found = cell_objective(replay, place, protocol.task, protocol.objective)
            else:
                found = mean_objective(replay, protocol.task, protocol.objective)
            stage.restore()
            return found

        other = reference[0].values if reference else None
        seen = compared(cell, draws * batches, limit, lowest=lowest, reference=other, draws=draws, complete=complete)
        nearer = not reference or abs(seen.excess) <= abs(reference[0].excess)
        if len(seen.values) == draws * batches and nearer:
            reference[:] = [seen]
        return seen.excess

    def still(position: float) -> float:
        """Without noise, where the objective is about lowest."""
        if position not in known:
            stage.put(way.at(position))
            stage.refit()
            known[position] = mean_objective(replay, protocol.task, protocol.objective)
            stage.restore()
        return known[position] - limit - SLACK * abs(limit)

    steps = [place / POSITIONS for place in range(1, POSITIONS + 1)] if straight else way.positions
    steps = [step for step in steps if way.distance(step) > 0]
    room = limit - lowest if lowest is not None else 0.0
    verified = partial(looked, complete=True)
    return widest_valley(
        looked,
        way.distance,
        steps,
        room=room,
        refine=straight,
        verified=verified,
        still=still,
        precision=precision,
        first=min(1.0, _norm(way, way.points[-1]) / math.sqrt(sum(tensor.numel() for tensor in noise.like.values()))),
    )


def _changes(way: Road, redrawn: Weights | None) -> dict[str, Values]:
    """The tensors that a module is exchanged with: its start, another draw, checkpoints."""
    found: dict[str, Values] = {"rewind": way.points[0]}
    if redrawn is not None:
        found["rerandomised"] = {name: redrawn[name] for name in way.points[0]}
    return found | {f"path {place}": point for place, point in enumerate(way.points[1:-1], 1)}


def named(path: Sequence[Weights] | Mapping[str, Weights]) -> dict[str, Weights]:
    """Give the checkpoints of a path their names, or their numbers from 1 on."""
    return dict(path) if isinstance(path, Mapping) else {str(place): one for place, one in enumerate(path, 1)}


def _own(model: nn.Module, weights: Weights) -> Weights:
    """Give weights memory of their own where they are the model's own tensors, which are about to change."""
    live = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    shared = any(tensor.untyped_storage().data_ptr() in live for tensor in weights.values())
    return {name: tensor.detach().clone() for name, tensor in weights.items()} if shared else weights


def _norm(way: Road, point: Values) -> float:
    return math.sqrt(math.fsum(float(point[n].double().square().sum()) for n in way.parameters))
