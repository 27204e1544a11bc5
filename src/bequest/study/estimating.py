"""What will a study take: steps, trainings, images, bytes; and, once its network was timed, hours?

The counts follow from the plan. Seconds are counts times the pace of the network on this device: an image learned from,
an image measured, a byte of weights written; drawing is timed on the first images of each domain. What takes no images
(tables, charts, the report) is left out.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from bequest.data.doors import open_source
from bequest.evaluation.tasks import task
from bequest.models.opening import open_model
from bequest.study.functions.images import EVALUATION_BATCH
from bequest.study.functions.kept import STATE_EVERY
from bequest.study.functions.training import kept_epochs
from bequest.study.plan import Plan
from bequest.study.step import Step
from bequest.study.trainings import IMAGES_OF_COST, PROBE_SHARE, TEXTS_OF_COST
from bequest.training.recipe import Recipe
from bequest.training.timing import Pace, pace

DRAWN = 24  # images of a domain that are drawn to time it, at most
PAPERWORK = ("choose", "learning_curves", "mistakes", "distance", "spectrum", "block_shuffle", "checkpoints", "report")
DRAWING = ("images", "texts")
TRAINING = "train"


@dataclass(frozen=True)
class Work:
    """What a step takes.

    Attributes:
        step: the step.
        drawn: images (or texts) that are read.
        learned: images that are learned from, over all epochs.
        measured: images through the network without learning.
        trained: optimiser steps.
        kept: bytes of weights and packed images that stay.
        states: how often the state of a training is written.
    """

    step: Step
    drawn: float = 0.0
    learned: float = 0.0
    measured: float = 0.0
    trained: int = 0
    kept: int = 0
    states: int = 0


def works(plan: Plan, steps: Sequence[Step]) -> list[Work]:
    """Count what each step takes.

    Args:
        plan: the study's plan.
        steps: its steps, or some of them.

    Returns:
        The work of each, in the same order.
    """
    weights: dict[int, int] = {}

    def weight(step: Step) -> int:
        classes = plan.classes[_door(step)]
        if classes not in weights:
            state = open_model(plan.study.model, classes=classes or None).state_dict()
            weights[classes] = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
        return weights[classes]

    return [_work(plan, step, weight) for step in steps]


def seconds_of(plan: Plan, todo: Sequence[Work], device: str, budget: float) -> dict[str, float]:
    """Estimate the seconds of each step from a short calibration on this device.

    Args:
        plan: the study's plan.
        todo: what the steps take.
        device: where the network is timed, as `cpu` or `cuda`.
        budget: seconds for learning and for measuring, each, for every way of training.

    Returns:
        Seconds, by key; zero for steps that take no images.

    Raises:
        ValueError: for texts, whose lengths are known only once they are made into tokens.
    """
    if any(work.step.function == "texts" for work in todo):
        raise ValueError("the hours of a study of texts are not estimated; give --no-calibrate for the counts")
    paces: dict[Hashable, Pace] = {}
    drawing: dict[str, float] = {}
    found: dict[str, float] = {}
    for work in todo:
        step = work.step
        if step.function in DRAWING:
            door = step.places["door"]
            drawing[door] = _draw_seconds(door, plan.study.size)
            found[step.key] = work.drawn * drawing[door]
        elif step.function == TRAINING:
            way = _way(plan, step)
            if way not in paces:
                paces[way] = _time(plan, step, device, budget)
            known = paces[way]
            passes = work.learned * known.learn + work.measured * known.measure
            states = min(work.states, passes / STATE_EVERY)
            written = states * known.state_bytes + 2 * work.kept  # what is kept is read again for its hash
            found[step.key] = passes + written * known.write
    # the arms' way: analyses show the images of the targets, in batches like those of their trainings
    measure = list(paces.values())[-1].measure if paces else _measuring(plan, todo, device, budget)
    return {work.step.key: found.get(work.step.key, work.measured * measure) for work in todo}


def total(todo: Sequence[Work], seconds: Mapping[str, float]) -> dict[str, float]:
    """Sum the seconds of drawing, training and measuring."""
    sums = {"drawing": 0.0, "training": 0.0, "measuring": 0.0}
    for work in todo:
        sums[kind(work.step)] += seconds[work.step.key]
    return sums


def kind(step: Step) -> str:
    """Say whether a step is drawing, training or measuring."""
    return "drawing" if step.function in DRAWING else "training" if step.function == TRAINING else "measuring"


def _work(plan: Plan, step: Step, weight: Callable[[Step], int]) -> Work:
    match step.function:
        case "images":
            count = step.cost * IMAGES_OF_COST
            return Work(step, drawn=count, kept=round(count * 3 * plan.study.size**2))
        case "texts":
            return Work(step, drawn=step.cost * TEXTS_OF_COST)
        case "train":
            epochs = step.arguments["recipe"]["epochs"]
            kept = (3 + len(kept_epochs(step.arguments, epochs))) * weight(step)
            trained = epochs * math.ceil(_images(step) / step.arguments["recipe"]["batch_size"])
            return Work(step, 0.0, step.learned, step.cost - 3 * step.learned, trained, kept, epochs)
        case "given":
            return Work(step, measured=step.cost, kept=(1 + ("pretrained" in step.inputs)) * weight(step))
        case name if name in PAPERWORK:
            return Work(step)
        case _:
            return Work(step, measured=step.cost)


def _images(step: Step) -> int:
    """How many images a training learns from in an epoch."""
    share = PROBE_SHARE if step.arguments["arm"] == "probe" else 1.0
    epochs: int = step.arguments["recipe"]["epochs"]
    return round(step.learned / share / epochs)


def _door(step: Step) -> str:
    first = min(name for name in step.inputs if name.split("/")[0] == "images")
    return step.inputs[first].places["door"]


def _way(plan: Plan, step: Step) -> tuple[Hashable, ...]:
    """What the pace of a training depends on; those that share it are timed once."""
    recipe = step.arguments["recipe"]
    how = (recipe[name] for name in ("optimizer", "augmentation", "precision", "channels_last", "mixup"))
    return (_batch(step), min(EVALUATION_BATCH, _images(step)), plan.classes[_door(step)], _task(step), *how)


def _batch(step: Step) -> int:
    """Images of a step: an epoch is cut into equal batches of at most the recipe's size."""
    images, most = _images(step), int(step.arguments["recipe"]["batch_size"])
    return max(2, math.ceil(images / math.ceil(images / most)))


def _task(step: Step) -> str:
    return str(step.arguments.get("task", "classification"))


def _time(plan: Plan, step: Step, device: str, budget: float) -> Pace:
    classes = plan.classes[_door(step)]
    return pace(
        open_model(plan.study.model, classes=classes, seed=0).to(device),
        Recipe.model_validate(step.arguments["recipe"]),
        task=task(_task(step)),
        size=plan.study.size,
        classes=classes,
        batch=_batch(step),
        shown=max(2, min(EVALUATION_BATCH, _images(step))),
        seconds=budget,
    )


def _measuring(plan: Plan, todo: Sequence[Work], device: str, budget: float) -> float:
    """Seconds for an image where nothing is trained: of weights that are given, or of a study that is nearly done."""
    door = next((target.data for target in plan.study.targets.values()), None)
    if door is None or not any(work.measured for work in todo):
        return 0.0
    classes = plan.classes[door]
    model = open_model(plan.study.model, classes=classes, seed=0).to(device)
    asked = task(next(iter(plan.tasks.values())))
    return pace(
        model,
        Recipe(),
        task=asked,
        size=plan.study.size,
        classes=classes,
        batch=2,
        shown=EVALUATION_BATCH,
        seconds=budget,
    ).measure


def _draw_seconds(door: str, size: int) -> float:
    """Seconds to draw an image of a domain, by one thread; files that are read for the first time take longer."""
    taken = []
    for record in open_source(door).records[:DRAWN]:
        if record.draw is not None:
            began = time.perf_counter()
            record.draw(size)
            taken.append(time.perf_counter() - began)
    return statistics.fmean(taken[1:] or taken)
