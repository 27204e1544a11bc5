"""What is kept of the output of a module, so that any two outputs can be compared later: Gram matrices of its examples.

HSIC_1 needs of an output [B, ...] only the inner products of its examples, and is blind to a number added to a row and
to a column of them. So where features are far from zero, and would cancel in float32, one example of each block is
subtracted from all, and no mean has to be found. The estimate stays unbiased if a batch is cut into blocks of a few
examples, and a Gram matrix of n of B examples costs n / B of the whole one.

Features are taken a few thousand at a time, so that what is subtracted stays in the processor's cache; sums over them
run in float64. An output that is the memory of the one before, untouched since (that of a block and of its last ReLU),
has the Gram matrices of that one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CACHED = 2**19  # floats subtracted at a time on a CPU: 2 MiB (measured: the fastest of 2**17 to 2**21)
SHELF = 2**19  # numbers taken at a time for what is kept: small tensors between large ones keep freed memory from use
AT_ONCE = 2**26  # on a GPU, where starting a kernel costs more than its memory
FAR = 8.0  # the mean's square over the variance from which one example is subtracted: below, cancelling costs a digit


@dataclass(frozen=True)
class Grams:
    """Inner products of the examples of one output.

    Attributes:
        products: for each size of block a tensor [blocks, n, n] in float64: (x_i - x) (x_j - x) in each block,
            where x is x_0 in the features that are far from zero and 0 in the others.
        levels: for each size [blocks]: the square of x_0, by which constant features are told from small ones.
    """

    products: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]


def block_sizes(examples: int, block: int | None) -> list[tuple[int, int]]:
    """Cut a batch into blocks of nearly equal size, none smaller than asked for unless the batch is.

    Args:
        examples: in the batch.
        block: wanted examples in a block; None for the whole batch.

    Returns:
        Pairs (number of blocks, their size), in order of the examples.
    """
    blocks = max(1, examples // block) if block else 1
    small, larger = divmod(examples, blocks)
    return [(count, size) for count, size in ((larger, small + 1), (blocks - larger, small)) if count]


class Reduction:
    """Reduces outputs to Gram matrices; remembers the last, which the next may be the same memory as."""

    def __init__(self, block: int | None = None) -> None:
        """Take the wanted number of examples in a block; None for whole batches."""
        self._block = block
        self._last: tuple[Tensor, int, Grams] | None = None
        self._room: Tensor | None = None
        self._shelf = torch.empty(0)

    def __call__(self, features: Tensor) -> Grams:
        """Give the Gram matrices of one output [B, ...]; examples are flattened to vectors of features."""
        rows = _rows(features)
        # a tensor's version counts what was written in place to its memory; inference tensors have none
        version = -1 if rows.is_inference() else rows._version
        if self._last is not None and version >= 0:
            before, then, grams = self._last  # held, so that its memory is nobody else's
            if (rows.data_ptr(), rows.shape, rows.dtype, version) == (
                before.data_ptr(),
                before.shape,
                before.dtype,
                then,
            ):
                return grams
        self._last = None
        found = self._reduced(rows)
        self._last = rows, version, found
        return found

    def _reduced(self, rows: Tensor) -> Grams:
        products, levels, start = [], [], 0
        for blocks, size in block_sizes(len(rows), self._block):
            part = rows[start : start + blocks * size].unflatten(0, (blocks, size))
            start += blocks * size
            product, level = self._products(part)
            products.append(product)
            levels.append(level)
        return Grams(tuple(products), tuple(levels))

    def _products(self, part: Tensor) -> tuple[Tensor, Tensor]:
        """Give the inner products [blocks, n, n] of [blocks, n, features], and the squares of the first examples."""
        blocks, n, count = part.shape
        kind = torch.promote_types(part.dtype, torch.float32)
        total, level = self._kept((blocks, n, n), part.device), self._kept((blocks,), part.device)
        width = max(1, (CACHED if part.device.type == "cpu" else AT_ONCE) // (blocks * n))
        for start in range(0, count, width):
            features = part[:, :, start : start + width].to(kind)
            first = features[:, :1]
            product = torch.bmm(features, features.mT) if part.device.type == "cpu" else None
            if product is None or _far(product):  # to ask a GPU would mean to wait for it: always subtract there
                level += torch.bmm(first, first.mT).flatten()
                moved = torch.sub(features, first, out=self._space(features))
                product = torch.bmm(moved, moved.mT)
            else:
                level += product[:, 0, 0]
            total += product
        if part.device.type == "mps":
            total, level = total.cpu().double(), level.cpu().double()
        return total, level

    def _kept(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Give zeros to add to, in float64 where the device has it."""
        wide = torch.float32 if device.type == "mps" else torch.float64
        count = math.prod(shape)
        if self._shelf.numel() < count or (self._shelf.device, self._shelf.dtype) != (device, wide):
            self._shelf = torch.zeros(max(SHELF, count), dtype=wide, device=device)
        taken, self._shelf = self._shelf[:count].view(shape), self._shelf[count:]
        return taken

    def _space(self, like: Tensor) -> Tensor:
        """Give memory of the shape of this, the same each time: fresh pages cost more than the subtraction."""
        room = self._room
        if room is None or room.numel() < like.numel() or room.dtype != like.dtype or room.device != like.device:
            room = self._room = torch.empty(like.numel(), dtype=like.dtype, device=like.device)
        return room[: like.numel()].view(like.shape)


def _far(products: Tensor) -> bool:
    """Tell whether vectors [blocks, n], of which these are the products, lie far from zero and near to each other."""
    shared = float(products.sum()) / products.shape[-1]
    return not shared <= FAR * (float(products.diagonal(dim1=-2, dim2=-1).sum()) - shared)


def _rows(features: Tensor) -> Tensor:
    """Flatten to one vector an example, without a copy where the memory allows; the order does not matter."""
    if features.ndim == 4 and features.is_contiguous(memory_format=torch.channels_last):
        features = features.permute(0, 2, 3, 1)
    return features.flatten(1) if features.ndim > 1 else features[:, None]


def whole(features: Tensor) -> Grams:
    """Give the Gram matrix of all examples together."""
    return Reduction()(features)


def stacked(grams: Sequence[Grams]) -> list[tuple[Tensor, Tensor]]:
    """Put outputs of the same examples together, for each size of block.

    Args:
        grams: of several outputs, cut alike.

    Returns:
        Pairs of products [outputs, blocks, n, n] and levels [outputs, blocks], on the device of the first.
    """
    device = grams[0].products[0].device
    return [
        (torch.stack([p.to(device) for p in products]), torch.stack([v.to(device) for v in levels]))
        for products, levels in zip(
            zip(*(one.products for one in grams), strict=True),
            zip(*(one.levels for one in grams), strict=True),
            strict=True,
        )
    ]
