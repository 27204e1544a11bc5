"""How does a step measure: predictions, and the analyses of one target?

Each function opens what its inputs left, calls the public analysis, and writes its rows. Runs that failed are not among
the inputs; the analysis is made of those that are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bequest.analyses import barrier as barrier_
from bequest.analyses import distance as distance_
from bequest.analyses import learning_curves as learning_curves_
from bequest.analyses import mistakes as mistakes_
from bequest.analyses import similarity as similarity_
from bequest.analyses.pairs import PRETRAINED, arm, repeats_init, same_init
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import MISSING_RUN
from bequest.data.pack import open_packed
from bequest.evaluation.batchnorm import has_batchnorm, refit_batchnorm
from bequest.evaluation.predict import Predictions, predict, predict_tokens
from bequest.evaluation.tokens import likeliest_token
from bequest.models.fitting import transfer
from bequest.models.head import head_name, says_tokens
from bequest.models.opening import open_model
from bequest.models.order import modules
from bequest.study.functions.images import evaluation_batches, task_of
from bequest.study.functions.training import run_of
from bequest.study.step import Context
from bequest.study.store import Artefact
from bequest.weights.algebra import Weights
from bequest.weights.modules import Module


def predictions(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Keep what a run answers on each image of a split.

    Args:
        folder: gets `predictions.safetensors` with `outputs` (of language the likeliest tokens) and `targets`.
        arguments: `split`, `checkpoint`, and how images are normalised.
        inputs: `run`, `images`.
        context: device.
    """
    packed = open_packed(inputs["images"].folder)
    model = _model(inputs["run"], context)
    weights = run_of(inputs["run"]).checkpoints[arguments["checkpoint"]]
    shown = evaluation_batches(packed, arguments["split"], arguments)
    # scores of all tokens of a vocabulary would be thousands of times the texts: of language the answers are kept
    made = (predict if packed.classes else predict_tokens)(model, shown, weights=weights)
    tensors = {"outputs": made.outputs.contiguous(), "targets": made.targets.contiguous()}
    save_file(tensors, folder / "predictions.safetensors")


def learning_curves(
    folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context
) -> None:
    """Compare how the runs of a target learned."""
    trajectories = {name: run_of(artefact) for name, artefact in runs_among(inputs).items()}
    choices = {name.split("/")[1]: found.rows() for name, found in inputs.items() if name.startswith("choice/")}
    result = learning_curves_.learning_curves(
        trajectories,
        chance=chance_of(inputs),
        tried={arm_name: rows["learning_rate"].to_list() for arm_name, rows in choices.items()},
        chosen={arm_name: rows.filter("chosen")["learning_rate"][0] for arm_name, rows in choices.items()},
    )
    write_result(folder, arguments, inputs, result)


def mistakes(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Compare which test images the runs of a target get wrong."""
    given = {name: open_predictions(artefact) for name, artefact in runs_among(inputs, "predictions/").items()}
    classes = open_packed(inputs["images"].folder).classes or None
    write_result(folder, arguments, inputs, mistakes_.mistakes(given, classes=classes))


def similarity(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Compare the features of the runs, and of P, on the images of a split."""
    packed = open_packed(inputs["images"].folder)
    models = {name: _loaded(artefact, context) for name, artefact in runs_among(inputs).items()}
    template = next(iter(models.values()))
    shown = evaluation_batches(packed, arguments["split"], arguments, arguments["batch_size"])
    names = [module.name for module in modules(template, next(iter(shown))[0])]
    notes = {}
    if "pretrained" in inputs:
        models[PRETRAINED] = empty_model(inputs, context)
        weights = transfer(run_of(inputs["pretrained"]).checkpoints["last"], template)
        if has_batchnorm(template):  # with the source's statistics the features would differ by those alone
            weights = refit_batchnorm(template, weights, evaluation_batches(packed, "train", arguments))
            notes[PRETRAINED] = "P with BatchNorm statistics refitted on the target's training images"
        models[PRETRAINED].load_state_dict(weights)
    result = similarity_.similarity(
        models, shown, modules=names, errors=_train_errors(inputs), chance=chance_of(inputs), notes=notes
    )
    # P has no head of its own for the target: it takes part up to the features
    head = "" if says_tokens(template) else head_name(template)
    fresh = ((pl.col("a") == PRETRAINED) | (pl.col("b") == PRETRAINED)) & (pl.col("module") == head)
    kept = [place for place, name in enumerate(names) if name != head]
    arrays = {}
    for pair, array in result.arrays.items():
        a, b = pair.split("|")
        array = array[kept] if a == PRETRAINED else array
        arrays[pair] = array[:, kept] if b == PRETRAINED else array
    rows = result.rows.filter(~fresh.fill_null(value=False))
    write_result(folder, arguments, inputs, Result(result.analysis, rows, arrays))


def distance(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Measure how far the runs moved, and how far they are from each other and from P."""
    model = empty_model(inputs, context)
    units = units_of(model, arguments, inputs)
    last, start = ends(inputs, "last"), ends(inputs, "step-0")
    errors, chance = _train_errors(inputs), chance_of(inputs)
    rows = []
    if len(last) > 1:
        rows.append(distance_.distances(last, modules=units, initial=start, errors=errors, chance=chance).rows)
    if "pretrained" in inputs:
        pretrained = run_of(inputs["pretrained"]).checkpoints["last"]
        for name in last:
            # P takes on the run's own fresh head, so that the distance of the head is how far it was trained
            model.load_state_dict(start[name])
            pair = {PRETRAINED: transfer(pretrained, model), name: last[name]}
            rows.append(distance_.distances(pair, modules=units).rows)
    write_result(folder, arguments, inputs, Result("distance", pl.concat(rows, how="diagonal_relaxed")))


def barrier(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Measure error and loss on the line between pairs of runs."""
    packed = open_packed(inputs["images"].folder)
    last = ends(inputs, "last")
    chosen = default_pairs(list(last)) if arguments["pairs"] == "default" else list(combinations(last, 2))
    result = barrier_.barrier(
        empty_model(inputs, context),
        last,
        {split: evaluation_batches(packed, split, arguments) for split in arguments["splits"]},
        points=arguments["points"],
        task=task_of(arguments),
        calibration=evaluation_batches(packed, "train", arguments),
        pairs=chosen,
        tell=context.tell,
    )
    write_result(folder, arguments, inputs, result)


def default_pairs(names: list[str]) -> list[tuple[str, str]]:
    """Give the pairs within each arm, the pair from the same init, and the first pair across the arms."""
    plain = [name for name in names if not repeats_init(name)]
    across = [tuple(next((n for n in plain if arm(n) == which), "") for which in ("finetune", "randinit"))]
    pairs = [(a, b) for a, b in combinations(plain, 2) if arm(a) == arm(b)]
    pairs += [(a, b) for a, b in combinations(names, 2) if same_init(a, b)]
    return pairs + [(a, b) for a, b in across if a and b]


def ends(inputs: Mapping[str, Artefact], checkpoint: str) -> dict[str, Weights]:
    """Give a checkpoint of each run that has it, by the name of the run: weights that were given may have no start."""
    kept = {name: run_of(artefact).checkpoints for name, artefact in runs_among(inputs).items()}
    return {name: checkpoints[checkpoint] for name, checkpoints in kept.items() if checkpoint in checkpoints}


def units_of(model: nn.Module, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact]) -> list[Module]:
    """Give the modules of a network in the order in which two test images go through them."""
    packed = open_packed(inputs["images"].folder)
    return modules(model, next(iter(evaluation_batches(packed, "test", arguments, 2)))[0])


def open_predictions(artefact: Artefact) -> Predictions:
    """Open what `predictions` left."""
    tensors = load_file(artefact.folder / "predictions.safetensors")
    return Predictions(tensors["outputs"], tensors["targets"])


def runs_among(inputs: Mapping[str, Artefact], prefix: str = "run/") -> dict[str, Artefact]:
    """Give the runs among the inputs of a step, by name, in the order of the plan."""
    return {name.removeprefix(prefix): artefact for name, artefact in inputs.items() if name.startswith(prefix)}


def empty_model(inputs: Mapping[str, Artefact], context: Context) -> nn.Module:
    """Open the network of the runs among the inputs, with a head for their classes and weights of no meaning."""
    return _model(next(iter(runs_among(inputs).values())), context)


def _model(run: Artefact, context: Context) -> nn.Module:
    about = run.json("run")
    model = open_model(about["model"], classes=len(about["classes"]) or None).to(context.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks this overload
    return model


def _loaded(run: Artefact, context: Context) -> nn.Module:
    model = _model(run, context)
    model.load_state_dict(run_of(run).checkpoints["last"])
    return model


def chance_of(inputs: Mapping[str, Artefact]) -> float:
    """Give the accuracy of guessing on a target, 0..1: a class, 0.5 as the AUROC of labels, the likeliest token."""
    packed = open_packed(inputs["images"].folder)
    if not packed.classes:
        return likeliest_token(packed.targets[packed.indices("test")])
    return 0.5 if packed.multilabel else 1 / len(packed.classes)


def _train_errors(inputs: Mapping[str, Artefact]) -> dict[str, float]:
    """The error of each run on train after its last epoch."""
    rows = {name: artefact.rows().filter(pl.col("split") == "train") for name, artefact in runs_among(inputs).items()}
    return {name: float(row.sort("epoch")["error"][-1]) for name, row in rows.items()}


def write_result(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], result: Result) -> None:
    """Write the rows of an analysis with its target and the runs that were planned and are not there.

    Args:
        folder: gets `rows.parquet`, and `arrays.safetensors` if there are arrays.
        arguments: `target`, and `runs`, the names of those planned.
        inputs: what was there.
        result: what was measured.
    """
    missing = [run for run in arguments["runs"] if not {f"run/{run}", f"predictions/{run}"} & inputs.keys()]
    failed = table(result.analysis, [{"metric": MISSING_RUN, "a": run} for run in missing])
    rows = pl.concat([result.rows, failed], how="diagonal_relaxed") if missing else result.rows
    rows.with_columns(target=pl.lit(arguments["target"])).write_parquet(folder / "rows.parquet")
    if result.arrays:
        save_file({name: array.contiguous() for name, array in result.arrays.items()}, folder / "arrays.safetensors")
