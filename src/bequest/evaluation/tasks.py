"""What is measured on a model's outputs: which loss, which error?

A task owns the loss (mean, lower is better), the error (0..1, lower is better) and the headline metric:

- `classification`: cross-entropy; the share of wrong answers; both are means over examples.
- `multilabel`: binary cross-entropy, the mean over the labels that are there; 1 - mean AUROC (`labels`).
- `language-modelling`: cross-entropy of the next token, and the share of wrong ones, means over tokens (`tokens`);
  the headline is perplexity.

Over several batches each counts by its examples, labels or tokens, sums run in float64, so an uneven last batch changes
nothing. An error that is of a whole set of examples (AUROC) is computed once, from all outputs.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bequest.evaluation import labels, tokens
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
        units: of error and of loss.
        count: targets of a batch -> how much its means count among others'; None: its examples.
        whole: the error is of all examples together and no mean over batches.
        shares: the error is a share of independent examples, so that Wilson's interval is its own.
        lowest: loss and error are never below this; None if that is not known.
        chance: all targets -> accuracy (1 - error) of guessing, 0..1; None if that is not known.
        headline: (loss, error) -> the headline metric.
    """

    name: str
    loss: Loss
    error: Callable[[Any, Tensor], float]
    metric: str = "error"
    units: Mapping[str, str] = field(default_factory=lambda: {"error": "loss", "loss": "loss"})
    count: Callable[[Tensor], int] | None = None
    whole: bool = False
    shares: bool = False
    lowest: float | None = None
    chance: Callable[[Tensor], float] | None = None
    headline: Callable[[float, float], float] = field(default=lambda loss, error: error)

    @property
    def by_example(self) -> bool:
        """Whether loss and error over a set are the plain means over its examples."""
        return self.count is None and not self.whole


@dataclass
class Tally:
    """Loss and error over batches of any sizes, summed in float64.

    Attributes:
        task: what is measured.
        n: examples so far.
    """

    task: Task
    n: int = 0
    _counted: int = field(default=0, repr=False)
    _loss: float = field(default=0.0, repr=False)
    _error: float = field(default=0.0, repr=False)
    _kept: list[tuple[Tensor, Tensor]] = field(default_factory=list, repr=False)
    _settled: bool = field(default=False, repr=False)

    def add(self, outputs: Any, targets: Tensor) -> None:
        """Add one batch: outputs as the model gave them, targets [B, ...] on any device."""
        targets = targets.to(logits(outputs).device)
        counted = int(targets.shape[0]) if self.task.count is None else self.task.count(targets)
        self.n += int(targets.shape[0])
        self._counted += counted
        self._loss += counted * float(self.task.loss(outputs, targets))
        if self.task.whole:
            self._kept.append((logits(outputs).detach().float().cpu(), targets.cpu()))
        else:
            self._error += counted * self.task.error(outputs, targets)

    def together(self, total: Callable[[Tensor], Tensor], joined: Callable[[Tensor], Tensor]) -> Tally:
        """Count what several processes have added, each its own batches, as one.

        Args:
            total: gives the sum over the processes of a tensor of one shape.
            joined: gives the tensors [n, C] of all processes as one; n may differ, and be 0.

        Returns:
            The tally over all of them, the same in each process.
        """
        sums = total(torch.tensor([self.n, self._counted, self._loss, self._error], dtype=torch.float64)).tolist()
        kept = []
        if self.task.whole:
            outputs, targets = zip(*self._kept, strict=True) if self._kept else ((torch.empty(0, 0),),) * 2
            kept = [(joined(torch.cat(outputs)), joined(torch.cat(targets)))]
        return Tally(self.task, int(sums[0]), int(sums[1]), sums[2], sums[3], kept)

    def means(self) -> tuple[float, float]:
        """Give (loss, error) over all that was added.

        Returns:
            Loss in the task's unit and error 0..1.

        Raises:
            ValueError: if nothing was added, or the examples have nothing to measure (no label, no token).
        """
        if not self.n:
            raise ValueError("there are no examples to measure")
        if not self._counted:
            raise ValueError(f"none of {self.n} examples has a target for the task {self.task.name}")
        if self.task.whole:
            if len(self._kept) > 1:
                outputs, targets = zip(*self._kept, strict=True)
                self._kept = [(torch.cat(outputs), torch.cat(targets))]
            return self._loss / self._counted, self._error if self._settled else self.task.error(*self._kept[0])
        return self._loss / self._counted, self._error / self._counted

    def settled(self) -> Tally:
        """Work the error out now and let the outputs go; nothing may be added after that."""
        if self.task.whole and not self._settled:
            self._error = self.means()[1]
            self._settled = True
            self._kept.clear()
        return self


def task(name: str | Loss | Task) -> Task:
    """Give the task of a name, or make one of a loss.

    Args:
        name: `classification`, `multilabel`, `language-modelling`; or a callable (outputs, targets) -> mean loss,
            then loss and error are one number; or a task, which is given back.

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

    Raises:
        ValueError: if the targets are labels of several classes an example.
    """
    _check_classes(targets)
    return torch.nn.functional.cross_entropy(logits(outputs).float(), targets)


def wrong_share(outputs: Any, targets: Tensor) -> float:
    """Give the share of examples whose largest logit is not the target's.

    Args:
        outputs: logits [B, C], or an object that has them in `.logits`.
        targets: class numbers int64 [B], or shares of the classes [B, C] (then the largest share counts).

    Returns:
        The error, 0..1.

    Raises:
        ValueError: if the targets are labels of several classes an example.
    """
    _check_classes(targets)
    if targets.is_floating_point():
        targets = targets.argmax(dim=-1)
    return float((logits(outputs).argmax(dim=-1) != targets).double().mean())


def perplexity(loss: float) -> float:
    """Give exp(loss); infinite where that is too large for a number."""
    return math.exp(loss) if loss < 700 else math.inf


def largest_class(targets: Tensor) -> float:
    """Give the accuracy of always guessing the largest class, 0..1; targets are class numbers [N], or shares [N, C]."""
    targets = targets.argmax(-1) if targets.is_floating_point() else targets
    return float(targets.unique(return_counts=True)[1].max()) / len(targets)


def _check_classes(targets: Tensor) -> None:
    """Refuse labels of several classes; shares of classes, as mixup makes them, sum to 1."""
    if targets.is_floating_point() and (
        targets.ndim != 2 or not bool(((targets.sum(-1) - 1).abs() < 1e-3).all())  # false for NaN too
    ):
        raise ValueError(
            "the task classification needs one class an example, as a whole number (or shares of classes that sum to "
            f"1); these are {targets.dtype} {list(targets.shape)}, several labels an example or missing ones: take "
            "task='multilabel'"
        )


def _own(loss: Loss) -> Task:
    """Make a task whose error is its loss."""
    return Task(
        getattr(loss, "__name__", type(loss).__name__),
        loss,
        lambda outputs, targets: float(loss(outputs, targets)),
        metric="loss",
    )


NATS = {"error": "share", "loss": "nats"}
TASKS: dict[str, Task] = {
    "classification": Task(
        "classification", cross_entropy, wrong_share, units=NATS, shares=True, lowest=0.0, chance=largest_class
    ),
    "multilabel": Task(
        "multilabel",
        labels.label_cross_entropy,
        labels.auroc_error,
        metric="mean AUROC",
        units={"error": "1 - AUROC", "loss": "nats"},
        count=labels.count_labels,
        whole=True,
        lowest=0.0,
        chance=lambda targets: 0.5,
        headline=lambda loss, error: 1 - error,
    ),
    "language-modelling": Task(
        "language-modelling",
        tokens.token_cross_entropy,
        tokens.wrong_tokens,
        metric="perplexity",
        units=NATS,
        count=tokens.count_tokens,
        lowest=0.0,
        chance=tokens.likeliest_token,
        headline=lambda loss, error: perplexity(loss),
    ),
}
