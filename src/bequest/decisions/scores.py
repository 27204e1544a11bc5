"""How good are weights on a set of examples, and is one clearly better than another on the same examples?

Two models that are measured on the same examples are compared example by example: mistakes that both make cancel, so a
difference has a far narrower interval than two errors side by side. The interval is that of Bonett and Price (2012) for
the difference of two paired shares: one example is added on which the first alone is right, and one on which the
second alone is, so that two models that agree on everything are not called equal beyond doubt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bequest.analyses.intervals import Interval, share_interval
from bequest.evaluation import tasks
from bequest.evaluation.applied import applied
from bequest.evaluation.batches import Batches, examples, forward, logits, walk
from bequest.evaluation.batchnorm import has_batchnorm, refit_batchnorm
from bequest.weights.algebra import Weights

LIMIT = 0.02  # of error: below 2 points two models count as equally good (Frankle et al. 2020, as for barriers)


@dataclass(frozen=True)
class Score:
    """What one set of weights got on one set of examples.

    Attributes:
        error: 0..1, or the loss for a task that is a loss; lower is better.
        loss: mean loss.
        n: examples.
        wrong: 1.0 for each example that was answered wrongly, else 0.0, [n] in order; None where the error is no share
            of examples.
        outputs: softmax of the outputs, [n, classes]; only where it was asked for.
    """

    error: float
    loss: float
    n: int
    wrong: Tensor | None = None
    outputs: Tensor | None = field(default=None, repr=False)

    @property
    def interval(self) -> Interval:
        """The error with Wilson's interval; without one where the error is no share of examples."""
        if self.wrong is None:
            return Interval(self.error, None, None, self.n)
        return share_interval(int(self.wrong.sum()), self.n)

    @property
    def order(self) -> tuple[float, float]:
        """What candidates are sorted by: error, then loss; what is not a number comes last."""
        return tuple(math.inf if math.isnan(value) else value for value in (self.error, self.loss))  # type: ignore[return-value] # two of them


@dataclass
class Scales:
    """Measures weights, always the same way, and counts what that takes.

    Attributes:
        model: the network; it is left as it was.
        task: what is measured.
        calibration: training data for BatchNorm; None leaves the statistics as they are.
        images: examples that went through the network so far.
    """

    model: nn.Module
    task: tasks.Task
    calibration: Batches | None = None
    images: int = 0

    @property
    def refits(self) -> bool:
        """Whether mixed weights get BatchNorm statistics of their own."""
        return self.calibration is not None and has_batchnorm(self.model)

    @property
    def stale(self) -> bool:
        """Whether mixed weights would have to get them, and cannot."""
        return self.calibration is None and has_batchnorm(self.model)

    def refitted(self, weights: Weights) -> Weights:
        """Give weights with BatchNorm statistics of their own; the same weights where there is none to refit."""
        if self.calibration is None or not self.refits:
            return weights
        self.images += sum(examples(inputs) for inputs, _ in walk(self.calibration))
        return refit_batchnorm(self.model, weights, self.calibration)

    def score(self, weights: Weights, batches: Batches, *, keep: bool = False) -> Score:
        """Measure weights as they are.

        Args:
            weights: of the model's shapes.
            batches: (inputs, targets).
            keep: keep the softmax of the outputs, too; only for shares of single examples.

        Returns:
            The score.
        """
        with applied(self.model, weights):
            found = scored(self.model, batches, self.task, keep=keep)
        self.images += found.n
        return found


def scored(model: nn.Module, batches: Batches, task: tasks.Task, *, keep: bool = False) -> Score:
    """Measure the weights that are in the model now; for use in evaluation mode.

    Args:
        model: a network in evaluation mode.
        batches: (inputs, targets).
        task: what to measure.
        keep: keep the softmax of the outputs, too; only for shares of single examples.

    Returns:
        The score.
    """
    tally, wrong, kept = tasks.Tally(task), [], []
    single = task.error is tasks.wrong_share
    with torch.inference_mode():
        for inputs, targets in walk(batches):
            outputs = forward(model, inputs)
            tally.add(outputs, targets)
            if single:
                said = logits(outputs).float().cpu()
                wrong.append(_wrong(said, targets.cpu()))
                if keep:
                    kept.append(said.softmax(-1))
    loss, error = tally.means()
    return Score(
        error,
        loss,
        tally.n,
        torch.cat(wrong).clone() if single else None,
        torch.cat(kept).clone() if kept else None,
    )


def ensemble(scores: Sequence[Score], batches: Batches) -> Score | None:
    """Score the mean answer of several models.

    Args:
        scores: with their outputs, of the same examples.
        batches: those examples, for their targets.

    Returns:
        The score of the mean of their softmax; None where the outputs were not kept.
    """
    kept = [score.outputs for score in scores if score.outputs is not None]
    if not kept or len(kept) < len(scores):
        return None
    answer = torch.stack(kept).double().mean(0)
    targets = torch.cat([targets.cpu() for _, targets in walk(batches)])
    wrong = _wrong(answer, targets)
    loss = float(tasks.cross_entropy(answer.clamp_min(1e-30).log(), targets))
    return Score(float(wrong.mean()), loss, len(wrong), wrong)


def difference(a: Score, b: Score) -> Interval:
    """Give the error of one minus that of another, on the same examples.

    Args:
        a: one.
        b: the other.

    Returns:
        The difference; its 95 percent interval where the error is a share of examples.
    """
    value = a.error - b.error
    if a.wrong is None or b.wrong is None:
        return Interval(value, None, None, a.n)
    return paired(a.wrong - b.wrong)


def paired(differences: Tensor) -> Interval:
    """Give the mean of differences between -1 and 1, one an example, with Bonett and Price's interval.

    Args:
        differences: [n], at least one.

    Returns:
        The mean and its 95 percent interval; n counts examples.
    """
    from scipy.special import ndtri

    own = differences.double()
    padded = torch.cat([own, own.new_tensor([1.0, -1.0])])
    centre = float(padded.mean())
    spread = float((padded.square().mean() - centre**2).clamp_min(0))
    half = float(ndtri(0.975)) * math.sqrt(spread / len(padded))
    return Interval(float(own.mean()), max(-1.0, centre - half), min(1.0, centre + half), len(own))


def _wrong(said: Tensor, targets: Tensor) -> Tensor:
    """1.0 for each example whose largest output is not the target's, as `tasks.wrong_share` counts."""
    truth = targets.argmax(-1) if targets.is_floating_point() else targets
    return (said.argmax(-1) != truth).double()
