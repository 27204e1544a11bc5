"""How do weights come out of a pickled file without running what else is in it?

A pickle is a program. torch's weights-only reader runs the few instructions that make tensors and refuses the rest by
name; only `trust` lets the rest run. What the tensors claim is held against the size of the file first.
"""

from __future__ import annotations

import errno
import math
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from bequest.models.entries import Entry
from bequest.weights.algebra import Weights

PICKLED = (".pt", ".pth", ".bin", ".ckpt")
NESTS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "params_ema",
    "params",
)


def pickled_weights(
    path: Path, *, nest: str | None = None, trust: bool = False
) -> dict[str, Tensor] | dict[str, Entry]:
    """Find the state dict in a pickled file.

    Args:
        path: a `.pt`, `.pth`, `.bin` or `.ckpt` file.
        nest: under which name the state dict lies; None takes the first of `NESTS` that holds one.
        trust: run whatever the file wants to run.

    Returns:
        Name to the place in the file, unread, where the file allows it (all that torch has written since 1.6); else
        name to tensor, on the CPU.

    Raises:
        ValueError: if it is damaged, wants to run code, holds no weights, or tensors that claim to be larger than the
            file.
    """
    mapped = _can_be_mapped(path)
    if mapped and not trust:
        places = _entries(_state_dict(_unpickle(path, place="meta"), path, nest), path)
        if places is not None:
            return places
    weights = _state_dict(_unpickle(path, mapped=mapped, trust=trust), path, nest)
    _check_sizes(weights, path)
    return weights


def _can_be_mapped(path: Path) -> bool:
    """Do the numbers lie in the file as they will in memory? Not in files of before torch 1.6."""
    packed, orders = False, []
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            packed = any(info.compress_type for info in archive.infolist())
            if not packed:
                orders = [archive.read(name) for name in archive.namelist() if name.endswith("/byteorder")]
    except Exception as error:  # damaged bytes make the reader stumble in any way
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a place before the file's beginning
            raise
        raise ValueError(f"{path} is damaged or not a file of weights: {_first_line(error)}") from error
    if packed:  # torch never packs; a bomb would
        raise ValueError(f"{path} is a packed archive, not a file of weights: torch does not pack them")
    return orders in ([], [sys.byteorder.encode()])  # torch crashes where it turns bytes of a mapped file


def _unpickle(path: Path, *, place: str = "cpu", mapped: bool = False, trust: bool = False) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch advises to run the file; ours says not to
            return torch.load(path, map_location=place, weights_only=not trust, mmap=mapped)
    except UnpicklingError as error:
        wants = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wants is None and "weights_only" not in str(error):
            raise ValueError(f"{path} is damaged or not a file of weights: {_first_line(error)}") from error
        said = f"wants to run {wants[1]} when it is opened" if wants else "holds code, not only tensors"
        raise ValueError(
            f"{path} {said}. It was not run. If you trust the file, open it where it was made and save its "
            "state_dict() as .safetensors; or say trust_pickle=True (--trust-pickle), which runs it"
        ) from error
    except Exception as error:  # damaged bytes make the reader stumble in any way
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a place before the file's beginning
            raise
        raise ValueError(f"{path} is damaged or not a file of weights: {_first_line(error)}") from error


def _state_dict(content: object, path: Path, nest: str | None) -> dict[str, Tensor]:
    if isinstance(content, nn.Module):  # only a trusted file holds one
        content = content.state_dict()
    candidates = [content] if nest is None else []
    within = [content]
    for _ in range(2):  # {"model": {"state_dict": ...}}
        keys = NESTS if nest is None else (nest,)
        within = [each[key] for each in within if isinstance(each, Mapping) for key in keys if key in each]
        within = [each.state_dict() if isinstance(each, nn.Module) else each for each in within]
        candidates += within
    for state in candidates:
        if isinstance(state, Mapping):
            tensors = {str(name): each for name, each in state.items() if not str(name).endswith("_extra_state")}
            if tensors and all(isinstance(each, Tensor) for each in tensors.values()):
                return {name: tensor.detach() for name, tensor in tensors.items()}
    found = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
    where = f"under {nest}" if nest is not None else f"neither bare nor under {', '.join(NESTS)}"
    raise ValueError(f"{path} holds no state dict, {where}; it holds: {found}")


def _entries(state: Weights, path: Path) -> dict[str, Entry] | None:
    """Find where tensors without numbers lie in their file; None if that cannot be told, and they have to be read."""
    found: dict[str, Entry] = {}
    claims = _Claims(path)
    for name, tensor in state.items():
        if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
            return None
        storage = tensor.untyped_storage()
        base = getattr(storage, "_checkpoint_offset", None)
        if base is None:
            return None
        offset = base + tensor.storage_offset() * tensor.element_size()
        entry = Entry(path, offset, tensor.dtype, tuple(tensor.shape), tensor.stride())
        claims.add(name, entry.nbytes, storage.nbytes(), (base, offset, entry.shape, entry.stride))
        if entry.offset + entry.extent > claims.there or entry.extent > storage.nbytes():
            raise ValueError(f"{path} is damaged: {name} lies behind the end of the file")
        found[name] = entry
    return found


def _check_sizes(weights: Weights, path: Path) -> None:
    claims = _Claims(path)
    for name, tensor in weights.items():
        if tensor.layout is not torch.strided or tensor.is_nested or tensor.device.type != "cpu" or tensor.is_quantized:
            raise ValueError(f"{path}: {name} is sparse, nested or without numbers; weights are plain tensors")
        storage = tensor.untyped_storage()
        size = math.prod(tensor.shape) * tensor.element_size()
        view = (storage.data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        claims.add(name, size, storage.nbytes(), view)


class _Claims:
    """What the tensors of a file claim to need, against what the file holds."""

    def __init__(self, path: Path) -> None:
        # A view can repeat four bytes 10^13 times; whoever copies it fills the memory.
        self.path, self.there = path, path.stat().st_size
        self._claimed = 0
        self._views: set[tuple[object, ...]] = set()  # tied weights are one view under two names

    def add(self, name: str, size: int, held: int, view: tuple[object, ...]) -> None:
        self._claimed += 0 if view in self._views else size
        self._views.add(view)
        if size > held or self._claimed > self.there:
            raise ValueError(
                f"{self.path} holds {self.there:,} bytes, but its tensors claim more ({name} alone {size:,}): not read."
                " If you trust the file, save contiguous copies of the tensors where it was made"
            )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
