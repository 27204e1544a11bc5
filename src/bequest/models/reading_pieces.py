"""How is a tensor read from the disk piece by piece?

What lies in the page cache is copied from there; what does not is fetched past it, straight into our memory, where the
system allows that (O_DIRECT, on Linux): weights that are read once need no cache, and to copy them through it takes
more of a processor than to compare them. Either way a few megabytes at a time: mapped pages would cost a fault each,
and would all count as memory until the file is closed. A caller with several threads has the disk at work for one of
them while the others compute.
"""

from __future__ import annotations

import ctypes
import errno
import math
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO

import numpy as np
import torch
from torch import Tensor

from bequest.models.entries import Entry

FETCHED = 1 << 22  # bytes that are asked of the disk at once: fewer, and it is slower
SECTOR = 4096  # what lies past the page cache is fetched in multiples of this, into places that are
LEAST = 1 << 20  # bytes of a tensor for which it is worth while
FRESH = 0.5  # share of the pages below which a tensor is not taken from the page cache


def read_pieces(place: Entry, entries: int) -> Iterator[Tensor]:
    """Read a contiguous tensor piece by piece.

    Args:
        place: where it is.
        entries: of a piece.

    Yields:
        Flat tensors of so many entries, in order, the last one shorter. Each is overwritten when one of the next is
        asked for.

    Raises:
        ValueError: if the file has become shorter since it was opened.
        OSError: if the disk cannot be read.
    """
    size = place.dtype.itemsize
    total = math.prod(place.shape) * size
    if not total:
        return
    piece = entries * size
    step = min(total, piece * max(1, FETCHED // piece))
    file, past = _open(place, total)
    try:
        buffer = mmap.mmap(-1, step + 2 * SECTOR)  # begins where a page does
        for begin in range(0, total, step):
            wanted = min(step, total - begin)
            try:
                skipped = _fetch(file, memoryview(buffer), place.offset + begin, wanted, past=past)
            except OSError as error:
                if not past or error.errno != errno.EINVAL:
                    raise
                file.close()  # this disk has larger sectors
                file, past = FileIO(place.file), False
                skipped = _fetch(file, memoryview(buffer), place.offset + begin, wanted, past=past)
            found = torch.frombuffer(buffer, dtype=place.dtype, count=wanted // size, offset=skipped)
            yield from found.split(entries)
    finally:
        file.close()


def _open(place: Entry, total: int) -> tuple[FileIO, bool]:
    """Open a file, past the page cache where that is faster and possible; tells whether it is."""
    file = FileIO(place.file)
    direct = getattr(os, "O_DIRECT", 0)
    if direct and total >= LEAST and place.offset % place.dtype.itemsize == 0 and not _cached(file, place, total):
        with suppress(OSError):  # not on this file system
            past = FileIO(place.file, opener=lambda path, flags: os.open(path, flags | direct))
            file.close()
            return past, True
    return file, False


def _cached(file: FileIO, place: Entry, total: int) -> bool:
    """Tell whether most of a tensor lies in the page cache; where that cannot be told, it does."""
    first = place.offset // mmap.PAGESIZE * mmap.PAGESIZE
    length = place.offset + total - first
    try:
        ask = ctypes.CDLL(None, use_errno=True).mincore
        with mmap.mmap(file.fileno(), length, mmap.MAP_SHARED, mmap.PROT_READ, offset=first) as mapped:
            address = np.frombuffer(mapped, np.uint8).ctypes.data
            there = np.zeros(-(-length // mmap.PAGESIZE), np.uint8)
            failed = ask(ctypes.c_void_p(address), ctypes.c_size_t(length), ctypes.c_void_p(there.ctypes.data))
    except (OSError, ValueError, AttributeError, BufferError):
        return True
    return bool(failed) or float((there & 1).mean()) > FRESH


def _fetch(file: FileIO, buffer: memoryview, offset: int, wanted: int, *, past: bool) -> int:
    """Fill a buffer from a place of a file; gives how many bytes before that place were read, too."""
    skipped = offset % SECTOR
    upto = -(-(skipped + wanted) // SECTOR) * SECTOR  # whole sectors; at the end of the file there are fewer
    file.seek(offset - skipped)
    filled = 0
    while filled < skipped + wanted:
        got = file.readinto(buffer[filled:upto])
        filled += got
        # past the page cache what ends within a sector is the end of the file, and nothing can be read from there
        if got == 0 or (past and filled % SECTOR and filled < skipped + wanted):
            raise ValueError(f"{os.fsdecode(file.name)} has become shorter while it was read")
    return skipped
