"""How wide is the valley that a module lies in, from its start to its end?

Source: Neyshabur et al. 2020, figure 6. One module is put to a position of its path and normal noise is added to its
parameters; all others are final. `valley` is the expected objective (error 0..1, or loss): x is the distance of the
position from the start, the column `sigma` the noise, in units of a parameter. n counts examples; `low` and `high` are
the 95 percent t interval over `draws` draws of noise, the same draws everywhere; null without noise.

The path is the straight line from start to end, or leads through checkpoints. BatchNorm's statistics move with the
module; they are refitted only with `calibration`.

How to read it: a dark band that reaches far to the left at large sigma is a wide valley, and an uncritical module. The
distances of two runs differ; compare shapes, and widths relative to the parameters (`sigma_relative`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import torch
from torch import nn

from bequest.analyses.intervals import mean_interval
from bequest.analyses.module_charts import heatmap
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict
from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches, walk
from bequest.evaluation.perturbation import Objective
from bequest.evaluation.valleys import Protocol, named, sampled
from bequest.models.order import modules as ordered
from bequest.training.seeds import fold
from bequest.weights.algebra import Weights, check_alike
from bequest.weights.modules import Module

if TYPE_CHECKING:
    import altair

NAME = "valley"
SIGMAS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)  # relative to the root mean square of the module's final parameters


def valley(
    model: nn.Module,
    initial: Weights,
    final: Weights,
    batches: Batches,
    chosen: Sequence[str],
    *,
    points: int = 6,
    sigmas: Sequence[float] | None = None,
    path: Literal["direct"] | Sequence[Weights] | Mapping[str, Weights] = "direct",
    draws: int = 3,
    task: str | tasks.Loss | tasks.Task = "classification",
    objective: Objective = "error",
    modules: Sequence[Module] | None = None,
    seed: int = 0,
    calibration: Batches | None = None,
    cache_bytes: int = 2**30,
    name: str = "final",
    split: str | None = None,
) -> Result:
    """Measure the objective over the distance from the start and the size of the noise.

    Args:
        model: the network to run the weights in; it is left as it was.
        initial: weights at the start.
        final: weights at the end, of the same shapes.
        batches: (inputs, targets), the same on every walk.
        chosen: names of the modules.
        points: positions on the straight line, the ends included, at least 2.
        sigmas: noise in units of a parameter; None: 0 to 2 times the root mean square of the module's final parameters.
        path: straight from start to end; or the checkpoints in between, in order, with or without names (then
            `points` is not used).
        draws: of noise, at least 1.
        task: name of a task, a task, or a loss (outputs, targets) -> mean loss.
        objective: the task's error or its loss.
        modules: units in order of execution; None finds them.
        seed: of the noise.
        calibration: training data to refit BatchNorm on, for each point and draw (slow); None is naive.
        cache_bytes: bound on the activations kept.
        name: what the run is called in the rows.
        split: which split the batches are, for the rows.

    Returns:
        The rows.

    Raises:
        ValueError: if weights do not fit, or there are too few points or draws.
        KeyError: if a module does not exist.
    """
    if points < 2 or draws < 1:
        raise ValueError(f"a valley needs at least 2 points and 1 draw; got {points} and {draws}")
    straight = isinstance(path, str)
    between = {} if isinstance(path, str) else named(path)
    for other in (initial, *between.values()):
        check_alike(final, other)
    units = list(modules) if modules is not None else ordered(model, next(iter(walk(batches)))[0])
    known = {unit.name: unit for unit in units}
    for module in chosen:
        if module not in known:
            raise KeyError(f"the network has no module {module!r}; it has {', '.join(known)}")
    seeds = {module: [fold(seed, module, draw) for draw in range(draws)] for module in chosen}
    positions = [place / (points - 1) for place in range(points)] if straight else None
    rows: list[dict[str, Any]] = []
    protocol = Protocol(tasks.task(task), objective, calibration, cache_bytes)
    wide = [initial, *between.values(), final]
    scales = {module: _scale(final, known[module]) for module in chosen}
    widths = {module: sigmas if sigmas is not None else [one * scales[module] for one in SIGMAS] for module in chosen}
    for module, distance, sigma, values, n in sampled(model, wide, batches, units, protocol, seeds, widths, positions):
        mean = mean_interval(values)
        rows.append(
            {
                "a": name,
                "module": module,
                "split": split,
                "x": distance,
                "sigma": sigma,
                "sigma_relative": sigma / scales[module] if scales[module] else None,
                "metric": "valley",
                "value": mean.value,
                "low": mean.low,
                "high": mean.high,
                "n": n,
                "unit": protocol.task.units["error"] if objective == "error" else "loss",
                "path": "direct" if straight else "checkpoints",
            }
        )
    return Result(NAME, table(NAME, rows))


def _scale(final: Weights, unit: Module) -> float:
    """Root mean square of a module's parameters."""
    chosen = [final[name] for name in unit.parameters if name in final and final[name].is_floating_point()]
    count = sum(tensor.numel() for tensor in chosen)
    total = math.fsum(float(torch.sum(tensor.double() ** 2)) for tensor in chosen)
    return math.sqrt(total / count) if count else 0.0


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Give none: the picture judges no claim; `criticality` does.

    Args:
        rows: the rows of this analysis.

    Returns:
        Nothing.
    """
    return ()


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw a picture for each module, run and path: distance from the start by noise, the objective as colour.

    Args:
        rows: the rows of this analysis.

    Returns:
        The chart; runs stand side by side, and all pictures share one scale of colour.
    """
    import altair as alt

    rows = rows.filter(metric="valley")
    share = rows["unit"].to_list()[:1] == ["share"]
    noise = "sigma_relative" if rows["sigma_relative"].is_not_null().all() else "sigma"
    lines: list[Any] = []
    for line in rows.partition_by("target", "module", "path", maintain_order=True):
        pictures = []
        for part in line.partition_by("a", maintain_order=True):
            distances, noises = _words(part["x"]), _words(part[noise])
            data = part.with_columns(
                distance=part["x"].replace_strict(distances, return_dtype=pl.String),
                noise=part[noise].replace_strict(noises, return_dtype=pl.String),
            )
            picture = heatmap(
                data.select("a", "module", "sigma", "value", "n", "distance", "noise"),
                ("distance", "distance from the start", list(distances.values())),
                ("noise", "noise (relative)" if noise != "sigma" else "sigma", list(noises.values())[::-1]),
                "error" if share else "loss",
                share=share,
                tooltip=["a:N", "module:N", "distance:N", "noise:N", alt.Tooltip("sigma:Q", format=".3g")],
            )
            words = [part["a"][0], part["module"][0], *["checkpoints"] * (part["path"][0] != "direct")]
            pictures.append(picture.properties(width=150, height=110, title=", ".join(words)))
        lines.append(alt.hconcat(*pictures) if len(pictures) > 1 else pictures[0])
    drawn: altair.TopLevelMixin = alt.vconcat(*lines) if len(lines) > 1 else lines[0]
    return drawn


def _words(numbers: pl.Series) -> dict[float, str]:
    """Write numbers with as few digits as tell them apart, in ascending order."""
    values = numbers.unique().sort().to_list()
    written = ([f"{value:.{digits}g}" for value in values] for digits in range(2, 18))
    return dict(zip(values, next(one for one in written if len(set(one)) == len(values)), strict=True))
