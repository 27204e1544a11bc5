"""What does a model answer on each example, and how good is it?

`predict` keeps all outputs, for questions about single examples; `measure` keeps loss and error. Both
run in evaluation and inference mode on the model's device and leave the model as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bequest.evaluation import tasks
from bequest.evaluation.applied import applied
from bequest.evaluation.batches import Batches, forward, logits, walk
from bequest.weights.algebra import Weights


@dataclass(frozen=True)
class Predictions:
    """A model's outputs beside the truth, an entry an example, in the order of the batches.

    Attributes:
        outputs: [N, ...], logits for classification.
        targets: [N, ...], class numbers for classification.
    """

    outputs: Tensor
    targets: Tensor


def predict(model: nn.Module, batches: Batches, *, weights: Weights | None = None) -> Predictions:
    """Run a model over all batches and keep what it says.

    Args:
        model: any network that takes the inputs and gives a tensor or an object with `.logits`.
        batches: iterable of (inputs, targets) that can be walked again.
        weights: run with these in place of the model's own.

    Returns:
        Outputs [N, ...] in float32 and targets [N, ...], both on the CPU.
    """
    outputs, truth = [], []
    with applied(model, weights), torch.inference_mode():
        for inputs, targets in walk(batches):
            outputs.append(logits(forward(model, inputs)).float().cpu())
            truth.append(targets.cpu())
    # cloned outside inference mode, so that callers may use the tensors in autograd
    return Predictions(torch.cat(outputs).clone(), torch.cat(truth).clone())


def predict_tokens(model: nn.Module, batches: Batches, *, weights: Weights | None = None) -> Predictions:
    """Run a model of language over all batches and keep the likeliest next token at each place, not all scores.

    Args:
        model: any network that gives logits [B, T, V], or an object with `.logits`.
        batches: iterable of (inputs, targets) that can be walked again; targets int64 [B, T] as for the task
            `language-modelling`, T the same for all.
        weights: run with these in place of the model's own.

    Returns:
        Outputs int64 [N, T]: what the model says will come next; targets int64 [N, T], not shifted. On the CPU.
    """
    outputs, truth = [], []
    with applied(model, weights), torch.inference_mode():
        for inputs, targets in walk(batches):
            outputs.append(logits(forward(model, inputs)).argmax(-1).cpu())
            truth.append(targets.cpu())
    return Predictions(torch.cat(outputs).clone(), torch.cat(truth).clone())


def measure(
    model: nn.Module,
    batches: Batches,
    task: str | tasks.Loss | tasks.Task = "classification",
    *,
    weights: Weights | None = None,
) -> tuple[float, float]:
    """Give a model's loss and error over all examples; outputs are kept only where the task needs them all at once.

    Args:
        model: any network.
        batches: iterable of (inputs, targets) that can be walked again; uneven sizes are weighted.
        task: name of a task, a task, or a loss (outputs, targets) -> mean loss.
        weights: run with these in place of the model's own.

    Returns:
        Loss and error (0..1) over all examples, as the task defines them, summed in float64.
    """
    with applied(model, weights):
        return tallied(model, batches, tasks.task(task)).means()


def tallied(model: nn.Module, batches: Batches, task: tasks.Task) -> tasks.Tally:
    """Measure the weights that are in the model now, as it stands; for use inside `applied` or `line`.

    Args:
        model: a network in evaluation mode.
        batches: iterable of (inputs, targets) that can be walked again.
        task: what to measure.

    Returns:
        The sums over all examples.
    """
    tally = tasks.Tally(task)
    with torch.inference_mode():
        for inputs, targets in walk(batches):
            tally.add(forward(model, inputs), targets)
    return tally.settled()
