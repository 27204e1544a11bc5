"""How is a batch put through a model?

Batches are any iterable of `(inputs, targets)` that can be walked again. Inputs are a tensor, which the model gets as
its one argument, or a dict of tensors, which it gets by keyword. Outputs are a tensor, or an object with `.logits`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | Mapping[str, Tensor]
Batches = Iterable[tuple[Inputs, Tensor]]


def device_of(model: nn.Module) -> torch.device:
    """Give the device of the model's first parameter or buffer; the CPU if it has none."""
    for tensor in chain(model.parameters(), model.buffers()):  # listing them all takes longer than a small forward
        return tensor.device
    return torch.device("cpu")


def forward(model: nn.Module, inputs: Inputs) -> Any:
    """Run the model on the inputs of one batch, on the model's device.

    Args:
        model: any network.
        inputs: a tensor [B, ...], or a dict of tensors that go in by keyword.

    Returns:
        What the model gives, as it is.
    """
    here = on_device(model, inputs)
    return model(**here) if isinstance(here, Mapping) else model(here)


def on_device(model: nn.Module, inputs: Inputs) -> Inputs:
    """Give the inputs of a batch on the model's device."""
    device = device_of(model)
    if isinstance(inputs, Mapping):
        return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}
    return inputs.to(device, non_blocking=True)


def examples(inputs: Inputs) -> int:
    """Count the examples of one batch."""
    first = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    return int(first.shape[0])


def first_examples(inputs: Inputs, count: int) -> Inputs:
    """Give the first examples of a batch, of all its inputs."""
    if isinstance(inputs, Mapping):
        return {name: value[:count] if isinstance(value, Tensor) else value for name, value in inputs.items()}
    return inputs[:count]


def logits(outputs: Any) -> Tensor:
    """Give the tensor in what a model returned.

    Args:
        outputs: a tensor, or an object with a tensor `.logits`.

    Returns:
        The tensor [B, ...].

    Raises:
        ValueError: if there is no such tensor.
    """
    found = getattr(outputs, "logits", outputs)
    if not isinstance(found, Tensor):
        raise ValueError(
            f"a model must return a tensor or an object with .logits; this one returned {type(outputs).__name__}. "
            "Wrap it in a module that gives the tensor to be measured"
        )
    return found


def walk(batches: Batches) -> Iterator[tuple[Inputs, Tensor]]:
    """Go through the batches once, refusing what would give no numbers or wrong ones.

    Args:
        batches: iterable of (inputs, targets) that can be walked again: a list, a DataLoader.

    Yields:
        Each batch with its targets as a tensor; batches without examples are passed over.

    Raises:
        ValueError: if it is a generator (walked once, then silently empty) or holds no examples.
    """
    if isinstance(batches, Iterator):
        raise ValueError("batches must be walked more than once: give a list or a DataLoader, not a generator")
    total = 0
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ValueError(f"a batch is a pair (inputs, targets), not {type(batch).__name__}")
        inputs, targets = batch
        if count := examples(inputs):
            total += count
            yield inputs, targets
    if not total:
        raise ValueError("there are no examples in the batches")
