"""How does a step look at the loss landscape: basins, paths, and lines between matched networks?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl
import torch

from bequest.analyses import basin as basin_
from bequest.analyses import connectivity as connectivity_
from bequest.analyses import matching as matching_
from bequest.analyses.pairs import arm
from bequest.analyses.result import Result
from bequest.data.batches import batches
from bequest.data.pack import open_packed
from bequest.evaluation.batches import Batches
from bequest.study.functions.images import chosen, evaluation_batches
from bequest.study.functions.measuring import empty_model, runs_among, write_result
from bequest.study.functions.training import run_of
from bequest.study.step import Context
from bequest.study.store import Artefact
from bequest.training.seeds import generator
from bequest.weights.algebra import Weights


def basin(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Ask of the replicas of each arm whether the set of all their mixes is a basin."""
    splits = _splits(arguments, inputs)
    model = empty_model(inputs, context)
    found = [
        basin_.basin(
            model,
            members,
            splits,
            calibration=splits["train"],
            samples=arguments["samples"],
            seed=arguments["seed"],
        ).rows
        for members in (_ends(inputs, which) for which in ("finetune", "randinit"))
        if len(members) > 1
    ]
    write_result(folder, arguments, inputs, Result("basin", pl.concat(found, how="diagonal_relaxed")))


def connectivity(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Train a path between pairs of random inits."""
    splits = _splits(arguments, inputs)
    model = empty_model(inputs, context)
    ends = _ends(inputs, "randinit")
    found = []
    for place, (a, b) in enumerate(list(combinations(ends, 2))[: arguments["pairs"]]):
        result = connectivity_.connect(
            model,
            ends[a],
            ends[b],
            _shuffled_batches(arguments, inputs),
            batches=splits,
            calibration=splits["train"],
            kind=arguments["kind"],
            epochs=arguments["epochs"],
            learning_rate=arguments["learning_rate"],
            seed=arguments["seed"],
            points=arguments["points"],
            names=(a, b),
        )
        found.append(result.rows)
        context.tell((place + 1) / arguments["pairs"])
    write_result(folder, arguments, inputs, Result("connectivity", pl.concat(found, how="diagonal_relaxed")))


def matching(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Measure the barriers between random inits raw, with channels matched, and with statistics repaired."""
    splits = _splits(arguments, inputs)
    ends = _ends(inputs, "randinit")
    result = matching_.matching(
        empty_model(inputs, context),
        ends,
        splits,
        points=arguments["points"],
        calibration=splits["train"],
        pairs=list(combinations(ends, 2)),
        by=arguments["by"],
        seed=arguments["seed"],
    )
    write_result(folder, arguments, inputs, result)


def _ends(inputs: Mapping[str, Artefact], which: str) -> dict[str, Weights]:
    """The last weights of an arm's replicas, without the twin of the first."""
    names = [name for name in runs_among(inputs) if arm(name) == which and name[-1].isdigit()]
    return {name: run_of(inputs[f"run/{name}"]).checkpoints["last"] for name in names}


def _splits(arguments: Mapping[str, Any], inputs: Mapping[str, Artefact]) -> dict[str, Batches]:
    packed = open_packed(inputs["images"].folder)
    return {split: evaluation_batches(packed, split, arguments) for split in ("train", "test")}


def _shuffled_batches(arguments: Mapping[str, Any], inputs: Mapping[str, Artefact]) -> Batches:
    packed = open_packed(inputs["images"].folder)
    indices = chosen(packed, "train", arguments)
    order = torch.randperm(len(indices), generator=generator(arguments["seed"], "path"))
    normalise = (tuple(arguments["mean"]), tuple(arguments["std"]))
    return batches(packed, indices[order], batch_size=arguments["batch_size"], normalise=normalise)
