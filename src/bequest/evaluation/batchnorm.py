"""Which running statistics belong to these weights?

BatchNorm's running mean and variance describe the activations of the weights they were collected with. Mixed or edited
weights need statistics of their own, else a barrier is measured that is none (science.md 4.1: 11.7 percent correct
before, 90.3 after). They are collected again on training data, never on the data that is measured.

What is collected: the mean over all calibration examples, and the mean of the batches' unbiased variances, both
weighted by the number of values in each batch. For batches of one size this is `torch.optim.swa_utils.update_bn`; an
uneven last batch, which that function counts as a full one, counts here by its size. Batches of one example, which have
no variance, are left out. Other modules stay in evaluation mode: dropout does not act.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bequest.evaluation.applied import preserved, put, taken
from bequest.evaluation.batches import Batches, examples, forward, walk
from bequest.weights.algebra import Weights


def has_batchnorm(model: nn.Module) -> bool:
    """Tell whether the model has running statistics that belong to its weights."""
    return bool(_tracking(model))


def refit_batchnorm(model: nn.Module, weights: Weights, batches: Batches) -> dict[str, Tensor]:
    """Collect BatchNorm's running statistics again for given weights.

    Args:
        model: the network that the weights are for; it is left as it was.
        weights: as `state_dict` gives them; not changed.
        batches: training data, (inputs, targets); targets are not used.

    Returns:
        New weights: running means and variances collected on the batches, everything else a copy, counters too. For a
        network without running statistics a plain copy.

    Raises:
        ValueError: if the weights do not fit, or no batch has two examples.
    """
    with preserved(model):
        put(model, weights)
        refit_in_place(model, batches)
        return taken(model)


def refit_in_place(model: nn.Module, batches: Batches) -> None:
    """Collect the running statistics for the weights that are in the model now, into its own buffers.

    For use inside `applied`, `preserved` or `line`, which put the buffers back.

    Args:
        model: a network in evaluation mode.
        batches: training data, (inputs, targets).

    Raises:
        ValueError: if no batch has two examples.
    """
    layers = _tracking(model)
    if not layers:
        return
    counters = [None if layer.num_batches_tracked is None else layer.num_batches_tracked.clone() for layer in layers]
    settings = [(layer.momentum, layer.training) for layer in layers]
    used = False
    try:
        with ExitStack() as hooks, torch.inference_mode():
            for layer in layers:
                layer.running_mean.zero_()  # type: ignore[union-attr]  # _tracking only gives layers that have both
                layer.running_var.fill_(1)  # type: ignore[union-attr]
                layer.training = True
                hooks.callback(layer.register_forward_pre_hook(_Share()).remove)
            for inputs, _ in walk(batches):
                if examples(inputs) > 1:
                    forward(model, inputs)
                    used = True
    finally:
        for layer, counter, (momentum, training) in zip(layers, counters, settings, strict=True):
            layer.momentum, layer.training = momentum, training
            if counter is not None and layer.num_batches_tracked is not None:
                layer.num_batches_tracked.copy_(counter)
    if not used:
        raise ValueError("BatchNorm cannot be refitted: no calibration batch has two examples or more")


class _Share:
    """Sets the layer's momentum at each call so that its running statistics are a weighted mean so far."""

    def __init__(self) -> None:
        self.values = 0

    def __call__(self, layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        count = arguments[0].numel() // arguments[0].shape[1]
        self.values += count
        layer.momentum = count / self.values


def _tracking(model: nn.Module) -> list[_BatchNorm]:
    """List the BatchNorm layers that normalise by running statistics in evaluation mode."""
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None
    ]
