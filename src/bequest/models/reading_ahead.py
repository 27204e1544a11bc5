"""How is a tensor read from the disk piece by piece, while the last piece is worked on?

Plain reads into two buffers that take turns: mapped pages would cost a fault each, and would all count as memory until
the file is closed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import torch
from torch import Tensor

from bequest.models.entries import Entry

_BLOCK = 1 << 20  # bytes of a read; chosen: large enough that waiting for the other thread costs little


def read_ahead(place: Entry, entries: int) -> Iterator[Tensor]:
    """Read a contiguous tensor piece by piece.

    Args:
        place: where it is.
        entries: of a piece.

    Yields:
        Flat tensors of so many entries, in order, the last one shorter. Each is overwritten soon after the next one is
        asked for.

    Raises:
        ValueError: if the file has become shorter since it was opened.
    """
    total, width = math.prod(place.shape), place.dtype.itemsize
    block = max(1, _BLOCK // (entries * width)) * entries  # whole pieces
    if not total:
        return
    with place.file.open("rb", buffering=0) as file:
        file.seek(place.offset)
        if total <= block:  # nothing to read ahead
            yield from _read(file, place, torch.empty(total, dtype=place.dtype)).split(entries)
            return
        buffers = [torch.empty(block, dtype=place.dtype) for _ in range(2)]
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(_read, file, place, buffers[0])
            for number, begin in enumerate(range(0, total, block)):
                there = coming.result()
                left = total - begin - block
                if left > 0:
                    coming = reader.submit(_read, file, place, buffers[(number + 1) % 2][: min(left, block)])
                yield from there.split(entries)


def _read(file: BinaryIO, place: Entry, buffer: Tensor) -> Tensor:
    """Fill a buffer from where the file stands."""
    view = memoryview(buffer.view(torch.uint8).numpy())  # type: ignore[arg-type] # numpy gives a buffer
    filled = 0
    while filled < len(view):
        got = file.readinto(view[filled:])  # type: ignore[attr-defined] # a raw file has it
        if not got:
            raise ValueError(f"{place.file} has become shorter while it was read")
        filled += got
    return buffer
