"""Which modules does a network have, in the order in which they run?

A module is what a figure names. Going down from the root, a submodule is one unit if it is a leaf with parameters or a
block. What is a list (`Sequential`, `ModuleList`, `ModuleDict`) or holds a list of blocks is opened. Norm layers
between units, tables of positions, and parameters that hang on what was opened (the scalars of Fixup, the class token
of a ViT), join the unit that started just before them. So a ResNet gives `conv1`, `layer1.0`, …, `fc`, and every
tensor of the state dict belongs to exactly one module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from bequest.models.watching import watch
from bequest.weights.modules import Module

_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def modules(model: nn.Module, example: Tensor | Mapping[str, Tensor]) -> list[Module]:
    """List the modules of a network in order of first execution, running it once.

    Args:
        model: any network; weights, buffers, modes, hooks and the global random state stay as they were.
        example: inputs for one forward pass, on the model's device: a tensor, or a mapping of keyword arguments.

    Returns:
        The modules; one that runs twice stands at its first time, one that never ran comes last. Tied tensors belong,
        under all their names, to the module that runs first.
    """
    units = _units(model)
    tensors: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    trainable = set(tensors)
    tensors.update(model.named_buffers(remove_duplicate=False))
    hooked = {name: module for name, module in model.named_modules() if _is_norm(module)}
    hooked.update((unit, model.get_submodule(unit)) for unit in units)
    ran, used = watch(model, example, hooked, tensors)

    owner = {name: max((unit for unit in units if _within(name, unit)), key=len, default=None) for name in tensors}
    start = {unit: min((used[id(tensors[n])] for n in tensors if owner[n] == unit), default=math.inf) for unit in units}
    start.update((unit, ran[unit]) for unit in units if ran[unit] < math.inf)
    ordered = sorted(units, key=start.__getitem__)  # stable: what never ran keeps its place, at the end
    claim: dict[int, str] = {}  # tensor -> unit: a tied tensor goes to the first
    for unit in reversed(ordered):
        claim.update((id(tensors[name]), unit) for name in tensors if owner[name] == unit)

    members: dict[str, list[str]] = {unit: [] for unit in ordered}
    for name in model.state_dict():  # leaves out buffers that are not part of the weights
        if name not in tensors:  # extra state, which is no tensor
            continue
        owned = claim.get(id(tensors[name]))
        members[_before(name, tensors, owner, ran, used, start) if owned is None else owned].append(name)
    return [
        Module(
            name=unit,
            parameters=tuple(name for name in names if name in trainable),
            buffers=tuple(name for name in names if name not in trainable),
        )
        for unit, names in members.items()
        if names
    ]


def _units(model: nn.Module) -> list[str]:
    """Paths of the units, in order of registration."""
    stages = {type(module) for module in model.modules() if _is_stage(module)}
    units = _open("", model, set(), stages)
    while len(units) == 1 and units[0] and _has_parts(model.get_submodule(units[0])):
        units = _open(units[0], model.get_submodule(units[0]), set(), stages)  # a wrapper around one network
    holders = [name for name, module in model.named_modules() if _own(module)]
    return units or holders  # nothing but norms or bare parameters: each is its own unit


def _open(path: str, module: nn.Module, seen: set[nn.Module], stages: set[type[nn.Module]]) -> list[str]:
    units: list[str] = []
    for key, child in module.named_children():
        name = f"{path}.{key}" if path else key
        if child in seen or not any(True for _ in child.parameters()):
            continue
        seen.add(child)
        if _is_list(child) or type(child) in stages or (_has_parts(child) and _holds_blocks(child)):
            units += _open(name, child, seen, stages)
        elif not _is_norm(child) and not _is_positions(key, child):
            units.append(name)
    return units


def _own(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _has_parts(module: nn.Module) -> bool:
    return any(True for child in module.children() for _ in child.parameters())


def _is_norm(module: nn.Module) -> bool:
    """A leaf of scales and shifts by name: LayerNorm, BatchNormAct2d, LlamaRMSNorm."""
    return "norm" in type(module).__name__.lower() and all(p.dim() < 2 for p in module.parameters())


def _is_positions(key: str, module: nn.Module) -> bool:
    """A table of positions: it gives the same for all examples, and goes with the embedding of what stands there."""
    return isinstance(module, nn.Embedding) and ("pos" in key.lower() or key == "wpe")


def _is_stage(module: nn.Module) -> bool:
    """A module of blocks of one kind that are not in a list, as the stages of timm's RegNet."""
    parts = [child for child in module.children() if any(True for _ in child.parameters())]
    return len(parts) > 1 and len({type(part) for part in parts}) == 1 and all(_layers(part) > 1 for part in parts)


def _is_list(module: nn.Module) -> bool:
    """A list that runs its elements one after another or leaves it to the parent, not one with a way of its own."""
    return isinstance(module, _LISTS) and type(module).forward in (nn.Sequential.forward, nn.Module.forward)


def _holds_blocks(module: nn.Module) -> bool:
    """Is half of some list in it blocks? A lone squeeze-and-excitation among convolutions does not open MBConv."""
    for part in module.modules():
        if isinstance(part, _LISTS):
            elements = [child for child in part.children() if any(True for _ in child.parameters())]
            if elements and 2 * sum(_layers(element) > 1 for element in elements) >= len(elements):
                return True
    return False


def _layers(module: nn.Module) -> int:
    """How many of its parts have a weight matrix: two make a block; a convolution with its norm is only a layer."""
    return sum(any(p.dim() > 1 for p in part.parameters(recurse=False)) for part in module.modules())


def _within(name: str, unit: str) -> bool:
    return not unit or name.startswith(unit + ".")


def _before(
    name: str,
    tensors: Mapping[str, Tensor],
    owner: Mapping[str, str | None],
    ran: Mapping[str, float],
    used: Mapping[int, float],
    start: Mapping[str, float],
) -> str:
    """Find the unit that a loose tensor joins: the last one that started before its first use."""
    home = name.rpartition(".")[0]
    time = used[id(tensors[name])]
    if time == math.inf:  # a counter that evaluation never reads goes with its siblings
        siblings = [used[id(other)] for key, other in tensors.items() if key.rpartition(".")[0] == home]
        time = min(ran.get(home, math.inf), *siblings)
    if time < math.inf:
        earlier = [unit for unit, at in start.items() if at <= time]
        return max(earlier, key=start.__getitem__) if earlier else min(start, key=start.__getitem__)
    keys = list(tensors)  # never used: the unit registered before it
    registered = [unit for key in keys[: keys.index(name)] if (unit := owner[key]) is not None]
    return registered[-1] if registered else next(iter(start))
