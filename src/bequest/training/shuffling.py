"""How does a run see its images when their blocks are shuffled?

Source: Neyshabur et al. 2020, section 2.2. `fixed`: one permutation for all images of a run, for training and test
alike, drawn as in the paper's code. `per_image`: every image has a permutation of its own, the same each time it is
seen; a network cannot learn where the blocks went. The shuffle comes last, after augmentation and normalising.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import torch
from torch import Tensor

from bequest.data.block_shuffle import BlockSize, count_blocks, draw_permutation, moved_fraction, shuffle_blocks
from bequest.training.seeds import fold

Mode = Literal["fixed", "per_image"]


@dataclass(frozen=True)
class Shuffle:
    """A shuffle of blocks that a run sees all its images through.

    Attributes:
        block_size: side of a block in pixels, or "pixel-channel".
        mode: one permutation for all images, or one for each.
        seed: number of the replica; `fixed` draws from numpy's legacy stream 1234 + seed.
    """

    block_size: BlockSize
    mode: Mode
    seed: int

    def __call__(self, images: Tensor, split: str, places: Tensor) -> Tensor:
        """Shuffle a batch.

        Args:
            images: normalised [B, C, H, W].
            split: which split they are from.
            places: int64 [B], their numbers in it.

        Returns:
            New images of the same shape and memory format.
        """
        return shuffle_blocks(images, self.block_size, permutation=self.orders(images.shape, split, places))

    def orders(self, shape: Sequence[int], split: str, places: Tensor) -> Tensor:
        """Give the permutations of images of a shape: int64 [n], or [B, n] with one for each."""
        n = count_blocks(shape, self.block_size)
        if self.mode == "fixed":
            return _fixed(n, self.seed)
        return torch.stack([_own(n, self.seed, split, place) for place in places.tolist()])

    def moved(self, shape: Sequence[int], split: str, count: int) -> float:
        """Give the share of blocks that are moved, 0..1, over the first `count` images of a split."""
        return moved_fraction(self.orders(shape, split, torch.arange(count)))


@lru_cache(maxsize=32)
def _fixed(n: int, seed: int) -> Tensor:
    return draw_permutation(n, seed)[0]


def _own(n: int, seed: int, split: str, place: int) -> Tensor:
    """The permutation of one image; the identity is drawn again."""
    stream = torch.Generator().manual_seed(fold(seed, "per_image", split, place))
    order = torch.randperm(n, generator=stream)
    while n > 1 and bool((order == torch.arange(n)).all()):
        order = torch.randperm(n, generator=stream)
    return order


class _Batches(Protocol):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...

    def __len__(self) -> int: ...


class ShuffledBatches:
    """Batches of a split in fixed order, seen through a shuffle; they can be walked again."""

    def __init__(self, batches: _Batches, shuffle: Shuffle, split: str, places: Tensor | None = None) -> None:
        """Wrap batches.

        Args:
            batches: (images, targets), images normalised [B, C, H, W], the same on every walk.
            shuffle: what their images go through.
            split: which split they are.
            places: the images' numbers in it, int64 [n]; left out: 0, 1, 2, …
        """
        self._batches, self._shuffle, self._split, self._places = batches, shuffle, split, places

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        for images, targets in self._batches:
            places = torch.arange(start, start + len(images))
            places = places if self._places is None else self._places[places]
            start += len(images)
            yield self._shuffle(images, self._split, places), targets

    def __len__(self) -> int:
        return len(self._batches)
