"""How is a tensor read from the disk piece by piece?

Plain reads into one small buffer, which stays in the cache of the core that works on it: mapped pages would cost a
fault each, and would all count as memory until the file is closed. The system fetches ahead what is read in order; a
thread that reads ahead on top, or telling the system to fetch more, made it slower.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import BinaryIO

import torch
from torch import Tensor

from bequest.models.entries import Entry


def read_pieces(place: Entry, entries: int) -> Iterator[Tensor]:
    """Read a contiguous tensor piece by piece.

    Args:
        place: where it is.
        entries: of a piece.

    Yields:
        Flat tensors of so many entries, in order, the last one shorter. Each is overwritten when the next one is asked
        for.

    Raises:
        ValueError: if the file has become shorter since it was opened.
    """
    total = math.prod(place.shape)
    if not total:
        return
    buffer = torch.empty(min(total, entries), dtype=place.dtype)
    with place.file.open("rb", buffering=0) as file:
        file.seek(place.offset)
        for begin in range(0, total, entries):
            yield _read(file, place, buffer[: min(entries, total - begin)])


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
