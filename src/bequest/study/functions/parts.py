"""How does a step look into a network's parts: which modules are critical, and what are their spectra?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch

from bequest.analyses import criticality as criticality_
from bequest.analyses import spectrum as spectrum_
from bequest.analyses import valley as valley_
from bequest.analyses.pairs import CONTROLS, replicas
from bequest.analyses.result import Result
from bequest.data.batches import batches
from bequest.data.pack import open_packed
from bequest.evaluation.batches import Batches
from bequest.evaluation.tolerance import PRECISION
from bequest.models.opening import open_model
from bequest.models.order import modules
from bequest.study.functions.images import chosen, task_of
from bequest.study.functions.measuring import empty_model, ends, runs_among, units_of, write_result
from bequest.study.functions.training import run_of
from bequest.study.step import Context
from bequest.study.store import Artefact
from bequest.training.seeds import fold, generator
from bequest.training.trajectory import Trajectory
from bequest.weights.algebra import Weights
from bequest.weights.modules import Module

BATCH = 32  # small batches make early decisions cheaper, and bound what is cached
LEAST, FEWEST = 8, 4  # images a batch, where there are so few of them that they would not make this many batches


def criticality(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Rewind, re-randomise and perturb the modules of the first replicas of each arm, on training images.

    Args:
        folder: gets `rows.parquet`.
        arguments: `replicas`, `draws`, `paths`, `ends`, `images`, `tolerance`, and those of every measurement; also
            `others`, how many replicas are measured of control arms and away from the straight path to the last
            weights (left out: `replicas`), and `precision` of mu.
        inputs: the runs and `images`.
        context: device, progress.

    Raises:
        ValueError: if the path of checkpoints is asked for and no run kept any.
    """
    shown = _training(arguments, inputs)
    model = empty_model(inputs, context)
    units = modules(model, next(iter(shown))[0])
    about = next(iter(runs_among(inputs).values())).json("run")
    fresh = open_model(
        about["model"], classes=len(about["classes"]) or None, seed=fold(arguments["seed"], "rerandomise")
    )
    ways = list(_ways(inputs, ("finetune", "randinit", *CONTROLS), arguments, arguments["ends"]))
    found = []
    for place, (name, path, end) in enumerate(ways):
        start, last, between = _walked(run_of(inputs[f"run/{name}"]), path, end)
        result = criticality_.criticality(
            model,
            start,
            last,
            shown,
            task=task_of(arguments),
            tolerance=arguments["tolerance"],
            path=between,
            modules=units,
            draws=arguments["draws"],
            seed=arguments["seed"],
            rerandomised=fresh.state_dict(),
            precision=arguments.get("precision", PRECISION),
            name=name,
            split="train",
            end=end,
        )
        found.append(result.rows)
        context.tell((place + 1) / len(ways))
    write_result(folder, arguments, inputs, Result("criticality", pl.concat(found, how="diagonal_relaxed")))


def valley(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Measure the pictures of the valleys of a few modules, in the first replicas of both arms.

    Args:
        folder: gets `rows.parquet`.
        arguments: `modules` (none: the first, the middle one and the head), `replicas`, `points`, `draws`, `paths`, and
            those of every measurement.
        inputs: the runs and `images`.
        context: device, progress.

    Raises:
        ValueError: if neither arm is there, or the path of checkpoints is asked for and no run kept any.
    """
    shown = _training(arguments, inputs)
    model = empty_model(inputs, context)
    units = modules(model, next(iter(shown))[0])
    pictured = list(arguments["modules"]) or _spread(units)
    ways = list(_ways(inputs, ("finetune", "randinit"), arguments, ["last"]))
    found = []
    for place, (name, path, end) in enumerate(ways):
        start, last, between = _walked(run_of(inputs[f"run/{name}"]), path, end)
        result = valley_.valley(
            model,
            start,
            last,
            shown,
            pictured,
            task=task_of(arguments),
            points=arguments["points"],
            path=between,
            draws=arguments["draws"],
            modules=units,
            seed=arguments["seed"],
            name=name,
            split="train",
        )
        found.append(result.rows)
        context.tell((place + 1) / len(ways))
    write_result(folder, arguments, inputs, Result("valley", pl.concat(found, how="diagonal_relaxed")))


def spectrum(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Compare the singular values and leading directions of all runs, and of how they moved."""
    units = units_of(empty_model(inputs, context), arguments, inputs)
    start = ends(inputs, "step-0")
    result = spectrum_.spectrum(ends(inputs, "last"), modules=units, initial=start, top=arguments["top"])
    write_result(folder, arguments, inputs, Result(result.analysis, result.rows))


def _training(arguments: Mapping[str, Any], inputs: Mapping[str, Artefact]) -> Batches:
    """The training images, or as many of them as are asked for."""
    packed = open_packed(inputs["images"].folder)
    indices, most = chosen(packed, "train", arguments), arguments.get("images")
    if most is not None and most < len(indices):
        order = torch.randperm(len(indices), generator=generator(arguments["seed"], "images"))
        indices = indices[order[:most].sort().values]
    normalise = (tuple(arguments["mean"]), tuple(arguments["std"]))
    size = min(BATCH, max(LEAST, -(-len(indices) // FEWEST)))
    return batches(packed, indices, batch_size=size, normalise=normalise)


def _ways(
    inputs: Mapping[str, Artefact], arms: Sequence[str], arguments: Mapping[str, Any], ends: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Name, path and end of all that is to be measured."""
    there = replicas(runs_among(inputs))
    runs = [run_of(inputs[f"run/{name}"]) for which in arms for name in there.get(which, [])]
    if not runs:
        raise ValueError(f"there is no run of {' or '.join(arms)} to measure among {', '.join(runs_among(inputs))}")
    paths, count, others = arguments["paths"], arguments["replicas"], arguments.get("others")
    if "checkpoints" in paths and not any(len(run.way()) > 2 for run in runs):
        raise ValueError(
            "the runs kept no checkpoints between start and end; set arms.checkpoint_epochs, or take the path `direct`"
        )
    for which in arms:
        for end in ends:
            for path in paths:
                first = (path, end) == (paths[0], ends[0])
                if which in CONTROLS and not first:
                    continue  # a control arm is there to be compared with, and one way is enough for that
                usual = which not in CONTROLS and first
                names = there.get(which, [])[: count if usual or others is None else others]
                yield from ((name, path, end) for name in names)


def _walked(run: Trajectory, path: str, end: str) -> tuple[Weights, Weights, Literal["direct"] | dict[str, Weights]]:
    """Start and end of a run, and the straight line or its checkpoints between them."""
    start, *between, last = run.way(end)
    kept = run.checkpoints
    return kept[start], kept[last], "direct" if path == "direct" else {name: kept[name] for name in between}


def _spread(units: list[Module]) -> list[str]:
    """The first module, the middle one and the last."""
    return list(dict.fromkeys(units[place].name for place in (0, (len(units) - 1) // 2, -1)))
