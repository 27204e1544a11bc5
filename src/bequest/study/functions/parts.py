"""How does a step look into a network's parts: which modules are critical, and what are their spectra?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from bequest.analyses import criticality as criticality_
from bequest.analyses import spectrum as spectrum_
from bequest.analyses.result import Result
from bequest.data.pack import open_packed
from bequest.models.opening import open_model
from bequest.models.order import modules
from bequest.study.functions.images import evaluation_batches
from bequest.study.functions.measuring import empty_model, runs_among, write_result
from bequest.study.functions.training import run_of
from bequest.study.step import Context
from bequest.study.store import Artefact
from bequest.training.seeds import fold
from bequest.weights.algebra import Weights

BATCH = 32  # small batches make early decisions cheaper, and bound what is cached


def criticality(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Rewind, re-randomise and perturb the modules of the first replicas of each arm, on the training images."""
    packed = open_packed(inputs["images"].folder)
    shown = evaluation_batches(packed, "train", arguments, BATCH)
    model = empty_model(inputs, context)
    units = modules(model, next(iter(shown))[0])
    about = next(iter(runs_among(inputs).values())).json("run")
    fresh = open_model(about["model"], classes=len(about["classes"]), seed=fold(arguments["seed"], "rerandomise"))
    measured = [name for name in runs_among(inputs) if name[-1].isdigit()]
    measured = [name for name in measured if int(name.split("/")[1]) < arguments["replicas"]]
    found = []
    for place, name in enumerate(measured):
        checkpoints = run_of(inputs[f"run/{name}"]).checkpoints
        result = criticality_.criticality(
            model,
            checkpoints["step-0"],
            checkpoints["last"],
            shown,
            modules=units,
            draws=arguments["draws"],
            seed=arguments["seed"],
            rerandomised=fresh.state_dict(),
            name=name,
            split="train",
        )
        found.append(result.rows)
        context.tell((place + 1) / len(measured))
    write_result(folder, arguments, inputs, Result("criticality", pl.concat(found, how="diagonal_relaxed")))


def spectrum(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Compare the singular values and leading directions of all runs, and of how they moved."""
    packed = open_packed(inputs["images"].folder)
    example = next(iter(evaluation_batches(packed, "test", arguments)))[0][:2]
    runs = {name: run_of(artefact).checkpoints for name, artefact in runs_among(inputs).items()}
    last: dict[str, Weights] = {name: checkpoints["last"] for name, checkpoints in runs.items()}
    start: dict[str, Weights] = {name: checkpoints["step-0"] for name, checkpoints in runs.items()}
    units = modules(empty_model(inputs, context), example)
    result = spectrum_.spectrum(last, modules=units, initial=start, top=arguments["top"])
    write_result(folder, arguments, inputs, Result(result.analysis, result.rows))
