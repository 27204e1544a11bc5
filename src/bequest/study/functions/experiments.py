"""How does a step compare the runs of a further experiment: on shuffled images, and from earlier checkpoints of P?

Each run stands at a place of its experiment (a block size, an epoch of the pre-training). Runs that failed are not
among the inputs; places without runs are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from bequest.analyses import block_shuffle as block_shuffle_
from bequest.analyses import checkpoints as checkpoints_
from bequest.analyses.result import Result
from bequest.data.pack import open_packed
from bequest.study.functions.images import evaluation_batches
from bequest.study.functions.measuring import chance_of, write_result
from bequest.study.functions.training import run_of
from bequest.study.step import Context
from bequest.study.store import Artefact
from bequest.training.shuffling import Shuffle
from bequest.training.trajectory import Trajectory

Place = int | str


def block_shuffle(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Compare the arms on images with shuffled blocks, for each kind of permutation.

    Args:
        folder: gets the rows, and as arrays an example image for each block size (uint8 [3, H, W], `MODE/BLOCK`).
        arguments: `cells` (name, run, block size, mode), `size` of the images in pixels.
        inputs: the runs by their names in `cells`, `images`.
        context: unused.
    """
    image: Tensor = next(iter(evaluation_batches(open_packed(inputs["images"].folder), "test", arguments, 1)))[0]
    found: list[pl.DataFrame] = []
    examples: dict[str, Tensor] = {}
    for mode in arguments["modes"]:
        runs = _placed(arguments, inputs, mode)
        moved = {
            place: {name: artefact.json("run").get("moved_fraction", 0.0) for name, artefact in here.items()}
            for place, here in runs.items()
        }
        result = block_shuffle_.block_shuffle(
            _trajectories(runs),
            size=arguments["size"],
            chance=chance_of(inputs),
            moved={place: shares for place, shares in moved.items() if place != arguments["size"]},
            permutation=mode,
        )
        found.append(result.rows)
        examples |= {f"{mode}/{place}": _example(image, arguments, place, mode) for place in runs}
    write_result(folder, arguments, inputs, Result("block_shuffle", pl.concat(found), examples))


def checkpoints(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Compare fine-tunes from a series of checkpoints of the pre-training.

    Args:
        folder: gets the rows.
        arguments: `cells` (name, run, epoch, nothing), `tolerance`.
        inputs: the runs by their names in `cells`, `pretrained`, `images`.
        context: unused.

    Raises:
        ValueError: if no replica was trained from every checkpoint.
    """
    runs = _trajectories(_placed(arguments, inputs, ""))
    planned = {place for _, _, place, _ in arguments["cells"]}
    whole = set.intersection(*(set(runs.get(place, {})) for place in planned))  # the same replicas everywhere
    if not whole:
        raise ValueError("no replica was trained from every checkpoint, so there is nothing to compare")
    result = checkpoints_.checkpoints(
        {int(epoch): {name: run for name, run in here.items() if name in whole} for epoch, here in runs.items()},
        source=run_of(inputs["pretrained"]),
        tolerance=arguments["tolerance"],
        chance=chance_of(inputs),
    )
    write_result(folder, arguments, inputs, result)


def _placed(
    arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], mode: str
) -> dict[Place, dict[str, Artefact]]:
    """Place in the experiment -> run -> what it left."""
    found: dict[Place, dict[str, Artefact]] = {}
    for name, run, place, of in arguments["cells"]:
        if of == mode and f"run/{name}" in inputs:
            found.setdefault(place, {})[run] = inputs[f"run/{name}"]
    return found


def _trajectories(runs: Mapping[Place, Mapping[str, Artefact]]) -> dict[Place, dict[str, Trajectory]]:
    return {place: {name: run_of(artefact) for name, artefact in here.items()} for place, here in runs.items()}


def _example(image: Tensor, arguments: Mapping[str, Any], place: Any, mode: Any) -> Tensor:
    """The first test image [1, 3, H, W] as the first replica sees it, in colours that can be shown."""
    if place != arguments["size"]:
        image = Shuffle(place, mode, 0)(image, "test", torch.zeros(1, dtype=torch.int64))
    mean, std = (torch.tensor(arguments[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    return ((image * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)[0].contiguous()
