"""How do packed images reach a model, and how are a few of them chosen?

`take_shots` chooses N images a class from train. `to_tensor` brings images into memory whole, for training on small
sets. `batches` walks over them in a fixed order, as often as asked, for everything that measures.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bequest.data.pack import Packed

Normalise = tuple[Sequence[float], Sequence[float]]


def take_shots(packed: Packed, shots: int, *, seed: int) -> Tensor:
    """Choose a number of images a class from train, each of another group as long as there are groups.

    Args:
        packed: the images.
        shots: images a class, at least 1.
        seed: of the choice. With more shots the same seed keeps the images that fewer shots chose.

    Returns:
        int64 [shots * classes], ascending.

    Raises:
        ValueError: if a class has fewer images in train, or the images have several labels.
    """
    if shots < 1:
        raise ValueError(f"shots has to be 1 or more, not {shots}")
    if packed.multilabel:
        raise ValueError(
            f"shots are images of one class each; an image of {packed.domain} may have several labels: leave shots out"
        )
    train = packed.indices("train")
    chosen: list[int] = []
    for target, label in enumerate(packed.classes):
        members = train[packed.targets[train] == target].tolist()
        if len(members) < shots:
            raise ValueError(
                f"{shots} shots need as many images of each class in train, but {label} in {packed.domain} has "
                f"{len(members)}; ask for {len(members)} shots or fewer"
            )
        # The order follows from the names, so that the same emoji are chosen in every domain.
        members.sort(key=lambda index: hashlib.sha256(f"{seed}/{packed.names[index]}".encode()).digest())
        seen: Counter[str] = Counter()
        repeats = {}
        for index in members:
            repeats[index] = seen[packed.groups[index]]
            seen[packed.groups[index]] += 1
        chosen.extend(sorted(members, key=repeats.__getitem__)[:shots])
    return torch.tensor(sorted(chosen), dtype=torch.int64)


def to_tensor(packed: Packed, indices: Tensor) -> Tensor:
    """Read images into memory.

    Args:
        packed: the images.
        indices: int64 [n], which ones.

    Returns:
        uint8 [n, 3, size, size] in the memory format channels_last.
    """
    rows = np.ascontiguousarray(packed.pixels[indices.numpy()])
    return torch.from_numpy(rows).permute(0, 3, 1, 2)


def to_tokens(packed: Packed, indices: Tensor) -> dict[str, Tensor]:
    """Give the tokens of texts, int64 [n, tokens] for each input of the model; indices are int64 [n]."""
    return {name: tensor[indices].long() for name, tensor in packed.tokens.items()}


class Stored:
    """Images that stay in their packed arrays until they are asked for, where there are too many for the memory.

    Attributes:
        shape: [n, 3, size, size] of all of them together.
    """

    def __init__(self, parts: Sequence[tuple[Packed, Tensor]]) -> None:
        """Name the images.

        Args:
            parts: packed images of one size, and which of them (int64 [n]); one after the other.
        """
        self._parts = list(parts)
        counts = [len(indices) for _, indices in self._parts]
        self._starts = torch.tensor([0, *counts]).cumsum(0)
        self.shape = torch.Size((sum(counts), 3, *self._parts[0][0].pixels.shape[1:3]))

    def __getitem__(self, places: Tensor) -> Tensor:
        """Read images uint8 [m, 3, size, size] by their numbers, int64 [m]."""
        places = places.cpu()
        found = torch.empty((len(places), *self.shape[1:]), dtype=torch.uint8)
        found = found.contiguous(memory_format=torch.channels_last)
        for number, (packed, indices) in enumerate(self._parts):
            here = (places >= self._starts[number]) & (places < self._starts[number + 1])
            if bool(here.any()):
                found[here] = to_tensor(packed, indices[places[here] - self._starts[number]])
        return found

    def __len__(self) -> int:
        return int(self.shape[0])


def normalised(images: Tensor, normalise: Normalise) -> Tensor:
    """Scale images to 0..1, subtract the mean and divide by the standard deviation of each channel.

    Args:
        images: uint8 or float (already 0..1) [n, channels, height, width].
        normalise: mean and standard deviation, one number a channel each, of images in 0..1.

    Returns:
        float32, same shape and memory format.
    """
    scaled = images.to(torch.float32, copy=True)
    if images.dtype == torch.uint8:
        scaled.div_(255)
    mean, std = (torch.tensor(part, dtype=torch.float32, device=images.device) for part in normalise)
    if scaled.is_contiguous(memory_format=torch.channels_last) and not scaled.is_contiguous():
        # whole rows of pixels at once: with the three channels innermost, torch would walk in steps of three
        rows = scaled.permute(0, 2, 3, 1).view(-1, images.shape[3] * images.shape[1])
        shift, scale = (part.expand(images.shape[1]).repeat(images.shape[3]) for part in (mean, std))
        rows.sub_(shift).div_(scale)
        return scaled
    return scaled.sub_(mean.view(1, -1, 1, 1)).div_(std.view(1, -1, 1, 1))


def mean_and_std(packed: Packed, indices: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure what to normalise with.

    Args:
        packed: the images.
        indices: int64 [n], which ones; take train only.

    Returns:
        Mean and standard deviation of each channel of images in 0..1, over all pixels, in float64.
    """
    total, squares, count = np.zeros(3), np.zeros(3), 0
    for part in torch.split(indices, 256):
        rows = packed.pixels[part.numpy()].reshape(-1, 3).astype(np.float64) / 255
        total, squares, count = total + rows.sum(0), squares + (rows**2).sum(0), count + len(rows)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    return tuple(mean.tolist()), tuple(std.tolist())


@dataclass(frozen=True)
class Batches:
    """Images in a fixed order, to be walked over as often as wanted.

    Attributes:
        packed: the images.
        indices: int64 [n], which ones, in which order.
        batch_size: images a batch; the last one may be smaller.
        normalise: mean and standard deviation of each channel of images in 0..1.
        device: where the batches are put.
    """

    packed: Packed
    indices: Tensor
    batch_size: int
    normalise: Normalise
    device: torch.device

    @property
    def targets(self) -> Tensor:
        """Targets in the order of the batches, int64 [n] or float32 [n, classes], on the CPU."""
        return self.packed.targets[self.indices]

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        for part in torch.split(self.indices, self.batch_size):
            if self.packed.tokens:
                tokens = {name: tensor.to(self.device) for name, tensor in to_tokens(self.packed, part).items()}
                yield tokens, self.packed.targets[part].to(self.device)
                continue
            images = to_tensor(self.packed, part).to(self.device)
            yield normalised(images, self.normalise), self.packed.targets[part].to(self.device)


def batches(
    packed: Packed,
    indices: Tensor,
    *,
    batch_size: int,
    normalise: Normalise,
    device: torch.device | str = "cpu",
) -> Batches:
    """Walk over images in batches.

    Args:
        packed: the images.
        indices: int64 [n], which ones, in which order; at least one.
        batch_size: images a batch, at least 1.
        normalise: mean and standard deviation of each channel of images in 0..1.
        device: where the batches are put.

    Returns:
        Batches of float32 [b, 3, size, size] (channels_last), or of texts dicts of int64 [b, tokens], and targets as
        `Packed` has them.

    Raises:
        ValueError: if there are no indices, one is out of range, the batch size is below 1, or a deviation is 0.
    """
    if indices.numel() == 0:
        raise ValueError(f"no images of {packed.domain} were asked for; is that split empty?")
    if int(indices.min()) < 0 or int(indices.max()) >= len(packed.names):
        raise ValueError(f"{packed.domain} has images 0 to {len(packed.names) - 1}, an index is outside")
    if batch_size < 1:
        raise ValueError(f"batch_size has to be 1 or more, not {batch_size}")
    if min(normalise[1]) <= 0:
        raise ValueError(f"the standard deviations have to be above 0, not {tuple(normalise[1])}")
    return Batches(packed, indices, batch_size, normalise, torch.device(device))
