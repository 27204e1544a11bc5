"""How is the output of a module kept, whatever it is made of?

Outputs are tensors, or tuples, lists and dicts of them; anything else is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to every tensor in a value made of tuples, lists and dicts, and give one of the same make."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(function, each) for each in value))
    if type(value) in (tuple, list):
        return type(value)(mapped(function, each) for each in value)
    if type(value) is dict:
        return {key: mapped(function, each) for key, each in value.items()}
    return value


def tensors(value: Any) -> Iterator[Tensor]:
    """Give the tensors in a value, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tensors(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from tensors(each)


def copied(value: Any) -> Any:
    """Copy every tensor in a value."""
    return mapped(lambda tensor: tensor.detach().clone(), value)


def held_bytes(value: Any) -> int:
    """Count the memory of the tensors in a value; a stand-in takes that of its one number."""
    return sum(
        tensor.element_size() if 0 in tensor.stride() and tensor.numel() > 1 else tensor.nbytes
        for tensor in tensors(value)
    )


def can_stand_in(value: Any) -> bool:
    """Tell whether a value could be replaced by a tensor of NaN: a floating tensor alone."""
    return isinstance(value, Tensor) and value.is_floating_point()


def stand_in(value: Any) -> Any:
    """Give a tensor of NaN with the shape, dtype and device of this one and no memory; other values as they are."""
    if not can_stand_in(value):
        return value
    return torch.full((), float("nan"), dtype=value.dtype, device=value.device).expand(value.shape)


def identical(one: Any, other: Any) -> bool:
    """Tell whether two values hold the same tensors, bit for bit."""
    pairs = list(tensors(one)), list(tensors(other))
    return len(pairs[0]) == len(pairs[1]) and all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))
