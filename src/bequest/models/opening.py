"""How is a model opened by name?"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from bequest.models import fixup_resnet, resnet
from bequest.models.files import read_weights
from bequest.models.fitting import fit_weights, transfer
from bequest.models.head import head_name, replace_head
from bequest.weights.algebra import Weights

BUILT_IN: tuple[str, ...] = (*resnet.SHAPES, *fixup_resnet.SHAPES)
_LATER = ("timm", "torchvision", "hf")
_CLASSES = 1000  # ImageNet's number, what weights of these networks are published for


def open_model(
    name: str, *, classes: int | None = None, weights: Weights | str | Path | None = None, seed: int = 0
) -> nn.Module:
    """Open a model by name, with seeded or given weights; the global random state stays as it was.

    Args:
        name: a name of `BUILT_IN`, or `package.module:function` for a function of your own that returns the model. It
            is called with the number of classes if it takes `classes` or `num_classes`; else its head is replaced.
        classes: outputs of the head; the model's own number if None (1000 for built-in ones).
        weights: what to load, or the path of a file. With `classes`, a head for another number of classes is left out
            and a fresh one drawn.
        seed: decides all weights that are drawn.

    Returns:
        The model on the CPU, in training mode.

    Raises:
        ValueError: if there is no such model, or the weights do not fit.
    """
    if classes is not None and classes < 1:
        raise ValueError(f"a model needs at least 1 class, got {classes}")
    if name in resnet.SHAPES:
        model: nn.Module = resnet.resnet(name, classes=_CLASSES if classes is None else classes, seed=seed)
    elif name in fixup_resnet.SHAPES:
        model = fixup_resnet.fixup_resnet(name, classes=_CLASSES if classes is None else classes, seed=seed)
    else:
        model = _call(_function(name), name, classes, seed)
    if weights is None:
        return model
    given = read_weights(weights) if isinstance(weights, str | Path) else weights
    full = transfer(given, model) if classes is not None and _other_head(model, given) else None
    if full is None:
        fit_weights(model, given)
        full = {**model.state_dict(), **given}
    model.load_state_dict(full)
    return model


def _other_head(model: nn.Module, weights: Weights) -> bool:
    """Are the weights' outputs of another number? A model without a linear head has to fit as it is."""
    try:
        key = head_name(model) + ".weight"
    except ValueError:
        return False
    return key not in weights or weights[key].shape != model.state_dict()[key].shape


def _function(name: str) -> Callable[..., object]:
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        near = difflib.get_close_matches(name, BUILT_IN, n=1, cutoff=0.5)
        raise ValueError(
            f"there is no model {name!r}{f', did you mean {near[0]!r}?' if near else '.'} Built in are "
            f"{', '.join(BUILT_IN)}; a function of your own is given as package.module:function"
        )
    if module in _LATER:
        raise ValueError(
            f"{module}: models are not supported yet ({name!r}); give a function that returns the model, as "
            "package.module:function"
        )
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"cannot import {error.name} for the model {name!r}; install it, or put its folder on PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise ValueError(f"there is no {attribute!r} in {module} for the model {name!r}") from error
    if not callable(found):
        raise ValueError(f"{name!r} is not a function that returns a model")
    return found


def _call(function: Callable[..., object], name: str, classes: int | None, seed: int) -> nn.Module:
    parameters = inspect.signature(function).parameters
    takes = [key for key in ("classes", "num_classes") if key in parameters][: classes is not None]
    needs = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and key not in takes
    ]
    if needs:
        raise ValueError(
            f"{name!r} needs {', '.join(needs)}: only the number of classes can be passed on, as `classes` or "
            "`num_classes`; give a function that needs nothing else"
        )
    # Code that we did not write draws from the global generator: seed that inside a fork. `torch.manual_seed` would
    # also seed the accelerators, which the fork does not guard.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = function(**dict.fromkeys(takes, classes))
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name!r} returned {type(model).__name__}, not a torch.nn.Module")
    if classes is None or takes:
        return model
    return replace_head(model, classes, seed=seed)
