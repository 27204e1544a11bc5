"""How does a decision train a candidate on the target, the same way for all of them?

The one loop of `bequest.training.loop`, on what a caller has: `Examples`, or any batches of inputs and targets, which
are read into memory once. Replica i of all candidates has the same seeds, so that differences between them are paired.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor, nn

from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches, examples, walk
from bequest.models.fitting import complete, named_as, transfer
from bequest.models.head import head_name, replace_head
from bequest.training.loop import Examples, train
from bequest.training.recipe import Recipe
from bequest.training.seeds import fold
from bequest.training.trajectory import Trajectory
from bequest.weights.algebra import Weights

SHOWN = 128  # examples a batch where nothing is learned
LEARNED = 3  # forward passes that learning from one example costs: backwards is twice forwards


def as_examples(given: Examples | Batches, classes: int | None = None) -> Examples:
    """Give examples that the training loop takes.

    Args:
        given: examples; or batches of images float [B, C, H, W], normalised already, or of dicts of inputs.
        classes: how many there are; None: as many as the targets say.

    Returns:
        The examples themselves, or the batches read into memory.

    Raises:
        ValueError: if the inputs are neither images nor a dict.
    """
    if isinstance(given, Examples):
        return given
    read = list(walk(given))
    targets = torch.cat([truth.cpu() for _, truth in read])
    count = classes or (targets.shape[1] if targets.ndim > 1 else int(targets.max()) + 1)
    first = read[0][0]
    inputs: Tensor | dict[str, Tensor]
    channels = 3
    if isinstance(first, Mapping):
        inputs = {name: torch.cat([one[name].cpu() for one, _ in read if isinstance(one, Mapping)]) for name in first}
    elif first.ndim == 4 and first.is_floating_point():
        inputs, channels = torch.cat([one.cpu() for one, _ in read if isinstance(one, Tensor)]), first.shape[1]
    else:
        raise ValueError(
            f"training batches hold {first.dtype} {list(first.shape)}; they need normalised images [B, C, H, W] in "
            "float, or a dict of inputs by name. Or give bequest.training.loop.Examples"
        )
    level, scale = (0.0,) * channels, (1.0,) * channels
    return Examples(inputs, targets, count, level, scale)  # type: ignore[arg-type] # one number a channel


def count(batches: Batches) -> int:
    """Count the examples in batches."""
    return sum(examples(inputs) for inputs, _ in walk(batches))


def part_of(whole: Examples, places: Tensor) -> Examples:
    """Give some of the examples, by their numbers int64 [n]; images that are stored are read."""
    images = whole.images
    chosen = {name: one[places] for name, one in images.items()} if isinstance(images, Mapping) else images[places]
    return Examples(chosen, whole.targets[places], whole.classes, whole.mean, whole.std)


def candidate(given: nn.Module | Weights, model: nn.Module | None) -> tuple[nn.Module, bool]:
    """Give a candidate as a network with the head that it came with.

    Args:
        given: a network, or weights of `model`'s kind with a head for any number of classes, or without.
        model: the network that weights are of.

    Returns:
        The network (the very one, if one was given), and whether it has a head that was trained.

    Raises:
        ValueError: if weights come without a model, or do not fit it.
    """
    if isinstance(given, nn.Module):
        return given, True
    if model is None:
        raise ValueError("candidates that are weights need model=, the network that they are of")
    found, _ = named_as(model, given)
    weight = found.get(f"{head_name(model)}.weight")
    if weight is None:
        headless = copy.deepcopy(model)
        headless.load_state_dict(transfer(given, model))
        return headless, False
    built = replace_head(model, len(weight), seed=0)
    built.load_state_dict(complete(built, given)[0])
    return built, True


@dataclass(frozen=True)
class FineTune:
    """A training that a decision ran.

    Attributes:
        trajectory: how it went.
        weights: at its end.
        images: examples through the network, one that is learned from counted three times.
    """

    trajectory: Trajectory
    weights: Weights
    images: int

    @property
    def score(self) -> tuple[float, float]:
        """Validation error and loss at the end: lower is better."""
        last = self.trajectory.metrics.filter(pl.col("split") == "validation").sort("epoch").row(-1, named=True)
        return last["error"], last["loss"]


def fine_tune(
    model: nn.Module,
    learned: Examples,
    *,
    recipe: Recipe,
    replica: int,
    seed: int,
    task: tasks.Task,
    watch: Mapping[str, Batches],
    finally_watch: Mapping[str, Batches] | None = None,
) -> FineTune:
    """Train a model that is ready, in place, and measure it before and after.

    Args:
        model: with its head for the target; trained in place.
        learned: what it learns from.
        recipe: how; its `evaluate_every` has no influence on what is learned, and only the end is measured.
        replica: number of the repeat.
        seed: of all replicas of all candidates.
        task: loss and error.
        watch: splits to measure before and after.
        finally_watch: splits to measure after it alone.

    Returns:
        The training.
    """
    kept: dict[str, Weights] = {}
    once = recipe.model_copy(update={"evaluate_every": recipe.epochs})
    trajectory = train(
        model,
        learned,
        recipe=once,
        order_seed=fold(seed, "order", replica),
        task=task,
        watch=dict(watch),
        finally_watch=dict(finally_watch or {}),
        keep=lambda name, weights: kept.update({name: weights}),
    )
    measured = 2 * sum(map(count, watch.values())) + sum(map(count, (finally_watch or {}).values()))
    images = LEARNED * recipe.epochs * len(learned.targets) + measured
    return FineTune(Trajectory(trajectory.metrics), kept["last"], images)


def with_head(model: nn.Module, classes: int, *, replica: int, seed: int) -> nn.Module:
    """Copy a network and give the copy a fresh head, the same for all candidates of one width."""
    return replace_head(model, classes, seed=fold(seed, "init", replica))
