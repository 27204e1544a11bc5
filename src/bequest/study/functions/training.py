"""How does a step train: pre-training, the arms, the choice of a learning rate?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor, nn

from bequest.evaluation.batches import Batches
from bequest.evaluation.predict import measure
from bequest.models.files import read_weights, write_weights
from bequest.models.fitting import complete, transfer
from bequest.models.head import head_name, says_tokens
from bequest.models.opening import open_model
from bequest.study.functions.images import (
    IN_MEMORY,
    joined,
    packed_inputs,
    seen_batches,
    seen_part,
    shuffle_of,
    task_of,
)
from bequest.study.functions.kept import STATE, STATE_EVERY, Kept
from bequest.study.functions.together import together
from bequest.study.step import Context
from bequest.study.store import Artefact
from bequest.study.weight_files import content_hash
from bequest.training.event_files import EventFiles
from bequest.training.group import Group
from bequest.training.loop import Examples, train
from bequest.training.metrics_log import Log, MetricsFile, Told
from bequest.training.recipe import Recipe
from bequest.training.seeds import generator
from bequest.training.trajectory import Trajectory, doubling_epochs, metrics_table
from bequest.weights.algebra import Weights
from bequest.weights.inits import meanvar, shuffled

COUNTED = 256  # images whose moved blocks are counted where each has a permutation of its own
CONTROL_STARTS = {"meanvar": meanvar, "shuffled": shuffled}


class Checkpoints(Mapping[str, Weights]):
    """The checkpoints in a run's folder, read when asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Weights:
        path = self._folder / f"{name}.safetensors"
        if not path.is_file():
            raise KeyError(f"no checkpoint {name!r}; there are {', '.join(self)}")
        return read_weights(path)

    def __contains__(self, name: object) -> bool:
        return (self._folder / f"{name}.safetensors").is_file()  # a mapping's own way would read it

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self._folder.glob("*.safetensors")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def run_of(artefact: Artefact) -> Trajectory:
    """Open what a training step left: its metrics and checkpoints."""
    return Trajectory(artefact.rows(), Checkpoints(artefact.folder / "checkpoints"))


def import_weights(
    folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context
) -> None:
    """Take pre-trained weights from a file, checked against the model.

    Args:
        folder: gets `checkpoints/last.safetensors` and `run.json`.
        arguments: `model`, `classes` of the pre-training head, `path`, and `content`, the hash of what lies there.
        inputs: none.
        context: unused.
    """
    (folder / "checkpoints").mkdir(exist_ok=True)
    weights = read_weights(Path(arguments["path"]), trust_pickle=arguments.get("trust_pickle", False))
    _check_unchanged(arguments)
    write_weights(weights, folder / "checkpoints" / "last.safetensors")
    metrics_table([]).write_parquet(folder / "rows.parquet")  # nothing is known of how they were trained
    _write(folder / "run.json", {"arm": "P", "model": arguments["model"]})


def given_weights(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Take a model's weights from a file, and measure them as a run of one epoch that nobody saw.

    Args:
        folder: gets `rows.parquet` (errors on train and test), `checkpoints/last.safetensors`, with a base
            `checkpoints/step-0.safetensors`, and `run.json`.
        arguments: `model`, `arm`, `path`, and `content`, the hash of what lies there.
        inputs: `images`; `pretrained` where the base is known.
        context: device.
    """
    packed = packed_inputs(inputs)[0]
    read = read_weights(
        Path(arguments["path"]), base=_path(arguments), trust_pickle=arguments.get("trust_pickle", False)
    )
    _check_unchanged(arguments)
    model = open_model(arguments["model"], classes=len(packed.classes) or None)
    last, beside = complete(model, read)
    weights: dict[str, Weights] = {"last": last}
    model.load_state_dict(last)
    if "pretrained" in inputs:
        weights["step-0"] = _base(run_of(inputs["pretrained"]).checkpoints["last"], model)
    (folder / "checkpoints").mkdir(exist_ok=True)
    rows = []
    for name, values in weights.items():
        write_weights(values, folder / "checkpoints" / f"{name}.safetensors")
        model.load_state_dict(values)
        model.to(context.device)
        for split in ("train", "test"):
            loss, error = measure(model, seen_batches(packed, split, arguments), task_of(arguments))
            rows.append({"epoch": int(name == "last"), "split": split, "error": error, "loss": loss})
    metrics_table(rows).write_parquet(folder / "rows.parquet")
    run = {"arm": arguments["arm"], "model": arguments["model"], "classes": list(packed.classes)}
    _write(folder / "run.json", run | {"unused": list(beside)})


def _check_unchanged(arguments: Mapping[str, Any]) -> None:
    """Refuse a file that is no longer the one that the step got its key for."""
    if content_hash(Path(arguments["path"])) != arguments["content"]:
        raise ValueError(f"{arguments['path']} has changed since the run began; run the study again")


def _path(arguments: Mapping[str, Any]) -> Path | None:
    return Path(arguments["base"]) if "base" in arguments else None


def _base(base: Weights, model: nn.Module) -> Weights:
    """The base with its own head where that fits the model, else with the model's."""
    try:
        return complete(model, base)[0]
    except ValueError:
        return transfer(base, model)


def train_run(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Train one run: a pre-training or a replica of an arm, on one device or on several.

    Args:
        folder: see `train_here`.
        arguments: likewise.
        inputs: likewise.
        context: device, how many, progress.
    """
    if context.devices > 1:
        together(folder, arguments, inputs, context)
    else:
        train_here(folder, arguments, inputs, context)


def train_here(
    folder: Path,
    arguments: Mapping[str, Any],
    inputs: Mapping[str, Artefact],
    context: Context,
    group: Group | None = None,
) -> None:
    """Train one run in this process, alone or as one of several.

    Args:
        folder: gets `rows.parquet` (metrics), the same as `metrics.jsonl` while it trains, `checkpoints/*.safetensors`
            and `run.json`; a state to go on from lies there while the step is not done.
        arguments: see `study.plan`.
        inputs: `images` or `images/…`; for all arms but randinit `pretrained`; with a sweep `choice`.
        context: device, progress.
        group: the processes that train it together; the first alone writes.
    """
    writes, processes = group is None or group.first, group.size if group else 1
    domains = packed_inputs(inputs)
    classes = domains[0].classes
    recipe = Recipe.model_validate(arguments["recipe"])
    rate = _rate(arguments, inputs)
    recipe = recipe.model_copy(update={"learning_rate": rate or recipe.learning_rate})
    kept = Kept(folder) if writes else None
    if group:
        group.wait()  # until the first has looked at what an earlier try left
    images, targets = joined(domains, "train", arguments, IN_MEMORY // processes)
    mean, std = tuple(arguments["mean"]), tuple(arguments["std"])
    examples = Examples(images, targets, len(classes), mean, std)
    model = starting_model(arguments, inputs, len(classes)).to(context.device)
    shuffle = shuffle_of(arguments)
    logs: list[Log] = [MetricsFile(folder / "metrics.jsonl")] if writes else []
    logs += [EventFiles(context.events)] if writes and context.events else []
    trajectory = train(
        model,
        examples,
        recipe=recipe,
        order_seed=arguments["order_seed"],
        task=task_of(arguments),
        watch={split: _chain(domains, split, arguments, group) for split in ("train", "validation")},
        finally_watch={"test": _chain(domains, "test", arguments, group)},
        checkpoint_epochs=kept_epochs(arguments, recipe.epochs),
        learns=(head_name(model),) if arguments["arm"] == "probe" else ("",),
        see=None if shuffle is None else lambda batch, places: shuffle(batch, "train", places),
        keep=kept.keep if kept else lambda name, weights: None,
        state=folder / STATE,
        state_every=STATE_EVERY,
        on_epoch=lambda epoch: context.tell(epoch / recipe.epochs),
        on_measured=Told(logs),
        group=group,
    )
    if kept is None:
        return
    trajectory.metrics.write_parquet(folder / "rows.parquet")
    run = {"arm": arguments["arm"], "model": arguments["model"], "classes": list(classes), "images": len(targets)}
    run |= {"best_epoch": trajectory.best_epoch, "recipe": recipe.model_dump(mode="json")}
    if shuffle and not isinstance(images, dict):
        run["moved_fraction"] = shuffle.moved(images.shape, "train", min(len(images), COUNTED))
    _write(folder / "run.json", run)
    kept.done()


def starting_model(arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], classes: int) -> nn.Module:
    """Make the model of a run as it is before training.

    Args:
        arguments: `model`, `arm`, `init_seed`; with pre-trained weights `checkpoint`, which of them.
        inputs: `pretrained`, unless it starts fresh.
        classes: outputs of the fresh head; 0 for a model of language, whose head is its own.

    Returns:
        The model: fresh; or pre-trained with a fresh head; or, in the control arms `meanvar` and `shuffled`, with
        weights that keep a statistic of P's alone.
    """
    model = open_model(arguments["model"], classes=classes or None, seed=arguments["init_seed"])
    if "pretrained" in inputs:
        weights = transfer(run_of(inputs["pretrained"]).checkpoints[arguments["checkpoint"]], model)
        change = CONTROL_STARTS.get(arguments["arm"])
        if change:
            stream = generator(arguments["init_seed"], arguments["arm"])
            weights = change(weights, generator=stream, keep=() if says_tokens(model) else (head_name(model),))
        model.load_state_dict(weights)
    return model


def kept_epochs(arguments: Mapping[str, Any], epochs: int) -> tuple[int, ...]:
    """Give the epochs after which weights are kept, besides start, best and last, of all `epochs`."""
    asked = arguments.get("checkpoint_epochs", "doubling" if arguments["arm"] == "P" else ())
    return doubling_epochs(epochs) if asked == "doubling" else tuple(asked)


def choose(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    """Choose a learning rate: the lowest validation error after the last epoch, then the lowest validation loss.

    Args:
        folder: gets `rows.parquet`, one row a candidate, and `choice.json`.
        arguments: `candidates`, from the name of an input to its learning rate.
        inputs: the runs of the sweep; those that diverged are not there.
        context: unused.
    """
    rows: list[dict[str, Any]] = []
    for name, rate in arguments["candidates"].items():
        row: dict[str, Any] = {"learning_rate": rate, "error": None, "loss": None, "failed": name not in inputs}
        if name in inputs:
            last = inputs[name].rows().filter(pl.col("split") == "validation").sort("epoch").row(-1, named=True)
            row |= {"error": last["error"], "loss": last["loss"]}
        rows.append(row)
    best = min((row for row in rows if not row["failed"]), key=lambda row: (row["error"], row["loss"]))
    for row in rows:
        row["chosen"] = row is best
    pl.DataFrame(rows).write_parquet(folder / "rows.parquet")
    _write(folder / "choice.json", {"learning_rate": best["learning_rate"]})


def _rate(arguments: Mapping[str, Any], inputs: Mapping[str, Artefact]) -> float | None:
    if "choice" in inputs:
        return float(inputs["choice"].json("choice")["learning_rate"])
    return arguments.get("learning_rate")


def _chain(domains: list[Any], split: str, arguments: Mapping[str, Any], group: Group | None) -> Batches:
    if group is None:
        return _Joined([seen_batches(domain, split, arguments) for domain in domains])
    parts = [seen_part(domain, split, arguments, group.rank, group.size) for domain in domains]
    return _Joined([part for part in parts if part is not None])


class _Joined:
    """Batches of several domains, one after the other."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return chain.from_iterable(self._parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
