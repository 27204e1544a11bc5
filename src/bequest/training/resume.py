"""How does an interrupted training go on as if nothing had happened?

After an epoch everything that the next one depends on goes into one file: weights, the best weights so far, the
optimiser's state, the generators, the metrics. The file is replaced in one move, so a kill at any moment leaves the
old or the new one. Tensors come back in the memory layout that they had, so that the same arithmetic follows.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass
class Progress:
    """Everything that the next epoch depends on, besides the model and the optimiser.

    Attributes:
        epoch: epochs done; 0 is before the first.
        rows: the metrics so far.
        best: the weights of the best epoch so far.
        best_score: its (validation error, validation loss).
    """

    epoch: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_score: tuple[float, float] = (float("inf"), float("inf"))


def save(
    path: Path,
    progress: Progress,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, torch.Generator],
) -> None:
    """Write the state after an epoch.

    Args:
        path: the file; its folder exists.
        progress: epoch, metrics, best weights.
        model: as it is after the epoch.
        optimizer: likewise.
        generators: by name.
    """
    state = optimizer.state_dict()["state"]
    tensors: dict[str, Tensor] = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best/{name}": tensor for name, tensor in progress.best.items()}
    tensors |= {f"optimizer/{index}/{key}": value for index, slot in state.items() for key, value in slot.items()}
    tensors |= {f"generator/{name}": stream.get_state() for name, stream in generators.items()}
    written = {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in tensors.items()}
    said = json.dumps({"epoch": progress.epoch, "rows": progress.rows, "best_score": progress.best_score})
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    save_file(written, aside, {"progress": said, "sha256": _digest(written, said)})
    aside.replace(path)


def load(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, generators: Mapping[str, torch.Generator]
) -> Progress | None:
    """Put model, optimiser and generators back to where the file says.

    Args:
        path: what `save` wrote.
        model: gets its weights back.
        optimizer: gets its state back.
        generators: get their positions back.

    Returns:
        The progress; None if there is no file, or none that is whole and as it was written: the training then starts
        afresh.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
            said = opened.metadata()
        if said["sha256"] != _digest(tensors, said["progress"]):
            return None
        metadata = json.loads(said["progress"])
    except (SafetensorError, KeyError, ValueError, TypeError):
        return None
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[f"model/{name}"])
    for stream_name, stream in generators.items():
        stream.set_state(tensors[f"generator/{stream_name}"])
    _restore_optimizer(optimizer, {name: t for name, t in tensors.items() if name.startswith("optimizer/")})
    best = {name.removeprefix("best/"): t for name, t in tensors.items() if name.startswith("best/")}
    return Progress(metadata["epoch"], metadata["rows"], best, tuple(metadata["best_score"]))


def _digest(tensors: Mapping[str, Tensor], said: str) -> str:
    """SHA-256 of the numbers, their names and what is said of them: a flipped bit would go on in every epoch."""
    digest = hashlib.sha256(said.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type] # it is a buffer
    return digest.hexdigest()


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, tensor in tensors.items():
        _, index, key = name.split("/", 2)
        parameter = parameters[int(index)]
        like = parameter if tensor.shape == parameter.shape else tensor.to(parameter.device)
        optimizer.state[parameter][key] = torch.empty_like(like).copy_(tensor)
