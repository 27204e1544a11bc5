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
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import torch
from torch import nn

from bequest.analyses.intervals import mean_interval
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict
from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches, walk
from bequest.evaluation.perturbation import Objective
from bequest.evaluation.valleys import Protocol, sampled
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
    path: Literal["direct"] | Sequence[Weights] = "direct",
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
        path: straight from start to end; or the checkpoints in between, in order (then `points` is not used).
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
    between = [] if isinstance(path, str) else list(path)
    for other in (initial, *between):
        check_alike(final, other)
    units = list(modules) if modules is not None else ordered(model, next(iter(walk(batches)))[0])
    known = {unit.name: unit for unit in units}
    for module in chosen:
        if module not in known:
            raise KeyError(f"the network has no module {module!r}; it has {', '.join(known)}")
    seeds = {module: [fold(seed, module, draw) for draw in range(draws)] for module in chosen}
    positions = None if between else [place / (points - 1) for place in range(points)]
    rows: list[dict[str, Any]] = []
    protocol = Protocol(tasks.task(task), objective, calibration, cache_bytes)
    wide = [initial, *between, final]
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
                "unit": "share" if protocol.task.name == "classification" and objective == "error" else "loss",
                "path": "checkpoints" if between else "direct",
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
    """Draw a picture for each run and module: distance from the start by noise, the objective as colour.

    Args:
        rows: the rows of this analysis.

    Returns:
        The chart; all pictures share one scale of colour.
    """
    import altair as alt

    share = rows["unit"].to_list()[:1] == ["share"]
    pictures = []
    for part in rows.partition_by("a", "module", "path", maintain_order=True):
        distances, noises = part["x"].unique().sort(), part["sigma"].unique().sort()
        data = part.select(
            "a",
            "module",
            "value",
            distance=pl.col("x").map_elements(lambda one: f"{one:.3g}", return_dtype=pl.String),
            noise=pl.col("sigma").map_elements(lambda one: f"{one:.3g}", return_dtype=pl.String),
        )
        title = ", ".join([part["a"][0], part["module"][0], *(["checkpoints"] if part["path"][0] != "direct" else [])])
        pictures.append(
            alt.Chart(data)
            .mark_rect()
            .encode(
                alt.X(
                    "distance:N", title="distance from the start (parameter)", sort=[f"{one:.3g}" for one in distances]
                ),
                alt.Y("noise:N", title="sigma (parameter)", sort=[f"{one:.3g}" for one in noises][::-1]),
                alt.Color(
                    "value:Q",
                    title="error" if share else "loss",
                    scale=alt.Scale(scheme="viridis", reverse=False),
                    legend=alt.Legend(format="~%") if share else alt.Legend(),
                ),
                tooltip=["a:N", "module:N", "distance:N", "noise:N", alt.Tooltip("value:Q", format=".3f")],
            )
            .properties(width=200, height=160, title=title)
        )
    drawn: altair.TopLevelMixin = alt.concat(*pictures, columns=2) if len(pictures) > 1 else pictures[0]
    return drawn
