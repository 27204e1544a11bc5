"""How do examples come out of batches, and batches out of examples?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bequest.data.batches import normalised
from bequest.evaluation.batches import Batches, Inputs, walk
from bequest.training.loop import Examples

Content = tuple[dict[str, Tensor], Tensor]  # inputs by keyword [N, ...], targets [N, ...]


def named_inputs(inputs: Inputs) -> dict[str, Tensor]:
    """Give the inputs of a batch by keyword; a single tensor is called `inputs`."""
    if isinstance(inputs, Mapping):
        return {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    return {"inputs": inputs}


def examples_of(batches: Batches) -> Examples:
    """Walk over batches once and keep what they gave, to learn from it in every epoch.

    Args:
        batches: (inputs, targets); of a loader that augments, what it gives in this one walk.

    Returns:
        Examples with inputs by keyword, on the CPU; neither normalised nor augmented again.
    """
    inputs: dict[str, list[Tensor]] = {}
    targets = []
    for given, truth in walk(batches):
        for name, tensor in named_inputs(given).items():
            inputs.setdefault(name, []).append(tensor.cpu())
        targets.append(truth.cpu())
    return with_content(({name: torch.cat(parts) for name, parts in inputs.items()}, torch.cat(targets)))


def with_content(content: Content) -> Examples:
    """Give examples whose inputs are tensors by keyword."""
    return Examples(content[0], content[1], 0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class InOrder:
    """Examples as batches that can be walked again, as a network sees them without augmentation.

    Attributes:
        examples: what is learned from.
        size: examples a batch.
        order: numbers of the examples; None: all of them, in order.
    """

    examples: Examples
    size: int
    order: Sequence[int] | None = None

    def __iter__(self) -> Iterator[tuple[Inputs, Tensor]]:
        images, targets = self.examples.images, self.examples.targets
        order = torch.arange(len(targets)) if self.order is None else torch.tensor(self.order)
        for chosen in order.split(self.size):
            if isinstance(images, Mapping):
                yield {name: tensor[chosen] for name, tensor in images.items()}, targets[chosen]
            else:
                yield normalised(images[chosen], (self.examples.mean, self.examples.std)), targets[chosen]
