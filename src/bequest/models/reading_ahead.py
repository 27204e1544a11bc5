"""How is a tensor read from the disk piece by piece, while the disk fetches what comes next?

Plain reads into one small buffer, which stays in the cache of the core that works on it: mapped pages would cost a
fault each, and would all count as memory until the file is closed. The system is told what comes next.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import BinaryIO

import torch
from torch import Tensor

from bequest.models.entries import Entry

_AHEAD = 1 << 24  # bytes that the system fetches ahead; chosen: no faster with more


def read_ahead(place: Entry, entries: int) -> Iterator[Tensor]:
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
    total, width = math.prod(place.shape), place.dtype.itemsize
    if not total:
        return
    buffer = torch.empty(min(total, entries), dtype=place.dtype)
    with place.file.open("rb", buffering=0) as file:
        file.seek(place.offset)
        asked = 0  # bytes of the tensor
        for begin in range(0, total, entries):
            if begin * width + _AHEAD > asked:
                _fetch(file, place.offset + asked, min(2 * _AHEAD, total * width - asked))
                asked += 2 * _AHEAD
            yield _read(file, place, buffer[: min(entries, total - begin)])


def _fetch(file: BinaryIO, begin: int, count: int) -> None:
    """Have the system fetch bytes of a file while something else is done, where it can."""
    if count > 0 and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), begin, count, os.POSIX_FADV_WILLNEED)


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
