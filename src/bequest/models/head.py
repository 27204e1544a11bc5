"""Which layer is the head, and how does a model get a new one?

The head is the linear layer that gives the outputs. A fresh one is drawn from its own generator, so that an arm's seed
alone decides it, on any machine and for any dtype.
"""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)

_USUAL = ("fc", "classifier", "head")  # torchvision, timm and transformers


def head_name(model: nn.Module) -> str:
    """Find the head.

    Args:
        model: any network.

    Returns:
        Path of the last linear layer in `fc`, `classifier` or `head` (the first of these there is), else of the last
        linear layer of all.

    Raises:
        ValueError: if there is no linear layer.
    """
    linear: list[str] = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for usual in _USUAL:
        inside = [name for name in linear if name == usual or name.startswith(f"{usual}.")]
        if inside:
            return inside[-1]
    if not linear:
        raise ValueError(
            f"{type(model).__name__} has no linear layer that could be its head; give a model whose last layer is "
            "nn.Linear, or build it with the right number of classes yourself"
        )
    return linear[-1]


def replace_head(model: Model, classes: int, *, seed: int) -> Model:
    """Copy a model and give the copy a fresh head.

    Args:
        model: any network with a linear head; it is left as it is.
        classes: outputs of the new head, at least 1.
        seed: of the generator that draws it (torch's default init for linear layers).

    Returns:
        A new model; all weights but the head's are copies, dtype and device are kept.

    Raises:
        ValueError: if `classes` is not positive, or there is no head.
    """
    if classes < 1:
        raise ValueError(f"a head needs at least 1 class, got {classes}")
    name = head_name(model)
    if not name:
        raise ValueError("the model is nothing but its head; wrap it in nn.Sequential")
    new = copy.deepcopy(model)
    old = new.get_submodule(name)
    assert isinstance(old, nn.Linear)
    with torch.device("meta"):  # nothing is drawn while building
        head = nn.Linear(old.in_features, classes, bias=old.bias is not None)
    head.to_empty(device="cpu")
    draw_linear(head, torch.Generator().manual_seed(seed))
    head.train(old.training)
    new.set_submodule(name, head.to(device=old.weight.device, dtype=old.weight.dtype))
    return new


def draw_linear(linear: nn.Linear, generator: torch.Generator) -> None:
    """Draw a linear layer in place as torch does by default: uniform within 1 / sqrt(inputs).

    Args:
        linear: the layer, on the generator's device.
        generator: where the numbers come from.
    """
    bound = 1 / math.sqrt(max(1, linear.in_features))
    nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
    if linear.bias is not None:
        nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
