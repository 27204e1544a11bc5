"""How does a step look at the loss landscape: basins, planes, paths, and lines between matched networks?

Arms with too few replicas are passed over; where that leaves nothing to measure, the message says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl
import torch

from bequest.analyses import basin as basin_
from bequest.analyses import connectivity as connectivity_
from bequest.analyses import matching as matching_
from bequest.analyses import plane as plane_
from bequest.analyses.pairs import PRETRAINED, replicas
from bequest.analyses.result import Result
from bequest.data.batches import batches
from bequest.data.pack import open_packed
from bequest.evaluation.batches import Batches
from bequest.study.functions.images import chosen, evaluation_batches, task_of
from bequest.study.functions.measuring import empty_model, runs_among, write_result
from bequest.study.functions.training import run_of
from bequest.study.step import Context
from bequest.study.store import Artefact
from bequest.training.seeds import generator
from bequest.weights.algebra import Weights, mean


def basin(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Ask of the replicas of each arm, control arms too, whether the set of all their mixes is a basin.

    Args:
        folder: gets `rows.parquet`.
        arguments: `samples`, `splits`, and those of every measurement.
        inputs: the runs and `images`.
        context: device, progress.

    Raises:
        ValueError: if no arm has two replicas.
    """
    arms = [which for which, names in replicas(runs_among(inputs)).items() if len(names) > 1]
    if not arms:
        raise ValueError(f"a basin needs two replicas of an arm, and {_there(inputs)}; set arms.replicas to 3")
    splits = _splits(arguments, inputs, arguments["splits"])
    model = empty_model(inputs, context)
    found = []
    for place, which in enumerate(arms):
        result = basin_.basin(
            model,
            _ends(inputs, which),
            splits,
            calibration=_training(arguments, inputs),
            task=task_of(arguments),
            samples=arguments["samples"],
            seed=arguments["seed"],
        )
        found.append(result.rows)
        context.tell((place + 1) / len(arms))
    write_result(folder, arguments, inputs, Result("basin", pl.concat(found, how="diagonal_relaxed")))


def plane(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Measure the plane through P and two fine-tunes, and the one through two random inits and their mean start.

    P is where the two fine-tunes start, on the mean: its body is theirs, its head the mean of their fresh ones.

    Args:
        folder: gets `rows.parquet`.
        arguments: `points`, `budget`, and those of every measurement.
        inputs: the runs and `images`.
        context: device, progress.

    Raises:
        ValueError: if no arm has two replicas.
    """
    there = replicas(runs_among(inputs))
    origins = {
        "finetune": (PRETRAINED, "P with the mean of the two fresh heads"),
        "randinit": ("start", "the mean of the two starts"),
    }
    drawn = [which for which in origins if len(there.get(which, ())) > 1]
    if not drawn:
        raise ValueError(f"a plane needs two replicas of an arm, and {_there(inputs)}; set arms.replicas to 2 or more")
    model, splits = empty_model(inputs, context), _splits(arguments, inputs)
    found = []
    for place, which in enumerate(drawn):
        origin, said = origins[which]
        runs = {name: run_of(inputs[f"run/{name}"]) for name in there[which][:2]}
        result = plane_.plane(
            model,
            {origin: mean([run.checkpoints["step-0"] for run in runs.values()])}
            | {name: run.checkpoints["last"] for name, run in runs.items()},
            splits,
            trajectories={name: map(run.checkpoints.__getitem__, run.way()) for name, run in runs.items()},
            calibration=splits["train"],
            points=arguments["points"],
            task=task_of(arguments),
            budget=arguments["budget"],
            notes={origin: said},
        )
        found.append(result.rows)
        context.tell((place + 1) / len(drawn))
    write_result(folder, arguments, inputs, Result("plane", pl.concat(found, how="diagonal_relaxed")))


def connectivity(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Train a path between pairs of random inits, or of what weights there are where none were trained."""
    ends = _pair(inputs, "a path")
    splits = _splits(arguments, inputs)
    model = empty_model(inputs, context)
    pairs = list(combinations(ends, 2))[: arguments["pairs"]]
    found = []
    for place, (a, b) in enumerate(pairs):
        result = connectivity_.connect(
            model,
            ends[a],
            ends[b],
            _shuffled_batches(arguments, inputs),
            batches=splits,
            calibration=splits["train"],
            task=task_of(arguments),
            kind=arguments["kind"],
            epochs=arguments["epochs"],
            learning_rate=arguments["learning_rate"],
            seed=arguments["seed"],
            points=arguments["points"],
            names=(a, b),
        )
        found.append(result.rows)
        context.tell((place + 1) / len(pairs))
    write_result(folder, arguments, inputs, Result("connectivity", pl.concat(found, how="diagonal_relaxed")))


def matching(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Measure the barriers between random inits raw, with channels matched, and with statistics repaired."""
    ends = _pair(inputs, "matching")
    splits = _splits(arguments, inputs)
    result = matching_.matching(
        empty_model(inputs, context),
        ends,
        splits,
        points=arguments["points"],
        calibration=splits["train"],
        pairs=list(combinations(ends, 2)),
        task=task_of(arguments),
        by=arguments["by"],
        seed=arguments["seed"],
    )
    write_result(folder, arguments, inputs, result)


def _pair(inputs: Mapping[str, Artefact], what: str) -> dict[str, Weights]:
    """The random inits, at least two; of a study without any, the first arm with two."""
    there = replicas(runs_among(inputs))
    arms = ["randinit"] if "randinit" in there else list(there)
    found = next((which for which in arms if len(there[which]) > 1), None)
    if found is None:
        raise ValueError(f"{what} needs two random inits, and {_there(inputs)}; set arms.replicas to 2 or more")
    return _ends(inputs, found)


def _ends(inputs: Mapping[str, Artefact], which: str) -> dict[str, Weights]:
    """The last weights of an arm's replicas, without the twin of the first."""
    names = replicas(runs_among(inputs)).get(which, [])
    return {name: run_of(inputs[f"run/{name}"]).checkpoints["last"] for name in names}


def _there(inputs: Mapping[str, Artefact]) -> str:
    return f"the runs that are there are {', '.join(runs_among(inputs))}"


def _splits(
    arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], splits: Sequence[str] = ("train", "test")
) -> dict[str, Batches]:
    packed = open_packed(inputs["images"].folder)
    return {split: evaluation_batches(packed, split, arguments) for split in splits}


def _training(arguments: Mapping[str, Any], inputs: Mapping[str, Artefact]) -> Batches:
    return evaluation_batches(open_packed(inputs["images"].folder), "train", arguments)


def _shuffled_batches(arguments: Mapping[str, Any], inputs: Mapping[str, Artefact]) -> Batches:
    packed = open_packed(inputs["images"].folder)
    indices = chosen(packed, "train", arguments)
    order = torch.randperm(len(indices), generator=generator(arguments["seed"], "path"))
    normalise = (tuple(arguments["mean"]), tuple(arguments["std"]))
    return batches(packed, indices[order], batch_size=arguments["batch_size"], normalise=normalise)
