"""How is a model opened by name?"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bequest.models import fixup_resnet, resnet
from bequest.models.adapters import base_of, is_adapter, read_adapter
from bequest.models.files import read_weights
from bequest.models.fitting import fit_weights, named_as, transfer
from bequest.models.from_timm import timm_model, timm_weights
from bequest.models.from_torchvision import torchvision_model, torchvision_weights
from bequest.models.from_transformers import hf_folder, hf_model
from bequest.models.head import head_name, head_parts, replace_head
from bequest.models.record import Opening, note
from bequest.weights.algebra import Weights
from bequest.weights.soundness import check_finite

BUILT_IN: tuple[str, ...] = (*resnet.SHAPES, *fixup_resnet.SHAPES)
PUBLISHED = "pretrained"  # the weights that belong to a name of timm, torchvision or Hugging Face
_FAMILIES: Mapping[str, Callable[[str, int | None, Mapping[str, Any]], nn.Module]] = {
    "timm": timm_model,
    "torchvision": torchvision_model,
    "hf": hf_model,
}
_OWN: Mapping[str, Callable[[str], Path]] = {"timm": timm_weights, "torchvision": torchvision_weights, "hf": hf_folder}
_CLASSES = 1000  # ImageNet's number, what weights of these networks are published for


def open_model(
    name: str,
    *,
    classes: int | None = None,
    weights: Weights | str | Path | None = None,
    seed: int = 0,
    trust_pickle: bool = False,
) -> nn.Module:
    """Open a model by name, with seeded or given weights; the global random state stays as it was.

    Args:
        name: a name of `BUILT_IN`; `timm:NAME`, `torchvision:NAME` or `hf:FOLDER_OR_NAME`; or `package.module:function`
            for a function of your own that returns the model. It is called with the number of classes if it takes
            `classes` or `num_classes`; else its head is replaced. After a question mark come more arguments
            (`timm:vit_tiny_patch16_224?img_size=64&depth=3`).
        classes: outputs of the head; the model's own number if None (1000 for built-in ones).
        weights: what to load; the path of a file or folder, also of a LoRA adapter, which is merged onto the base that
            it names, or onto that of `hf:`; or `pretrained` for those that were published under the name, if they are
            on this machine. None draws them all. With `classes`, a head for another number of classes is left out and a
            fresh one drawn.
        seed: decides all weights that are drawn.
        trust_pickle: run what a pickled file wants to run. Only for files that you made.

    Returns:
        The model on the CPU, in training mode; `models.record.opening_of` tells what was done.

    Raises:
        ValueError: if there is no such model, or the weights do not fit or are not finite.
    """
    if classes is not None and classes < 1:
        raise ValueError(f"a model needs at least 1 class, got {classes}")
    model = _build(name, classes, seed)
    head = next(iter(head_parts(model)), "")
    if weights is None:
        note(model, Opening(name, classes, seed, "drawn", head, head_drawn=True))
        return model
    given, left_out, said = _given(name, model, weights, trust_pickle)
    other = classes is not None and _other_head(model, given)
    if other:
        full = transfer(given, model)
    else:
        fit_weights(model, given)
        full = {**model.state_dict(), **given}
    check_finite({key: full[key] for key, _ in model.named_parameters()}, said)
    model.load_state_dict(full)
    note(model, Opening(name, classes, seed, said, head, head_drawn=other, left_out=left_out))
    return model


def _build(name: str, classes: int | None, seed: int) -> nn.Module:
    if name in resnet.SHAPES:
        return resnet.resnet(name, classes=_CLASSES if classes is None else classes, seed=seed)
    if name in fixup_resnet.SHAPES:
        return fixup_resnet.fixup_resnet(name, classes=_CLASSES if classes is None else classes, seed=seed)
    plain, _, asked = name.partition("?")
    family, _, known = plain.partition(":")
    options = _options(name, asked)
    if family not in _FAMILIES:
        return _call(_function(plain), plain, classes, options, seed)
    if not known:
        raise ValueError(f"{name!r} names no model; say {family}:NAME")
    with seeded(seed):
        return _FAMILIES[family](known, classes, options)


def _given(
    name: str, model: nn.Module, weights: Weights | str | Path, trust: bool
) -> tuple[dict[str, Tensor], tuple[str, ...], str]:
    """Weights under the model's names, what of the file is left out, and where they came from."""
    if not isinstance(weights, str | Path):
        return *named_as(model, weights), "given"
    family, _, rest = name.partition(":")
    known = rest.partition("?")[0]
    path: str | Path = weights
    if str(weights) == PUBLISHED:
        if family not in _OWN:
            raise ValueError(f"no weights are published for {name!r}; give the path of a file")
        path = _OWN[family](known)
    if not is_adapter(path):
        return *named_as(model, read_weights(path, trust_pickle=trust)), str(path)
    adapter = read_adapter(path)
    base = hf_folder(known) if family == "hf" else base_of(adapter)
    found, left_out = named_as(model, read_weights(base, trust_pickle=trust))
    return adapter.merged(found), left_out, f"{base} with {path} merged"


def _options(name: str, asked: str) -> dict[str, Any]:
    """Read `img_size=64&depth=3`: numbers, True, False and words."""
    options: dict[str, Any] = {}
    for part in filter(None, asked.split("&")):
        key, equals, value = part.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"{name!r}: options are given as name=value, joined by &; {part!r} is not")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return options


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
            f"{', '.join(BUILT_IN)}; others are timm:NAME, torchvision:NAME, hf:FOLDER_OR_NAME, and a function of "
            "your own, as package.module:function"
        )
    if module.split(".")[0] in sys.stdlib_module_names:  # os.system is a function too
        raise ValueError(f"{name!r} is a part of Python, and no model; name a function of your own package")
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


def _call(
    function: Callable[..., object], name: str, classes: int | None, options: Mapping[str, Any], seed: int
) -> nn.Module:
    parameters = inspect.signature(function).parameters
    takes = [key for key in ("classes", "num_classes") if key in parameters][: classes is not None]
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if foreign := [key for key in options if key not in parameters and not anything]:
        raise ValueError(f"{name!r} takes no {foreign[0]!r}; it takes {', '.join(parameters) or 'nothing'}")
    needs = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and key not in takes
        and key not in options
    ]
    if needs:
        raise ValueError(
            f"{name!r} needs {', '.join(needs)}: the number of classes is passed on as `classes` or `num_classes`, all "
            f"else as {name}?{needs[0]}=VALUE"
        )
    with seeded(seed):
        model = function(**{**options, **dict.fromkeys(takes, classes)})
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name!r} returned {type(model).__name__}, not a torch.nn.Module")
    if classes is None or takes:
        return model
    return replace_head(model, classes, seed=seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generator for code that we did not write, and put it back afterwards."""
    # `torch.manual_seed` would also seed the accelerators, which the fork does not guard
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
