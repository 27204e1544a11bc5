"""How long does this network take, on this device, to learn from an image and to measure one?

A few real epochs of one batch through the loop that trains, a few real measurements of one batch, and the state of the
training written once. Images are noise: what they show costs nothing. The first round warms up and is left out, unless
it alone took the time that was allowed.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bequest.data.batches import normalised
from bequest.evaluation.predict import measure
from bequest.evaluation.tasks import Task
from bequest.training import resume
from bequest.training.loop import Examples, make_optimizer, snapshot, train
from bequest.training.recipe import Recipe

MEAN = STD = (0.5, 0.5, 0.5)
MOST = 1000  # rounds; a median of more says nothing more


@dataclass(frozen=True)
class Pace:
    """How long things take.

    Attributes:
        learn: seconds for an image that is learned from: forwards, backwards, the step, augmentation.
        measure: seconds for an image that is measured.
        write: seconds for a byte of weights or state that is written.
        state_bytes: size of the state from which a training goes on.
    """

    learn: float
    measure: float
    write: float
    state_bytes: int


class _Enough(Exception):
    """The time is over."""


def pace(
    model: nn.Module, recipe: Recipe, *, task: Task, size: int, classes: int, batch: int, shown: int, seconds: float
) -> Pace:
    """Time a network on the device that it is on.

    Args:
        model: is trained, so give one that is of no further use.
        recipe: how it is trained; of the batch size, what `batch` says counts.
        task: whose loss is learned.
        size: images are size x size pixels.
        classes: outputs of the model.
        batch: images of a step.
        shown: images of a batch that is measured.
        seconds: about how long learning and measuring may be timed, each; at least one round is made.

    Returns:
        The pace.
    """
    device = next(model.parameters()).device
    learned = statistics.median(_learning(model, recipe, task, _noise(batch, size, classes, task), seconds)) / batch
    noise = _noise(shown, size, classes, task)
    assert isinstance(noise.images, Tensor)  # it was drawn here
    batches = [(normalised(noise.images.to(device), (MEAN, STD)), noise.targets.to(device))]
    measured = statistics.median(_rounds(lambda: measure(model, batches, task), seconds)) / shown
    optimizer = make_optimizer(model, recipe)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # only then it has a state
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        began = time.perf_counter()
        resume.save(path, resume.Progress(best=snapshot(model)), model, optimizer, {})
        took, bytes_ = time.perf_counter() - began, path.stat().st_size
    return Pace(learned, measured, took / bytes_, bytes_)


def _learning(model: nn.Module, recipe: Recipe, task: Task, examples: Examples, seconds: float) -> list[float]:
    """Seconds of epochs of one batch each, in the loop itself."""
    # a rate so small that noise cannot make the loss overflow
    changes = {"learning_rate": 1e-6, "schedule": "constant", "warmup": 0.0}
    changes |= {"epochs": MOST, "batch_size": len(examples.targets)}
    taken: list[float] = []
    began = last = time.perf_counter()

    def note(epoch: int) -> None:
        nonlocal last
        now = time.perf_counter()
        taken.append(now - last)
        last = now
        if now - began > seconds:
            raise _Enough

    try:
        train(
            model,
            examples,
            recipe=recipe.model_copy(update=changes),
            order_seed=0,
            task=task,
            watch={},
            keep=lambda name, weights: None,
            on_epoch=note,
        )
    except _Enough:
        pass
    return taken[1:] or taken


def _rounds(run: Callable[[], object], seconds: float) -> list[float]:
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < MOST and (not taken or time.perf_counter() - began < seconds):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return taken[1:] or taken


def _noise(n: int, size: int, classes: int, task: Task) -> Examples:
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=stream)
    targets = torch.arange(n) % classes
    if task.name == "multilabel":
        targets = nn.functional.one_hot(targets, classes).float()
    return Examples(images, targets, classes, MEAN, STD)
