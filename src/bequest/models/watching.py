"""When does each module of a network run, and when is each of its tensors used, in one forward pass?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def watch(
    model: nn.Module,
    example: Tensor | Mapping[str, Tensor],
    hooked: Mapping[str, nn.Module],
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, float], dict[int, float]]:
    """Run a model once in evaluation mode and note what happens when.

    Args:
        model: any network; weights, buffers, modes, hooks and the global random state stay as they were.
        example: inputs for one forward pass: a tensor, or a mapping of keyword arguments.
        hooked: the modules to watch.
        tensors: the parameters and buffers to watch.

    Returns:
        When each hooked module first started, by name, and when each tensor was first used, by `id`, on one clock that
        counts events; infinite for what never was.
    """
    ran = dict.fromkeys(hooked, math.inf)
    used = {id(tensor): math.inf for tensor in tensors.values()}
    clock = count()

    def hook(name: str) -> Callable[[nn.Module, Any], None]:
        def note(_module: nn.Module, _inputs: object) -> None:
            ran[name] = min(ran[name], next(clock))

        return note

    class Uses(TorchFunctionMode):
        # The only way to see when a parameter is used that no module of its own carries.
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__name__", "") != "__get__":  # asking for a shape or dtype is no use
                for each in _flat((*args, *(kwargs or {}).values())):
                    if used.get(id(each)) == math.inf:
                        used[id(each)] = next(clock)
            return func(*args, **(kwargs or {}))

    with left_alone(model):
        handles = [module.register_forward_pre_hook(hook(name)) for name, module in hooked.items()]
        try:
            with torch.no_grad(), Uses():
                model(**example) if isinstance(example, Mapping) else model(example)
        finally:
            for handle in handles:
                handle.remove()
    return ran, used


def _flat(arguments: Iterable[object]) -> Iterator[object]:
    for each in arguments:
        if isinstance(each, list | tuple):
            yield from _flat(each)
        else:
            yield each


@contextmanager
def left_alone(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; on exit the modes, buffers and global random state are as they were, also on error."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, key, buffer, buffer.clone())
        for module in model.modules()
        for key, buffer in module.named_buffers(recurse=False)
    ]
    cuda = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=cuda):  # a forward pass of someone else's may draw
            model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, key, buffer, before in buffers:
            setattr(module, key, buffer)
            if not torch.equal(buffer, before):
                with torch.no_grad():
                    buffer.copy_(before)
