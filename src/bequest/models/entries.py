"""Where does each tensor of a file lie, and how does one come into memory without the others?

A safetensors file is a header that says where each tensor lies, then the numbers. The header is checked against the
size of the file before anything is read: what claims more than there is would fill the memory of whoever believes it.
Tensors are mapped, not copied, and their pages are given back when they are let go, so a walk through a file of any
size holds one tensor at a time.
"""

from __future__ import annotations

import json
import math
import mmap
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MOST_AXES = 64  # more than torch can work with
LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Entry:
    """One tensor in a file.

    Attributes:
        file: where it is.
        offset: bytes from the beginning of the file to its first number.
        dtype: of its numbers.
        shape: its shape.
        stride: steps in elements between neighbours along each axis.
    """

    file: Path
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor when it is contiguous."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def extent(self) -> int:
        """Bytes from its first number to behind its last one."""
        if 0 in self.shape:
            return 0
        return (1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))) * self.dtype.itemsize


class MappedFile:
    """A file whose tensors are read one by one; it must not be changed in place while it is open."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:  # the mapping stays when the file is closed, renamed or removed
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def read(self, entry: Entry) -> Tensor:
        """Give a tensor as a view of the file; writing to it changes only this copy in memory."""
        if not entry.extent:
            return torch.empty_strided(entry.shape, entry.stride, dtype=entry.dtype)
        view = memoryview(self._map)[entry.offset : entry.offset + entry.extent]
        first = -(-entry.offset // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (entry.offset + entry.extent) // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first and hasattr(mmap, "MADV_DONTNEED"):
            # else the pages of all tensors that were read would count as memory until the file is closed
            weakref.finalize(view, self._map.madvise, mmap.MADV_DONTNEED, first, last - first).atexit = False
        flat = torch.frombuffer(view, dtype=torch.uint8)
        if entry.offset % entry.dtype.itemsize:
            flat = flat.clone()  # numbers that do not start at a multiple of their size cannot be used where they lie
        return flat.view(entry.dtype).as_strided(entry.shape, entry.stride)


def safetensors_entries(path: Path) -> dict[str, Entry]:
    """Read the header of a safetensors file and hold it against the file.

    Args:
        path: the file.

    Returns:
        Name to place, in the order of the file.

    Raises:
        ValueError: if the header is not one, or its tensors do not fill the rest of the file exactly.
    """
    there = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(there - 8, LONGEST_HEADER):
            raise ValueError(f"{path} is damaged or cut short: its header ends behind the end of the file")
        try:
            header = dict(json.loads(file.read(length)))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged or cut short: its header is not JSON of names and places") from error
    header.pop("__metadata__", None)
    found = {name: _entry(path, name, said, 8 + length, there) for name, said in header.items()}
    end = 8 + length
    for name, entry in sorted(found.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if entry.offset != end:
            raise ValueError(f"{path} is damaged or cut short: {name} does not start where the tensor before it ends")
        end += entry.nbytes
    if end != there:
        raise ValueError(f"{path} is damaged or cut short: {there - end:,} bytes belong to no tensor")
    return found


def _entry(path: Path, name: str, said: Any, data: int, there: int) -> Entry:
    try:
        kind, shape, (begin, end) = said["dtype"], said["shape"], said["data_offsets"]
        if not all(type(n) is int and 0 <= n < 2**63 for n in (*shape, begin, end)) or len(shape) > MOST_AXES:
            raise ValueError("no sizes")
        if type(kind) is not str or math.prod(n or 1 for n in shape) >= 2**63:
            raise ValueError("no type, or more places than can be counted")
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged or cut short: its header does not say where {name} is") from error
    if kind not in _DTYPES:
        raise ValueError(f"{path}: {name} is of type {kind!r}, which torch does not have")
    elements, size = math.prod(shape), math.prod(shape) * _DTYPES[kind].itemsize
    if size != end - begin or data + end > there:
        raise ValueError(
            f"{path} is damaged or cut short: {name} claims {elements:,} elements, {size:,} bytes, but its place holds "
            f"{max(0, min(end, there - data) - begin):,}: not read"
        )
    return Entry(path, data + begin, _DTYPES[kind], tuple(shape), contiguous(shape))


def contiguous(shape: list[int] | tuple[int, ...]) -> tuple[int, ...]:
    """Give the strides of a contiguous tensor."""
    return tuple(math.prod(max(1, n) for n in shape[axis + 1 :]) for axis in range(len(shape)))
