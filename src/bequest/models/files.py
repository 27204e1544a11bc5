"""How do weights come from a file and go to one, safely?

Reading never runs code: safetensors hold numbers only, and pickled files go through torch's weights-only reader, which
refuses whatever asks for more. Writing is all or nothing: beside the place, then renamed.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from bequest.models.adapters import is_adapter, open_merged
from bequest.models.lazy import LazyWeights, open_plain
from bequest.weights.algebra import Weights


def read_weights(
    path: str | Path, *, base: str | Path | None = None, nest: str | None = None, trust_pickle: bool = False
) -> dict[str, Tensor]:
    """Read weights; nothing in the file is run unless it is trusted.

    Args:
        path: a `.safetensors` file; a `*.index.json` of a sharded one, or a folder with either; a `.pt`, `.pth`,
            `.bin` or `.ckpt` file with a state dict, bare or under `state_dict`, `model`, `ema` and the like; or a
            folder with a LoRA adapter, which is merged onto its base.
        base: path of an adapter's base; None for the one that it names.
        nest: under which name the state dict of a pickled file lies, where there are several (`model` and `ema`).
        trust_pickle: run what a pickled file wants to run. Only for files that you made.

    Returns:
        Name to tensor, on the CPU. What DataParallel and torch.compile put into the names is taken away; tied tensors
        share their memory.

    Raises:
        FileNotFoundError: if the file or one of its shards does not exist.
        ValueError: if it is damaged, of an unknown kind, wants to run code, holds no weights, or tensors that claim to
            be larger than the file.
    """
    return open_weights(path, base=base, nest=nest, trust_pickle=trust_pickle).in_memory()


def open_weights(
    path: str | Path, *, base: str | Path | None = None, nest: str | None = None, trust_pickle: bool = False
) -> LazyWeights:
    """Open weights that are read one tensor at a time, so that they may be larger than the memory.

    Args:
        path: as in `read_weights`.
        base: path of an adapter's base; None for the one that it names.
        nest: under which name the state dict of a pickled file lies, where there are several (`model` and `ema`).
        trust_pickle: run what a pickled file wants to run. Only for files that you made.

    Returns:
        Name to tensor, read when it is asked for; `.shapes` and `.sizes` are known before. The files must stay as they
        are meanwhile. Pickled files of before torch 1.6, and trusted ones, are read at once.

    Raises:
        FileNotFoundError: if the file or one of its shards does not exist.
        ValueError: as in `read_weights`.
    """
    if is_adapter(path):
        return open_merged(path, base)
    return open_plain(path, nest=nest, trust_pickle=trust_pickle)


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
