"""How do weights come from a file and go to one, safely?

Reading never runs code: safetensors hold numbers only, and pickled files go through torch's weights-only reader, which
refuses whatever asks for more. Writing is all or nothing: beside the place, then renamed.
"""

from __future__ import annotations

import json
import math
import os
import re
import uuid
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bequest.weights.algebra import Weights

PICKLED = (".pt", ".pth", ".bin", ".ckpt")
_NESTS = ("state_dict", "model_state_dict", "model", "module", "state_dict_ema", "model_ema", "ema")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read weights; nothing in the file is ever run.

    Args:
        path: a `.safetensors` file; a `*.index.json` of a sharded one, or a folder with either; or a `.pt`, `.pth`,
            `.bin` or `.ckpt` file with a state dict, bare or under `state_dict`, `model` or `ema`.

    Returns:
        Name to tensor, on the CPU.

    Raises:
        FileNotFoundError: if the file or one of its shards does not exist.
        ValueError: if it is damaged, of an unknown kind, wants to run code, holds no weights, or tensors that claim to
            be larger than the file.
    """
    path = Path(path)
    if path.is_dir():
        path = _inside(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: there is no such file")
    weights = _read_shards(path) if path.name.endswith(".index.json") else _read_one(path)
    if not weights:
        raise ValueError(f"{path} holds no weights")
    if all(name.startswith("module.") for name in weights):  # saved from DataParallel
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    return weights


def write_weights(weights: Weights, path: str | Path) -> None:
    """Write weights as safetensors; the file appears whole or not at all.

    Args:
        weights: name to tensor; tensors that share memory are written once each.
        path: where to, ending in `.safetensors`; an existing file is replaced.

    Raises:
        ValueError: if the ending is another one, or a tensor is sparse.
        FileNotFoundError: if the folder does not exist.
        OSError: if the disk is full or read-only.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"cannot write {path}: weights are written as .safetensors")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    seen: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if tensor.layout is not torch.strided:
            raise ValueError(f"cannot write {path}: {name} is sparse; make it dense first")
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        plain[name] = own.clone() if place in seen else own  # the format refuses tensors that share memory
        seen.add(place)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        save_file(plain, aside)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        aside.unlink(missing_ok=True)


def _inside(folder: Path) -> Path:
    for pattern in ("*.safetensors.index.json", "*.index.json", "model.safetensors", "*.safetensors"):
        found = sorted(folder.glob(pattern))
        if len(found) == 1:
            return found[0]
    raise FileNotFoundError(
        f"the folder {folder} needs one *.index.json or one .safetensors file to say where its weights are; "
        "or give the path of a file"
    )


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        where = {name: str(Path(file)) for name, file in json.loads(index.read_bytes())["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{index} is not an index of shards: it needs a weight_map of tensor to file") from error
    weights: dict[str, Tensor] = {}
    for shard in sorted(set(where.values())):
        if shard == ".." or Path(shard).name != shard:
            raise ValueError(f"{index} names the shard {shard!r}, which is outside its folder: not read")
        if not (index.parent / shard).is_file():
            raise FileNotFoundError(f"the shard {shard} that {index} names is missing")
        tensors = _read_one(index.parent / shard)
        wanted = [name for name, file in where.items() if file == shard]
        lost = [name for name in wanted if name not in tensors]
        if lost:
            raise ValueError(f"the shard {index.parent / shard} lacks {lost[0]}, which {index.name} promises")
        weights.update((name, tensors[name]) for name in wanted)
    return weights


def _read_one(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)  # checks that the sizes in the header fill the file exactly
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or cut short: {error}") from error
    if path.suffix in PICKLED:
        weights = _state_dict(_unpickle(path), path)
        _check_sizes(weights, path)
        return weights
    raise ValueError(f"cannot read {path}: expected .safetensors, *.index.json or {', '.join(PICKLED)}")


def _unpickle(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch advises to run the file; ours says not to
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        wants = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wants is None and "weights_only" in str(error):
            raise ValueError(
                f"{path} holds code, not only tensors. It was not run. If you trust the file, open it where it was "
                "made and save its state_dict() as .safetensors"
            ) from error
        if wants is None:
            raise ValueError(f"{path} is damaged or not a file of weights: {_first_line(error)}") from error
        raise ValueError(
            f"{path} wants to run {wants[1]} when it is opened. It was not run. If you trust the file, open it where "
            "it was made and save its state_dict() as .safetensors"
        ) from error
    except OSError:
        raise
    except Exception as error:  # damaged bytes make the reader stumble in any way
        raise ValueError(f"{path} is damaged or not a file of weights: {_first_line(error)}") from error


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    nested = [content[nest] for nest in _NESTS if nest in content] if isinstance(content, Mapping) else []
    for state in (content, *nested):
        if isinstance(state, Mapping) and state and all(isinstance(tensor, Tensor) for tensor in state.values()):
            return {str(name): tensor.detach() for name, tensor in state.items()}
    found = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
    raise ValueError(f"{path} holds no state dict, neither bare nor under {', '.join(_NESTS)}; it holds: {found}")


def _check_sizes(weights: Weights, path: Path) -> None:
    # A view can repeat four bytes 10^13 times; whoever copies it fills the memory.
    there = path.stat().st_size
    claimed = 0
    views: set[tuple[object, ...]] = set()  # tied weights are one view under two names
    for name, tensor in weights.items():
        if tensor.layout is not torch.strided or tensor.is_nested or tensor.device.type != "cpu":
            raise ValueError(f"{path}: {name} is sparse, nested or without numbers; weights are plain tensors")
        storage = tensor.untyped_storage()
        size = math.prod(tensor.shape) * tensor.element_size()
        view = (storage.data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        claimed += 0 if view in views else size
        views.add(view)
        if size > storage.nbytes() or claimed > there:
            raise ValueError(
                f"{path} holds {there:,} bytes, but its tensors claim more ({name} alone {size:,}): not read. If you "
                "trust the file, save contiguous copies of the tensors where it was made"
            )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
