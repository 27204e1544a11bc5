"""What is measured on a model's outputs: which loss, which error?

A task owns the loss (mean over examples, lower is better), the error (0..1, lower is better) and the name of its
headline metric. Over several batches both are means over all examples: each batch counts by its size, sums run in
float64, so an uneven last batch changes nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bequest.evaluation.batches import logits

Loss = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """A loss and an error with a name.

    Attributes:
        name: what a study file calls it.
        loss: (outputs, targets) -> mean loss over the batch, a tensor [].
        error: (outputs, targets) -> mean error over the batch, 0..1.
        metric: the headline metric in words.
    """

    name: str
    loss: Loss
    error: Callable[[Any, Tensor], float]
    metric: str = "error"


@dataclass
class Tally:
    """Loss and error over batches of any sizes, summed in float64.

    Attributes:
        task: what is measured.
        n: examples so far.
    """

    task: Task
    n: int = 0
    _loss: float = field(default=0.0, repr=False)
    _error: float = field(default=0.0, repr=False)

    def add(self, outputs: Any, targets: Tensor) -> None:
        """Add one batch: outputs as the model gave them, targets [B, ...] on any device."""
        count = int(targets.shape[0])
        targets = targets.to(logits(outputs).device)
        self.n += count
        self._loss += count * float(self.task.loss(outputs, targets))
        self._error += count * self.task.error(outputs, targets)

    def means(self) -> tuple[float, float]:
        """Give (loss, error), the means over all examples added.

        Returns:
            Loss in the task's unit and error 0..1.

        Raises:
            ValueError: if nothing was added.
        """
        if not self.n:
            raise ValueError("there are no examples to measure")
        return self._loss / self.n, self._error / self.n


def task(name: str | Loss | Task) -> Task:
    """Give the task of a name, or make one of a loss.

    Args:
        name: `classification`; or a callable (outputs, targets) -> mean loss, then loss and error are one number; or
            a task, which is given back.

    Returns:
        The task.

    Raises:
        ValueError: if there is no task of that name.
    """
    if isinstance(name, Task):
        return name
    if callable(name):
        return _own(name)
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(str(name), TASKS, n=1, cutoff=0.0)
    raise ValueError(
        f"there is no task {name!r}; known: {', '.join(TASKS)} (nearest: {near[0]!r}). "
        "A function loss(outputs, targets) -> mean loss is accepted too"
    )


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Give the mean cross-entropy of logits [B, C] in float32.

    Args:
        outputs: logits [B, C], or an object that has them in `.logits`.
        targets: class numbers int64 [B], or shares of the classes [B, C].

    Returns:
        The mean over the batch, in nats, a tensor [].
    """
    return torch.nn.functional.cross_entropy(logits(outputs).float(), targets)


def wrong_share(outputs: Any, targets: Tensor) -> float:
    """Give the share of examples whose largest logit is not the target's.

    Args:
        outputs: logits [B, C], or an object that has them in `.logits`.
        targets: class numbers int64 [B], or shares of the classes [B, C] (then the largest share counts).

    Returns:
        The error, 0..1.
    """
    if targets.is_floating_point():
        targets = targets.argmax(dim=-1)
    return float((logits(outputs).argmax(dim=-1) != targets).double().mean())


def _own(loss: Loss) -> Task:
    """Make a task whose error is its loss."""
    return Task(
        getattr(loss, "__name__", type(loss).__name__),
        loss,
        lambda outputs, targets: float(loss(outputs, targets)),
        metric="loss",
    )


TASKS: dict[str, Task] = {"classification": Task("classification", cross_entropy, wrong_share)}
