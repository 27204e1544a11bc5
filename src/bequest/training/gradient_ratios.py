"""How fast should each tensor learn, by the size of its gradient?

Source: Lee et al. 2022 (surgical fine-tuning), the automatic rule by relative gradient norm: a tensor's multiple of the
learning rate is |gradient| / |tensor|, averaged over a few batches, over the largest of these; it is worked out again
before every epoch. Tensors of normalisation layers do not learn.

One thing is added: a tensor of zeros (the bias of a fresh head) has no relative gradient. It keeps the whole learning
rate and is left out of the largest, which would be infinite and stop everything else.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from bequest.evaluation.applied import evaluating
from bequest.evaluation.batches import Inputs, forward
from bequest.evaluation.tasks import Task

BATCHES = 5  # as in the code of Lee et al.


def gradient_ratios(model: nn.Module, batches: Iterable[tuple[Inputs, Tensor]], task: Task) -> dict[str, float]:
    """Give each learning tensor its multiple of the learning rate.

    Args:
        model: as it is before an epoch; it is run in evaluation mode and left as it was, gradients cleared.
        batches: a few batches of training examples, at least one.
        task: whose loss is taken.

    Returns:
        Name of a parameter -> multiple, 0..1; of normalisation layers 0. Parameters that do not learn are not there.
    """
    resting = {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        if _normalises(module)
        for name, _ in module.named_parameters(recurse=False)
    }
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    sizes = {name: float(parameter.detach().double().norm()) for name, parameter in learning.items()}
    sums, count = dict.fromkeys(learning, 0.0), 0
    with evaluating(model):
        for inputs, targets in batches:
            model.zero_grad(set_to_none=True)
            outputs = forward(model, inputs)
            task.loss(outputs, targets.to(next(model.parameters()).device)).backward()
            count += 1
            for name, parameter in learning.items():
                if parameter.grad is not None and sizes[name] > 0:
                    sums[name] += float(parameter.grad.double().norm()) / sizes[name]
    model.zero_grad(set_to_none=True)
    ratios = {name: total / max(1, count) for name, total in sums.items() if name not in resting and sizes[name] > 0}
    largest = max(ratios.values(), default=0.0)
    found = {name: ratio / largest if largest > 0 else 1.0 for name, ratio in ratios.items()}
    return {name: 0.0 if name in resting else found.get(name, 1.0) for name in learning}


def _normalises(module: nn.Module) -> bool:
    """A layer of scales and shifts by name, as `models.order` tells them."""
    return "norm" in type(module).__name__.lower() and all(p.dim() < 2 for p in module.parameters())
