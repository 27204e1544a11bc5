"""How do the arms learn from ever more of a target?

The sizes are images a class, a geometric series; a larger one holds the images of the smaller ones. All arms see the
same images and orders. Every size takes as many steps as the largest (`budget="steps"`): with a few images and as many
epochs, training from random init would stop before it has learned them, and pre-training would look better than it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from bequest.decisions.fine_tunes import FineTune, as_examples, fine_tune, part_of
from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches
from bequest.training.loop import Diverged, Examples
from bequest.training.recipe import Recipe
from bequest.training.seeds import fold, generator
from bequest.training.trajectory import Trajectory

MOST_SIZES = 5


def learn_sizes(
    starts: Mapping[str, Callable[[int], nn.Module]],
    training: Examples | Batches,
    validation: Batches,
    test: Batches,
    *,
    recipe: Recipe,
    shots: Sequence[int] | None = None,
    replicas: int = 3,
    learning_rates: Sequence[float] = (),
    budget: Literal["steps", "epochs"] = "steps",
    task: str | tasks.Loss | tasks.Task = "classification",
    seed: int = 0,
) -> tuple[dict[int, dict[str, Trajectory]], dict[str, float]]:
    """Train each arm on each size of the target, for `bequest.labels`.

    Args:
        starts: arm (`finetune`, `randinit`, …) -> a function of a seed that gives a new network with a head for the
            target, ready to be trained.
        training: labelled examples of the target, one class each; or batches of normalised images or dicts of inputs.
        validation: batches that choose the learning rate.
        test: batches that are measured after each run.
        recipe: how to train on the largest size.
        shots: images a class, the sizes; None: as many as the smallest class has, half of it, and so on, five at most.
        replicas: of each arm and size.
        learning_rates: tried for each arm and size, on seeds of their own; empty: the recipe's.
        budget: `steps`: each size takes the steps of the largest; `epochs`: each takes its epochs.
        task: loss and error.
        seed: of heads, orders and the choice of images.

    Returns:
        Shots -> name of a run -> its trajectory; and what it cost: `seconds`, and `images` through the network, one
        that is learned from counted three times.

    Raises:
        Diverged: if a run diverges with the learning rate that it has.
        ValueError: if the targets are not one class each, or a class has fewer images than shots.
    """
    examples, asked = as_examples(training), tasks.task(task)
    if examples.targets.is_floating_point() or examples.targets.ndim != 1:
        raise ValueError("shots are images of one class each, and these examples may have several labels")
    sizes = tuple(sorted(set(shots))) if shots is not None else series(examples.targets)
    places = {size: nested(examples.targets, size, seed=seed) for size in sizes}
    begun, images = time.perf_counter(), 0
    found: dict[int, dict[str, Trajectory]] = {}

    def run(arm: str, size: int, rate: float, replica: int, stream: int) -> FineTune | None:
        """Train one; None if it diverges."""
        nonlocal images
        how = _budgeted(recipe, len(places[size]), len(places[sizes[-1]]), budget)
        try:
            tune = fine_tune(
                starts[arm](fold(stream, "init", replica)),
                part_of(examples, places[size]),
                recipe=how.model_copy(update={"learning_rate": rate}),
                replica=replica,
                seed=stream,
                task=asked,
                watch={"validation": validation},
                finally_watch={"test": test} if stream == seed else None,
            )
        except Diverged:
            return None
        images += tune.images
        return tune

    for size in sizes:
        found[size] = {}
        for arm in starts:
            rate = recipe.learning_rate
            if learning_rates:
                # seeds of their own: a replica that was also chosen by its error would look too good
                tried = {one: tune for one in learning_rates if (tune := run(arm, size, one, 0, fold(seed, "sweep")))}
                rate = min(tried, key=lambda one: tried[one].score, default=rate)
            for replica in range(replicas):
                tune = run(arm, size, rate, replica, seed)
                if tune is None:
                    raise Diverged(f"{arm} diverged at {size} shots with learning rate {rate:.3g}; give lower ones")
                found[size][f"{arm}/{replica}"] = tune.trajectory
    return found, {"seconds": time.perf_counter() - begun, "images": float(images)}


def series(targets: Tensor) -> tuple[int, ...]:
    """Give the sizes for class numbers [N]: the images of the smallest class, half of them, …, five at most."""
    largest = int(targets.unique(return_counts=True)[1].min())
    return tuple(sorted({largest >> power for power in range(MOST_SIZES) if largest >> power}))


def nested(targets: Tensor, shots: int, *, seed: int) -> Tensor:
    """Choose images of each class; with more shots the same seed keeps those that fewer chose.

    Args:
        targets: class numbers [N].
        shots: images a class, at least 1.
        seed: of the choice.

    Returns:
        int64 [shots * classes], ascending.

    Raises:
        ValueError: if a class has too few.
    """
    chosen = []
    for label in targets.unique().tolist():
        members = (targets == label).nonzero().flatten()
        if not 1 <= shots <= len(members):
            raise ValueError(
                f"{shots} shots need 1 or more, and as many images of each class; class {label} has {len(members)}"
            )
        chosen.append(members[torch.randperm(len(members), generator=generator(seed, "shots", label))[:shots]])
    return torch.cat(chosen).sort().values


def _budgeted(recipe: Recipe, here: int, largest: int, budget: str) -> Recipe:
    if budget == "epochs":
        return recipe
    steps, most = (math.ceil(number / recipe.batch_size) for number in (here, largest))
    return recipe.model_copy(update={"epochs": max(1, round(recipe.epochs * most / steps))})
