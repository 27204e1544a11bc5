"""Which layer is the head, and how does a model get a new one?

The head is the layer that gives the outputs: a linear one, or a convolution of 1 x 1 before the pooling. A fresh one is
drawn from its own generator, so that an arm's seed alone decides it, on any machine and for any dtype.
"""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)

_USUAL = ("fc", "classifier", "head", "heads", "score", "lm_head")  # torchvision, timm and transformers
_BESIDE = ("AuxLogits", "aux1", "aux2")  # torchvision's second and third heads, used in training only


def head_name(model: nn.Module) -> str:
    """Find the head.

    Args:
        model: any network.

    Returns:
        Path of the layer that timm's `get_classifier()` gives, else of the last linear layer (or convolution of 1 x 1)
        in `fc`, `classifier`, `head`, `heads`, `score` or `lm_head` (the first of these there is), else of the last
        linear layer of all.

    Raises:
        ValueError: if there is no such layer.
    """
    told = _told(model)
    if told:
        return told[0]
    layers: list[str] = [name for name, module in model.named_modules() if _gives_outputs(module)]
    for usual in _USUAL:
        inside = [name for name in layers if name == usual or name.startswith(f"{usual}.")]
        if inside:
            return inside[-1]
    linear = [name for name in layers if isinstance(model.get_submodule(name), nn.Linear)]
    if not linear:
        raise ValueError(
            f"{type(model).__name__} has no linear layer that could be its head; give a model whose last layer is "
            "nn.Linear, or build it with the right number of classes yourself"
        )
    return linear[-1]


def head_parts(model: nn.Module) -> tuple[str, ...]:
    """Find everything that belongs to a task and not to the network below.

    Args:
        model: any network.

    Returns:
        Paths of the head, of further heads beside it (distillation, auxiliary outputs), and of what transformers puts
        on top of its trunk; empty if there is no head.
    """
    parts: list[str] = list(_told(model)) or _if_any(model)
    parts += [name for name in _BESIDE if isinstance(getattr(model, name, None), nn.Module)]
    trunk = getattr(model, "base_model_prefix", None)
    if isinstance(trunk, str) and trunk and isinstance(getattr(model, trunk, None), nn.Module):
        beside = {name: child for name, child in model.named_children() if name != trunk}
        parts += [name for name, child in beside.items() if next(child.parameters(), None) is not None]
    return tuple(dict.fromkeys(parts))


def says_tokens(model: nn.Module) -> bool:
    """Whether the outputs are the model's own tokens: the head is then part of what was pre-trained, for every task.

    Args:
        model: any network; those of transformers tell.

    Returns:
        True for a model of language as transformers builds it (`...ForCausalLM`).
    """
    ask = getattr(model, "get_output_embeddings", None)
    return callable(ask) and isinstance(ask(), nn.Module)


def head_is_shared(model: nn.Module) -> bool:
    """Whether the head's weights are also those of another layer, as with tied embeddings of tokens."""
    try:
        own = head_name(model)
    except ValueError:
        return False
    inside = {id(parameter) for parameter in model.get_submodule(own).parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return any(id(parameter) in inside for name, parameter in every if not name.startswith(f"{own}."))


def replace_head(model: Model, classes: int, *, seed: int) -> Model:
    """Copy a model and give the copy a fresh head.

    Args:
        model: any network with a linear head; it is left as it is.
        classes: outputs of the new head, at least 1.
        seed: of the generator that draws it (torch's default init for linear layers).

    Returns:
        A new model; all weights but the head's are copies, dtype and device are kept. Further heads beside it are
        replaced, too.

    Raises:
        ValueError: if `classes` is not positive, or there is no head.
    """
    if classes < 1:
        raise ValueError(f"a head needs at least 1 class, got {classes}")
    names = _told(model) or (head_name(model),)
    if not names[0]:
        raise ValueError("the model is nothing but its head; wrap it in nn.Sequential")
    new = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for name in names:
        old = new.get_submodule(name)
        assert isinstance(old, nn.Linear | nn.Conv2d)
        with torch.device("meta"):  # nothing is drawn while building
            head: nn.Linear | nn.Conv2d
            if isinstance(old, nn.Linear):
                head = nn.Linear(old.in_features, classes, bias=old.bias is not None)
            else:
                head = nn.Conv2d(old.in_channels, classes, 1, bias=old.bias is not None)
        head.to_empty(device="cpu")
        draw_linear(head, generator)
        head.train(old.training)
        new.set_submodule(name, head.to(device=old.weight.device, dtype=old.weight.dtype))
    for holder, key in ((new, "num_classes"), (getattr(new, "config", None), "num_labels")):
        if isinstance(getattr(holder, key, None), int):
            setattr(holder, key, classes)  # what timm and transformers keep beside the layer
    return new


def draw_linear(linear: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """Draw a linear layer in place as torch does by default: uniform within 1 / sqrt(inputs).

    Args:
        linear: the layer, or a convolution of 1 x 1, on the generator's device.
        generator: where the numbers come from.
    """
    inputs = linear.in_features if isinstance(linear, nn.Linear) else linear.in_channels
    bound = 1 / math.sqrt(max(1, inputs))
    nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
    if linear.bias is not None:
        nn.init.uniform_(linear.bias, -bound, bound, generator=generator)


def _told(model: nn.Module) -> tuple[str, ...]:
    """Paths of the layers that timm says are its classifier; a distilled network has two."""
    ask = getattr(model, "get_classifier", None)
    found = ask() if callable(ask) else None
    layers = found if isinstance(found, tuple | list) else (found,)
    if not all(isinstance(layer, nn.Module) and _gives_outputs(layer) for layer in layers):
        return ()
    path = {id(module): name for name, module in model.named_modules()}
    return tuple(path[id(layer)] for layer in layers if id(layer) in path)


def _gives_outputs(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def _if_any(model: nn.Module) -> list[str]:
    try:
        return [head_name(model)]
    except ValueError:
        return []
