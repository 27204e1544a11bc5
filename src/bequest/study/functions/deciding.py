"""How does a step decide, and what does it leave?

`rows.parquet`, `decision.json` (advice, how sure, costs), and `NAME.safetensors` where the decision made weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from torch import nn

from bequest.data.pack import open_packed
from bequest.decisions.checkpoint import checkpoint as checkpoint_
from bequest.decisions.decision import Decision
from bequest.decisions.fine_tunes import LEARNED
from bequest.decisions.labels import labels as labels_
from bequest.decisions.source import source as source_
from bequest.models.files import read_weights, write_weights
from bequest.models.opening import open_model
from bequest.study.functions.images import evaluation_batches, joined, task_of
from bequest.study.functions.measuring import chance_of
from bequest.study.functions.training import run_of
from bequest.study.step import Context
from bequest.study.store import Artefact
from bequest.training.loop import Examples
from bequest.training.recipe import Recipe
from bequest.training.seeds import fold
from bequest.training.trajectory import Trajectory
from bequest.weights.algebra import Weights


def checkpoint(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Find the earliest checkpoint of the pre-training that is enough.

    Args:
        folder: gets what a decision leaves.
        arguments: `cells` (name, run, epoch), `margin`.
        inputs: the runs by their names in `cells`, `pretrained`, `images`.
        context: unused.
    """
    pretrained = inputs["pretrained"]
    about, epochs = pretrained.json("run"), pretrained.json("run")["recipe"]["epochs"]
    decision = checkpoint_(
        _placed(arguments, inputs),
        source=run_of(pretrained),
        margin=arguments["margin"],
        chance=chance_of(inputs),
        epoch_images=about["images"],
        epoch_seconds=pretrained.json("provenance")["seconds"] / epochs,
        spent=_spent(_runs(inputs)),
    )
    write_decision(folder, arguments, decision)


def labels(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Say how many labels pre-training is worth.

    Args:
        folder: gets what a decision leaves.
        arguments: `cells` (name, run, shots), `seed`.
        inputs: the runs by their names in `cells`, `images`.
        context: unused.
    """
    spent, chance = _spent(_runs(inputs)), chance_of(inputs)
    decision = labels_(_placed(arguments, inputs), chance=chance, spent=spent, seed=arguments["seed"])
    write_decision(folder, arguments, decision)


def source(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Rank pre-trained weights for a target, and fine-tune the first.

    Args:
        folder: gets what a decision leaves.
        arguments: `candidates` and where they are, `fresh`, `by`, `top`, `replicas`, `learning_rates`, `recipe`.
        inputs: `images`, `pretrained`.
        context: device.
    """
    packed = open_packed(inputs["images"].folder)
    count = len(packed.classes)
    candidates: dict[str, nn.Module | Weights] = {"P": run_of(inputs["pretrained"]).checkpoints["last"]}
    for name in arguments["candidates"]:
        candidates[name] = read_weights(
            Path(arguments[f"path/{name}"]), trust_pickle=arguments.get("trust_pickle", False)
        )
    if arguments["fresh"]:
        network = open_model(arguments["model"], classes=count, seed=fold(arguments["seed"], "fresh"))
        candidates["random init"] = network.to(context.device)
    images, targets = joined([packed], "train", arguments)
    examples = Examples(images, targets, count, tuple(arguments["mean"]), tuple(arguments["std"]))
    decision = source_(
        candidates,
        examples,
        *(evaluation_batches(packed, split, arguments) for split in ("validation", "test")),
        recipe=Recipe.model_validate(arguments["recipe"]),
        model=open_model(arguments["model"], classes=count).to(context.device),
        task=task_of(arguments),
        by=arguments["by"],
        top=arguments["top"],
        replicas=arguments["replicas"],
        learning_rates=arguments["learning_rates"],
        seed=arguments["seed"],
    )
    write_decision(folder, arguments, decision)


def write_decision(folder: Path, arguments: Mapping[str, Any], decision: Decision, note: str | None = None) -> None:
    """Write a decision.

    Args:
        folder: gets the rows with their target, what was said, and the weights if there are any.
        arguments: `target`.
        decision: what was decided.
        note: what has to be known besides.
    """
    decision.rows.with_columns(target=pl.lit(arguments["target"])).write_parquet(folder / "rows.parquet")
    file = None if decision.weights is None else f"{decision.name}.safetensors"
    told: dict[str, Any] = {"weights": file, "note": note}
    told |= {"name": decision.name, "advice": decision.advice, "sure": decision.sure, "costs": dict(decision.costs)}
    (folder / "decision.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    if decision.weights is not None:
        write_weights(decision.weights, folder / f"{decision.name}.safetensors")


def _runs(inputs: Mapping[str, Artefact]) -> list[Artefact]:
    return [artefact for name, artefact in inputs.items() if name.startswith("run/")]


def _placed(arguments: Mapping[str, Any], inputs: Mapping[str, Artefact]) -> dict[int, dict[str, Trajectory]]:
    """Place in the experiment -> run -> how it went; replicas that are missing at one place are left out at all."""
    found: dict[int, dict[str, Trajectory]] = {place: {} for _, _, place in arguments["cells"]}
    for name, run, place in arguments["cells"]:
        if f"run/{name}" in inputs:
            found[place][run] = run_of(inputs[f"run/{name}"])
    whole = set.intersection(*(set(here) for here in found.values()))
    if not whole:
        raise ValueError("no replica was trained at every place of the comparison, so there is nothing to decide by")
    return {place: {run: one for run, one in here.items() if run in whole} for place, here in found.items()}


def _spent(runs: Iterable[Artefact]) -> dict[str, float]:
    """Seconds of the trainings, and examples that they learned from, counted three times."""
    seconds = images = 0.0
    for artefact in runs:
        about = artefact.json("run")
        seconds += artefact.json("provenance")["seconds"]
        images += LEARNED * about["recipe"]["epochs"] * about["images"]
    return {"seconds": seconds, "images": images}
