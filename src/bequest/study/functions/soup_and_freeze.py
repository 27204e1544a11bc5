"""How does a step decide whether the fine-tunes may be averaged, and what can stay frozen?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bequest.data.pack import Packed, open_packed
from bequest.decisions.freeze import freeze as freeze_
from bequest.decisions.soup import soup as soup_
from bequest.evaluation.batches import Batches
from bequest.models.fitting import complete, transfer
from bequest.models.head import head_parts, says_tokens
from bequest.study.functions.deciding import write_decision
from bequest.study.functions.images import evaluation_batches, joined, task_of
from bequest.study.functions.measuring import empty_model, ends
from bequest.study.functions.training import run_of, starting_model
from bequest.study.step import Context
from bequest.study.store import Artefact
from bequest.training.loop import Examples
from bequest.training.recipe import Recipe
from bequest.training.seeds import generator
from bequest.weights.algebra import Weights

HALVED = (
    "there is no validation split: what is chosen is chosen on one half of the test images, and tested on the other"
)


def soup(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Average the fine-tunes of a target, where they share a basin.

    Args:
        folder: gets `rows.parquet`, `decision.json` and, unless it is refused, `soup.safetensors`.
        arguments: `method`, `points`, `limit`, `seed`, and those of every measurement.
        inputs: the runs, `images`; where it is known `pretrained`; other domains as `other/…`.
        context: device.
    """
    packed = open_packed(inputs["images"].folder)
    members = ends(inputs, "last")
    model = empty_model(inputs, context)
    model.load_state_dict(dict(next(iter(members.values()))))
    validation, test, note = _to_choose_and_to_test(packed, arguments)
    others = {name: open_packed(found.folder) for name, found in inputs.items() if name.startswith("other/")}
    made = soup_(
        model,
        members,
        validation,
        method=arguments["method"],
        base=_base(inputs, model),
        test_batches=test,
        others={one.domain: evaluation_batches(one, "test", arguments) for one in others.values()},
        calibration=evaluation_batches(packed, "train", arguments),
        task=task_of(arguments),
        points=arguments["points"],
        limit=arguments["limit"],
    )
    write_decision(folder, arguments, made, note)


def freeze(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Train with modules frozen, and in the usual ways, from the pre-trained weights.

    Args:
        folder: gets `rows.parquet`, `decision.json` and `freeze.safetensors`.
        arguments: `prefixes`, `rules`, `modules`, `learning_rates`, `recipe`, `init_seeds`, and those of every
            training.
        inputs: `images`, `pretrained`; maybe `choice`, `measured/criticality`, `measured/similarity`.
        context: device, progress.
    """
    packed = open_packed(inputs["images"].folder)
    images, targets = joined([packed], "train", arguments)
    examples = Examples(images, targets, len(packed.classes), tuple(arguments["mean"]), tuple(arguments["std"]))
    started = [
        starting_model({**arguments, "init_seed": seed}, inputs, len(packed.classes)).to(context.device)
        for seed in arguments["init_seeds"]
    ]
    recipe = Recipe.model_validate(arguments["recipe"])
    if "choice" in inputs:
        recipe = recipe.model_copy(update={"learning_rate": inputs["choice"].json("choice")["learning_rate"]})
    rows = {name: inputs[f"measured/{name}"].rows() for name in ("criticality", "similarity") if _has(inputs, name)}
    made = freeze_(
        started[0],
        examples,
        evaluation_batches(packed, "validation", arguments),
        test_batches=evaluation_batches(packed, "test", arguments),
        starts=[one.state_dict() for one in started],
        prefixes=arguments["prefixes"],
        criticality=rows.get("criticality"),
        similarity=rows.get("similarity"),
        frozen=arguments["modules"],
        rules=arguments["rules"],
        recipe=recipe,
        learning_rates=arguments["learning_rates"],
        task=task_of(arguments),
        seed=arguments["seed"],
        tell=context.tell,
    )
    write_decision(folder, arguments, made)


def _has(inputs: Mapping[str, Artefact], analysis: str) -> bool:
    return f"measured/{analysis}" in inputs


def _to_choose_and_to_test(packed: Packed, arguments: Mapping[str, Any]) -> tuple[Batches, Batches, str | None]:
    """The images to choose on and those to confirm on; halves of test where there is no validation split."""
    if len(packed.indices("validation")):
        return *(evaluation_batches(packed, split, arguments) for split in ("validation", "test")), None  # type: ignore[return-value] # two of them
    indices = packed.indices("test")
    order = indices[torch.randperm(len(indices), generator=generator(arguments["seed"], "halves"))]
    shown, half = evaluation_batches(packed, "test", arguments), len(order) // 2
    first, second = (replace(shown, indices=part.sort().values) for part in (order[:half], order[half:]))
    return first, second, HALVED


def _base(inputs: Mapping[str, Artefact], model: nn.Module) -> Weights | None:
    """P: with its own head where that fits and means something here; else without, so that it is the soup's."""
    if "pretrained" not in inputs:
        return None
    pretrained = run_of(inputs["pretrained"]).checkpoints["last"]
    given = not any("recipe" in found.json("run") for name, found in inputs.items() if name.startswith("run/"))
    if given or says_tokens(model):
        try:
            return complete(model, pretrained)[0]
        except ValueError:
            pass
    heads = tuple(f"{part}." for part in head_parts(model))
    return {name: tensor for name, tensor in transfer(pretrained, model).items() if not name.startswith(heads)}
