"""What does a training step take: how much arithmetic, how much memory?

Counted, not timed, so that it is the same on every machine and every day. `flops` are the additions and multiplications
of matrix products, convolutions and attention, forwards and backwards, as torch counts them. `memory` is what a step
holds when its backward pass begins: weights, buffers, gradients, the optimiser's state, and the tensors that autograd
keeps; short-lived ones are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bequest.evaluation.applied import preserved
from bequest.evaluation.batches import Inputs, device_of, examples, forward
from bequest.evaluation.tasks import Task
from bequest.training.recipe import Recipe


@dataclass(frozen=True)
class Price:
    """What one step takes.

    Attributes:
        flops: an example.
        memory: bytes, for the batch.
    """

    flops: float
    memory: int


def step_price(
    model: nn.Module, learns: tuple[str, ...], batch: Inputs, goal: Tensor, task: Task, recipe: Recipe
) -> Price:
    """Count what a step takes when some modules learn.

    Args:
        model: any network; it is left as it was, gradients cleared.
        learns: paths of the modules that learn, `""` for the whole.
        batch: inputs of one step.
        goal: its targets.
        task: whose loss is minimised.
        recipe: for the optimiser's state.

    Returns:
        The price.
    """
    learning = {parameter for path in learns for parameter in model.get_submodule(path).parameters()}
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    device = device_of(model)
    goal = goal.to(device)
    counter = FlopCounterMode(display=False)
    try:
        with preserved(model), counter:
            for parameter, flag in before:
                parameter.requires_grad_(flag and parameter in learning)
            for path in learns:
                model.get_submodule(path).train()
            with (
                torch.random.fork_rng([device] if device.type == "cuda" else []),
                torch.autograd.graph.saved_tensors_hooks(keep, _same),
            ):
                loss = task.loss(forward(model, batch), goal)
            kept = sum(held.values())
            loss.backward()
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)
            parameter.grad = None
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    gradients = sum(parameter.nbytes for parameter, flag in before if flag and parameter in learning)
    slots = 2 if recipe.optimizer == "adamw" else 1 if recipe.momentum > 0 else 0
    return Price(counter.get_total_flops() / examples(batch), weights + (1 + slots) * gradients + kept)


def forward_flops(model: nn.Module, batch: Inputs) -> float:
    """Count the arithmetic of one forward pass, an example."""
    counter = FlopCounterMode(display=False)
    with preserved(model), torch.no_grad(), counter:
        forward(model, batch)
    return counter.get_total_flops() / examples(batch)


def _same(tensor: Any) -> Any:
    return tensor
